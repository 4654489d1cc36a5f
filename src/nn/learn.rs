//! Fused operations with backward passes of their own, for training in f32 on a CPU.
//!
//! Candle's graph costs a full pass over memory for every elementary operation and two more for its gradient. Here the
//! inference kernels give the values, and one pass gives each gradient:
//!
//! ```text
//! p = softmax(s):         ds = p (dp - sum(dp p))
//! y = x / r w, r = rms:   dn = dy w,  dx = (dn - n mean(dn n)) / r,  dw = sum over rows of dy n,  n = x / r
//! y = n w + b, a layer norm: the same, with n = (x - mean) / r, and mean(dn) taken from dx r;  db = sum of dy
//! y = silu(g) u:          dg = dy u q (1 + g (1 - q)),  du = dy g q,  q = sigmoid(g)
//! y = rotation(x):        dx = rotation back(dy)
//! l = - sum of aim log softmax(s):     ds = softmax(s) - aim,  where the aim may be one token
//! ```
//!
//! Other element types and devices take the composed operations, and tests hold both to the same gradients.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Shape, Tensor};

use super::Form;
use super::kernel::{self, View, wide};
use crate::Result;

type Candle<T> = candle_core::Result<T>;

/// Whether the fused operations take `x` in this form.
pub(super) fn applies(form: Form, x: &Tensor) -> bool {
    form == Form::Differentiable && x.device().is_cpu() && x.dtype() == DType::F32
}

/// A value that a kernel computed from one or two tensors, with its backward pass.
struct Linked<F> {
    name: &'static str,
    value: Tensor,
    backward: F,
}

fn stored(value: &Tensor) -> Candle<(CpuStorage, Shape)> {
    let n = value.elem_count();
    let view = View::new(value);
    let values = view.f32().map_err(|e| candle_core::Error::Msg(e.to_string()))?;
    Ok((CpuStorage::F32(values[..n].to_vec()), value.shape().clone()))
}

impl<F> CustomOp1 for Linked<F>
where
    F: Fn(&Tensor, &Tensor) -> Candle<Tensor> + Send + Sync,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Candle<(CpuStorage, Shape)> {
        stored(&self.value)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Candle<Option<Tensor>> {
        Ok(Some((self.backward)(x, &grad.contiguous()?)?))
    }
}

impl<F> CustomOp2 for Linked<F>
where
    F: Fn(&Tensor, &Tensor, &Tensor) -> Candle<(Tensor, Tensor)> + Send + Sync,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Candle<(CpuStorage, Shape)> {
        stored(&self.value)
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, grad: &Tensor) -> Candle<(Option<Tensor>, Option<Tensor>)> {
        let (a, b) = (self.backward)(a, b, &grad.contiguous()?)?;
        Ok((Some(a), Some(b)))
    }
}

impl<F> CustomOp3 for Linked<F>
where
    F: Fn(&Tensor, &Tensor, &Tensor) -> Candle<[Tensor; 3]> + Send + Sync,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Candle<(CpuStorage, Shape)> {
        stored(&self.value)
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Candle<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = (self.backward)(a, b, &grad.contiguous()?)?;
        Ok((Some(a), Some(b), Some(c)))
    }
}

fn candle<T>(result: Result<T>) -> Candle<T> {
    result.map_err(|e| candle_core::Error::Msg(e.to_string()))
}

/// Links `pattern`, the softmax of what became of `scores` by hiding entries, to `scores`.
pub(super) fn softmax(scores: &Tensor, pattern: Tensor) -> Result<Tensor> {
    let p = pattern.clone();
    let backward = move |_: &Tensor, grad: &Tensor| candle(softmax_backward(&p, grad));
    Ok(scores.apply_op1(Linked { name: "softmax", value: pattern, backward })?)
}

fn softmax_backward(p: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let width = p.dim(candle_core::D::Minus1)?;
    let (vp, vg) = (View::new(p), View::new(grad));
    let (p_all, g_all) = (vp.f32()?, vg.f32()?);
    let mut out = vec![0f32; p.elem_count()];
    kernel::fill_rows(&mut out, width, 4 * width, |r, y| {
        let span = r * width..(r + 1) * width;
        softmax_row(y, &p_all[span.clone()], &g_all[span]);
    });
    Ok(Tensor::from_vec(out, p.shape(), &Device::Cpu)?)
}

/// Links `out`, the root-mean-square norm of `x` `[.., D]` with gains `weight` `[D]`, to both.
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32, out: Tensor) -> Result<Tensor> {
    let backward = move |x: &Tensor, w: &Tensor, grad: &Tensor| candle(rms_norm_backward(x, w, eps, grad));
    Ok(x.apply_op2(weight, Linked { name: "rms-norm", value: out, backward })?)
}

fn rms_norm_backward(x: &Tensor, weight: &Tensor, eps: f32, grad: &Tensor) -> Result<(Tensor, Tensor)> {
    let d = weight.elem_count();
    let x = x.contiguous()?;
    let (vx, vw, vg) = (View::new(&x), View::new(weight), View::new(grad));
    let (xs, w, gs) = (vx.f32()?, &vw.f32()?[..d], vg.f32()?);
    let mut dx = vec![0f32; x.elem_count()];
    // Gains gather over rows: in row order, by one thread, so that sums never depend on threads.
    let mut dw = vec![0f32; d];
    for (r, out) in dx.chunks_exact_mut(d).enumerate() {
        let span = r * d..(r + 1) * d;
        rms_row(out, &mut dw, &xs[span.clone()], w, &gs[span], eps);
    }
    Ok((Tensor::from_vec(dx, x.shape(), &Device::Cpu)?, Tensor::from_vec(dw, weight.shape(), &Device::Cpu)?))
}

/// Links `out`, the layer norm of `x` `[.., D]` with gains `weight` `[D]` and `bias` `[D]`, to all three.
pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32, out: Tensor) -> Result<Tensor> {
    let backward = move |x: &Tensor, w: &Tensor, grad: &Tensor| candle(layer_norm_backward(x, w, eps, grad));
    Ok(x.apply_op3(weight, bias, Linked { name: "layer-norm", value: out, backward })?)
}

fn layer_norm_backward(x: &Tensor, weight: &Tensor, eps: f32, grad: &Tensor) -> Result<[Tensor; 3]> {
    let d = weight.elem_count();
    let x = x.contiguous()?;
    let (vx, vw, vg) = (View::new(&x), View::new(weight), View::new(grad));
    let (xs, w, gs) = (vx.f32()?, &vw.f32()?[..d], vg.f32()?);
    let mut dx = vec![0f32; x.elem_count()];
    // Gains and biases gather over rows, in row order, as above.
    let (mut dw, mut db) = (vec![0f32; d], vec![0f32; d]);
    for (r, out) in dx.chunks_exact_mut(d).enumerate() {
        let span = r * d..(r + 1) * d;
        kernel::add(&mut db, &gs[span.clone()]);
        layer_row(out, &mut dw, &xs[span.clone()], w, &gs[span], eps);
    }
    let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu);
    Ok([tensor(dx, &x)?, tensor(dw, weight)?, tensor(db, weight)?])
}

/// Links `out` = silu(`gate`) `up` to both.
pub(super) fn gated_silu(gate: &Tensor, up: &Tensor, out: Tensor) -> Result<Tensor> {
    let backward = |gate: &Tensor, up: &Tensor, grad: &Tensor| candle(gated_silu_backward(gate, up, grad));
    Ok(gate.apply_op2(up, Linked { name: "gated-silu", value: out, backward })?)
}

fn gated_silu_backward(gate: &Tensor, up: &Tensor, grad: &Tensor) -> Result<(Tensor, Tensor)> {
    let (gate, up) = (gate.contiguous()?, up.contiguous()?);
    let n = gate.elem_count();
    let (vg, vu, vd) = (View::new(&gate), View::new(&up), View::new(grad));
    let mut dg = vec![0f32; n];
    let mut du = vec![0f32; n];
    silu_both(&mut dg, &mut du, &vg.f32()?[..n], &vu.f32()?[..n], &vd.f32()?[..n]);
    let shape = gate.shape();
    Ok((Tensor::from_vec(dg, shape, &Device::Cpu)?, Tensor::from_vec(du, shape, &Device::Cpu)?))
}

/// Links `out`, a linear map of `x` by a kernel, to `x`; `back` is the transposed map.
pub(super) fn linear(
    x: &Tensor,
    out: Tensor,
    back: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let backward = move |_: &Tensor, grad: &Tensor| candle(back(grad));
    Ok(x.apply_op1(Linked { name: "linear-map", value: out, backward })?)
}

/// The map of contiguous `x` `[.., in]` by `weight`, one row after the other: `[.., out]`.
///
/// One node of the graph where reshaped, transposed and multiplied tensors would be four, each with a gradient.
pub(super) fn matrix(x: &Tensor, weight: &Tensor, layout: super::Layout) -> Result<Tensor> {
    Ok(x.apply_op2(weight, Matrix(layout))?)
}

struct Matrix(super::Layout);

impl CustomOp2 for Matrix {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Candle<(CpuStorage, Shape)> {
        let lw = match self.0 {
            super::Layout::OutIn => lw.transpose(0, 1)?,
            super::Layout::InOut => lw.clone(),
        };
        let (inputs, outputs) = lw.shape().dims2()?;
        let n = lx.shape().elem_count() / inputs.max(1);
        let rows = Layout::contiguous_with_offset((n, inputs), lx.start_offset());
        let mut shape = lx.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        Ok((x.matmul(w, (1, n, outputs, inputs), &rows, &lw)?, shape.into()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Candle<(Option<Tensor>, Option<Tensor>)> {
        let (flat, w) = (x.detach().flatten_to(x.rank() - 2)?, w.detach()); // [n, in]
        let grad = grad.contiguous()?.flatten_to(grad.rank() - 2)?; // [n, out]
        let dw = match self.0 {
            super::Layout::OutIn => grad.t()?.matmul(&flat)?,
            super::Layout::InOut => flat.t()?.matmul(&grad)?,
        };
        // What the network was given, such as features of exemplars, needs no gradient.
        if !x.track_op() {
            return Ok((None, Some(dw)));
        }
        let dx = match self.0 {
            super::Layout::OutIn => grad.matmul(&w)?,
            super::Layout::InOut => grad.matmul(&w.t()?)?,
        };
        Ok((Some(dx.reshape(x.shape())?), Some(dw)))
    }
}

/// The summed cross-entropy (nats) of logits `[n, V]` with the right `tokens` `[n]`: a scalar; for f32 on a CPU.
pub(super) fn cross_entropy(logits: &Tensor, tokens: &[u32]) -> Result<Tensor> {
    let v = logits.dims2()?.1;
    let rights = |row: usize, x: &[f32]| x[tokens[row] as usize];
    entropy(logits, rights, |p| p.chunks_exact_mut(v).zip(tokens).for_each(|(row, token)| row[*token as usize] -= 1.0))
}

/// The same with the distributions `[n, V]` that are aimed at.
pub(super) fn soft_cross_entropy(logits: &Tensor, aims: &Tensor) -> Result<Tensor> {
    let v = logits.dims2()?.1;
    let aims = aims.contiguous()?;
    let view = View::new(&aims);
    let aims = view.f32()?;
    let rights = |row: usize, x: &[f32]| kernel::dot(x, &aims[row * v..(row + 1) * v]);
    entropy(logits, rights, |p| p.iter_mut().zip(aims).for_each(|(p, aim)| *p -= aim))
}

/// Sum over rows of log(sum(exp(x))) - right(row, x); `subtract` takes what is aimed at from softmax(x), which is the
/// slope.
fn entropy(logits: &Tensor, right: impl Fn(usize, &[f32]) -> f32, subtract: impl FnOnce(&mut [f32])) -> Result<Tensor> {
    let (n, v) = logits.dims2()?;
    let x = logits.contiguous()?;
    let view = View::new(&x);
    let mut p = view.f32()?[..n * v].to_vec();
    let mut loss = 0f64;
    for (row, x) in p.chunks_exact(v).enumerate() {
        loss += f64::from(log_sum_exp(x) - right(row, x));
    }
    kernel::fill_rows(&mut p, v, 16 * v, |_, row| kernel::softmax(row));
    subtract(&mut p);
    let slope = Tensor::from_vec(p, (n, v), &Device::Cpu)?;
    let backward = move |_: &Tensor, grad: &Tensor| slope.broadcast_mul(&grad.reshape((1, 1))?);
    let value = Tensor::new(loss as f32, &Device::Cpu)?;
    Ok(x.apply_op1(Linked { name: "cross-entropy", value, backward })?)
}

wide! {
    /// out = p (g - sum(g p)).
    pub fn softmax_row(out: &mut [f32], p: &[f32], g: &[f32]) {
        let mean = kernel::dot(p, g);
        for (o, (p, g)) in out.iter_mut().zip(p.iter().zip(g)) {
            *o = p * (g - mean);
        }
    }

    /// The gradients of one row of a layer norm; that of the gains is added to `dw`.
    pub fn layer_row(dx: &mut [f32], dw: &mut [f32], x: &[f32], w: &[f32], g: &[f32], eps: f32) {
        let d = x.len() as f32;
        let mean = kernel::sum(x) / d;
        let inverse = 1.0 / (kernel::sum_squares(x, mean) / d + eps).sqrt();
        for ((o, dw), ((x, w), g)) in dx.iter_mut().zip(dw).zip(x.iter().zip(w).zip(g)) {
            *dw += g * (x - mean) * inverse;
            *o = g * w;
        }
        let level = kernel::sum(dx) / d;
        let mut along = 0f32;
        for (o, x) in dx.iter().zip(x) {
            along += o * (x - mean);
        }
        let along = along * inverse / d;
        for (o, x) in dx.iter_mut().zip(x) {
            *o = (*o - level - (x - mean) * inverse * along) * inverse;
        }
    }

    /// The gradients of one row of a root-mean-square norm; that of the gains is added to `dw`.
    pub fn rms_row(dx: &mut [f32], dw: &mut [f32], x: &[f32], w: &[f32], g: &[f32], eps: f32) {
        let d = x.len() as f32;
        let inverse = 1.0 / (kernel::sum_squares(x, 0.0) / d + eps).sqrt();
        for ((o, dw), ((x, w), g)) in dx.iter_mut().zip(dw).zip(x.iter().zip(w).zip(g)) {
            *dw += g * x * inverse;
            *o = g * w;
        }
        let mean = kernel::dot(dx, x) * inverse / d;
        for (o, x) in dx.iter_mut().zip(x) {
            *o = (*o - x * inverse * mean) * inverse;
        }
    }

    /// The gradients of silu(gate) up.
    pub fn silu_both(dg: &mut [f32], du: &mut [f32], gate: &[f32], up: &[f32], grad: &[f32]) {
        for ((dg, du), ((g, u), d)) in dg.iter_mut().zip(du).zip(gate.iter().zip(up).zip(grad)) {
            let q = kernel::sigmoid(*g);
            *dg = d * u * q * (1.0 + g * (1.0 - q));
            *du = d * g * q;
        }
    }

    /// log(sum(exp(x))).
    pub fn log_sum_exp(x: &[f32]) -> f32 {
        let mut max = f32::NEG_INFINITY;
        for &x in x {
            max = if x > max { x } else { max };
        }
        let mut total = 0f32;
        for &x in x {
            total += kernel::exp(x - max);
        }
        total.ln() + max
    }
}
