//! One step in operations that keep a graph: what training runs where somebody listens inside.

use candle_core::{D, DType, Device, Tensor};

use super::config::{DT, ElmConfig, ElmVersion};
use super::step::{AMPLITUDE, SLOPE};
use super::{Parts, Routing, Sites};
use crate::Result;
use crate::hook::Tap;
use crate::models::Series;
use crate::nn::{Activation, Form, Layout, Linear};

/// What is left of memory of these time constants after a step, and what its proposal is multiplied by.
pub(super) fn rates(config: &ElmConfig, tau: &Tensor) -> Result<(Tensor, Tensor)> {
    let per = tau.recip()?;
    let kappa = (&per * -DT)?.exp()?;
    let gain = match config.version {
        ElmVersion::V1 => kappa.affine(-config.lambda, config.lambda)?,
        ElmVersion::V2 => (per * (-DT * config.lambda))?.exp()?.affine(-1.0, 1.0)?,
    };
    Ok((kappa, gain))
}

/// What a run carries.
pub(super) struct Graph {
    /// `[b, slots]`, `[b, P]`, `[b, d]`.
    pub synapse: Tensor,
    pub branch: Tensor,
    pub memory: Tensor,
}

pub(super) struct Composed<'a> {
    pub config: &'a ElmConfig,
    pub routing: &'a Routing,
    pub site: &'a Sites,
    pub parts: &'a Parts,
}

impl Composed<'_> {
    /// Step `t`: what is read out, `[b, outputs]`.
    pub fn step(&self, carried: &mut Graph, series: Option<&Series>, t: usize, tap: &mut Tap) -> Result<Tensor> {
        let (parts, site, form) = (self.parts, self.site, Form::Differentiable);
        let (b, slots) = carried.synapse.dims2()?;
        let given = self.given(series, b, t, parts.w_s.dtype())?.broadcast_mul(&parts.w_s)?; // [b, slots]
        let kappa_s = self.config.kappa_s();
        let v1 = self.config.version == ElmVersion::V1;
        let synapse = if v1 { ((&carried.synapse * kappa_s)? + given)? } else { given };
        carried.synapse = tap.at(site.synapse, synapse)?;
        let p = self.routing.branches;
        let sums = carried.synapse.reshape((b, p, slots / p))?.sum(D::Minus1)?; // [b, P]
        let branch = if v1 { sums } else { ((&carried.branch * kappa_s)? + sums)? };
        carried.branch = tap.at(site.branch, branch)?;
        let (kappa, gain) = rates(self.config, &tap.at(site.tau, parts.tau.clone())?)?;
        let kept = carried.memory.broadcast_mul(&kappa)?; // [b, d]
        let [w1, b1, w2, b2] = &parts.mlp;
        let linear = |weight: &Tensor, bias: &Tensor| Linear {
            weight: weight.clone(),
            bias: Some(bias.clone()),
            layout: Layout::OutIn,
        };
        let z = Tensor::cat(&[&carried.branch, &kept], 1)?; // [b, P + d]
        let pre = tap.at(site.pre, linear(w1, b1).forward(&z, form)?)?; // [b, 2 d]
        let bent = if self.config.silu { Activation::Silu } else { Activation::Relu };
        let post = tap.at(site.post, bent.forward(&pre, form)?)?;
        let y = linear(w2, b2).forward(&post, form)?; // [b, d]
        let delta = tap.at(site.delta, ((y * SLOPE)?.tanh()? * AMPLITUDE)?)?;
        carried.memory = tap.at(site.memory, (kept + delta.broadcast_mul(&gain)?)?)?;
        tap.at(site.out, linear(&parts.w_y, &parts.b_y).forward(&carried.memory, form)?)
    }

    /// What each slot is given: `[b, slots]`.
    fn given(&self, series: Option<&Series>, rows: usize, t: usize, dtype: DType) -> Result<Tensor> {
        let slots = self.routing.input.len();
        let Some(series) = series else { return Ok(Tensor::zeros((rows, slots), dtype, &Device::Cpu)?) };
        let mut values = Vec::with_capacity(rows * slots);
        for row in 0..rows {
            let x = series.at(row, t);
            values.extend(self.routing.input.iter().map(|i| x[*i as usize]));
        }
        Ok(Tensor::from_vec(values, (rows, slots), &Device::Cpu)?.to_dtype(dtype)?)
    }
}
