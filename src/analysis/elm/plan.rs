//! What is run.

use serde::{Deserialize, Serialize};

use super::learn::{Architecture, Training};
use crate::Result;
use crate::data::dendrites::{self, BRANCHES, SYNAPSES};
use crate::data::events::{self, Recall};
use crate::models::{ElmConfig, ElmRouting, LstmConfig};

/// The experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Trials to learn from and to be tested on.
    pub trials: [usize; 2],
    /// Steps of a trial.
    pub steps: usize,
    /// First steps of a trial, of which nothing is asked.
    pub burn_in: usize,
    /// d_m: memory units, ascending; the last size is that of the ablations and edits.
    pub memory: Vec<usize>,
    /// Sizes beside which an LSTM of as many weights stands.
    pub beside: Vec<usize>,
    /// Largest time constants to try at the last size, beside the usual one.
    pub tau_max: Vec<f64>,
    /// Values of lambda to try, beside the usual one.
    pub lambda: Vec<f64>,
    /// Whether to try a SiLU and learnt time constants too.
    pub variants: bool,
    /// How the neuron's imitators are trained.
    pub training: Training,
    /// Tasks over a gap, with its steps.
    pub recall: Vec<(Recall, usize)>,
    /// Memory units there.
    pub recall_memory: usize,
    /// Largest time constants there.
    pub recall_tau_max: Vec<f64>,
    /// How networks are trained there.
    pub recall_training: Training,
    /// Sequences that they are tested on.
    pub recall_tests: usize,
    /// Networks of every arm.
    pub seeds: usize,
    /// Seed of the seeds.
    pub seed: u64,
}

/// What an arm varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The number of memory units.
    Memory,
    /// Largest time constant.
    TauMax,
    /// Another part of the neuron.
    Part,
    /// The kind of network.
    Lstm,
}

/// A network to be trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// What it varies.
    pub over: Over,
    /// What it is.
    pub architecture: Architecture,
}

impl Plan {
    /// Two minutes, one network of each kind.
    pub fn quick(seed: u64) -> Self {
        Self {
            trials: [160, 40],
            steps: 500,
            burn_in: 150,
            memory: vec![1, 2, 5, 10, 20],
            beside: vec![10, 20],
            tau_max: vec![20.0],
            lambda: vec![1.0],
            variants: false,
            training: Training { updates: 600, batch: 8, rate: 5e-3 },
            recall: vec![(Recall::Delayed, 150)],
            recall_memory: 20,
            recall_tau_max: vec![20.0, 500.0],
            recall_training: Training { updates: 500, batch: 16, rate: 5e-3 },
            recall_tests: 400,
            seeds: 1,
            seed,
        }
    }

    /// Three networks of each kind, longer trainings and gaps, more of the neuron's parts.
    pub fn full(seed: u64) -> Self {
        Self {
            trials: [320, 80],
            tau_max: vec![20.0, 1000.0],
            lambda: vec![1.0, 10.0],
            variants: true,
            training: Training { updates: 1500, batch: 8, rate: 5e-3 },
            recall: vec![(Recall::Delayed, 100), (Recall::Delayed, 400), (Recall::Adding, 100), (Recall::Adding, 400)],
            recall_tau_max: vec![20.0, 150.0, 1000.0],
            recall_training: Training { updates: 1000, batch: 16, rate: 5e-3 },
            seeds: 3,
            ..Self::quick(seed)
        }
    }

    /// How many networks are trained.
    ///
    /// # Errors
    /// Sizes that no network has.
    pub fn jobs(&self) -> Result<usize> {
        Ok(self.seeds * (self.arms()?.len() + self.tasks()?.len()))
    }

    /// The neuron that imitates, with so many memory units.
    pub fn neuron(memory: usize) -> ElmConfig {
        let routing = ElmRouting::Branches { branches: BRANCHES, synapses: SYNAPSES };
        ElmConfig { inputs: dendrites::CHANNELS, routing, memory, ..ElmConfig::default() }
    }

    /// The name of the arm of so many memory units.
    pub(super) fn named(memory: usize) -> String {
        format!("d_m {memory}")
    }

    /// The arms of the imitation.
    pub(super) fn arms(&self) -> Result<Vec<Arm>> {
        let elm = |name: String, over, config| Arm { name, over, architecture: Architecture::Elm(config) };
        let mut arms: Vec<Arm> =
            self.memory.iter().map(|d| elm(Self::named(*d), Over::Memory, Self::neuron(*d))).collect();
        for d in &self.beside {
            let config = LstmConfig::within(Self::neuron(*d).count()?, dendrites::CHANNELS, 2);
            let slow = LstmConfig { longest: Some(Self::neuron(*d).tau_m.1 as usize), ..config };
            for (name, config) in [("LSTM", config), ("slow LSTM", slow)] {
                let architecture = Architecture::Lstm(config);
                arms.push(Arm { name: format!("{name} beside d_m {d}"), over: Over::Lstm, architecture });
            }
        }
        let base = Self::neuron(self.memory.last().copied().unwrap_or(1));
        let low = base.tau_m.0;
        let tau = |max: &f64| elm(format!("tau_max {max}"), Over::TauMax, ElmConfig { tau_m: (low, *max), ..base });
        arms.extend(self.tau_max.iter().map(tau));
        let lambda = |lambda: &f64| elm(format!("lambda {lambda}"), Over::Part, ElmConfig { lambda: *lambda, ..base });
        arms.extend(self.lambda.iter().map(lambda));
        let simple = ElmConfig { routing: ElmRouting::Simple, ..base };
        arms.push(elm("no branches".into(), Over::Part, simple));
        if self.variants {
            arms.push(elm("SiLU".into(), Over::Part, ElmConfig { silu: true, ..base }));
            arms.push(elm("time constants learnt".into(), Over::Part, ElmConfig { learn_tau: true, ..base }));
        }
        Ok(arms)
    }

    /// The arms of the tasks over gaps.
    pub(super) fn tasks(&self) -> Result<Vec<(Recall, usize, Arm)>> {
        let mut tasks = Vec::new();
        for (task, gap) in &self.recall {
            let of = |tau_max: f64| ElmConfig {
                inputs: events::CHANNELS,
                routing: ElmRouting::Simple,
                memory: self.recall_memory,
                outputs: task.answers(),
                tau_m: (1.0, tau_max),
                ..ElmConfig::default()
            };
            for tau_max in &self.recall_tau_max {
                let architecture = Architecture::Elm(of(*tau_max));
                tasks.push((*task, *gap, Arm { name: format!("tau_max {tau_max}"), over: Over::TauMax, architecture }));
            }
            let longest = *self.recall_tau_max.last().unwrap_or(&1000.0);
            let config = LstmConfig::within(of(longest).count()?, events::CHANNELS, task.answers());
            let slow = LstmConfig { longest: Some(longest as usize), ..config };
            for (name, config) in [("LSTM", config), ("slow LSTM", slow)] {
                let architecture = Architecture::Lstm(config);
                tasks.push((*task, *gap, Arm { name: name.into(), over: Over::Lstm, architecture }));
            }
        }
        Ok(tasks)
    }
}
