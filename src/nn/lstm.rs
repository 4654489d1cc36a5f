//! Long short-term memory (Hochreiter and Schmidhuber 1997), one step at a time, in PyTorch's layout.
//!
//! ```text
//! i, f, g, o = split(x W_ih^T + h W_hh^T + b)
//! c' = sigmoid(f) c + sigmoid(i) tanh(g)
//! h' = sigmoid(o) tanh(c')
//! ```

use candle_core::{CpuStorage, CustomOp2, D, DType, Device, Layout as Strides, Shape, Tensor};

use super::{Form, Layout, Linear, kernel};
use crate::Result;

/// One layer's weights.
#[derive(Clone, Debug)]
pub struct Lstm {
    /// `[4 hidden, inputs]`, with the bias `[4 hidden]`.
    pub input: Linear,
    /// `[4 hidden, hidden]`.
    pub hidden: Linear,
}

impl Lstm {
    /// A layer of these weights.
    pub fn new(input: Tensor, hidden: Tensor, bias: Tensor) -> Self {
        let linear = |weight, bias| Linear { weight, bias, layout: Layout::OutIn };
        Self { input: linear(input, Some(bias)), hidden: linear(hidden, None) }
    }

    /// The hidden state and the cell after the input `x` `[b, inputs]`: `[b, hidden]` each.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn step(&self, x: &Tensor, h: &Tensor, c: &Tensor, form: Form) -> Result<(Tensor, Tensor)> {
        let gates = (self.input.forward(x, form)? + self.hidden.forward(h, form)?)?;
        let [i, f, g, o] = {
            let parts = gates.chunk(4, D::Minus1)?;
            let [i, f, g, o] = [0, 1, 2, 3].map(|k| parts[k].clone());
            [sigmoid(&i)?, sigmoid(&f)?, g.tanh()?, sigmoid(&o)?]
        };
        let c = ((f * c)? + (i * g)?)?;
        Ok(((o * c.tanh()?)?, c))
    }

    /// The hidden states of a whole sequence `x` `[b, t, inputs]` that begins at 0: `[b, t, hidden]`, as one operation with a
    /// backward pass of its own. In f32; rows run one after the other.
    ///
    /// # Errors
    /// Shapes that do not fit, another type.
    pub fn scan(&self, x: &Tensor) -> Result<Tensor> {
        let given = self.input.forward(x, Form::Differentiable)?; // [b, t, 4 hidden]
        let (b, t, _) = given.dims3()?;
        let recurrent = self.hidden.weight.contiguous()?;
        let gates: Vec<f32> = given.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
        let weights: Vec<f32> = recurrent.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
        let scan = Scan::forward([b, t, recurrent.dim(1)?], gates, &weights);
        Ok(given.apply_op2(&recurrent, scan)?)
    }
}

/// A whole sequence, with what its gradient needs.
struct Scan {
    /// Rows, steps, hidden units.
    shape: [usize; 3],
    /// `[rows, steps, 4 hidden]`: the gates after their nonlinearities.
    gates: Vec<f32>,
    /// `[rows, steps, hidden]` each.
    c: Vec<f32>,
    h: Vec<f32>,
}

impl Scan {
    /// `gates` are what the input adds to them, `weights` `[4 hidden, hidden]`.
    fn forward(shape: [usize; 3], mut gates: Vec<f32>, weights: &[f32]) -> Self {
        let [rows, steps, n] = shape;
        let (mut c, mut h) = (vec![0f32; rows * steps * n], vec![0f32; rows * steps * n]);
        for (at, gates) in gates.chunks_exact_mut(4 * n).enumerate() {
            let (before, now) = h.split_at_mut(at * n);
            let (c_before, c_now) = c.split_at_mut(at * n);
            if at % steps > 0 {
                let before = &before[(at - 1) * n..];
                for (gate, w) in gates.iter_mut().zip(weights.chunks_exact(n)) {
                    *gate += w.iter().zip(before).map(|(w, h)| w * h).sum::<f32>();
                }
            }
            for (k, (c, h)) in c_now[..n].iter_mut().zip(&mut now[..n]).enumerate() {
                let [i, f, g, o] = [
                    kernel::sigmoid(gates[k]),
                    kernel::sigmoid(gates[n + k]),
                    gates[2 * n + k].tanh(),
                    kernel::sigmoid(gates[3 * n + k]),
                ];
                [gates[k], gates[n + k], gates[2 * n + k], gates[3 * n + k]] = [i, f, g, o];
                let last = if at % steps > 0 { c_before[(at - 1) * n + k] } else { 0.0 };
                *c = f * last + i * g;
                *h = o * c.tanh();
            }
        }
        Self { shape, gates, c, h }
    }

    /// Gradients of the gates before their nonlinearities, `[rows, steps, 4 hidden]`.
    fn back(&self, weights: &[f32], grad: &[f32]) -> Vec<f32> {
        let [_, steps, n] = self.shape;
        let mut out = vec![0f32; self.gates.len()];
        let (mut dh, mut dc) = (vec![0f32; n], vec![0f32; n]);
        for at in (0..self.c.len() / n).rev() {
            if at % steps == steps - 1 {
                dh.fill(0.0);
                dc.fill(0.0);
            }
            let (gates, out) = (&self.gates[4 * n * at..4 * n * (at + 1)], &mut out[4 * n * at..4 * n * (at + 1)]);
            for (k, (dh, dc)) in dh.iter().zip(&mut dc).enumerate() {
                let [i, f, g, o] = [gates[k], gates[n + k], gates[2 * n + k], gates[3 * n + k]];
                let bent = self.c[at * n + k].tanh();
                let dh = dh + grad[at * n + k];
                let d = *dc + dh * o * (1.0 - bent * bent);
                let last = if at % steps > 0 { self.c[(at - 1) * n + k] } else { 0.0 };
                out[k] = d * g * i * (1.0 - i);
                out[n + k] = d * last * f * (1.0 - f);
                out[2 * n + k] = d * i * (1.0 - g * g);
                out[3 * n + k] = dh * bent * o * (1.0 - o);
                *dc = d * f;
            }
            dh.fill(0.0);
            for (d, w) in out.iter().zip(weights.chunks_exact(n)) {
                dh.iter_mut().zip(w).for_each(|(h, w)| *h += d * w);
            }
        }
        out
    }
}

impl CustomOp2 for Scan {
    fn name(&self) -> &'static str {
        "lstm"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Strides,
        _: &CpuStorage,
        _: &Strides,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.h.clone()), Shape::from(self.shape.to_vec())))
    }

    fn bwd(
        &self,
        _: &Tensor,
        weights: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [rows, steps, n] = self.shape;
        let weights: Vec<f32> = weights.flatten_all()?.to_vec1()?;
        let gates = self.back(&weights, &grad.flatten_all()?.to_vec1::<f32>()?);
        // The hidden state that each step began with.
        let mut before = vec![0f32; self.h.len()];
        for (before, h) in before.chunks_exact_mut(steps * n).zip(self.h.chunks_exact(steps * n)) {
            before[n..].copy_from_slice(&h[..(steps - 1) * n]);
        }
        let gates = Tensor::from_vec(gates, (rows * steps, 4 * n), &Device::Cpu)?;
        let before = Tensor::from_vec(before, (rows * steps, n), &Device::Cpu)?;
        let of_weights = gates.t()?.matmul(&before)?; // [4 hidden, hidden]
        Ok((Some(gates.reshape((rows, steps, 4 * n))?), Some(of_weights)))
    }
}

/// 1 / (1 + exp(-x)), by a tanh that does not overflow.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok(((x * 0.5)?.tanh()? * 0.5)?.affine(1.0, 0.5)?)
}
