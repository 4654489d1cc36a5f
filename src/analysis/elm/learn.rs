//! Networks of either kind, in training on either kind of task.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::super::registry;
use crate::Result;
use crate::data::dendrites::Trials;
use crate::data::events::{Recall, sequences};
use crate::hook::random::{self, Stream};
use crate::hook::{Edit, Output, Pass, Plan, Run, Tap, Values};
use crate::models::{Elm, ElmConfig, Input, LstmConfig, LstmNetwork, Network, State};
use crate::nn::{Activation, Form, cross_entropy};
use crate::train::{AdamW, AdamWOptions, Course, Group, Lesson, Schedule, Trainer, TrainerOptions};

/// A network with its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// The neuron.
    Elm(ElmConfig),
    /// What it is compared with.
    Lstm(LstmConfig),
}

impl Architecture {
    /// How many numbers are learnt.
    ///
    /// # Errors
    /// Sizes that no network has.
    pub fn count(&self) -> Result<usize> {
        match self {
            Self::Elm(config) => config.count(),
            Self::Lstm(config) => Ok(config.count()),
        }
    }

    /// The network of these weights.
    ///
    /// # Errors
    /// Weights of another network.
    pub fn network(&self, weights: &BTreeMap<String, Tensor>) -> Result<Box<dyn Network + Sync>> {
        Ok(match self {
            Self::Elm(config) => Box::new(Elm::new(*config, weights)?),
            Self::Lstm(config) => Box::new(LstmNetwork::new(*config, weights)?),
        })
    }

    fn variables(&self, seed: u64) -> Result<BTreeMap<String, Var>> {
        match self {
            Self::Elm(config) => config.variables(DType::F32, seed),
            Self::Lstm(config) => config.variables(seed),
        }
    }

    fn learnt(&self, variables: &BTreeMap<String, Var>) -> Result<Vec<String>> {
        match self {
            Self::Elm(config) => config.learnt(),
            Self::Lstm(_) => Ok(variables.keys().cloned().collect()),
        }
    }
}

/// How a network is trained: Adam under a cosine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Updates.
    pub updates: u64,
    /// Rows of an update.
    pub batch: usize,
    /// The highest learning rate.
    pub rate: f64,
}

/// The weights of the network after training on `course`, from the draw of `seed`.
///
/// # Errors
/// A loss that is no finite number.
pub fn train(
    architecture: &Architecture,
    course: &dyn Course,
    training: &Training,
    seed: u64,
) -> Result<BTreeMap<String, Tensor>> {
    let variables = architecture.variables(seed)?;
    let tensors = |variables: &BTreeMap<String, Var>| -> BTreeMap<String, Tensor> {
        variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect()
    };
    let net = architecture.network(&tensors(&variables))?;
    let groups = [Group { members: architecture.learnt(&variables)?, weight_decay: 0.0, rate: 1.0 }];
    let optimiser = AdamW::new(&variables, &groups, AdamWOptions::default())?;
    let Training { updates, rate, .. } = *training;
    let schedule = Schedule::Cosine { rate, warm_up: updates / 50, updates, floor: 0.0 };
    let options = TrainerOptions { schedule, clip: Some(1.0) };
    let mut trainer = Trainer::new(net.as_ref(), optimiser, options, registry())?;
    while trainer.step() < updates {
        trainer.update(course)?;
    }
    variables.iter().map(|(name, v)| Ok((name.clone(), v.as_detached_tensor().copy()?))).collect()
}

fn lesson(
    input: Input,
    edits: Vec<Edit>,
    output: Output,
    loss: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Lesson {
    Lesson {
        kind: "loss".into(),
        run: Run { passes: vec![Pass { name: "learn".into(), edits, output, ..Pass::default() }] },
        inputs: vec![input],
        stored: BTreeMap::new(),
        loss: Box::new(move |outputs| loss(&outputs[0])),
        share: 1.0,
    }
}

/// A neuron's spikes and soma, with edits at work while they are learnt.
pub struct Imitation<'a> {
    /// What is imitated.
    pub trials: &'a Trials,
    /// First steps of a trial, of which nothing is asked.
    pub burn_in: usize,
    /// Trials of an update.
    pub batch: usize,
    /// Edits at work in every update.
    pub edits: Vec<Edit>,
    /// Which trials an update takes.
    pub seed: u64,
}

impl Course for Imitation<'_> {
    fn lessons(&self, step: u64) -> Result<Vec<Lesson>> {
        let mut draw = Stream::new(self.seed, &[random::name("batch"), step]);
        let rows: Vec<usize> = (0..self.batch).map(|_| draw.below(self.trials.input.rows)).collect();
        let taken = self.trials.rows(&rows);
        let (steps, from) = (taken.input.steps, self.burn_in);
        let shape = (self.batch, steps);
        let spikes: Vec<f32> = taken.spikes.iter().map(|s| f32::from(u8::from(*s))).collect();
        let cut = |x: Vec<f32>| -> Result<Tensor> {
            Ok(Tensor::from_vec(x, shape, &Device::Cpu)?.narrow(1, from, steps - from)?.contiguous()?)
        };
        let (spikes, soma) = (cut(spikes)?, cut(taken.soma)?); // [b, t] each
        let loss = move |out: &Tensor| -> Result<Tensor> {
            let out = out.narrow(1, from, steps - from)?; // [b, t, 2]
            let logit = out.narrow(2, 0, 1)?.squeeze(D::Minus1)?.contiguous()?;
            let voltage = out.narrow(2, 1, 1)?.squeeze(D::Minus1)?.contiguous()?;
            let surprise = (softplus(&logit)? - (&logit * &spikes)?)?.mean_all()?;
            let error = (voltage - &soma)?.sqr()?.mean_all()?;
            Ok(((surprise + error)? * 0.5)?)
        };
        Ok(vec![lesson(Input::Series(taken.input), self.edits.clone(), Output::Whole, loss)])
    }
}

/// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|).
fn softplus(x: &Tensor) -> Result<Tensor> {
    let positive = Activation::Relu.forward(x, Form::Differentiable)?;
    Ok((positive + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?)
}

/// A task over a gap; every update draws new sequences.
pub struct Remembering {
    /// What is asked.
    pub task: Recall,
    /// Steps of the gap.
    pub gap: usize,
    /// Sequences of an update.
    pub batch: usize,
    /// Seed of classes and sequences.
    pub seed: u64,
}

impl Course for Remembering {
    fn lessons(&self, step: u64) -> Result<Vec<Lesson>> {
        let (series, answers) = sequences(self.task, self.gap, self.batch, self.seed, step + 1);
        let scale = (self.batch as f64).recip();
        let loss = move |out: &Tensor| Ok((cross_entropy(&out.squeeze(1)?, &answers)? * scale)?);
        Ok(vec![lesson(Input::Series(series), Vec::new(), Output::Last, loss)])
    }
}

/// What a network gives with edits at work, `[rows, steps, outputs]` row by row.
///
/// # Errors
/// Edits that do not fit the network.
pub fn outputs(net: &dyn Network, input: &Input, edits: &[Edit], output: Output) -> Result<Vec<f32>> {
    let pass = Pass { edits: edits.to_vec(), output, ..Pass::default() };
    let mut plan = Plan::compile(net.sites(), &pass, &registry(), Values::default(), &[])?;
    Ok(net.forward(input, &mut State::none(), &mut Tap::new(&mut plan))?.flatten_all()?.to_vec1()?)
}
