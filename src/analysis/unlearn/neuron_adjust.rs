//! Neuron Adjust: pre-activations that look like the forgotten skill are mirrored into the retained distribution.
//!
//! Per selected neuron, with the densities p_r of N(mu_r, s_r) and p_f of N(mu_f, s_f), independently for every token and
//! neuron (Li, Sun and Weng 2025):
//!
//! ```text
//! fire = p_r <= p_f  and  u >= p_r / (p_r + p_f),  u uniform in [0, 1)
//! x'   = mu_r - s_r (x - mu_f) / s_f   if fire, else x
//! ```
//!
//! The authors' released code takes the variance for the standard deviation and mu_f for s_f. The densities of most
//! neurons (mu_f <= 0) are then negative, so that these never fire; [`Variant::Released`] fits such values, and this
//! operation reads a forgotten spread that is not positive as they do.

use candle_core::{DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hook::{EditContext, EditOp, Source, random};
use crate::{Error, Result};

/// Least spread of the retained distribution.
pub const FLOOR: f64 = 1e-6;

/// Whose arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// The paper's.
    #[default]
    Paper,
    /// That of the code released with it, for comparison.
    Released,
}

/// The operation `neuron_adjust`; every parameter has one value per selected neuron.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NeuronAdjust {
    /// mu_r: mean over retained tokens.
    pub retain_mean: Source,
    /// s_r: standard deviation over retained tokens.
    pub retain_std: Source,
    /// mu_f: mean over forgotten tokens.
    pub forget_mean: Source,
    /// s_f: standard deviation over forgotten tokens; a neuron with one that is not positive never fires.
    pub forget_std: Source,
}

/// The statistics of one neuron.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Densities {
    /// mu_r.
    pub retain_mean: f64,
    /// s_r.
    pub retain_std: f64,
    /// mu_f.
    pub forget_mean: f64,
    /// s_f.
    pub forget_std: f64,
}

impl Densities {
    /// The probability that a token with the value `x` is adjusted: p_f / (p_r + p_f) where p_f >= p_r, else 0.
    ///
    /// Taken from the difference of the log-densities: both densities underflow far from their means.
    pub fn fires(&self, x: f64) -> f64 {
        if self.forget_std <= 0.0 {
            return 0.0;
        }
        let log = |mean: f64, std: f64| -std.ln() - 0.5 * ((x - mean) / std).powi(2);
        let gap = log(self.retain_mean, self.retain_std.max(FLOOR)) - log(self.forget_mean, self.forget_std);
        if gap <= 0.0 { 1.0 / (1.0 + gap.exp()) } else { 0.0 }
    }

    /// Where an adjusted `x` goes: forgotten to retained by transport, then mirrored at mu_r.
    pub fn mirrored(&self, x: f64) -> f64 {
        self.retain_mean - self.retain_std.max(FLOOR) * (x - self.forget_mean) / self.forget_std
    }
}

impl EditOp for NeuronAdjust {
    fn sources(&self) -> Vec<&Source> {
        vec![&self.retain_mean, &self.retain_std, &self.forget_mean, &self.forget_std]
    }

    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let (rows, pos) = (cx.call.rows, cx.call.pos);
        if !cx.site.by_position() {
            return Err(Error::invalid(
                format!("neuron_adjust needs a site with axes batch and pos, `{}` has none", cx.site.name),
                "use it at `blocks.*.mlp.hook_pre`",
            ));
        }
        let width = x.elem_count() / (rows * pos).max(1);
        let each: Vec<Vec<f32>> =
            cx.values.iter().map(|value| per_neuron(value, width, &cx.site.name)).collect::<Result<_>>()?;
        let of = |i: usize| Densities {
            retain_mean: f64::from(each[0][i]),
            retain_std: f64::from(each[1][i]),
            forget_mean: f64::from(each[2][i]),
            forget_std: f64::from(each[3][i]),
        };
        let neurons: Vec<Densities> = (0..width).map(of).collect();
        let mut values = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let site = random::name(&cx.site.name);
        for (at, token) in values.chunks_mut(width.max(1)).enumerate() {
            if !cx.call.real[at] {
                continue;
            }
            let place = [site, cx.call.documents[at / pos], u64::from(cx.call.position[at])];
            let key = random::key(cx.seed, &place);
            for (i, (x, neuron)) in token.iter_mut().zip(&neurons).enumerate() {
                // u >= p_r / (p_r + p_f) happens with the probability of firing.
                if 1.0 - random::uniform(random::key(key, &[i as u64])) <= neuron.fires(f64::from(*x)) {
                    *x = neuron.mirrored(f64::from(*x)) as f32;
                }
            }
        }
        Ok(Tensor::from_vec(values, x.shape(), x.device())?.to_dtype(x.dtype())?)
    }
}

/// One number per selected neuron.
pub(super) fn per_neuron(value: &Tensor, width: usize, site: &str) -> Result<Vec<f32>> {
    let values = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    match values.len() {
        1 => Ok(vec![values[0]; width]),
        n if n == width => Ok(values),
        n => Err(Error::invalid(
            format!("an edit at `{site}` needs one value for each of {width} neurons, got {n}"),
            "fit the edit on this model, or name as many neurons as there are values",
        )),
    }
}
