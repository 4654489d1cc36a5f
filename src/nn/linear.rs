//! Linear map: y = x W^T + b (PyTorch's layout) or y = x W + b (GPT-2's `Conv1D`).
//!
//! Weights may be stored as bf16 or f16 while activations are f32: the product is then taken in f32. Candle's CPU
//! refuses bf16 products, and spends up to ten times the product on repacking a transposed weight for a few rows. The
//! inference form therefore reads each weight once, in its stored type, for up to four rows (decoding), and computes
//! y^T = W x^T, where nothing big is repacked, for short prompts.

use super::Form;
use super::kernel::{self, View};
use super::learn;
use crate::{Error, Result};
use candle_core::{D, DType, Tensor};

/// Rows of input up to which the inference form takes inner products instead of a matrix product.
const FEW_ROWS: usize = 4;
/// Rows of input up to which W x^T is faster than x W^T (measured on 4096 x 1024: 16 rows 25 times, 64 rows twice).
const SHORT: usize = 64;

/// How a weight matrix lies in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// PyTorch's `Linear`: `[out, in]`.
    OutIn,
    /// GPT-2's `Conv1D`: `[in, out]`.
    InOut,
}

/// A linear map with an optional bias.
#[derive(Clone, Debug)]
pub struct Linear {
    /// The weight, `[out, in]` or `[in, out]`, in any float type.
    pub weight: Tensor,
    /// The bias, `[out]`.
    pub bias: Option<Tensor>,
    /// Which of the two the weight is.
    pub layout: Layout,
}

impl Linear {
    /// The number of inputs and outputs.
    pub fn sizes(&self) -> Result<(usize, usize)> {
        let (first, second) = self.weight.dims2()?;
        Ok(match self.layout {
            Layout::OutIn => (second, first),
            Layout::InOut => (first, second),
        })
    }

    /// The map of `x` `[.., in]`: `[.., out]` in the float type of `x`.
    pub fn forward(&self, x: &Tensor, form: Form) -> Result<Tensor> {
        let (inputs, outputs) = self.sizes()?;
        let mut shape = x.dims().to_vec();
        match shape.last_mut() {
            Some(last) if *last == inputs => *last = outputs,
            _ => {
                return Err(Error::invalid(
                    format!("a linear map expected [.., {inputs}] and got {:?}", x.dims()),
                    "check the sizes in the configuration against the weights",
                ));
            }
        }
        if learn::applies(form, x) && self.weight.dtype() == DType::F32 && x.rank() > 1 {
            let y = learn::matrix(&x.contiguous()?, &self.weight, self.layout)?; // [.., out]
            return match &self.bias {
                Some(bias) => Ok(y.broadcast_add(&bias.to_dtype(y.dtype())?)?),
                None => Ok(y),
            };
        }
        let x = x.reshape(((), inputs))?; // [n, in]
        let y = if self.few_rows(&x, form)? {
            self.inner_products(&x, inputs, outputs)?
        } else {
            let w = self.weight.to_dtype(x.dtype())?;
            match self.layout {
                Layout::OutIn if kernel::applies(form, &x) && x.dim(0)? <= SHORT => w.matmul(&x.t()?)?.t()?,
                Layout::OutIn => x.matmul(&w.t()?)?,
                Layout::InOut => x.matmul(&w)?,
            }
        }; // [n, out]
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(&bias.to_dtype(y.dtype())?)?,
            None => y.contiguous()?,
        };
        Ok(y.reshape(shape)?)
    }

    fn few_rows(&self, x: &Tensor, form: Form) -> Result<bool> {
        Ok(kernel::applies(form, x)
            && self.layout == Layout::OutIn
            && matches!(self.weight.dtype(), DType::F32 | DType::BF16 | DType::F16)
            && self.weight.device().is_cpu()
            && self.weight.is_contiguous()
            && x.dim(0)? <= FEW_ROWS)
    }

    /// `[n, in] -> [n, out]`, one pass over the weight.
    fn inner_products(&self, x: &Tensor, inputs: usize, outputs: usize) -> Result<Tensor> {
        let n = x.dim(D::Minus2)?;
        let x = x.contiguous()?;
        let (vx, vw) = (View::new(&x), View::new(&self.weight));
        let xs = &vx.f32()?[..n * inputs];
        let mut by_output = vec![0f32; outputs * n]; // [out, n]
        match self.weight.dtype() {
            DType::BF16 => products(&mut by_output, xs, vw.bf16()?, inputs, kernel::dot_bf16),
            DType::F16 => products(&mut by_output, xs, vw.f16()?, inputs, kernel::dot_f16),
            _ => products(&mut by_output, xs, vw.f32()?, inputs, kernel::dot),
        }
        let y = if n == 1 {
            Tensor::from_vec(by_output, (1, outputs), x.device())?
        } else {
            Tensor::from_vec(by_output, (outputs, n), x.device())?.t()?.contiguous()?
        };
        Ok(y) // [n, out]
    }
}

/// out `[out, n]` := the inner products of the rows of `w` `[out, inputs]` with those of `xs` `[n, inputs]`.
fn products<W: Sync>(out: &mut [f32], xs: &[f32], w: &[W], inputs: usize, dot: fn(&[f32], &[W]) -> f32) {
    let n = xs.len() / inputs.max(1);
    kernel::fill_rows(out, n, n * inputs, |o, y| {
        let w = &w[o * inputs..(o + 1) * inputs];
        for (y, x) in y.iter_mut().zip(xs.chunks_exact(inputs)) {
            *y = dot(x, w);
        }
    });
}
