//! Neurons that spike. Times in ms, potentials in the unit of the model (mV, or thresholds of 1).

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a membrane equation is stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Integration {
    /// The solution for an input that is constant in the step: V' = V_inf + (V - V_inf) e^(-dt/tau).
    Exact,
    /// V' = V + dt/tau (V_inf - V): another model, with another decay.
    Euler,
}

/// What a spike does to the membrane.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// V = this value.
    To(f64),
    /// V = V - threshold.
    Subtract,
    /// Nothing.
    None,
}

/// When the reset happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetDelay {
    /// In the step of the spike.
    Same,
    /// At the beginning of the next step, before it integrates (snnTorch).
    Next,
}

/// What a neuron does after a spike. A spike in step t allows the next one in step t + steps + 1 at the earliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refractory {
    /// It goes on.
    None,
    /// It stays where it is for so many steps.
    Clamped(u32),
    /// It integrates but cannot fire for so many steps.
    Silent(u32),
}

impl Refractory {
    /// Steps of it.
    pub fn steps(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Clamped(steps) | Self::Silent(steps) => steps,
        }
    }
}

/// Whether a neuron at its threshold fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crossing {
    /// v >= threshold.
    AtLeast,
    /// v > threshold.
    Above,
}

/// A leaky integrate-and-fire neuron: tau_m dV/dt = -(V - rest) + R I.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lif {
    /// Membrane time constant, ms.
    pub tau_m: f64,
    /// Potential at rest.
    pub rest: f64,
    /// R: potential per current.
    pub resistance: f64,
    /// Where it fires.
    pub threshold: f64,
    /// Whether it fires at the threshold itself.
    pub crossing: Crossing,
    /// What a spike does to the membrane.
    pub reset: Reset,
    /// When.
    pub reset_delay: ResetDelay,
    /// What follows.
    pub refractory: Refractory,
    /// How the equation is stepped.
    pub integration: Integration,
    /// Step, ms.
    pub dt: f64,
}

impl Default for Lif {
    /// tau_m 20 ms, rest 0, threshold 1, reset to 0 in the same step, no refractoriness, exact, dt 1 ms.
    fn default() -> Self {
        Self {
            tau_m: 20.0,
            rest: 0.0,
            resistance: 1.0,
            threshold: 1.0,
            crossing: Crossing::AtLeast,
            reset: Reset::To(0.0),
            reset_delay: ResetDelay::Same,
            refractory: Refractory::None,
            integration: Integration::Exact,
            dt: 1.0,
        }
    }
}

impl Lif {
    /// The share of V - V_inf that is left after a step.
    pub fn decay(&self) -> f64 {
        match self.integration {
            Integration::Exact => (-self.dt / self.tau_m).exp(),
            Integration::Euler => 1.0 - self.dt / self.tau_m,
        }
    }

    /// One step under a current that is constant in it.
    #[inline]
    pub fn charge(&self, v: f64, current: f64) -> f64 {
        let target = self.rest + self.resistance * current;
        target + (v - target) * self.decay()
    }

    /// Whether it fires.
    #[inline]
    pub fn fires(&self, v: f64, threshold: f64) -> bool {
        match self.crossing {
            Crossing::AtLeast => v >= threshold,
            Crossing::Above => v > threshold,
        }
    }

    /// The membrane after a spike.
    #[inline]
    pub fn reset(&self, v: f64, threshold: f64) -> f64 {
        match self.reset {
            Reset::To(value) => value,
            Reset::Subtract => v - threshold,
            Reset::None => v,
        }
    }

    /// Spikes per second under a constant current, from the closed form; 0 if it never fires. For a reset to a value in
    /// the same step: f = 1 / (t_ref + tau ln((V_inf - V_reset) / (V_inf - threshold))).
    pub fn rate(&self, current: f64) -> f64 {
        let target = self.rest + self.resistance * current;
        let from = match self.reset {
            Reset::To(value) => value,
            Reset::Subtract => 0.0,
            Reset::None => self.threshold,
        };
        if target <= self.threshold {
            return 0.0;
        }
        let wait = f64::from(self.refractory.steps()) * self.dt;
        1000.0 / (wait + self.tau_m * ((target - from) / (target - self.threshold)).ln())
    }
}

impl fmt::Display for Lif {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let integration = match self.integration {
            Integration::Exact => "exact",
            Integration::Euler => "Euler",
        };
        let sign = if self.crossing == Crossing::AtLeast { ">=" } else { ">" };
        let reset = match self.reset {
            Reset::To(value) => format!("reset to {value}"),
            Reset::Subtract => "the threshold is subtracted".to_string(),
            Reset::None => "no reset".to_string(),
        };
        let when = if self.reset_delay == ResetDelay::Same { "in the same step" } else { "in the next step" };
        let after = match self.refractory {
            Refractory::None => "no refractoriness".to_string(),
            Refractory::Clamped(steps) => format!("clamped for {steps} steps"),
            Refractory::Silent(steps) => format!("silent but integrating for {steps} steps"),
        };
        write!(
            f,
            "LIF, {integration}, dt {} ms, tau_m {} ms, rest {}; fires at v {sign} {}; {reset} {when}; {after}",
            self.dt, self.tau_m, self.rest, self.threshold
        )
    }
}

/// A threshold (or current) that moves with the neuron's own spikes: b' = rho b + jump s with rho = e^(-dt/tau), and the
/// threshold is th + beta b. `jump` 1 - rho is the LSNN's form, a small jump with a very long tau that of Diehl and Cook.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptation {
    /// Time constant, ms.
    pub tau: f64,
    /// How far the threshold moves with b.
    pub beta: f64,
    /// What a spike adds to b.
    pub jump: f64,
}

impl Adaptation {
    /// The form of LSNNs: b is an exponential mean of the spikes.
    pub fn lsnn(tau: f64, beta: f64, dt: f64) -> Self {
        Self { tau, beta, jump: 1.0 - (-dt / tau).exp() }
    }

    /// b after a step with this spike.
    #[inline]
    pub fn step(&self, b: f64, spike: f64, dt: f64) -> f64 {
        b * (-dt / self.tau).exp() + self.jump * spike
    }
}

/// How Izhikevich's equations are stepped; rates depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IzhikevichRule {
    /// The published script: dt 1 ms, two half steps of v, then u.
    Half,
    /// Euler with this step, ms: v, then u from the new v, in the order of the script. With u from the old v, as Brian2's
    /// Euler has it, other counts come out (fast spiking at 0.5 ms: 114 spikes for 92).
    Euler(f64),
}

impl IzhikevichRule {
    /// Length of a step, ms.
    pub fn dt(self) -> f64 {
        match self {
            Self::Half => 1.0,
            Self::Euler(dt) => dt,
        }
    }
}

impl fmt::Display for IzhikevichRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self {
            Self::Half => "two half steps of v, then u, dt 1 ms".to_string(),
            Self::Euler(dt) => format!("Euler of v, then of u from the new v, dt {dt} ms"),
        };
        write!(f, "Izhikevich, {how}; fires at v >= 30; v = c and u = u + d in the same step")
    }
}

/// Izhikevich's neuron (2003): v' = 0.04 v^2 + 5 v + 140 - u + I, u' = a (b v - u); mV, ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Izhikevich {
    /// Rate of the recovery u.
    pub a: f64,
    /// How u follows v.
    pub b: f64,
    /// v after a spike.
    pub c: f64,
    /// What a spike adds to u.
    pub d: f64,
}

impl Izhikevich {
    /// Where it fires, mV.
    pub const PEAK: f64 = 30.0;

    /// The published types by their letters: RS, IB, CH, FS, LTS, TC, RZ.
    pub fn named(name: &str) -> Option<Self> {
        let (a, b, c, d) = match name {
            "RS" => (0.02, 0.2, -65.0, 8.0),
            "IB" => (0.02, 0.2, -55.0, 4.0),
            "CH" => (0.02, 0.2, -50.0, 2.0),
            "FS" => (0.1, 0.2, -65.0, 2.0),
            "LTS" => (0.02, 0.25, -65.0, 2.0),
            "TC" => (0.02, 0.25, -65.0, 0.05),
            "RZ" => (0.1, 0.26, -65.0, 2.0),
            _ => return None,
        };
        Some(Self { a, b, c, d })
    }

    /// The least constant current without a point of rest: the saddle-node at v = -10 (5 - b) / 0.8,
    /// I = (5 - b)^2 / 0.16 - 140.
    pub fn rheobase(&self) -> f64 {
        (5.0 - self.b).powi(2) / 0.16 - 140.0
    }

    /// One step: v and u.
    #[inline]
    pub fn charge(&self, v: f64, u: f64, current: f64, rule: IzhikevichRule) -> (f64, f64) {
        let slope = |v: f64| 0.04 * v * v + 5.0 * v + 140.0 - u + current;
        match rule {
            IzhikevichRule::Half => {
                let v = v + 0.5 * slope(v);
                let v = v + 0.5 * slope(v);
                (v, u + self.a * (self.b * v - u))
            }
            IzhikevichRule::Euler(dt) => {
                let v = v + dt * slope(v);
                (v, u + dt * self.a * (self.b * v - u))
            }
        }
    }
}
