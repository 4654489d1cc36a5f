//! The whole recurrence as two operations with backward passes of their own, for training where nobody listens inside.
//!
//! Filters and routing are linear, so that branches are filtered instead of synapses (all have one tau_s), and only
//! inputs that are not 0 are visited:
//!
//! ```text
//! F_t = kappa_s F_(t-1) + sum over synapses w x             dw = sum of x g,  g_t = dF_t + kappa_s g_(t+1)
//! ```
//!
//! The share of the branches in the hidden layer, H = F W_b^T + b, is one product for all steps. What is left runs in time:
//!
//! ```text
//! k = kappa m,  a = H_t + W_k k,  D = A tanh(2/3 (W_2 f(a) + b_2)),  m = k + gain D
//! g = dm_t + carry,   dgain += g D,   dy = g gain 2/3 A (1 - (D/A)^2),   da = (W_2^T dy) f'(a)
//! dk = g + W_k^T da,  dkappa += dk m_(t-1),   carry = kappa dk
//! ```
//!
//! and the gradients of W_k and W_2 are products over all steps. Rows run side by side and are added up in their order.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

use super::routing::Routing;
use super::step::{AMPLITUDE, SLOPE, add_scaled, hidden, proposal};
use crate::models::Series;
use crate::nn::kernel;
use crate::{Error, Result};

type Candle<T> = candle_core::Result<T>;

/// Memory `[b, t, d]` of the whole sequence, from the weights and constants as the step uses them.
pub(super) struct Scan<'a> {
    pub routing: &'a Routing,
    pub rows: usize,
    pub steps: usize,
    pub series: Option<&'a Series>,
    pub kappa_s: f64,
    pub silu: bool,
    /// `[slots]`: never negative, 0 at void slots.
    pub w_s: Tensor,
    /// `[d]`: what is left of memory after a step, and what the proposal is multiplied by.
    pub kappa: Tensor,
    pub gain: Tensor,
    /// `[2 d, P + d]`, `[2 d]`, `[d, 2 d]`, `[d]`.
    pub mlp: [Tensor; 4],
}

impl Scan<'_> {
    pub fn run(&self) -> Result<Tensor> {
        match self.w_s.dtype() {
            DType::F32 => self.typed::<f32>(),
            DType::F64 => self.typed::<f64>(),
            other => Err(Error::invalid(format!("a neuron of {other:?}"), "give weights in f32 or f64")),
        }
    }

    fn typed<T: WithDType>(&self) -> Result<Tensor> {
        let (p, d) = (self.routing.branches, self.kappa.dim(0)?);
        let [w1, b1, w2, b2] = &self.mlp;
        let filter = self.filter::<T>()?; // [b, t, P]
        let branches = self.w_s.apply_op1(filter)?;
        let (b, t, _) = branches.dims3()?;
        let w_b = w1.narrow(1, 0, p)?.t()?.contiguous()?; // [P, 2 d]
        let h = branches.reshape((b * t, p))?.matmul(&w_b)?.broadcast_add(b1)?; // [b t, 2 d]
        let h = h.reshape((b, t, 2 * d))?;
        let w_k = w1.narrow(1, p, d)?.contiguous()?; // [2 d, d]
        let rest = [&self.kappa, &self.gain, &w_k.flatten_all()?, &w2.flatten_all()?, b2];
        let rest = Tensor::cat(&rest, 0)?;
        let memory = Memory::<T>::forward(&h, &rest, d, self.silu)?;
        Ok(h.apply_op2(&rest, memory)?)
    }

    fn filter<T: WithDType>(&self) -> Result<Filter<T>> {
        let (rows, steps, p) = (self.rows, self.steps, self.routing.branches);
        let w: Vec<T> = self.w_s.to_vec1()?;
        let mut events = Vec::new();
        let mut ends = Vec::with_capacity(rows * steps);
        for at in 0..rows * steps {
            let step = self.series.map_or(&[][..], |s| s.at(at / steps, at % steps));
            let given = step.iter().enumerate().filter(|(_, x)| **x != 0.0);
            events.extend(given.map(|(i, x)| (i as u32, T::from_f64(f64::from(*x)))));
            ends.push(events.len());
        }
        let filter = Filter {
            events,
            ends,
            shape: [rows, steps, p],
            routing: self.routing.clone(),
            kappa: T::from_f64(self.kappa_s),
            value: Vec::new(),
        };
        let mut value = vec![T::zero(); rows * steps * p];
        value.par_chunks_exact_mut(steps * p).enumerate().for_each(|(row, out)| filter.row(row, &w, out));
        Ok(Filter { value, ..filter })
    }
}

/// Branches from the weights of synapses.
struct Filter<T> {
    /// Input and number of everything that is not 0, step by step, and where each step ends.
    events: Vec<(u32, T)>,
    ends: Vec<usize>,
    /// Rows, steps, branches.
    shape: [usize; 3],
    routing: Routing,
    kappa: T,
    value: Vec<T>,
}

impl<T: WithDType> Filter<T> {
    /// Slot and number of everything that synapses are given in a step of a row.
    fn given(&self, step: usize) -> impl Iterator<Item = (usize, T)> {
        let start = if step == 0 { 0 } else { self.ends[step - 1] };
        let events = self.events[start..self.ends[step]].iter();
        events.flat_map(|(i, x)| self.routing.listening(*i as usize).iter().map(|slot| (*slot as usize, *x)))
    }

    fn row(&self, row: usize, w: &[T], out: &mut [T]) {
        let [_, steps, p] = self.shape;
        let synapses = self.routing.synapses();
        let mut trace = vec![T::zero(); p];
        for (t, out) in out.chunks_exact_mut(p).enumerate() {
            trace.iter_mut().for_each(|f| *f *= self.kappa);
            for (slot, x) in self.given(row * steps + t) {
                trace[slot / synapses] += w[slot] * x;
            }
            out.copy_from_slice(&trace);
        }
    }

    fn row_back(&self, row: usize, grad: &[T], out: &mut [T]) {
        let [_, steps, p] = self.shape;
        let synapses = self.routing.synapses();
        let mut carry = vec![T::zero(); p];
        for (t, grad) in grad.chunks_exact(p).enumerate().rev() {
            carry.iter_mut().zip(grad).for_each(|(c, g)| *c = *g + self.kappa * *c);
            for (slot, x) in self.given(row * steps + t) {
                out[slot] += carry[slot / synapses] * x;
            }
        }
    }
}

impl<T: WithDType> CustomOp1 for Filter<T> {
    fn name(&self) -> &'static str {
        "elm branches"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Candle<(CpuStorage, Shape)> {
        let [rows, steps, p] = self.shape;
        Ok((T::to_cpu_storage_owned(self.value.clone()), Shape::from((rows, steps, p))))
    }

    fn bwd(&self, w: &Tensor, _: &Tensor, grad: &Tensor) -> Candle<Option<Tensor>> {
        let [rows, steps, p] = self.shape;
        let (slots, grad): (usize, Vec<T>) = (w.elem_count(), grad.flatten_all()?.to_vec1()?);
        let mut parts = vec![T::zero(); rows * slots];
        let all = parts.par_chunks_exact_mut(slots).zip(grad.par_chunks_exact(steps * p));
        all.enumerate().for_each(|(row, (out, grad))| self.row_back(row, grad, out));
        Ok(Some(Tensor::from_vec(added(&parts, slots), slots, &Device::Cpu)?))
    }
}

/// The sum over rows of parts of this size.
fn added<T: WithDType>(parts: &[T], size: usize) -> Vec<T> {
    let mut sum = vec![T::zero(); size];
    for part in parts.chunks_exact(size) {
        sum.iter_mut().zip(part).for_each(|(s, x)| *s += *x);
    }
    sum
}

/// Memory from the branches' share of the hidden layer and the other weights.
struct Memory<T> {
    rows: usize,
    steps: usize,
    d: usize,
    silu: bool,
    /// `[rows, steps, 2 d]`: the hidden layer before its nonlinearity.
    pre: Vec<T>,
    /// `[rows, steps, d]` each.
    delta: Vec<T>,
    value: Vec<T>,
}

/// The parts of what stands behind one another in one vector.
struct Rest<'a, T> {
    kappa: &'a [T],
    gain: &'a [T],
    /// `[2 d, d]`.
    w_k: &'a [T],
    /// `[d, 2 d]`.
    w2: &'a [T],
    b2: &'a [T],
}

impl<'a, T> Rest<'a, T> {
    fn of(all: &'a [T], d: usize) -> Self {
        let (kappa, all) = all.split_at(d);
        let (gain, all) = all.split_at(d);
        let (w_k, all) = all.split_at(2 * d * d);
        let (w2, b2) = all.split_at(2 * d * d);
        Self { kappa, gain, w_k, w2, b2 }
    }
}

impl<T: WithDType> Memory<T> {
    fn forward(h: &Tensor, rest: &Tensor, d: usize, silu: bool) -> Result<Self> {
        let (rows, steps, width) = h.dims3()?;
        let all: Vec<T> = rest.to_vec1()?;
        let rest = Rest::of(&all, d);
        let (w_k, w2) = (kernel::transposed(rest.w_k, d), kernel::transposed(rest.w2, width)); // [d, 2 d], [2 d, d]
        let mut pre: Vec<T> = h.flatten_all()?.to_vec1()?;
        let mut delta = vec![T::zero(); rows * steps * d];
        let mut value = delta.clone();
        let work = pre.par_chunks_exact_mut(steps * width).zip(delta.par_chunks_exact_mut(steps * d));
        work.zip(value.par_chunks_exact_mut(steps * d)).for_each(|((pre, delta), value)| {
            let mut post = vec![T::zero(); width];
            let mut memory = vec![T::zero(); d];
            let rows = pre.chunks_exact_mut(width).zip(delta.chunks_exact_mut(d));
            for ((pre, delta), value) in rows.zip(value.chunks_exact_mut(d)) {
                memory.iter_mut().zip(rest.kappa).for_each(|(m, kappa)| *m *= *kappa);
                for (k, column) in memory.iter().zip(w_k.chunks_exact(width)) {
                    add_scaled(pre, *k, column);
                }
                post.iter_mut().zip(&*pre).for_each(|(post, a)| *post = hidden(*a, silu));
                delta.copy_from_slice(rest.b2);
                for (f, column) in post.iter().zip(w2.chunks_exact(d)) {
                    add_scaled(delta, *f, column);
                }
                for ((m, delta), gain) in memory.iter_mut().zip(&mut *delta).zip(rest.gain) {
                    *delta = proposal(*delta);
                    *m += *gain * *delta;
                }
                value.copy_from_slice(&memory);
            }
        });
        Ok(Self { rows, steps, d, silu, pre, delta, value })
    }

    /// Gradients of a row: of the hidden layer before its nonlinearity `[t, 2 d]`, of the proposal before its tanh `[t, d]`,
    /// of kappa and gain `[2 d]`.
    fn row_back(&self, row: usize, rest: &Rest<T>, grad: &[T], [d_pre, d_y, d_rates]: [&mut [T]; 3]) {
        let (d, width) = (self.d, 2 * self.d);
        let own = |size: usize| row * self.steps * size..(row + 1) * self.steps * size;
        let (pre, delta, value) = (&self.pre[own(width)], &self.delta[own(d)], &self.value[own(d)]);
        let mut carry = vec![T::zero(); d];
        let (d_kappa, d_gain) = d_rates.split_at_mut(d);
        let (bend, one) = (T::from_f64(AMPLITUDE * SLOPE), T::from_f64(1.0));
        let per = T::from_f64(AMPLITUDE.powi(2).recip());
        for t in (0..self.steps).rev() {
            let at = t * d..(t + 1) * d;
            let (delta, d_y) = (&delta[at.clone()], &mut d_y[at.clone()]);
            let given = carry.iter_mut().zip(&grad[at.clone()]).zip(rest.gain.iter().zip(delta));
            for (((c, g), (gain, delta)), (d_gain, d_y)) in given.zip(d_gain.iter_mut().zip(&mut *d_y)) {
                *c += *g;
                *d_gain += *c * *delta;
                *d_y = *c * *gain * bend * (one - *delta * *delta * per);
            }
            let d_pre = &mut d_pre[t * width..(t + 1) * width];
            for (g, w) in d_y.iter().zip(rest.w2.chunks_exact(width)) {
                add_scaled(d_pre, *g, w);
            }
            for (g, a) in d_pre.iter_mut().zip(&pre[t * width..(t + 1) * width]) {
                *g *= steepness(*a, self.silu);
            }
            for (g, w) in d_pre.iter().zip(rest.w_k.chunks_exact(d)) {
                add_scaled(&mut carry, *g, w);
            }
            let before = if t > 0 { &value[at.start - d..at.start] } else { &[] };
            for (d_kappa, (c, m)) in d_kappa.iter_mut().zip(carry.iter().zip(before)) {
                *d_kappa += *c * *m;
            }
            carry.iter_mut().zip(rest.kappa).for_each(|(c, kappa)| *c *= *kappa);
        }
    }
}

/// The slope of the hidden layer's nonlinearity.
fn steepness<T: WithDType>(a: T, silu: bool) -> T {
    if silu {
        let a = a.to_f64();
        let q = 1.0 / (1.0 + (-a).exp());
        return T::from_f64(q * (1.0 + a * (1.0 - q)));
    }
    if a > T::zero() { T::from_f64(1.0) } else { T::zero() }
}

impl<T: WithDType> CustomOp2 for Memory<T> {
    fn name(&self) -> &'static str {
        "elm memory"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Candle<(CpuStorage, Shape)> {
        Ok((T::to_cpu_storage_owned(self.value.clone()), Shape::from((self.rows, self.steps, self.d))))
    }

    fn bwd(&self, _: &Tensor, rest: &Tensor, _: &Tensor, grad: &Tensor) -> Candle<(Option<Tensor>, Option<Tensor>)> {
        let (rows, steps, d, width) = (self.rows, self.steps, self.d, 2 * self.d);
        let all: Vec<T> = rest.to_vec1()?;
        let rest = Rest::of(&all, d);
        let grad: Vec<T> = grad.flatten_all()?.to_vec1()?;
        let zeros = |n: usize| vec![T::zero(); n];
        let (mut d_pre, mut d_y, mut rates) =
            (zeros(rows * steps * width), zeros(rows * steps * d), zeros(rows * width));
        let work = d_pre.par_chunks_exact_mut(steps * width).zip(d_y.par_chunks_exact_mut(steps * d));
        let work = work.zip(rates.par_chunks_exact_mut(width)).zip(grad.par_chunks_exact(steps * d));
        work.enumerate().for_each(|(row, (((d_pre, d_y), rates), grad))| {
            self.row_back(row, &rest, grad, [d_pre, d_y, rates]);
        });

        // What memory had become before each step, and the hidden layer after its nonlinearity.
        let mut kept = zeros(rows * steps * d);
        for (kept, value) in kept.chunks_exact_mut(steps * d).zip(self.value.chunks_exact(steps * d)) {
            for (at, kept) in kept.iter_mut().enumerate().skip(d) {
                *kept = rest.kappa[at % d] * value[at - d];
            }
        }
        let post: Vec<T> = self.pre.iter().map(|a| hidden(*a, self.silu)).collect();
        let matrix = |values: Vec<T>, width: usize| Tensor::from_vec(values, (rows * steps, width), &Device::Cpu);
        let (d_pre, d_y) = (matrix(d_pre, width)?, matrix(d_y, d)?);
        let d_w_k = d_pre.t()?.matmul(&matrix(kept, d)?)?; // [2 d, d]
        let d_w2 = d_y.t()?.matmul(&matrix(post, width)?)?; // [d, 2 d]
        let rates = Tensor::from_vec(added(&rates, width), width, &Device::Cpu)?;
        let d_rest = Tensor::cat(&[&rates, &d_w_k.flatten_all()?, &d_w2.flatten_all()?, &d_y.sum(0)?], 0)?;
        Ok((Some(d_pre.reshape((rows, steps, width))?), Some(d_rest)))
    }
}
