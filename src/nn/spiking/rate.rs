//! Units with a rate in place of spikes.

use serde::{Deserialize, Serialize};

/// 1 / (1 + e^-x).
#[inline]
pub fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A leaky sigmoidal unit: r' = (1 - leak) r + leak sigma(gain (V - threshold)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateUnit {
    /// 1 for no memory of its own; 1 - e^(-dt/tau) for a unit of time constant tau.
    pub leak: f64,
    /// c: steepness.
    pub gain: f64,
    /// theta: where the rate is 1/2.
    pub threshold: f64,
}

impl RateUnit {
    /// The leak of a unit of time constant `tau`, both in the same unit.
    pub fn leak_of(tau: f64, dt: f64) -> f64 {
        -(-dt / tau).exp_m1()
    }

    /// The rate after a step under the input V.
    #[inline]
    pub fn step(&self, rate: f64, v: f64) -> f64 {
        let new = logistic(self.gain * (v - self.threshold));
        if self.leak == 1.0 { new } else { (1.0 - self.leak) * rate + self.leak * new }
    }
}
