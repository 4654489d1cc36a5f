//! Sizes and constants of the neuron, and the weights that it begins with.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::routing::{ElmRouting, Routing};
use crate::hook::random;
use crate::{Error, Result};

/// Length of a step, ms.
pub(super) const DT: f64 = 1.0;

/// How far from the ends of its range a time constant begins.
const MARGIN: f64 = 1e-6;

/// Which of the two published forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElmVersion {
    /// A trace per synapse; memory moves by lambda (1 - kappa_m) times the proposal.
    V1,
    /// A trace per branch; memory moves by 1 - e^(-lambda dt / tau_m) times the proposal.
    V2,
}

/// Sizes and constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ElmConfig {
    /// N.
    pub inputs: usize,
    /// How they are led to synapses.
    pub routing: ElmRouting,
    /// d_m: memory units.
    pub memory: usize,
    /// Numbers that are read out.
    pub outputs: usize,
    /// Which form.
    pub version: ElmVersion,
    /// Strength of the proposal.
    pub lambda: f64,
    /// Time constant of synapses, or of branches, ms.
    pub tau_s: f64,
    /// Least and largest time constant of memory, ms.
    pub tau_m: (f64, f64),
    /// Whether the MLP's hidden layer is a SiLU (the paper's best model) instead of a ReLU.
    pub silu: bool,
    /// Whether the time constants of memory are learnt.
    pub learn_tau: bool,
}

impl Default for ElmConfig {
    /// The paper's for NeuronIO, with 20 memory units.
    fn default() -> Self {
        Self {
            inputs: 1278,
            routing: ElmRouting::Branches { branches: 45, synapses: 100 },
            memory: 20,
            outputs: 2,
            version: ElmVersion::V1,
            lambda: 5.0,
            tau_s: 5.0,
            tau_m: (1.0, 150.0),
            silu: false,
            learn_tau: false,
        }
    }
}

/// The weight of every synapse, before max(0, .).
pub(super) const W_S: &str = "_proto_w_s";
/// The logit of every time constant in its range.
pub(super) const TAU_M: &str = "_proto_tau_m";
pub(super) const W1: &str = "mlp.network.0.weight";
pub(super) const B1: &str = "mlp.network.0.bias";
pub(super) const W2: &str = "mlp.network.2.weight";
pub(super) const B2: &str = "mlp.network.2.bias";
pub(super) const W_Y: &str = "w_y.weight";
pub(super) const B_Y: &str = "w_y.bias";

impl ElmConfig {
    /// Names and shapes of the weights, as in the published files.
    pub(super) fn shapes(&self, routing: &Routing) -> [(&'static str, Vec<usize>); 8] {
        let (d, hidden) = (self.memory, 2 * self.memory);
        [
            (W_S, vec![routing.input.len()]),
            (TAU_M, vec![d]),
            (W1, vec![hidden, routing.branches + d]),
            (B1, vec![hidden]),
            (W2, vec![d, hidden]),
            (B2, vec![d]),
            (W_Y, vec![self.outputs, d]),
            (B_Y, vec![self.outputs]),
        ]
    }

    /// Names of the weights that are learnt: all, without the time constants unless they are to be.
    ///
    /// # Errors
    /// Sizes that no neuron has.
    pub fn learnt(&self) -> Result<Vec<String>> {
        let shapes = self.shapes(&Routing::new(self.inputs, self.routing)?);
        let learnt = shapes.iter().map(|s| s.0).filter(|name| self.learn_tau || *name != TAU_M);
        Ok(learnt.map(str::to_string).collect())
    }

    /// How many numbers are learnt, those of void slots too: S + (P + d)(2 d) + 2 d + 2 d d + d + n d + n, and d more if the
    /// time constants are.
    ///
    /// # Errors
    /// Sizes that no neuron has.
    pub fn count(&self) -> Result<usize> {
        let learnt = self.learnt()?;
        let shapes = self.shapes(&Routing::new(self.inputs, self.routing)?);
        let own = shapes.iter().filter(|(name, _)| learnt.iter().any(|l| l == name));
        Ok(own.map(|(_, shape)| shape.iter().product::<usize>()).sum())
    }

    /// The time constants that it begins with, ms: spaced logarithmically over the range; a single one is the least.
    pub fn time_constants(&self) -> Vec<f64> {
        let (low, high) = ((self.tau_m.0 + MARGIN).ln(), (self.tau_m.1 - MARGIN).ln());
        let gaps = (self.memory.max(2) - 1) as f64;
        (0..self.memory).map(|i| (low + (high - low) * i as f64 / gaps).exp()).collect()
    }

    /// Variables to begin training with, as published: weights of synapses 0.5, maps uniform within 1 / sqrt(inputs).
    ///
    /// # Errors
    /// Sizes and constants that no neuron has.
    pub fn variables(&self, dtype: DType, seed: u64) -> Result<BTreeMap<String, Var>> {
        self.check()?;
        let routing = Routing::new(self.inputs, self.routing)?;
        let (low, high) = self.tau_m;
        let mut variables = BTreeMap::new();
        for (name, shape) in self.shapes(&routing) {
            let count: usize = shape.iter().product();
            let values: Vec<f64> = match name {
                W_S => vec![0.5; count],
                TAU_M => {
                    let share = self.time_constants().into_iter().map(|tau| (tau - low) / (high - low));
                    share.map(|u| (u / (1.0 - u)).ln()).collect()
                }
                _ => {
                    let width = match name {
                        W1 | B1 => routing.branches + self.memory,
                        W2 | B2 => 2 * self.memory,
                        _ => self.memory,
                    };
                    let (bound, key) = ((width as f64).sqrt().recip(), random::key(seed, &[random::name(name)]));
                    let draw = |i: u64| bound * (2.0 * random::uniform(random::key(key, &[i])) - 1.0);
                    (0..count as u64).map(draw).collect()
                }
            };
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?;
            variables.insert(name.to_string(), Var::from_tensor(&tensor)?);
        }
        Ok(variables)
    }

    /// What is left of a synapse's or branch's trace after a step.
    pub(super) fn kappa_s(&self) -> f64 {
        (-DT / self.tau_s).exp()
    }

    /// What is left of memory of this time constant after a step, and what its proposal is multiplied by.
    pub(super) fn rates(&self, tau: f64) -> (f32, f32) {
        let kappa = (-DT / tau).exp();
        let gain = match self.version {
            ElmVersion::V1 => self.lambda * (1.0 - kappa),
            ElmVersion::V2 => 1.0 - (-DT * self.lambda / tau).exp(),
        };
        (kappa as f32, gain as f32)
    }

    pub(super) fn check(&self) -> Result<()> {
        let (low, high) = self.tau_m;
        let positive = [self.lambda, self.tau_s, low, high].iter().all(|x| x.is_finite() && *x > 0.0);
        if self.memory > 0 && self.outputs > 0 && positive && low + 2.0 * MARGIN < high {
            return Ok(());
        }
        Err(Error::invalid(
            format!(
                "a neuron of {} memory units and {} outputs, lambda {}, tau_s {} and tau_m in {low} to {high}",
                self.memory, self.outputs, self.lambda, self.tau_s
            ),
            "give at least one unit and output, positive constants, and a range that is not empty",
        ))
    }
}
