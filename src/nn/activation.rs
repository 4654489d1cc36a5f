//! Activation functions under their Hugging Face names.
//!
//! gelu: x Phi(x) with the error function; gelu_new and its kin: x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), which is
//! the tanh approximation without its cancellation; quick_gelu: x sigmoid(1.702 x); silu: x sigmoid(x).
//! Candle's own `gelu` and `gelu_erf` have a backward pass with constants of six digits and its `relu` has slope 1 at
//! 0 and hides NaN; all are composed here.

use super::Form;
use super::kernel::{self, View, wide};
use super::learn;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use candle_nn::ops::sigmoid;

/// 2 sqrt(2 / pi).
const TWICE_SQRT_2_OVER_PI: f64 = 1.595_769_121_605_730_7;
/// Work of one element compared with a multiply-add.
const COST: usize = 16;
/// Elements in one row of an element-wise kernel.
const BLOCK: usize = 1024;

/// An element-wise function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// x (1 + erf(x / sqrt 2)) / 2.
    Gelu,
    /// The tanh approximation of gelu.
    GeluTanh,
    /// x sigmoid(1.702 x).
    QuickGelu,
    /// max(x, 0), with slope 0 at 0.
    Relu,
    /// max(x, 0)^2.
    Relu2,
    /// x sigmoid(x).
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// x itself.
    Identity,
}

/// The Hugging Face names and what they mean.
const NAMES: [(&str, Activation); 15] = [
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("relu2", Activation::Relu2),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
    ("linear", Activation::Identity),
];

impl Activation {
    /// The function with this Hugging Face name.
    pub fn from_hf(name: &str) -> Result<Self> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, activation)| *activation).ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|(known, _)| *known).collect();
            Error::invalid(format!("unknown activation function `{name}`"), format!("known are {}", known.join(", ")))
        })
    }

    /// The function of every element of `x` `[..]`.
    pub fn forward(self, x: &Tensor, form: Form) -> Result<Tensor> {
        if kernel::applies(form, x) {
            return self.kernel(x, None);
        }
        Ok(match self {
            Self::Gelu => ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)? * x)?,
            Self::GeluTanh => {
                let inner = (x.sqr()?.affine(0.044715, 1.0)? * x)?;
                (sigmoid(&(inner * TWICE_SQRT_2_OVER_PI)?)? * x)?
            }
            Self::QuickGelu => (sigmoid(&(x * 1.702)?)? * x)?,
            Self::Relu => positive(x)?,
            Self::Relu2 => positive(x)?.sqr()?,
            Self::Silu => (sigmoid(x)? * x)?,
            Self::Tanh => x.tanh()?,
            Self::Sigmoid => sigmoid(x)?,
            Self::Identity => x.clone(),
        })
    }

    /// The gated form: the function of `gate` times `up`, both `[..]`.
    pub fn gated(self, gate: &Tensor, up: &Tensor, form: Form) -> Result<Tensor> {
        if kernel::applies(form, gate) && kernel::applies(form, up) && gate.dims() == up.dims() {
            return self.kernel(gate, Some(up));
        }
        if self == Self::Silu && learn::applies(form, gate) && learn::applies(form, up) && gate.dims() == up.dims() {
            return learn::gated_silu(gate, up, self.kernel(&gate.detach(), Some(&up.detach()))?);
        }
        Ok((self.forward(gate, form)? * up)?)
    }

    fn kernel(self, x: &Tensor, up: Option<&Tensor>) -> Result<Tensor> {
        let x = x.contiguous()?;
        let up = up.map(Tensor::contiguous).transpose()?;
        let (view, view_up) = (View::new(&x), up.as_ref().map(View::new));
        let (values, n) = (view.f32()?, x.elem_count());
        let factors = view_up.as_ref().map(View::f32).transpose()?;
        let block = |at: usize, y: &mut [f32]| {
            self.apply(y);
            if let Some(f) = factors {
                kernel::multiply(y, &f[at..at + y.len()]);
            }
        };
        let whole = n - n % BLOCK;
        let mut out = kernel::changed_rows(&values[..whole], BLOCK, BLOCK * COST, |r, y| block(r * BLOCK, y));
        out.extend_from_slice(&values[whole..n]);
        block(whole, &mut out[whole..]);
        Ok(Tensor::from_vec(out, x.shape(), &Device::Cpu)?)
    }

    /// The function of every element, in place.
    pub(super) fn apply(self, x: &mut [f32]) {
        match self {
            Self::Gelu => gelu(x),
            Self::GeluTanh => gelu_tanh(x),
            Self::QuickGelu => quick_gelu(x),
            Self::Relu => relu(x),
            Self::Relu2 => relu2(x),
            Self::Silu => silu(x),
            Self::Tanh => tanh(x),
            Self::Sigmoid => sigmoids(x),
            Self::Identity => {}
        }
    }
}

/// max(x, 0) that keeps NaN and has slope 0 at 0.
fn positive(x: &Tensor) -> Result<Tensor> {
    let zeros = x.zeros_like()?;
    Ok(x.le(&zeros)?.where_cond(&zeros, x)?)
}

wide! {
    /// In place, as are all below.
    pub fn gelu(x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x *= kernel::erf(*x * std::f32::consts::FRAC_1_SQRT_2) * 0.5 + 0.5);
    }

    /// The tanh approximation.
    pub fn gelu_tanh(x: &mut [f32]) {
        for x in x {
            *x *= kernel::sigmoid((*x * *x * 0.044715 + 1.0) * *x * TWICE_SQRT_2_OVER_PI as f32);
        }
    }

    /// x sigmoid(1.702 x).
    pub fn quick_gelu(x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x *= kernel::sigmoid(*x * 1.702));
    }

    /// max(x, 0).
    pub fn relu(x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x = if *x <= 0.0 { 0.0 } else { *x });
    }

    /// max(x, 0)^2.
    pub fn relu2(x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x = if *x <= 0.0 { 0.0 } else { *x * *x });
    }

    /// x sigmoid(x).
    pub fn silu(x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x *= kernel::sigmoid(*x));
    }

    /// Hyperbolic tangent.
    pub fn tanh(x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x = kernel::tanh(*x));
    }

    /// 1 / (1 + e^-x).
    pub fn sigmoids(x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x = kernel::sigmoid(*x));
    }
}
