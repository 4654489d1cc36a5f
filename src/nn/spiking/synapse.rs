//! Synapses with an exponential kernel.

use serde::{Deserialize, Serialize};

use super::neuron::{Integration, Lif};

/// A current that jumps with every spike and decays: I' = I e^(-dt/tau_s).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurrentSynapse {
    /// Time constant, ms.
    pub tau_s: f64,
}

impl CurrentSynapse {
    /// What is left of the current after `dt`.
    pub fn decay(&self, dt: f64) -> f64 {
        (-dt / self.tau_s).exp()
    }

    /// What a current of 1 at the beginning of a step adds to the membrane until its end.
    ///
    /// Exact, the current decaying inside the step: R tau_s/(tau_s - tau_m) (e^(-h/tau_s) - e^(-h/tau_m)), and
    /// R h/tau_m e^(-h/tau_m) where both time constants are one. Euler holds the current: R h/tau_m.
    pub fn kick(&self, membrane: &Lif) -> f64 {
        let (h, tau_m, tau_s, r) = (membrane.dt, membrane.tau_m, self.tau_s, membrane.resistance);
        if membrane.integration == Integration::Euler {
            return r * h / tau_m;
        }
        // (e^(-h/tau_s) - e^(-h/tau_m)) / (tau_s - tau_m) loses its digits near tau_s = tau_m; expm1 of the difference of
        // the exponents does not.
        let difference = h / tau_m - h / tau_s;
        let ratio = if difference == 0.0 { 1.0 } else { difference.exp_m1() / difference };
        r * h / tau_m * (-h / tau_m).exp() * ratio
    }

    /// When the potential after one spike is highest: tau_m tau_s/(tau_m - tau_s) ln(tau_m/tau_s).
    pub fn peak_time(&self, tau_m: f64) -> f64 {
        if tau_m == self.tau_s { tau_m } else { tau_m * self.tau_s / (tau_m - self.tau_s) * (tau_m / self.tau_s).ln() }
    }
}

/// A conductance with its reversal potential: it jumps with every spike and decays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conductance {
    /// Time constant, ms.
    pub tau_s: f64,
    /// E: what the membrane is drawn to.
    pub reversal: f64,
}

impl Conductance {
    /// What is left of the conductance after `dt`.
    pub fn decay(&self, dt: f64) -> f64 {
        (-dt / self.tau_s).exp()
    }

    /// One step of a membrane of leak conductance 1/R and capacity tau_m/R under conductances that are frozen in it:
    /// g = sum of all, V_inf = sum g E / g, V' = V_inf + (V - V_inf) e^(-dt g/C) (exponential Euler). Without a current
    /// the potential stays between the least and the largest E, whatever dt is.
    pub fn charge(membrane: &Lif, v: f64, current: f64, inputs: impl Iterator<Item = (f64, f64)>) -> f64 {
        let leak = 1.0 / membrane.resistance;
        let sums = inputs.fold((leak, leak * membrane.rest + current), |(g, ge), (gi, e)| (g + gi, ge + gi * e));
        let target = sums.1 / sums.0;
        target + (v - target) * (-membrane.dt * sums.0 * membrane.resistance / membrane.tau_m).exp()
    }
}
