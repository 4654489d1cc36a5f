//! One step in plain numbers: what inference runs, piece by piece, with the tap between the pieces.

use candle_core::{DType, Tensor, WithDType};

use super::config::{ElmConfig, ElmVersion};
use super::{Parts, Sites};
use crate::Result;
use crate::hook::Tap;
use crate::models::Series;
use crate::models::simulation::through;
use crate::nn::kernel;

/// The proposal is AMPLITUDE tanh(SLOPE y).
pub(super) const AMPLITUDE: f64 = 1.7159;
pub(super) const SLOPE: f64 = 2.0 / 3.0;

/// y += a x.
pub(super) fn add_scaled<T: WithDType>(y: &mut [T], a: T, x: &[T]) {
    if a != T::zero() {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += a * *x);
    }
}

/// The nonlinearity of the hidden layer.
pub(super) fn hidden<T: WithDType>(a: T, silu: bool) -> T {
    if silu {
        return T::from_f64(a.to_f64() / (1.0 + (-a.to_f64()).exp()));
    }
    if a > T::zero() { a } else { T::zero() }
}

/// What the MLP's output makes of memory.
pub(super) fn proposal<T: WithDType>(y: T) -> T {
    T::from_f64(AMPLITUDE * (SLOPE * y.to_f64()).tanh())
}

/// Weights as a step reads them.
pub(super) struct Weights {
    /// `[slots]`.
    w_s: Vec<f32>,
    pub tau: Vec<f32>,
    /// `[P + d, 2 d]`, `[2 d]`, `[2 d, d]`, `[d]`, `[d, outputs]`, `[outputs]`.
    w1: Vec<f32>,
    b1: Vec<f32>,
    w2: Vec<f32>,
    b2: Vec<f32>,
    w_y: Vec<f32>,
    b_y: Vec<f32>,
}

impl Weights {
    pub fn of(parts: &Parts) -> Result<Self> {
        let values = |x: &Tensor| -> Result<Vec<f32>> { Ok(x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?) };
        let turned = |x: &Tensor| -> Result<Vec<f32>> { Ok(kernel::transposed(&values(x)?, x.dim(1)?)) };
        let [w1, b1, w2, b2] = &parts.mlp;
        Ok(Self {
            w_s: values(&parts.w_s)?,
            tau: values(&parts.tau)?,
            w1: turned(w1)?,
            b1: values(b1)?,
            w2: turned(w2)?,
            b2: values(b2)?,
            w_y: turned(&parts.w_y)?,
            b_y: values(&parts.b_y)?,
        })
    }
}

/// What a run carries, in rows.
pub(super) struct Running {
    pub rows: usize,
    /// `[rows, slots]`.
    pub synapse: Vec<f32>,
    /// `[rows, P]`.
    pub branch: Vec<f32>,
    /// `[rows, d]`.
    pub memory: Vec<f32>,
    /// `[rows, outputs]`.
    pub out: Vec<f32>,
}

impl Running {
    /// One of its rows.
    pub fn row(&self, row: usize) -> Self {
        let of = |all: &[f32]| {
            let width = all.len() / self.rows;
            all[row * width..(row + 1) * width].to_vec()
        };
        let [synapse, branch, memory, out] = [of(&self.synapse), of(&self.branch), of(&self.memory), of(&self.out)];
        Self { rows: 1, synapse, branch, memory, out }
    }

    /// Single rows one after the other.
    pub fn joined(single: &[Self]) -> Self {
        let of = |part: fn(&Self) -> &Vec<f32>| single.iter().flat_map(part).copied().collect();
        Self {
            rows: single.len(),
            synapse: of(|r| &r.synapse),
            branch: of(|r| &r.branch),
            memory: of(|r| &r.memory),
            out: of(|r| &r.out),
        }
    }
}

/// Steps of one configuration with its weights.
pub(super) struct Stepper<'a> {
    pub config: &'a ElmConfig,
    pub routing: &'a super::Routing,
    pub site: &'a Sites,
    pub weights: &'a Weights,
}

impl Stepper<'_> {
    /// Step `t` of the rows of `series` from `first` on.
    pub fn step(
        &self,
        running: &mut Running,
        series: Option<&Series>,
        first: usize,
        t: usize,
        tap: &mut Tap,
    ) -> Result<()> {
        let (rows, site, w) = (running.rows, self.site, self.weights);
        let (slots, p, d) = (w.w_s.len(), self.routing.branches, self.config.memory);
        let width = 2 * d;

        for (row, trace) in running.synapse.chunks_exact_mut(slots).enumerate() {
            self.receive(trace, series.map(|s| s.at(first + row, t)));
        }
        through(tap, site.synapse, &mut running.synapse, &[rows, slots])?;
        for (branch, trace) in running.branch.chunks_exact_mut(p).zip(running.synapse.chunks_exact(slots)) {
            self.gather(branch, trace);
        }
        through(tap, site.branch, &mut running.branch, &[rows, p])?;

        let mut tau = w.tau.clone();
        through(tap, site.tau, &mut tau, &[d])?;
        let rates: Vec<(f32, f32)> = tau.iter().map(|tau| self.config.rates(f64::from(*tau))).collect();
        for memory in running.memory.chunks_exact_mut(d) {
            memory.iter_mut().zip(&rates).for_each(|(m, (kappa, _))| *m *= kappa);
        }

        let mut pre = w.b1.repeat(rows);
        let given = running.branch.chunks_exact(p).zip(running.memory.chunks_exact(d));
        for (pre, (branch, kept)) in pre.chunks_exact_mut(width).zip(given) {
            for (z, column) in branch.iter().chain(kept).zip(w.w1.chunks_exact(width)) {
                add_scaled(pre, *z, column);
            }
        }
        through(tap, site.pre, &mut pre, &[rows, width])?;
        let mut post: Vec<f32> = pre.iter().map(|a| hidden(*a, self.config.silu)).collect();
        through(tap, site.post, &mut post, &[rows, width])?;
        let mut delta = mapped(&post, &w.w2, &w.b2, rows);
        delta.iter_mut().for_each(|y| *y = proposal(*y));
        through(tap, site.delta, &mut delta, &[rows, d])?;

        for (memory, delta) in running.memory.chunks_exact_mut(d).zip(delta.chunks_exact(d)) {
            for ((m, delta), (_, gain)) in memory.iter_mut().zip(delta).zip(&rates) {
                *m += gain * delta;
            }
        }
        through(tap, site.memory, &mut running.memory, &[rows, d])?;
        running.out = mapped(&running.memory, &w.w_y, &w.b_y, rows);
        through(tap, site.out, &mut running.out, &[rows, w.b_y.len()])
    }

    /// Synapses take their input: traces in the first form, what comes in this step in the second.
    fn receive(&self, trace: &mut [f32], input: Option<&[f32]>) {
        let kappa = match self.config.version {
            ElmVersion::V1 => self.config.kappa_s() as f32,
            ElmVersion::V2 => 0.0,
        };
        for ((s, w), i) in trace.iter_mut().zip(&self.weights.w_s).zip(&self.routing.input) {
            *s = kappa * *s + w * input.map_or(0.0, |x| x[*i as usize]);
        }
    }

    /// Branches add their synapses up: anew in the first form, to what is left in the second.
    fn gather(&self, branch: &mut [f32], trace: &[f32]) {
        let kappa = match self.config.version {
            ElmVersion::V1 => 0.0,
            ElmVersion::V2 => self.config.kappa_s() as f32,
        };
        for (b, synapses) in branch.iter_mut().zip(trace.chunks_exact(self.routing.synapses())) {
            *b = kappa * *b + synapses.iter().sum::<f32>();
        }
    }
}

/// Rows `x` through a map `[inputs, outputs]` and a bias.
fn mapped(x: &[f32], map: &[f32], bias: &[f32], rows: usize) -> Vec<f32> {
    let mut y = bias.repeat(rows);
    for (y, x) in y.chunks_exact_mut(bias.len()).zip(x.chunks_exact(x.len() / rows)) {
        for (x, column) in x.iter().zip(map.chunks_exact(bias.len())) {
            add_scaled(y, *x, column);
        }
    }
    y
}
