//! Counted events beside the chance that a formula gives them, and the plainest way to count some.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::theory;
use crate::analysis::tasks::wilson;
use crate::hook::random::Stream;

/// Trials that share a stream of draws: what is drawn does not hang on threads.
const CHUNK: u64 = 10_000;

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Times that it did.
    pub hits: u64,
    /// Times that it could.
    pub trials: u64,
    /// Its chance by the formula.
    pub predicted: f64,
}

impl Rate {
    /// The share.
    pub fn value(&self) -> f64 {
        self.hits as f64 / self.trials as f64
    }

    /// Wilson's 95 % interval.
    pub fn ends(&self) -> (f64, f64) {
        wilson(self.value(), self.trials as usize)
    }

    /// How far the count is from the predicted one, in standard errors of the prediction; these are taken as one event at
    /// least, so that a single event where none was due proves nothing.
    pub fn error(&self) -> f64 {
        let expected = self.predicted * self.trials as f64;
        (self.hits as f64 - expected) / (expected * (1.0 - self.predicted)).max(1.0).sqrt()
    }

    /// The same with more trials.
    pub fn and(&self, other: &Self) -> Self {
        Self { hits: self.hits + other.hits, trials: self.trials + other.trials, predicted: other.predicted }
    }
}

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Draw {
    /// Random inputs of `a` active cells: a spike is an event.
    FalsePositive {
        /// n: cells.
        n: usize,
        /// a: active ones.
        a: usize,
        /// s: synapses.
        s: usize,
        /// The threshold.
        theta: usize,
    },
    /// A pattern that has lost `v` cells: no spike is an event.
    FalseNegative {
        /// a: cells of the pattern.
        a: usize,
        /// v: lost ones.
        v: usize,
        /// s: synapses.
        s: usize,
        /// The threshold.
        theta: usize,
    },
}

impl Draw {
    /// The chance of the event.
    pub fn predicted(&self) -> f64 {
        match *self {
            Self::FalsePositive { n, a, s, theta } => theory::false_positive(n, a as f64, s, theta),
            Self::FalseNegative { a, v, s, theta } => theory::false_negative(a, s, v, theta),
        }
    }

    /// Counts events in so many draws of cells.
    pub fn count(&self, trials: u64, seed: u64) -> Rate {
        let (cells, drawn, s) = match *self {
            Self::FalsePositive { n, a, s, .. } => (n, a, s),
            Self::FalseNegative { a, v, s, .. } => (a, v, s),
        };
        let event = |overlap: usize| match *self {
            Self::FalsePositive { theta, .. } => overlap >= theta,
            Self::FalseNegative { s, theta, .. } => s - overlap < theta,
        };
        let chunk = |chunk: u64| -> u64 {
            let mut draw = Stream::new(seed, &[cells as u64, drawn as u64, s as u64, chunk]);
            let mut order: Vec<u32> = (0..cells as u32).collect();
            let trials = CHUNK.min(trials - chunk * CHUNK);
            // The synapses lie on the first s cells.
            let mut overlap = || draw.subset(&mut order, drawn).iter().filter(|c| (**c as usize) < s).count();
            (0..trials).filter(|_| event(overlap())).count() as u64
        };
        let hits = (0..trials.div_ceil(CHUNK)).into_par_iter().map(chunk).sum();
        Rate { hits, trials, predicted: self.predicted() }
    }
}
