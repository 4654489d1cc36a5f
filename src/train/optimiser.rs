//! The optimisers that a trainer can hold.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{AdamW, Sgd};
use crate::Result;

/// What changes the weights.
#[derive(Debug)]
pub enum Optimiser {
    /// AdamW.
    AdamW(AdamW),
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
}

impl From<AdamW> for Optimiser {
    fn from(adamw: AdamW) -> Self {
        Self::AdamW(adamw)
    }
}

impl From<Sgd> for Optimiser {
    fn from(sgd: Sgd) -> Self {
        Self::Sgd(sgd)
    }
}

impl Optimiser {
    /// Updates made so far.
    pub fn updates(&self) -> u64 {
        match self {
            Self::AdamW(adamw) => adamw.updates(),
            Self::Sgd(sgd) => sgd.updates(),
        }
    }

    /// One update with `rate`, every gradient multiplied by `factor`. Parameters without a gradient are left alone.
    ///
    /// # Errors
    /// A gradient of another shape than its parameter.
    pub fn update(&mut self, gradients: &BTreeMap<String, Tensor>, rate: f64, factor: f64) -> Result<()> {
        match self {
            Self::AdamW(adamw) => adamw.update(gradients, rate, factor),
            Self::Sgd(sgd) => sgd.update(gradients, rate, factor),
        }
    }

    /// What it remembers, by name, each of its parameter's shape.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn moments(&self) -> Result<Vec<(String, Tensor)>> {
        match self {
            Self::AdamW(adamw) => adamw.moments(),
            Self::Sgd(sgd) => sgd.moments(),
        }
    }

    /// Goes on from what it remembered and a number of updates.
    ///
    /// # Errors
    /// A moment that is missing or has another shape.
    pub fn restore(&mut self, updates: u64, moment: impl Fn(&str, &[usize]) -> Result<Tensor>) -> Result<()> {
        match self {
            Self::AdamW(adamw) => adamw.restore(updates, moment),
            Self::Sgd(sgd) => sgd.restore(updates, moment),
        }
    }
}
