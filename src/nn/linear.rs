//! Linear map: y = x W^T + b (PyTorch's layout) or y = x W + b (GPT-2's `Conv1D`).
//!
//! Weights may be stored as bf16 or f16 while activations are f32: the product is then taken in f32. Candle's CPU
//! refuses bf16 products, and spends up to ten times the product on repacking a transposed weight for a few rows. The
//! inference form therefore takes inner products with the weights where they lie, in their stored type ([`dense`]).
//! Where the processor lacks the vectors for that, it does so for a few rows only (decoding), and computes
//! y^T = W x^T, where nothing big is repacked, for short prompts.

use super::Form;
use super::dense::{self, Weight};
use super::kernel::{self, View};
use super::learn;
use crate::{Error, Result};
use candle_core::{DType, Tensor};

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

    /// The shape of the map of `x` `[.., in]`.
    pub(super) fn mapped(&self, x: &Tensor) -> Result<Vec<usize>> {
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
        Ok(shape)
    }

    /// The bias as f32.
    pub(super) fn bias_values(&self) -> Result<Option<Vec<f32>>> {
        let values = |bias: &Tensor| bias.to_dtype(DType::F32)?.flatten_all()?.to_vec1();
        Ok(self.bias.as_ref().map(values).transpose()?)
    }

    /// The map of `x` `[.., in]`: `[.., out]` in the float type of `x`.
    pub fn forward(&self, x: &Tensor, form: Form) -> Result<Tensor> {
        let shape = self.mapped(x)?;
        if dense::applies(self, x, form) {
            return self.dense(x, None, &shape);
        }
        if learn::applies(form, x) && self.weight.dtype() == DType::F32 && x.rank() > 1 {
            let y = learn::matrix(&x.contiguous()?, &self.weight, self.layout)?; // [.., out]
            return match &self.bias {
                Some(bias) => Ok(y.broadcast_add(&bias.to_dtype(y.dtype())?)?),
                None => Ok(y),
            };
        }
        let x = x.reshape(((), self.sizes()?.0))?; // [n, in]
        let w = self.weight.to_dtype(x.dtype())?;
        let y = match self.layout {
            Layout::OutIn if kernel::applies(form, &x) && x.dim(0)? <= SHORT => w.matmul(&x.t()?)?.t()?,
            Layout::OutIn => x.matmul(&w.t()?)?,
            Layout::InOut => x.matmul(&w)?,
        }; // [n, out]
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(&bias.to_dtype(y.dtype())?)?,
            None => y.contiguous()?,
        };
        Ok(y.reshape(shape)?)
    }

    /// `stream` `[.., out]` plus the map of `x` `[.., in]`, in one pass where kernels run. The sum has the same bits as
    /// in two.
    pub fn add_to(&self, stream: &Tensor, x: &Tensor, form: Form) -> Result<Tensor> {
        let shape = self.mapped(x)?;
        if dense::applies(self, x, form) && kernel::applies(form, stream) && stream.dims() == shape {
            return self.dense(x, Some(stream), &shape);
        }
        Ok((stream + self.forward(x, form)?)?)
    }

    fn dense(&self, x: &Tensor, stream: Option<&Tensor>, shape: &[usize]) -> Result<Tensor> {
        let (x, stream) = (x.contiguous()?, stream.map(Tensor::contiguous).transpose()?);
        let (vx, vw, vs) = (View::new(&x), View::new(&self.weight), stream.as_ref().map(View::new));
        let weight = Weight::new(&vw, &self.weight)?;
        let rows = x.elem_count() / weight.inputs.max(1);
        let (bias, stream) = (self.bias_values()?, vs.as_ref().map(View::f32).transpose()?);
        let mut y = dense::products(&vx.f32()?[..x.elem_count()], rows, &[&weight], |_, row, columns, y| {
            if let Some(bias) = &bias {
                kernel::add(y, &bias[columns.clone()]);
            }
            if let Some(stream) = stream {
                kernel::add(y, &stream[row * weight.outputs + columns.start..][..y.len()]);
            }
        });
        Ok(Tensor::from_vec(y.remove(0), shape, x.device())?)
    }
}

/// Several maps of one `x` `[.., in]`: `[.., out]` each. Small ones are not worth a task of their own.
pub fn forward_all<const N: usize>(maps: [&Linear; N], x: &Tensor, form: Form) -> Result<[Tensor; N]> {
    let together = maps.iter().all(|map| dense::applies(map, x, form));
    let mut all = Vec::with_capacity(N);
    if together {
        let x = x.contiguous()?;
        let view = View::new(&x);
        let views = maps.map(|map| View::new(&map.weight));
        let (mut weights, mut biases) = (Vec::with_capacity(N), Vec::with_capacity(N));
        for (map, view) in maps.iter().zip(&views) {
            map.mapped(&x)?;
            weights.push(Weight::new(view, &map.weight)?);
            biases.push(map.bias_values()?);
        }
        let rows = x.elem_count() / weights.first().map_or(1, |w| w.inputs.max(1));
        let weights: Vec<&Weight> = weights.iter().collect();
        let outs = dense::products(&view.f32()?[..x.elem_count()], rows, &weights, |i, _, columns, y| {
            if let Some(bias) = &biases[i] {
                kernel::add(y, &bias[columns]);
            }
        });
        for (map, y) in maps.iter().zip(outs) {
            all.push(Tensor::from_vec(y, map.mapped(&x)?, x.device())?);
        }
    } else {
        for map in maps {
            all.push(map.forward(x, form)?);
        }
    }
    all.try_into().map_err(|_| Error::invalid("maps were lost", "report this as a defect"))
}
