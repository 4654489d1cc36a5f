//! Surrogate gradients: forward is the step function, backward a smooth bump around the threshold.

use std::f64::consts::{FRAC_PI_2, PI};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::neuron::Crossing;
use crate::Result;

/// The derivative that stands for that of the step, at U = v - threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surrogate {
    /// 1 / (k |U| + 1)^2: snnTorch's fast sigmoid (k 25), SuperSpike (Norse: k 100).
    FastSigmoid(f64),
    /// (alpha/2) / (1 + (pi/2 alpha U)^2): snnTorch and SpikingJelly (alpha 2).
    Arctan(f64),
    /// k sigma(kU) (1 - sigma(kU)): snnTorch k 25, SpikingJelly 4.
    Sigmoid(f64),
    /// (alpha/2) e^(-alpha |U|): SpikingJelly's piecewise exponential (alpha 1).
    PiecewiseExponential(f64),
    /// 1 / (2 alpha (1/alpha + |U|)^2): SpikingJelly's soft sign (alpha 2).
    SoftSign(f64),
    /// max(0, 1 - |U|/w) / w.
    Triangle(f64),
    /// alpha/sqrt(pi) e^(-(alpha U)^2): SpikingJelly's erf (alpha 2).
    Erf(f64),
}

impl Surrogate {
    /// The formula at one point.
    pub fn derivative(self, u: f64) -> f64 {
        match self {
            Self::FastSigmoid(k) => (k * u.abs() + 1.0).powi(-2),
            Self::Arctan(alpha) => alpha / 2.0 / (1.0 + (FRAC_PI_2 * alpha * u).powi(2)),
            Self::Sigmoid(k) => {
                let s = super::rate::logistic(k * u);
                k * s * (1.0 - s)
            }
            Self::PiecewiseExponential(alpha) => alpha / 2.0 * (-alpha * u.abs()).exp(),
            Self::SoftSign(alpha) => 1.0 / (2.0 * alpha * (1.0 / alpha + u.abs()).powi(2)),
            Self::Triangle(w) => (1.0 - u.abs() / w).max(0.0) / w,
            Self::Erf(alpha) => alpha / PI.sqrt() * (-(alpha * u).powi(2)).exp(),
        }
    }

    /// The formula on a tensor, without a graph.
    fn derivatives(self, u: &Tensor) -> Result<Tensor> {
        let u = u.detach();
        Ok(match self {
            Self::FastSigmoid(k) => u.abs()?.affine(k, 1.0)?.sqr()?.recip()?,
            Self::Arctan(alpha) => {
                u.affine(FRAC_PI_2 * alpha, 0.0)?.sqr()?.affine(2.0 / alpha, 2.0 / alpha)?.recip()?
            }
            Self::Sigmoid(k) => {
                let s = u.affine(-k, 0.0)?.exp()?.affine(1.0, 1.0)?.recip()?;
                (&s * s.affine(-k, k)?)?
            }
            Self::PiecewiseExponential(alpha) => u.abs()?.affine(-alpha, 0.0)?.exp()?.affine(alpha / 2.0, 0.0)?,
            Self::SoftSign(alpha) => u.abs()?.affine(1.0, 1.0 / alpha)?.sqr()?.affine(2.0 * alpha, 0.0)?.recip()?,
            Self::Triangle(w) => u.abs()?.affine(-1.0 / (w * w), 1.0 / w)?.relu()?,
            Self::Erf(alpha) => u.affine(alpha, 0.0)?.sqr()?.neg()?.exp()?.affine(alpha / PI.sqrt(), 0.0)?,
        })
    }

    /// Spikes of `u` = v - threshold: 1 where it crosses, 0 elsewhere; the gradient is the surrogate's.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn spike(self, u: &Tensor, crossing: Crossing) -> Result<Tensor> {
        let hard = match crossing {
            Crossing::AtLeast => u.ge(0.0)?,
            Crossing::Above => u.gt(0.0)?,
        };
        // A line whose slope is the surrogate, less its own value: nothing forward, the slope backward.
        let line = (u * self.derivatives(u)?)?;
        Ok((hard.to_dtype(u.dtype())?.detach() + (&line - line.detach())?)?)
    }
}
