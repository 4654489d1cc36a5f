//! Noise that sparse codes suffer: cells that should be active are not.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hook::random::{self, Stream};
use crate::hook::{EditContext, EditOp};
use crate::{Error, Result};

/// Silences a share of the active coordinates of every row, another choice in every step or at every position.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DropActive {
    /// Share of the coordinates that are not 0, from 0 to 1; their number is rounded.
    pub share: f64,
}

impl EditOp for DropActive {
    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let (rows, pos) = (cx.call.rows, cx.call.pos);
        if !cx.site.by_place() || !(0.0..=1.0).contains(&self.share) {
            return Err(Error::invalid(
                format!("`drop_active` of {} at `{}`, of shape {:?}", self.share, cx.site.name, x.dims()),
                "give a share from 0 to 1, at a site with one entry per row and position or step",
            ));
        }
        let width = x.elem_count() / (rows * pos).max(1);
        let mut values: Vec<f32> = x.flatten_all()?.to_dtype(candle_core::DType::F32)?.to_vec1()?;
        for (place, values) in values.chunks_exact_mut(width.max(1)).enumerate() {
            let (document, position) = (cx.call.documents[place / pos], u64::from(cx.call.position[place]));
            let mut draw = Stream::new(cx.seed, &[random::name(&cx.site.name), document, position]);
            let mut active: Vec<usize> = (0..width).filter(|i| values[*i] != 0.0).collect();
            let lost = (self.share * active.len() as f64).round() as usize;
            draw.subset(&mut active, lost).iter().for_each(|i| values[*i] = 0.0);
        }
        Ok(Tensor::from_vec(values, x.shape(), x.device())?.to_dtype(x.dtype())?)
    }
}
