//! Numbers with their uncertainty, and the names under which expectations find them.

use serde::{Deserialize, Serialize};

use crate::hook::random;
use crate::report::{Cell, number};

/// Draws of a bootstrap.
const DRAWS: u64 = 1000;

/// Quantiles 0.975 of Student's t for 1, 2, ... degrees of freedom; the last one stands for all that follow.
const T: [f64; 15] =
    [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131];

/// Results that offer named numbers.
pub trait Figures {
    /// Names and values, the most telling first; without the method's own name, which scripts put before them
    /// (`heads.` + `induction.max`).
    fn figures(&self) -> Vec<(String, f64)>;
}

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value on all the data; NaN where there is none.
    #[serde(with = "number")]
    pub value: f64,
    /// Its 95 % interval; `None` where fewer than two units of data were drawn.
    pub interval: Option<(f64, f64)>,
}

impl Estimate {
    /// A value that is known exactly, or whose uncertainty is not.
    pub fn exact(value: f64) -> Self {
        Self { value, interval: None }
    }

    /// Sum of the firsts over sum of the seconds. Interval: percentiles over units (texts, rows) drawn anew with
    /// replacement; units without weight take no part.
    pub fn ratio(units: &[(f64, f64)], seed: u64) -> Self {
        let units: Vec<(f64, f64)> = units.iter().copied().filter(|u| u.1 > 0.0).collect();
        let value = ratio(&units, 0..units.len());
        if units.len() < 2 {
            return Self::exact(value);
        }
        Self { value, interval: Some(middle(&redrawn(&units, DRAWS, seed))) }
    }

    /// The mean of one number per unit; interval as in [`Estimate::ratio`].
    pub fn mean(units: &[f64], seed: u64) -> Self {
        let units: Vec<(f64, f64)> = units.iter().map(|x| (*x, 1.0)).collect();
        Self::ratio(&units, seed)
    }

    /// The value on all groups of the data, with the delete-one jackknife's interval (Tukey 1958):
    /// value -+ t sqrt((g - 1)/g sum (x_i - mean)^2) for the values x_i on all groups but one.
    pub fn jackknife(value: f64, without_one: &[f64]) -> Self {
        let g = without_one.len();
        if g < 2 {
            return Self::exact(value);
        }
        let mean = without_one.iter().sum::<f64>() / g as f64;
        let squares: f64 = without_one.iter().map(|x| (x - mean).powi(2)).sum();
        let half = T[(g - 2).min(T.len() - 1)] * (squares * (g - 1) as f64 / g as f64).sqrt();
        Self { value, interval: Some((value - half, value + half)) }
    }

    /// Both ends; the value itself where there is no interval.
    pub fn ends(&self) -> (f64, f64) {
        self.interval.unwrap_or((self.value, self.value))
    }

    /// The value with its interval.
    pub fn cell(&self, digits: u8) -> Cell {
        match self.interval {
            _ if self.value.is_nan() => Cell::Empty,
            None => Cell::Number { value: self.value, digits },
            Some(ends) => Cell::Interval { value: self.value, ends, digits },
        }
    }
}

/// Sum of the firsts over sum of the seconds of the units at these indices.
pub(super) fn ratio(units: &[(f64, f64)], indices: impl Iterator<Item = usize>) -> f64 {
    let (a, b) = indices.fold((0.0, 0.0), |(a, b), i| (a + units[i].0, b + units[i].1));
    a / b
}

/// The bootstrap: the ratio over units drawn anew, with replacement, ascending. Draws without weight are left out.
pub(super) fn redrawn(units: &[(f64, f64)], draws: u64, seed: u64) -> Vec<f64> {
    let n = units.len() as u64;
    let draw = |draw: u64| {
        let index = |i: u64| (random::uniform(random::key(seed, &[draw, i])) * n as f64) as usize;
        ratio(units, (0..n).map(index))
    };
    let mut drawn: Vec<f64> = (0..draws).map(draw).filter(|x| !x.is_nan()).collect();
    drawn.sort_by(f64::total_cmp);
    drawn
}

/// The quantiles 0.025 and 0.975 of ascending values.
pub(super) fn middle(ascending: &[f64]) -> (f64, f64) {
    let at = |share: f64| ascending[(share * (ascending.len() - 1) as f64).round() as usize];
    (at(0.025), at(0.975))
}

/// The mean; NaN of nothing.
pub fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// A distribution over the vocabulary, as log probabilities in nats.
///
/// In f64: probabilities that sum to one only to f32's precision give divergences below zero.
#[derive(Clone, Debug, PartialEq)]
pub struct LogProbs(Vec<f64>);

impl LogProbs {
    /// The softmax of a row of logits.
    pub fn new(logits: &[f32]) -> Self {
        let top = f64::from(logits.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x)));
        let total: f64 = logits.iter().map(|x| (f64::from(*x) - top).exp()).sum();
        let log_total = top + total.ln();
        Self(logits.iter().map(|x| f64::from(*x) - log_total).collect())
    }

    /// log p of a token.
    pub fn of(&self, id: u32) -> f64 {
        self.0.get(id as usize).copied().unwrap_or(f64::NEG_INFINITY)
    }

    /// The `n` likeliest tokens, the first of equals first.
    pub fn top(&self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.0.len() as u32).collect();
        let before = |a: &u32, b: &u32| self.of(*b).total_cmp(&self.of(*a)).then(a.cmp(b));
        if n < order.len() {
            order.select_nth_unstable_by(n, before);
            order.truncate(n);
        }
        order.sort_by(before);
        order
    }

    /// KL(self || other), nats.
    pub fn divergence(&self, other: &Self) -> f64 {
        let term = |(p, q): (&f64, &f64)| p.exp() * (p - q);
        self.0.iter().zip(&other.0).map(term).sum()
    }
}
