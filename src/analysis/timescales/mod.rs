//! How networks with trainable time constants come to remember ([`TimescaleRnn`]): parity and delayed matching of the last N
//! bits, learned one N at a time with one head or all of them with a head each, and what that does to the time constants of
//! units, to the timescales of the network, to what it still knows of smaller N, and to how it bears damage.
//!
//! The control is an edit that acts while the network learns: `rnn.hook_tau` held at 1 leaves it recurrence alone. The same
//! edit on trained networks freezes time constants at other values than those that they learned with.

mod damage;
pub mod fit;
pub mod learn;
pub mod probe;
mod report;
pub mod task;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use damage::{Damage, Damaged};
pub use learn::{Arm, Curriculum, Epoch, Options};
pub use probe::Spread;
pub use task::Task;

use crate::Result;
use crate::models::TimescaleRnn;
use crate::report::number;
use crate::train::side_by_side;
use learn::{FIRST, Trained, accuracy, largest, train};
use probe::timescales;

/// How much of the experiment is carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// How to train.
    pub options: Options,
    /// What is learned.
    pub tasks: Vec<Task>,
    /// In which orders.
    pub curricula: Vec<Curriculum>,
    /// Networks per task and order.
    pub seeds: u64,
    /// Seed of the first.
    pub seed: u64,
    /// Sequences and steps from which timescales are taken.
    pub simulation: (usize, usize),
    /// What is done to trained networks.
    pub damage: Damage,
}

impl Plan {
    /// Parity, one seed: about two minutes.
    pub fn quick(seed: u64) -> Self {
        Self {
            options: Options { neurons: 100, batch: 64, updates: 150, tests: 20, epochs: 60, until: 8, rate: 0.05 },
            tasks: vec![Task::Parity],
            curricula: vec![Curriculum::Single, Curriculum::Cumulative],
            seeds: 1,
            seed,
            simulation: (4, 4000),
            damage: Damage {
                steps: 400,
                silenced: vec![1, 2, 5, 10],
                extremes: 5,
                sizes: vec![0.03, 0.1, 0.3, 1.0],
                held: vec![1.0, 1.5, 2.0, 4.0],
                draws: 4,
                beyond: 2,
                samples: (2000, 1000),
            },
        }
    }

    /// Both tasks, all orders, three seeds.
    pub fn full(seed: u64) -> Self {
        let quick = Self::quick(seed);
        Self {
            options: Options { epochs: 100, until: 10, ..quick.options },
            tasks: vec![Task::Parity, Task::Dms],
            curricula: vec![
                Curriculum::Single,
                Curriculum::Cumulative,
                Curriculum::Sliding { heads: 5, forgotten: 2 },
                Curriculum::Direct,
            ],
            seeds: 3,
            damage: Damage { steps: 1000, extremes: 10, draws: 10, ..quick.damage },
            simulation: (10, 10_000),
            ..quick
        }
    }

    /// Every training: all orders with trained time constants, and those of one head and many with them held at 1.
    fn arms(&self) -> Vec<Arm> {
        let mut arms = Vec::new();
        for task in &self.tasks {
            for seed in (0..self.seeds).map(|s| self.seed.wrapping_add(s)) {
                let arm = |curriculum: &Curriculum, held| Arm { task: *task, curriculum: *curriculum, held, seed };
                arms.extend(self.curricula.iter().map(|curriculum| arm(curriculum, None)));
                arms.extend(PAIR.iter().map(|curriculum| arm(curriculum, Some(1.0))));
            }
        }
        arms
    }

    /// How many networks are trained.
    pub fn trainings(&self) -> usize {
        self.arms().len()
    }
}

/// The two orders that the claim compares.
pub const PAIR: [Curriculum; 2] = [Curriculum::Single, Curriculum::Cumulative];

/// A network at the end of a level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passed {
    /// The largest N of the level.
    pub n: usize,
    /// Epochs until then.
    pub epoch: usize,
    /// Time constants of its units, as they act.
    pub tau: Spread,
    /// Timescales of their autocorrelations.
    pub net: Spread,
    /// The same from a single exponential each.
    pub single: Spread,
    /// That of the summed units.
    #[serde(with = "number")]
    pub population: f64,
    /// Principal components for 90 % of the variance.
    pub dimension: usize,
    /// (N, accuracy) on every N up to its own: with the N's own head where it had one, else the only one.
    pub knows: Vec<(usize, f64)>,
}

/// A training and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// What was trained.
    pub arm: Arm,
    /// Epoch by epoch.
    pub epochs: Vec<Epoch>,
    /// The levels that it passed.
    pub passed: Vec<Passed>,
    /// Time constants of every unit at the last of them, and their timescales.
    pub last: Option<(Vec<f64>, Vec<f64>)>,
}

impl Learned {
    /// Epochs after which the level of N was passed.
    pub fn reached(&self, n: usize) -> Option<usize> {
        self.passed.iter().find(|p| p.n >= n).map(|p| p.epoch)
    }

    /// The largest N that was passed; 1 if none was.
    pub fn furthest(&self) -> usize {
        self.passed.last().map_or(1, |p| p.n)
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What was run.
    pub plan: Plan,
    /// All trainings.
    pub learned: Vec<Learned>,
    /// For every task and seed the networks of one head and of many at the largest N that both have passed.
    pub damaged: Vec<Damaged>,
}

/// Carries the plan out; `done` hears of every training that is over.
///
/// # Errors
/// Trainings whose numbers are no longer finite.
pub fn experiment(plan: &Plan, done: &(dyn Fn() + Sync)) -> Result<Found> {
    let arms = plan.arms();
    let trained = side_by_side(&arms, |arm| train(arm, &plan.options), &|_| done())?;
    let learned = side_by_side(&trained, |trained| plan.look(trained), &|_| ())?;
    let with = |task: Task, seed: u64, curriculum: Curriculum| {
        let same = |t: &&Trained| t.arm == Arm { task, curriculum, held: None, seed };
        trained.iter().find(same)
    };
    let mut pairs = Vec::new();
    for task in &plan.tasks {
        for seed in (0..plan.seeds).map(|s| plan.seed.wrapping_add(s)) {
            pairs.extend(with(*task, seed, PAIR[0]).zip(with(*task, seed, PAIR[1])));
        }
    }
    let damaged = side_by_side(&pairs, |(one, many)| plan.damage.pair([one, many], &plan.options), &|_| ())?;
    Ok(Found { plan: plan.clone(), learned, damaged: damaged.into_iter().flatten().collect() })
}

impl Plan {
    fn look(&self, trained: &Trained) -> Result<Learned> {
        let (arm, options) = (&trained.arm, &self.options);
        let edits = arm.edits()?;
        let (mut passed, mut last) = (Vec::new(), None);
        for snapshot in &trained.passed {
            let net = TimescaleRnn::new(arm.config(options), &snapshot.weights)?;
            let scales = timescales(&net, arm.task, &edits, self.simulation, arm.seed)?;
            let n = largest(&snapshot.level);
            let level = (FIRST..=n).map(|n| (arm.curriculum.head(n), n)).collect();
            let right = accuracy(&net, arm.task, &level, &edits, (options.tests, options.batch), arm.seed)?;
            passed.push(Passed {
                n,
                epoch: snapshot.epoch,
                tau: Spread::of(&scales.tau),
                net: Spread::of(&scales.net),
                single: Spread::of(&scales.single),
                population: scales.population,
                dimension: scales.dimension,
                knows: level.iter().map(|(_, n)| *n).zip(right).collect(),
            });
            last = Some((scales.tau, scales.net));
        }
        Ok(Learned { arm: *arm, epochs: trained.epochs.clone(), passed, last })
    }
}
