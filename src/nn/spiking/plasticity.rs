//! Plasticity. Traces are read before this step's spikes jump into them, so that pairs in the same step do not count.

use serde::{Deserialize, Serialize};

/// Which spikes a trace remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Every spike adds 1.
    AllToAll,
    /// A spike sets the trace to 1: only the nearest counts.
    Nearest,
}

/// An exponential memory of spikes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Time constant, ms.
    pub tau: f64,
    /// Which spikes it remembers.
    pub pairing: Pairing,
}

impl Trace {
    /// What is left of it `dt` later: what a rule reads in this step.
    #[inline]
    pub fn decayed(&self, x: f64, dt: f64) -> f64 {
        x * (-dt / self.tau).exp()
    }

    /// After this step's spike.
    #[inline]
    pub fn jumped(&self, x: f64, spike: f64) -> f64 {
        match self.pairing {
            Pairing::AllToAll => x + spike,
            Pairing::Nearest => x.max(spike),
        }
    }
}

/// Pair STDP: a post spike adds A+ x_pre, a pre spike takes A- x_post. Soft bounds multiply by (w_max - w)^mu and
/// (w - w_min)^mu; the weight is cut to its bounds afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairStdp {
    /// A+.
    pub a_plus: f64,
    /// A-.
    pub a_minus: f64,
    /// Time constant of the trace of pre spikes, ms.
    pub tau_plus: f64,
    /// Time constant of the trace of post spikes, ms.
    pub tau_minus: f64,
    /// Which pairs count.
    pub pairing: Pairing,
    /// Least and largest weight.
    pub bounds: (f64, f64),
    /// 0 for hard bounds only.
    pub mu: f64,
}

impl PairStdp {
    /// The trace of pre spikes.
    pub fn pre(&self) -> Trace {
        Trace { tau: self.tau_plus, pairing: self.pairing }
    }

    /// The trace of post spikes.
    pub fn post(&self) -> Trace {
        Trace { tau: self.tau_minus, pairing: self.pairing }
    }

    /// dw of a synapse in one step, from the spikes and the decayed traces.
    #[inline]
    pub fn change(&self, w: f64, (pre, post): (f64, f64), (x_pre, x_post): (f64, f64)) -> f64 {
        let (up, down) = if self.mu == 0.0 {
            (1.0, 1.0)
        } else {
            ((self.bounds.1 - w).max(0.0).powf(self.mu), (w - self.bounds.0).max(0.0).powf(self.mu))
        };
        self.a_plus * up * post * x_pre - self.a_minus * down * pre * x_post
    }

    /// Expected dw per second between independent Poisson trains of these rates (Hz), for all-to-all pairs and mu = 0:
    /// nu_pre nu_post (A+ tau+ - A- tau-).
    pub fn drift(&self, pre: f64, post: f64) -> f64 {
        pre * post * (self.a_plus * self.tau_plus - self.a_minus * self.tau_minus) / 1000.0
    }
}

/// Triplet STDP (Pfister and Gerstner 2006), all-to-all. Pre: r1 (tau+), r2 (tau_x); post: o1 (tau-), o2 (tau_y). A pre
/// spike takes o1 (A2- + A3- r2), a post spike adds r1 (A2+ + A3+ o2), r2 and o2 before their own jumps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TripletStdp {
    /// A2+, A3+.
    pub plus: (f64, f64),
    /// A2-, A3-.
    pub minus: (f64, f64),
    /// tau+, tau_x, ms.
    pub pre: (f64, f64),
    /// tau-, tau_y, ms.
    pub post: (f64, f64),
}

impl Default for TripletStdp {
    /// The fit to visual cortex, all-to-all, as it is usually quoted.
    fn default() -> Self {
        Self { plus: (5e-10, 6.2e-3), minus: (7e-3, 2.3e-4), pre: (16.8, 101.0), post: (33.7, 125.0) }
    }
}

impl TripletStdp {
    /// dw in one step, from the spikes and the decayed traces (r1, r2) and (o1, o2).
    #[inline]
    pub fn change(&self, (pre, post): (f64, f64), r: (f64, f64), o: (f64, f64)) -> f64 {
        post * r.0 * (self.plus.0 + self.plus.1 * o.1) - pre * o.0 * (self.minus.0 + self.minus.1 * r.1)
    }
}

/// What a third factor acts on: e' = e e^(-dt/tau) + STDP, dw = eta M e. With tau 0 the instantaneous term alone (MSTDP),
/// else MSTDPET.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eligibility {
    /// Time constant, ms; 0 for none.
    pub tau: f64,
    /// Learning rate.
    pub eta: f64,
}

impl Eligibility {
    /// The eligibility after a step with this pair term.
    #[inline]
    pub fn step(&self, e: f64, pair: f64, dt: f64) -> f64 {
        if self.tau == 0.0 { pair } else { e * (-dt / self.tau).exp() + pair }
    }

    /// dw under the modulator M.
    #[inline]
    pub fn change(&self, e: f64, modulator: f64) -> f64 {
        self.eta * modulator * e
    }
}

/// A reward less its running mean: M = R - R_mean, R_mean' = R_mean + (R - R_mean) / window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    /// Steps of the running mean.
    pub window: f64,
    /// The mean so far.
    pub mean: f64,
}

impl Reward {
    /// The modulator of this reward; the mean moves afterwards.
    pub fn modulator(&mut self, reward: f64) -> f64 {
        let m = reward - self.mean;
        self.mean += m / self.window;
        m
    }
}

/// Calcium of a post neuron gates STDP: C' = C - C dt/tau + s; up only for C in [theta, theta + d], down only in
/// [theta - d, theta].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalciumGate {
    /// Time constant, ms.
    pub tau: f64,
    /// Where potentiation and depression meet.
    pub theta: f64,
    /// Width of either window.
    pub d: f64,
}

impl CalciumGate {
    /// Calcium after a step.
    pub fn step(&self, c: f64, spike: f64, dt: f64) -> f64 {
        c - c * dt / self.tau + spike
    }

    /// A change as far as the calcium allows it.
    pub fn gated(&self, c: f64, change: f64) -> f64 {
        let open = if change > 0.0 {
            c >= self.theta && c <= self.theta + self.d
        } else {
            c >= self.theta - self.d && c <= self.theta
        };
        if open { change } else { 0.0 }
    }
}

/// Inhibition that holds a rate at its target: dA = delta (r - target) pre, cut at 0; the presynaptic factor is 1 where
/// the rule has none.
#[inline]
pub fn homeostatic_inhibition(a: f64, delta: f64, rate: f64, target: f64, pre: f64) -> f64 {
    (a + delta * (rate - target) * pre).max(0.0)
}

/// The delta rule: dw = eta (target - y) x.
#[inline]
pub fn least_mean_squares(eta: f64, target: f64, y: f64, x: f64) -> f64 {
    eta * (target - y) * x
}
