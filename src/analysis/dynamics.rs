//! Measures of networks over time: branching, Lyapunov exponent, memory.

use super::measure::mean;
use crate::nn::readout::{Ridge, read_out};
use crate::nn::spiking::Sparse;
use crate::{Error, Result};

/// The branching factor of a recorded network.
///
/// For every spike of a neuron at t: the spikes of its targets in `(t, t + window]` over those of its sources in
/// `[t - window, t)`, at least 1; the mean over all spikes that have both windows. `spikes` is `[steps, neurons]`.
/// NaN where nobody fires.
pub fn branching_factor(spikes: &[f32], synapses: &Sparse, window: usize) -> f64 {
    let n = synapses.post();
    let steps = spikes.len() / n.max(1);
    // Counts of the past of every neuron: [steps + 1, neurons].
    let mut before = vec![0u32; (steps + 1) * n];
    for (at, spike) in spikes.iter().enumerate() {
        before[at + n] = before[at] + u32::from(*spike != 0.0);
    }
    let within = |i: usize, from: usize, to: usize| before[to * n + i] - before[from * n + i];
    let (mut sum, mut count) = (0.0, 0u64);
    for t in window..steps.saturating_sub(window) {
        for i in (0..n).filter(|i| spikes[t * n + i] != 0.0) {
            let targets = synapses.targets()[synapses.outgoing(i)].iter();
            let after: u32 = targets.map(|j| within(*j as usize, t + 1, t + 1 + window)).sum();
            let sources = synapses.incoming(i).iter().map(|s| synapses.sources()[*s as usize] as usize);
            let earlier: u32 = sources.map(|j| within(j, t - window, t)).sum();
            sum += f64::from(after) / f64::from(earlier.max(1));
            count += 1;
        }
    }
    sum / count as f64
}

/// The slope of A(t + lag) on A(t), with an intercept; NaN for activity that does not vary.
pub fn regression_slope(activity: &[f64], lag: usize) -> f64 {
    let pairs = activity.len().saturating_sub(lag);
    let (x, y) = (&activity[..pairs], &activity[activity.len() - pairs..]);
    let (mx, my) = (mean(x), mean(y));
    let covariance: f64 = x.iter().zip(y).map(|(a, b)| (a - mx) * (b - my)).sum();
    covariance / x.iter().map(|a| (a - mx).powi(2)).sum::<f64>()
}

/// The branching parameter m from slopes over several lags, r_k = b m^k (Wilting and Priesemann 2018): unlike the slope
/// of one lag it is not pulled down when only part of the network is seen. NaN where a slope is not positive.
pub fn branching_multistep(activity: &[f64], lags: usize) -> f64 {
    let points: Vec<(f64, f64)> = (1..=lags).map(|k| (k as f64, regression_slope(activity, k).ln())).collect();
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let slope: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum::<f64>()
        / points.iter().map(|p| (p.0 - mx).powi(2)).sum::<f64>();
    slope.exp()
}

/// The largest Lyapunov exponent by Benettin's method: a companion at `distance` is pulled back to it after every step.
/// Per unit of time if a step takes `dt`. Both see the same `step(state, t)`.
pub fn lyapunov(
    mut step: impl FnMut(&mut [f64], usize) -> Result<()>,
    state: &[f64],
    distance: f64,
    steps: usize,
    dt: f64,
) -> Result<f64> {
    let mut here = state.to_vec();
    let mut there = state.to_vec();
    if let Some(first) = there.first_mut() {
        *first += distance;
    }
    let mut sum = 0.0;
    for t in 0..steps {
        step(&mut here, t)?;
        step(&mut there, t)?;
        let apart: f64 = here.iter().zip(&there).map(|(a, b)| (b - a).powi(2)).sum::<f64>().sqrt();
        // What falls together is one rounding error apart.
        let apart = apart.max(f64::EPSILON * distance);
        sum += (apart / distance).ln();
        for (a, b) in here.iter().zip(&mut there) {
            *b = a + (*b - a) * distance / apart;
        }
    }
    Ok(sum / (steps as f64 * dt))
}

/// States of a network under a signal, with a ridge regression on the first of them for any number of readouts.
#[derive(Debug)]
pub struct Driven<'a> {
    /// `[steps, width]`, of the steps that are tested.
    test: &'a [f64],
    inputs: &'a [f64],
    steps: usize,
    train: usize,
    ridge: Ridge,
}

/// How much of a signal's past a state holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// r^2 of each lag, from 1, on test data.
    pub curve: Vec<f64>,
    /// Their sum over lags above the noise floor 4 / test steps.
    pub total: f64,
}

impl<'a> Driven<'a> {
    /// For `features` `[steps, width]` (a constant column included) under `inputs`, which end with the last step and may
    /// begin earlier: `train` steps to learn from, the rest to be tested on.
    ///
    /// # Errors
    /// No steps to test on, features without a Cholesky factor.
    pub fn new(features: &'a [f64], width: usize, inputs: &'a [f64], train: usize, lambda: f64) -> Result<Self> {
        let steps = features.len() / width.max(1);
        if train >= steps || inputs.len() < steps {
            return Err(Error::invalid(
                format!("{train} of {steps} steps to train on, with {} inputs", inputs.len()),
                "leave steps to test on, and give an input for every step",
            ));
        }
        let (learned, test) = features.split_at(train * width);
        Ok(Self { test, inputs, steps, train, ridge: Ridge::new(learned, width, lambda)? })
    }

    /// What a readout for these targets, one per step, gives on the test steps, and what was asked there.
    fn tested<'t>(&self, targets: &'t [f64]) -> Result<(Vec<f64>, &'t [f64])> {
        let (learned, asked) = targets.split_at(self.train.min(targets.len()));
        Ok((read_out(self.test, &self.ridge.fit(learned)?), asked))
    }

    /// The capacity for `target(u(t - k))`, k = 1..=lags: one readout per lag, trained on the first steps, tested on the
    /// rest. With the identity it is Jaeger's memory capacity, at most the number of independent features.
    ///
    /// # Errors
    /// Fewer past inputs than lags.
    pub fn capacity(&self, lags: usize, target: impl Fn(f64) -> f64) -> Result<Capacity> {
        let past = self.inputs.len() - self.steps;
        if past < lags {
            return Err(Error::invalid(
                format!("{lags} lags of a signal with {past} past steps"),
                "give a longer washout, or ask for fewer lags",
            ));
        }
        let floor = 4.0 / (self.steps - self.train) as f64;
        let mut curve = Vec::with_capacity(lags);
        for k in 1..=lags {
            let wanted: Vec<f64> = (0..self.steps).map(|t| target(self.inputs[past + t - k])).collect();
            let (read, asked) = self.tested(&wanted)?;
            curve.push(correlation(&read, asked).powi(2));
        }
        let total = curve.iter().filter(|r| **r > floor).sum();
        Ok(Capacity { curve, total })
    }

    /// Root mean square error on the test steps over the target's standard deviation, for one target value per step.
    ///
    /// # Errors
    /// Another number of targets than steps.
    pub fn error(&self, targets: &[f64]) -> Result<f64> {
        let (read, asked) = self.tested(targets)?;
        let errors: Vec<f64> = read.iter().zip(asked).map(|(a, b)| (a - b).powi(2)).collect();
        let centre = mean(asked);
        let spread: Vec<f64> = asked.iter().map(|y| (y - centre).powi(2)).collect();
        Ok((mean(&errors) / mean(&spread)).sqrt())
    }
}

/// Pearson's correlation; 0 where either does not vary.
pub fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - ma) * (y - mb);
        aa += (x - ma).powi(2);
        bb += (y - mb).powi(2);
    }
    if aa == 0.0 || bb == 0.0 { 0.0 } else { ab / (aa * bb).sqrt() }
}
