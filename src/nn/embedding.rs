//! Embedding: rows of a table, chosen by token id.
//!
//! The same operation serves both forms, since `index_select` has a backward pass and copies only the rows asked for.

use super::kernel::is_half;
use crate::Result;
use candle_core::{DType, Tensor};

/// A table of vectors, one row for each id.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// The table, `[vocab, D]`, in any float type.
    pub table: Tensor,
}

impl Embedding {
    /// The rows `[.., D]` for u32 ids `[..]`; f32 where the table is stored as bf16 or f16.
    ///
    /// The caller checks that every id is below the height of the table.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let mut shape = ids.dims().to_vec();
        shape.push(self.table.dim(1)?);
        let rows = self.table.index_select(&ids.flatten_all()?, 0)?; // [n, D]
        let rows = if is_half(rows.dtype()) { rows.to_dtype(DType::F32)? } else { rows };
        Ok(rows.reshape(shape)?) // [.., D]
    }
}
