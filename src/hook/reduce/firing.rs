//! Firing counts: how often each unit exceeds a threshold.
//!
//! ```text
//! fired_u = #{t : x_tu finite and x_tu > threshold},   rate_u = fired_u / (seen - non_finite_u)
//! ```

use super::observation::Kept;
use super::state::{Arrays, damaged};
use super::{FiringSpec, Reduce, ReducerSpec};
use crate::Result;

/// Counts of values above a threshold, per unit.
#[derive(Clone, Debug)]
pub struct Firing {
    spec: FiringSpec,
    seen: u64,
    fired: Vec<u64>,
    non_finite: Vec<u64>,
}

impl Firing {
    pub(super) fn new(spec: FiringSpec, width: usize) -> Self {
        Self { spec, seen: 0, fired: vec![0; width], non_finite: vec![0; width] }
    }

    pub(super) fn bytes(width: usize) -> u128 {
        width as u128 * 16
    }

    pub(super) fn load(spec: FiringSpec, width: usize, arrays: &mut Arrays) -> Result<Self> {
        let seen = arrays.take_count("seen")?;
        let fired = arrays.take_counts("fired", &[Some(width)])?;
        let non_finite = arrays.take_counts("non_finite", &[Some(width)])?;
        if fired.iter().zip(&non_finite).any(|(f, n)| f + n > seen) {
            return Err(damaged("a unit fired more often than it was seen"));
        }
        Ok(Self { spec, seen, fired, non_finite })
    }

    /// Positions counted.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Positions where each unit was above the threshold, `[width]`.
    pub fn fired(&self) -> &[u64] {
        &self.fired
    }

    /// Positions where each unit was infinite or NaN, `[width]`.
    pub fn non_finite(&self) -> &[u64] {
        &self.non_finite
    }

    /// Share of the finite values of `unit` above the threshold; `None` without such values or such a unit.
    pub fn rate(&self, unit: usize) -> Option<f64> {
        let finite = self.seen - self.non_finite.get(unit)?;
        (finite > 0).then(|| self.fired[unit] as f64 / finite as f64)
    }
}

impl Reduce for Firing {
    fn spec(&self) -> ReducerSpec {
        ReducerSpec::Firing(self.spec.clone())
    }

    fn width(&self) -> usize {
        self.fired.len()
    }

    fn observe(&mut self, kept: &Kept) -> Result<()> {
        let threshold = self.spec.threshold;
        self.seen += kept.at.len() as u64;
        kept.tally(&mut self.fired, |x| x > threshold && x < f32::INFINITY);
        kept.tally(&mut self.non_finite, |x| !x.is_finite());
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.seen = self.seen.saturating_add(other.seen);
        add(&mut self.fired, &other.fired);
        add(&mut self.non_finite, &other.non_finite);
        Ok(())
    }

    fn arrays(&self) -> Arrays {
        let mut arrays = Arrays::new();
        arrays.put("seen", &[1], vec![self.seen]);
        arrays.put("fired", &[self.width()], self.fired.clone());
        arrays.put("non_finite", &[self.width()], self.non_finite.clone());
        arrays
    }
}

/// Adds counts element by element.
pub(super) fn add(into: &mut [u64], from: &[u64]) {
    for (a, b) in into.iter_mut().zip(from) {
        *a = a.saturating_add(*b);
    }
}
