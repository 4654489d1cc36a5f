//! Layer norm and root-mean-square norm over the last axis.
//!
//! Four steps, so that a network can tap in between:
//! c = x - mean(x) (layer norm) or x (RMS); s = sqrt(mean(c^2) + eps); n = c / s; y = n * (offset + w) + b.
//! Candle's own fused norms have no backward pass; [`Norm::forward`] composes them where `learn` has none either,
//! [`Norm::fused`] runs a kernel.

use super::Form;
use super::kernel::{self, View};
use super::learn;
use crate::{Error, Result};
use candle_core::{D, Device, Tensor};

/// Which statistics a norm removes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NormKind {
    /// Mean and standard deviation.
    Layer,
    /// Root mean square only.
    Rms,
}

/// A norm over the last axis, with optional weight and bias.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Which statistics are removed.
    pub kind: NormKind,
    /// The weight: `[D]`, or `[H, D]` with one row for each head of an input `[.., H, D]`.
    pub weight: Option<Tensor>,
    /// The bias, shaped like the weight.
    pub bias: Option<Tensor>,
    /// Added to the mean square under the root.
    pub eps: f64,
    /// Added to the weight: 1 for Gemma's `1 + w`, otherwise 0.
    pub offset: f32,
}

/// Which optional outputs a fused norm should write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Want {
    /// The scale, `[.., 1]`.
    pub scale: bool,
    /// The input after division by the scale, before weight and bias.
    pub normalized: bool,
}

/// What a fused norm wrote.
#[derive(Clone, Debug)]
pub struct NormOut {
    /// The normalised input after weight and bias, `[.., D]`.
    pub out: Tensor,
    /// sqrt(mean(c^2) + eps), `[.., 1]`, if wanted.
    pub scale: Option<Tensor>,
    /// The input after division by the scale, `[.., D]`, if wanted.
    pub normalized: Option<Tensor>,
}

impl Norm {
    /// Step 1, `[.., D]`: subtracts the mean for a layer norm, hands `x` on for an RMS norm.
    pub fn center(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.kind {
            NormKind::Layer => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            NormKind::Rms => x.clone(),
        })
    }

    /// Step 2, `[.., D] -> [.., 1]`: sqrt(mean(c^2) + eps).
    pub fn scale(&self, centered: &Tensor) -> Result<Tensor> {
        let mean = centered.sqr()?.mean_keepdim(D::Minus1)?; // [.., 1]
        Ok((mean + self.eps)?.sqrt()?)
    }

    /// Step 3, `[.., D]`: c / s.
    pub fn normalized(&self, centered: &Tensor, scale: &Tensor) -> Result<Tensor> {
        Ok(centered.broadcast_div(scale)?)
    }

    /// Step 4, `[.., D]`: n * (offset + w) + b.
    pub fn affine(&self, normalized: &Tensor) -> Result<Tensor> {
        let mut y = normalized.clone();
        if let Some(w) = &self.weight {
            let w = w.to_dtype(y.dtype())?;
            let w = if self.offset == 0.0 { w } else { (w + f64::from(self.offset))? };
            y = y.broadcast_mul(&w)?;
        }
        if let Some(b) = &self.bias {
            y = y.broadcast_add(&b.to_dtype(y.dtype())?)?;
        }
        Ok(y)
    }

    /// All four steps, `[.., D] -> [.., D]`.
    pub fn forward(&self, x: &Tensor, form: Form) -> Result<Tensor> {
        if kernel::applies(form, x) {
            return Ok(self.fused(x, Want::default())?.out);
        }
        if let Some(weight) = self.learns(form, x) {
            let out = self.fused(&x.detach(), Want::default())?.out;
            return match &self.bias {
                Some(bias) => learn::layer_norm(x, weight, bias, self.eps as f32, out),
                None => learn::rms_norm(x, weight, self.eps as f32, out),
            };
        }
        let centered = self.center(x)?;
        let normalized = self.normalized(&centered, &self.scale(&centered)?)?;
        self.affine(&normalized)
    }

    /// The gains, where the whole norm is one operation with a backward pass of its own.
    fn learns(&self, form: Form, x: &Tensor) -> Option<&Tensor> {
        let plain = self.offset == 0.0
            && match (self.kind, &self.bias) {
                (NormKind::Rms, None) => true,
                (NormKind::Layer, Some(bias)) => bias.rank() == 1 && learn::applies(form, bias),
                _ => false,
            };
        let weight = self.weight.as_ref().filter(|w| plain && w.rank() == 1 && learn::applies(form, w))?;
        (learn::applies(form, x) && x.dims().last() == weight.dims().first()).then_some(weight)
    }

    /// The inference form of all four steps on `x` `[.., D]`, with the wanted steps in between.
    ///
    /// `out` has the same bits whatever is wanted.
    pub fn fused(&self, x: &Tensor, want: Want) -> Result<NormOut> {
        if !kernel::applies(Form::Inference, x) {
            let centered = self.center(x)?;
            let scale = self.scale(&centered)?;
            let normalized = self.normalized(&centered, &scale)?;
            return Ok(NormOut {
                out: self.affine(&normalized)?,
                scale: want.scale.then_some(scale),
                normalized: want.normalized.then_some(normalized),
            });
        }
        let d = x.dim(D::Minus1)?;
        let weight = self.parameter(&self.weight, self.offset, x)?;
        let bias = self.parameter(&self.bias, 0.0, x)?;
        let input = x.contiguous()?;
        let view = View::new(&input);
        let values = &view.f32()?[..input.elem_count()];
        let stats = |x: &[f32]| {
            let mean = match self.kind {
                NormKind::Layer => kernel::sum(x) / d as f32,
                NormKind::Rms => 0.0,
            };
            (mean, (kernel::sum_squares(x, mean) / d as f32 + self.eps as f32).sqrt())
        };
        let normalize = |y: &mut [f32]| {
            let (mean, scale) = stats(y);
            kernel::normalize(y, mean, 1.0 / scale);
        };

        let out = kernel::changed_rows(values, d, 5 * d, |r, y| {
            normalize(y);
            if let Some(w) = row_of(&weight, r, d) {
                kernel::multiply(y, w);
            }
            if let Some(b) = row_of(&bias, r, d) {
                kernel::add(y, b);
            }
        });
        let normalized = want.normalized.then(|| {
            let n = kernel::changed_rows(values, d, 3 * d, |_, y| normalize(y));
            Tensor::from_vec(n, x.shape(), &Device::Cpu)
        });
        let scale = want.scale.then(|| {
            let mut shape = x.dims().to_vec();
            if let Some(last) = shape.last_mut() {
                *last = 1;
            }
            let mut scales = vec![0f32; values.len().checked_div(d).unwrap_or(0)];
            kernel::fill_rows(&mut scales, 1, 2 * d, |r, scale| scale[0] = stats(&values[r * d..(r + 1) * d]).1);
            Tensor::from_vec(scales, shape, &Device::Cpu)
        });
        Ok(NormOut {
            out: Tensor::from_vec(out, x.shape(), &Device::Cpu)?,
            scale: scale.transpose()?,
            normalized: normalized.transpose()?,
        })
    }

    /// Weight or bias as f32 rows, checked against the last axes of `x`.
    fn parameter(&self, tensor: &Option<Tensor>, offset: f32, x: &Tensor) -> Result<Option<Vec<f32>>> {
        let Some(tensor) = tensor else { return Ok(None) };
        let (dims, rank) = (x.dims(), tensor.rank());
        if rank > 2 || rank > dims.len() || tensor.dims() != &dims[dims.len() - rank..] {
            return Err(Error::invalid(
                format!("a norm with a parameter {:?} got an input {dims:?}", tensor.dims()),
                "the parameter must have the shape of the last one or two axes of the input",
            ));
        }
        let values = tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(Some(values.into_iter().map(|v| v + offset).collect()))
    }
}

/// The row of a parameter that belongs to row `r` of the input.
fn row_of(parameter: &Option<Vec<f32>>, r: usize, d: usize) -> Option<&[f32]> {
    let p = parameter.as_deref()?;
    let at = (r * d) % p.len();
    Some(&p[at..at + d])
}
