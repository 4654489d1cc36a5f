//! From numbers to spikes, and back. Draws are keyed by (seed, row, step, unit), so that nothing else can move them.

use serde::{Deserialize, Serialize};

use crate::hook::random;

/// Independent Poisson trains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poisson {
    /// Step, ms.
    pub dt: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Poisson {
    /// Spikes of units with these rates (Hz) in a step of a row: with p = 1 - e^(-rate dt/1000) at most one each.
    pub fn step(&self, rates: &[f64], row: u64, step: u64) -> Vec<f32> {
        let from = random::key(self.seed, &[row, step]);
        let chance = |rate: f64| -(-rate * self.dt / 1000.0).exp_m1();
        let draw = |(i, rate): (usize, &f64)| {
            f32::from(u8::from(random::uniform(random::key(from, &[i as u64])) < chance(*rate)))
        };
        rates.iter().enumerate().map(draw).collect()
    }
}

/// One spike per value in (0, 1], early for large values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// t = span (1 - x).
    Linear {
        /// When the least value fires, ms.
        span: f64,
    },
    /// t = tau ln(x / (x - threshold)): when a membrane of this time constant reaches the threshold; never below it.
    Logarithmic {
        /// Time constant, ms.
        tau: f64,
        /// Threshold.
        threshold: f64,
    },
}

impl Latency {
    /// When a value fires, ms; `None` for never.
    pub fn time(self, x: f64) -> Option<f64> {
        match self {
            Self::Linear { span } => (x > 0.0).then_some(span * (1.0 - x.min(1.0))),
            Self::Logarithmic { tau, threshold } => (x > threshold).then(|| tau * (x / (x - threshold)).ln()),
        }
    }
}

/// A regular train of a rate (Hz): a spike whenever the accumulated phase passes 1.
pub fn regular(rate: f64, steps: usize, dt: f64) -> Vec<f32> {
    let passed = |t: usize| (rate * dt * t as f64 / 1000.0 + 1e-9).floor();
    (0..steps).map(|t| f32::from(u8::from(passed(t + 1) > passed(t)))).collect()
}

/// +1 or -1 whenever a signal has moved by `by` from where it last gave an event.
pub fn threshold_crossings(signal: &[f64], by: f64) -> Vec<i8> {
    let mut last = signal.first().copied().unwrap_or(0.0);
    let mut event = |x: &f64| {
        let moved = x - last;
        if moved.abs() < by {
            return 0;
        }
        last = *x;
        if moved > 0.0 { 1 } else { -1 }
    };
    signal.iter().map(&mut event).collect()
}

/// The step of each unit's first spike in `[steps, units]`; `None` for silent ones.
pub fn first_spikes(spikes: &[f32], units: usize) -> Vec<Option<usize>> {
    let steps = spikes.len() / units.max(1);
    (0..units).map(|i| (0..steps).find(|t| spikes[t * units + i] != 0.0)).collect()
}

/// A train filtered by e^(-t/tau).
pub fn filtered(train: &[f32], tau: f64, dt: f64) -> Vec<f64> {
    let decay = (-dt / tau).exp();
    let mut x = 0.0;
    let mut step = |s: &f32| {
        x = x * decay + f64::from(*s);
        x
    };
    train.iter().map(&mut step).collect()
}
