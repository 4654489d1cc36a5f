//! How much of the experiment is carried out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clamps::Condition;
use super::run::Options;

/// How much of the experiment is carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Adam's learning rate.
    pub rate: f64,
    /// Updates with all heads.
    pub free: u64,
    /// Updates of every clamp, at most.
    pub clamps: u64,
    /// Updates with more classes or labels, at most.
    pub scaling: u64,
    /// Updates over which the loss of a point of a curve is a mean.
    pub window: u64,
    /// What is trained with more classes or labels.
    pub scaled: Vec<Condition>,
    /// Classes of the second comparison, beside 50.
    pub classes: Vec<usize>,
    /// Labels of the third one, beside 5.
    pub labels: Vec<usize>,
    /// Seeds of the clamps; everything else is done with the first.
    pub seeds: Vec<u64>,
}

/// The loss, nats, below which a training under a clamp has shown what it has to: past the drop, on its way to zero.
const DONE: f64 = 0.1;

impl Plan {
    /// One seed at three times the paper's learning rate, in about two minutes on two cores.
    pub fn quick(seed: u64) -> Self {
        Self {
            rate: 3e-5,
            free: 4000,
            clamps: 5000,
            scaling: 4000,
            window: 10,
            scaled: vec![Condition::Layer1Copy, Condition::Match],
            classes: vec![200],
            labels: vec![15],
            seeds: vec![seed],
        }
    }

    /// The paper's learning rate, three seeds of the clamps.
    pub fn full(seed: u64) -> Self {
        Self {
            rate: 1e-5,
            free: 31_250,
            clamps: 18_750,
            scaling: 31_250,
            window: 25,
            scaled: vec![Condition::None, Condition::Layer1, Condition::Layer1Copy, Condition::Match],
            classes: vec![100, 200],
            labels: vec![10, 15],
            seeds: vec![seed, seed + 1, seed + 2],
        }
    }

    /// How many networks are trained, `pictures` among them if there are any.
    pub fn trainings(&self, pictures: bool) -> usize {
        let scaling = self.scaled.len() * (1 + self.classes.len() + self.labels.len());
        1 + Condition::CLAMPS.len() * (self.seeds.len() + usize::from(pictures)) + scaling
    }

    /// Of a training that ends where it is learnt.
    pub(super) fn until_learnt(&self, updates: u64, seed: u64) -> Options {
        Options { rate: self.rate, updates, stop: Some(DONE), batch: 32, window: self.window, look: 0, seed }
    }

    /// Of the training with all heads, which goes on to its end and is looked at forty times on the way.
    pub(super) fn whole(&self, seed: u64) -> Options {
        let look = (self.free / self.window / 40).max(1);
        Options { stop: None, look, ..self.until_learnt(self.free, seed) }
    }
}
