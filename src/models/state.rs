//! What changes while a network runs: named tensors that can be saved, restored and patched.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Tensor, TensorId};

use crate::hook::{Context, Form};
use crate::{Error, Result};

/// Least number of positions that a growing tensor gets room for.
const ROOM: usize = 64;

/// Named tensors carried from one forward call to the next.
///
/// For a decoder: the rotated keys and the values of every layer, `blocks.{l}.attn.cache_k|cache_v`
/// `[batch, keys, kv_head, d_head]`, and the rows and positions they belong to.
///
/// A clone goes its own way: what is appended to one is never seen in the other.
#[derive(Clone, Debug, Default)]
pub struct State {
    keeps: bool,
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    rooms: BTreeMap<String, Room>,
    pub(crate) context: Option<Context>,
}

/// Memory beyond the end of a tensor that grows along its second axis.
#[derive(Clone, Debug)]
struct Room {
    whole: Tensor,
    /// The tensor that lies at its beginning.
    view: TensorId,
    /// Shared with the clones of the state, which may not both write into the room.
    owner: Arc<()>,
}

impl State {
    /// Keeps nothing between calls: every call stands alone.
    pub fn none() -> Self {
        Self::default()
    }

    /// Starts empty and carries keys and values from call to call.
    pub fn cached() -> Self {
        Self { keeps: true, ..Self::default() }
    }

    /// Whether calls leave something for the next one.
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    /// The rows and positions that the kept tensors belong to.
    pub fn context(&self) -> Option<&Context> {
        self.context.as_ref()
    }

    /// The state of `rows` rows that all go on from the one row of this state, numbered as documents from 0.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a state of another number of rows.
    pub fn repeated(&self, rows: usize) -> Result<Self> {
        if self.context.as_ref().is_none_or(|c| c.rows != 1) {
            return Err(Error::invalid(
                "only the state of one row can be repeated",
                "run one row first, keeping its state",
            ));
        }
        let mut state = self.clone();
        state.select(&vec![0; rows])?;
        if let Some(context) = &mut state.context {
            context.documents = (0..rows as u64).collect();
        }
        Ok(state)
    }

    /// Keeps these rows of everything, in this order, as a beam search does; a row may be taken several times.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a row that there is not.
    pub fn select(&mut self, rows: &[u32]) -> Result<()> {
        if let Some(context) = &self.context {
            self.context = Some(context.select(rows)?);
        }
        for tensor in self.tensors.values_mut() {
            let index = Tensor::from_slice(rows, rows.len(), tensor.device())?;
            *tensor = tensor.contiguous()?.index_select(&index, 0)?;
        }
        self.rooms.clear();
        Ok(())
    }

    /// Appends `new` to the tensor `name` along the second axis, if calls leave anything, and returns the whole.
    ///
    /// In the inference form only the new part is written; room doubles when it runs out.
    pub(crate) fn append(&mut self, name: &str, new: Tensor, form: Form) -> Result<Tensor> {
        if !self.keeps {
            return Ok(new);
        }
        let all = match self.tensors.get(name) {
            None => new.contiguous()?,
            Some(old) if form == Form::Differentiable => Tensor::cat(&[old, &new], 1)?,
            Some(old) => {
                let (kept, end) = (old.dim(1)?, old.dim(1)? + new.dim(1)?);
                let mine = |room: &Room| room.view == old.id() && Arc::strong_count(&room.owner) == 1;
                let whole = match self.rooms.get(name).filter(|room| mine(room)) {
                    Some(room) if room.whole.dim(1)? >= end => room.whole.clone(),
                    _ => {
                        let mut shape = old.dims().to_vec();
                        shape[1] = end.next_power_of_two().max(ROOM);
                        let whole = Tensor::zeros(shape, old.dtype(), old.device())?;
                        whole.slice_set(&old.contiguous()?, 1, 0)?;
                        whole
                    }
                };
                whole.slice_set(&new.contiguous()?, 1, kept)?;
                let all = whole.narrow(1, 0, end)?;
                self.rooms.insert(name.to_string(), Room { whole, view: all.id(), owner: Arc::default() });
                all
            }
        };
        self.tensors.insert(name.to_string(), all.clone());
        Ok(all)
    }
}
