//! Training under a curriculum, with an edit at work or none.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::task::{Task, Trials, length};
use crate::Result;
use crate::analysis::registry;
use crate::hook::random::{self, Stream};
use crate::hook::{Edit, Output, Pass, Plan as Compiled, Record, Records, Run, Tap, Values};
use crate::models::timescale_rnn::CLASSES;
use crate::models::{Input, Leak, Network, State, TimescaleConfig, TimescaleRnn};
use crate::nn::cross_entropy;
use crate::train::{Course, Lesson, Schedule, Sgd, SgdOptions, Trainer, TrainerOptions};

/// Share of right answers, on average and at the largest N, with which a level is passed.
const PASSED: f64 = 0.98;
/// N of the first head.
pub(super) const FIRST: usize = 2;

/// In which order the N come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Curriculum {
    /// One N at a time, all with the same head.
    Single,
    /// Every N up to the current one, each with a head of its own.
    Cumulative,
    /// So many N in a row; each level drops the smallest ones.
    Sliding {
        /// How many N are learned at a time.
        heads: usize,
        /// How many are dropped, and added, from level to level.
        forgotten: usize,
    },
    /// The last N from the start, with one head.
    Direct,
}

/// What is learned at a time: heads, each with its N, ascending.
pub type Level = Vec<(usize, usize)>;

impl Curriculum {
    /// Its name in text.
    pub fn name(self) -> String {
        match self {
            Self::Single => "single head".to_string(),
            Self::Cumulative => "multi-head".to_string(),
            Self::Sliding { heads, forgotten } => format!("sliding ({heads}, {forgotten})"),
            Self::Direct => "no curriculum".to_string(),
        }
    }

    /// What comes first on the way to the N `until`.
    pub fn first(self, until: usize) -> Level {
        match self {
            Self::Single | Self::Cumulative => vec![(0, FIRST)],
            Self::Sliding { heads, .. } => (0..heads).map(|head| (head, FIRST + head)).collect(),
            Self::Direct => vec![(0, until)],
        }
    }

    /// What comes after a level that was passed.
    pub fn next(self, level: &Level) -> Level {
        let largest = largest(level);
        let own = |n: usize| (n - FIRST, n);
        match self {
            Self::Single | Self::Direct => vec![(0, largest + 1)],
            Self::Cumulative => level.iter().copied().chain([own(largest + 1)]).collect(),
            Self::Sliding { forgotten, .. } => {
                let kept = level.iter().copied().skip(forgotten);
                kept.chain((1..=forgotten).map(|k| own(largest + k))).collect()
            }
        }
    }

    /// The head that answers, or once answered, for N.
    pub fn head(self, n: usize) -> usize {
        match self {
            Self::Single | Self::Direct => 0,
            Self::Cumulative | Self::Sliding { .. } => n - FIRST,
        }
    }

    /// Heads that a network needs on the way to `until`.
    pub fn heads(self, until: usize) -> usize {
        match self {
            Self::Single | Self::Direct => 1,
            Self::Cumulative => until + 1 - FIRST,
            Self::Sliding { heads, forgotten } => heads.max(until + forgotten + 1 - FIRST),
        }
    }
}

/// The largest N of a level.
pub fn largest(level: &Level) -> usize {
    level.iter().map(|(_, n)| *n).max().unwrap_or(FIRST)
}

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Units.
    pub neurons: usize,
    /// Sequences of an update, and of a batch of the test.
    pub batch: usize,
    /// Updates of an epoch.
    pub updates: u64,
    /// Batches of the test that follows it.
    pub tests: usize,
    /// Epochs, at most.
    pub epochs: usize,
    /// The N with which training ends.
    pub until: usize,
    /// Learning rate of the descent (momentum 0.1, Nesterov's; gradients of norm 2 at most).
    pub rate: f64,
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// The task.
    pub task: Task,
    /// In which order the N come.
    pub curriculum: Curriculum,
    /// At which value `rnn.hook_tau` is held, in training and in tests; `None` where time constants are trained.
    pub held: Option<f64>,
    /// Seed of weights and sequences.
    pub seed: u64,
}

/// What an epoch ended with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// The largest N.
    pub n: usize,
    /// Accuracy of each head that was learning, the smallest N first.
    pub accuracy: Vec<f64>,
    /// Mean loss over its updates, nats, summed over heads.
    pub loss: f64,
}

/// A network at the end of a level.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Epochs until then.
    pub epoch: usize,
    /// What it was learning.
    pub level: Level,
    /// Its weights.
    pub weights: BTreeMap<String, Tensor>,
}

/// A training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// What was trained.
    pub arm: Arm,
    /// Epoch by epoch.
    pub epochs: Vec<Epoch>,
    /// The network at every level that it passed.
    pub passed: Vec<Snapshot>,
}

impl Arm {
    /// The configuration of its network.
    pub fn config(&self, options: &Options) -> TimescaleConfig {
        let heads = self.curriculum.heads(options.until);
        TimescaleConfig { neurons: options.neurons, heads, leak: Leak::Around, seed: self.seed }
    }

    /// The edits that act in training and in every measurement.
    pub fn edits(&self) -> Result<Vec<Edit>> {
        self.held.map(hold).into_iter().collect()
    }

    fn stream(&self, what: &str, step: u64) -> Stream {
        Stream::new(self.seed, &[random::name(what), random::name(self.task.name()), step])
    }
}

/// Holds all time constants at a value.
pub fn hold(tau: f64) -> Result<Edit> {
    Ok(Edit::new("rnn.hook_tau".parse()?, "set").with("value", json!(tau)))
}

/// Makes runs begin with the stored tensor `begin`.
fn begin() -> Result<Edit> {
    Ok(Edit::new("rnn.hook_prev@t=0".parse()?, "replace").with("value", json!({ "tensor": "begin" })))
}

fn begins(trials: &Trials) -> Result<BTreeMap<String, Tensor>> {
    let rows = trials.series.rows;
    let shape = (rows, trials.begin.len() / rows.max(1));
    Ok(BTreeMap::from([("begin".to_string(), Tensor::from_slice(&trials.begin, shape, &Device::Cpu)?)]))
}

/// Runs trials with edits at work; gives the output and what was recorded.
///
/// # Errors
/// Edits and records that do not fit the network.
pub fn run(
    net: &TimescaleRnn,
    trials: &Trials,
    edits: &[Edit],
    records: &[String],
    output: Output,
) -> Result<(Tensor, Records)> {
    let records = records.iter().map(|site| Ok(Record::whole(site.parse()?))).collect::<Result<_>>()?;
    let edits = [begin()?].into_iter().chain(edits.iter().cloned()).collect();
    let pass = Pass { records, edits, output, ..Pass::default() };
    let values = Values { stored: begins(trials)?, ..Values::default() };
    let mut plan = Compiled::compile(net.sites(), &pass, &registry(), values, &[])?;
    let given = net.forward(&Input::Series(trials.series.clone()), &mut State::none(), &mut Tap::new(&mut plan))?;
    Ok((given, plan.records(net.sites())?))
}

/// The accuracy of heads on their N, over batches of sequences whose lengths are drawn anew for each batch.
///
/// # Errors
/// As [`run`].
pub fn accuracy(
    net: &TimescaleRnn,
    task: Task,
    level: &Level,
    edits: &[Edit],
    (batches, rows): (usize, usize),
    seed: u64,
) -> Result<Vec<f64>> {
    let mut right = vec![0usize; level.len()];
    for batch in 0..batches {
        let mut stream = Stream::new(seed, &[random::name("test"), batch as u64]);
        let steps = length(largest(level), &mut stream);
        let trials = task.trials(rows, steps, net.config().neurons, &mut stream);
        let (logits, _) = run(net, &trials, edits, &[], Output::Last)?;
        let logits: Vec<Vec<f32>> = logits.squeeze(1)?.to_vec2()?;
        for (row, logits) in logits.iter().enumerate() {
            let seen = &trials.series.values[row * steps..][..steps];
            for (right, (head, n)) in right.iter_mut().zip(level) {
                *right += usize::from(says(&logits[CLASSES * head..]) == task.label(seen, *n));
            }
        }
    }
    Ok(right.into_iter().map(|right| right as f64 / (batches * rows) as f64).collect())
}

/// The class that a head's logits say.
pub fn says(logits: &[f32]) -> u32 {
    u32::from(logits[1] > logits[0])
}

/// The lessons of an arm at a level.
struct Lessons<'a> {
    arm: &'a Arm,
    options: &'a Options,
    level: &'a Level,
    run: Run,
}

impl Course for Lessons<'_> {
    fn lessons(&self, step: u64) -> Result<Vec<Lesson>> {
        let (task, rows) = (self.arm.task, self.options.batch);
        let mut stream = self.arm.stream("train", step);
        let steps = length(largest(self.level), &mut stream);
        let trials = task.trials(rows, steps, self.options.neurons, &mut stream);
        let labels = |n: usize| trials.series.values.chunks_exact(steps).map(|seen| task.label(seen, n)).collect();
        let aims: Vec<(usize, Vec<u32>)> = self.level.iter().map(|(head, n)| (*head, labels(*n))).collect();
        let stored = begins(&trials)?;
        // The sum over heads: a mean would slow every one of them down as others join.
        let loss = move |outputs: &[Tensor]| {
            let logits = outputs[0].squeeze(1)?; // [rows, 2 heads]
            let one = |(head, labels): &(usize, Vec<u32>)| {
                cross_entropy(&logits.narrow(1, CLASSES * head, CLASSES)?.contiguous()?, labels)
            };
            let losses = aims.iter().map(one).collect::<Result<Vec<_>>>()?;
            Ok(Tensor::stack(&losses, 0)?.sum_all()?.affine((rows as f64).recip(), 0.0)?)
        };
        Ok(vec![Lesson {
            kind: "loss".to_string(),
            run: self.run.clone(),
            inputs: vec![Input::Series(trials.series)],
            stored,
            loss: Box::new(loss),
            share: 1.0,
        }])
    }
}

/// Trains an arm until it has passed a level that holds N = `until`, or the epochs are over.
///
/// # Errors
/// Numbers that are no longer finite.
pub fn train(arm: &Arm, options: &Options) -> Result<Trained> {
    let config = arm.config(options);
    let variables = TimescaleRnn::variables(&config)?;
    let weights: BTreeMap<String, Tensor> =
        variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect();
    let net = TimescaleRnn::new(config, &weights)?;
    let sgd = Sgd::new(&variables, SgdOptions { momentum: 0.1, nesterov: true })?;
    let schedule = Schedule::Constant { rate: options.rate, warm_up: 0 };
    let mut trainer = Trainer::new(&net, sgd, TrainerOptions { schedule, clip: Some(2.0) }, registry())?;
    let edits = arm.edits()?;
    let pass = Pass {
        name: "learn".to_string(),
        edits: [begin()?].into_iter().chain(edits.clone()).collect(),
        output: Output::Last,
        ..Pass::default()
    };
    let run = Run { passes: vec![pass] };
    let (mut level, mut epochs, mut passed) = (arm.curriculum.first(options.until), Vec::new(), Vec::new());
    while epochs.len() < options.epochs {
        let course = Lessons { arm, options, level: &level, run: run.clone() };
        let mut loss = 0.0;
        for _ in 0..options.updates {
            loss += trainer.update(&course)?.losses.values().sum::<f64>() / options.updates as f64;
        }
        let seed = random::key(arm.seed, &[random::name("epoch"), epochs.len() as u64]);
        let accuracy = accuracy(&net, arm.task, &level, &edits, (options.tests, options.batch), seed)?;
        let n = largest(&level);
        let mean = accuracy.iter().sum::<f64>() / accuracy.len() as f64;
        let good = mean > PASSED && accuracy.last().is_some_and(|last| *last > PASSED);
        epochs.push(Epoch { n, accuracy, loss });
        if !good {
            continue;
        }
        let copy = |(name, v): (&String, &candle_core::Var)| Ok((name.clone(), v.as_detached_tensor().copy()?));
        let weights = variables.iter().map(copy).collect::<Result<_>>()?;
        passed.push(Snapshot { epoch: epochs.len(), level: level.clone(), weights });
        if n >= options.until {
            break;
        }
        level = arm.curriculum.next(&level);
    }
    Ok(Trained { arm: *arm, epochs, passed })
}
