//! How much memory a phenomenological neuron needs to imitate one with active dendrites ([`crate::data::dendrites`]), and
//! whether its slow units carry what is asked after a long gap ([`crate::data::events`]): [`Elm`](crate::models::Elm) neurons
//! of growing memory, with constants changed one at a time, beside an LSTM of as many weights.
//!
//! Then what training alone cannot say: in a trained neuron each memory unit is held at 0, each branch is cut, and slow or fast
//! time constants are shortened, by edits while it runs.

mod learn;
mod lesion;
mod plan;
mod report;

use serde::{Deserialize, Serialize};

use super::label::auroc;
use super::measure::Estimate;
use super::reservoir::over_networks;
use crate::data::dendrites::{Trials, trials};
use crate::data::events::{Recall, sequences};
use crate::hook::{Edit, Output};
use crate::models::{Input, Network};
use crate::train::side_by_side;
use crate::{Error, Result};

pub use learn::{Architecture, Imitation, Remembering, Training, outputs, train};
pub use lesion::{Lesions, SHORT};
pub use plan::{Arm, Over, Plan};

/// How well a neuron is imitated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// AUROC of the spike logit, step by step.
    pub auc: f64,
    /// Share of the soma's variance that is explained.
    pub soma: f64,
}

/// An arm of the imitation, network by network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Imitated {
    /// Which arm.
    pub arm: Arm,
    /// Numbers that were learnt.
    pub count: usize,
    /// One entry per seed.
    pub scores: Vec<Score>,
}

impl Imitated {
    /// AUROC with its interval over networks.
    pub fn auc(&self) -> Estimate {
        over_networks(&self.scores.iter().map(|s| s.auc).collect::<Vec<_>>())
    }

    /// Explained variance with its interval over networks.
    pub fn soma(&self) -> Estimate {
        over_networks(&self.scores.iter().map(|s| s.soma).collect::<Vec<_>>())
    }
}

/// An arm of a task over a gap, network by network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// What is asked.
    pub task: Recall,
    /// Steps of the gap.
    pub gap: usize,
    /// Which arm.
    pub arm: Arm,
    /// Numbers that were learnt.
    pub count: usize,
    /// Share of right answers on new sequences, one entry per seed.
    pub accuracy: Vec<f64>,
}

impl Remembered {
    /// The share with its interval over networks.
    pub fn share(&self) -> Estimate {
        over_networks(&self.accuracy)
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What was run.
    pub plan: Plan,
    /// Spikes per second of the imitated neuron, on test trials of all seeds.
    pub rate: f64,
    /// The imitation, arm by arm.
    pub imitated: Vec<Imitated>,
    /// Tasks over gaps.
    pub remembered: Vec<Remembered>,
    /// What edits do to the largest neuron of each seed.
    pub lesions: Vec<Lesions>,
}

/// A network to be trained: arm and seed.
enum Job<'a> {
    Imitate(&'a Arm, usize),
    Remember(&'a (Recall, usize, Arm), usize),
}

enum Done {
    Imitated(Score, Option<Lesions>),
    Remembered(f64),
}

/// Runs the plan; `done` is told of every network that is through.
///
/// # Errors
/// A plan without networks, one that no network fits, a training that diverges.
pub fn experiment(plan: &Plan, done: &(dyn Fn() + Sync)) -> Result<Found> {
    if plan.seeds == 0 || plan.memory.is_empty() || plan.trials.contains(&0) || plan.burn_in >= plan.steps {
        return Err(Error::invalid(
            "a plan without networks, trials or steps to be judged",
            "give at least one of each, and trials longer than their beginning",
        ));
    }
    let [learn, test] = plan.trials;
    let data: Vec<[Trials; 2]> = (0..plan.seeds)
        .map(|seed| {
            let all = trials(learn + test, plan.steps, plan.draw(seed));
            [all.rows(&(0..learn).collect::<Vec<_>>()), all.rows(&(learn..learn + test).collect::<Vec<_>>())]
        })
        .collect();
    let (arms, tasks) = (plan.arms()?, plan.tasks()?);
    let seeds = 0..plan.seeds;
    let imitate = arms.iter().flat_map(|arm| seeds.clone().map(move |seed| Job::Imitate(arm, seed)));
    let remember = tasks.iter().flat_map(|task| seeds.clone().map(move |seed| Job::Remember(task, seed)));
    let jobs: Vec<Job> = imitate.chain(remember).collect();
    let work = |job: &Job| match job {
        Job::Imitate(arm, seed) => plan.imitate(arm, &data[*seed], *seed),
        Job::Remember((task, gap, arm), seed) => plan.remember(*task, *gap, arm, *seed),
    };
    let results = side_by_side(&jobs, work, &|_| done())?;
    let (mut scores, mut shares, mut lesions) = (Vec::new(), Vec::new(), Vec::new());
    for result in results {
        match result {
            Done::Imitated(score, lesion) => {
                scores.push(score);
                lesions.extend(lesion);
            }
            Done::Remembered(share) => shares.push(share),
        }
    }
    let imitated = arms.iter().zip(scores.chunks(plan.seeds)).map(|(arm, scores)| {
        Ok(Imitated { arm: arm.clone(), count: arm.architecture.count()?, scores: scores.to_vec() })
    });
    let remembered = tasks.iter().zip(shares.chunks(plan.seeds)).map(|((task, gap, arm), accuracy)| {
        let (arm, count) = (arm.clone(), arm.architecture.count()?);
        Ok(Remembered { task: *task, gap: *gap, arm, count, accuracy: accuracy.to_vec() })
    });
    let spikes = data.iter().flat_map(|[_, test]| &test.spikes);
    let rate = 1000.0 * spikes.clone().filter(|s| **s).count() as f64 / spikes.count() as f64;
    Ok(Found {
        plan: plan.clone(),
        rate,
        imitated: imitated.collect::<Result<_>>()?,
        remembered: remembered.collect::<Result<_>>()?,
        lesions,
    })
}

impl Plan {
    /// Seed of everything that is drawn for a seed of the plan.
    fn draw(&self, seed: usize) -> u64 {
        self.seed.wrapping_mul(1000).wrapping_add(seed as u64)
    }

    fn imitate(&self, arm: &Arm, [learn, test]: &[Trials; 2], seed: usize) -> Result<Done> {
        let (training, seed) = (&self.training, self.draw(seed));
        let course = Imitation { trials: learn, burn_in: self.burn_in, batch: training.batch, edits: Vec::new(), seed };
        let weights = train(&arm.architecture, &course, training, seed)?;
        let net = arm.architecture.network(&weights)?;
        let score = score(net.as_ref(), test, self.burn_in, &[])?;
        let largest = arm.over == Over::Memory && self.memory.last().is_some_and(|d| arm.name == Plan::named(*d));
        let lesions = match (&arm.architecture, largest) {
            (Architecture::Elm(config), true) => Some(Lesions::of(config, net.as_ref(), test, self.burn_in, score)?),
            _ => None,
        };
        Ok(Done::Imitated(score, lesions))
    }

    fn remember(&self, task: Recall, gap: usize, arm: &Arm, seed: usize) -> Result<Done> {
        let (training, seed) = (&self.recall_training, self.draw(seed));
        let course = Remembering { task, gap, batch: training.batch, seed };
        let weights = train(&arm.architecture, &course, training, seed)?;
        let net = arm.architecture.network(&weights)?;
        // Training draws 1, 2, ...: these sequences are new.
        let (series, answers) = sequences(task, gap, self.recall_tests, seed, 0);
        let logits = outputs(net.as_ref(), &Input::Series(series), &[], Output::Last)?;
        let right = logits.chunks_exact(task.answers()).zip(&answers).filter(|(row, answer)| {
            let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            best == Some(**answer as usize)
        });
        Ok(Done::Remembered(right.count() as f64 / answers.len() as f64))
    }
}

/// How well a network imitates the neuron of these trials after their beginning, with edits at work.
///
/// # Errors
/// Edits that do not fit the network; trials without a spike.
pub fn score(net: &dyn Network, test: &Trials, burn_in: usize, edits: &[Edit]) -> Result<Score> {
    let out = outputs(net, &Input::Series(test.input.clone()), edits, Output::Whole)?;
    let asked = (0..test.spikes.len()).filter(|at| at % test.input.steps >= burn_in);
    let (mut logits, mut spikes, mut told, mut soma) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for at in asked {
        logits.push(f64::from(out[2 * at]));
        spikes.push(test.spikes[at]);
        told.push(f64::from(out[2 * at + 1]));
        soma.push(f64::from(test.soma[at]));
    }
    let auc = auroc(&logits, &spikes)
        .ok_or_else(|| Error::invalid("the imitated neuron never spikes in the test trials", "give more trials"))?;
    let mean = super::measure::mean(&soma);
    let error: f64 = soma.iter().zip(&told).map(|(a, b)| (a - b).powi(2)).sum();
    let variance: f64 = soma.iter().map(|a| (a - mean).powi(2)).sum();
    Ok(Score { auc, soma: 1.0 - error / variance })
}
