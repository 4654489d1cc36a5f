//! Training under a condition, and what is measured on the way.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::clamps::Condition;
use super::course::{FewShotCourse, TokenCourse, batch, repeated};
use crate::analysis::registry;
use crate::data::fewshot::{Draw, Episode, FewShot, FewShotConfig, repeated_rows};
use crate::hook::{Pass, Record, Run};
use crate::models::execute::observe;
use crate::models::{AttentionOnly, AttentionOnlyConfig, Job, execute};
use crate::report::number;
use crate::train::{
    AdamW, AdamWOptions, Course, Group, Point, Schedule, Trainer, TrainerOptions, side_by_side as abreast,
};
use crate::{Error, Result};

/// Sequences that measurements on the way are taken on.
const LOOKED_AT: usize = 512;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Adam's learning rate, constant.
    pub rate: f64,
    /// Updates, at most.
    pub updates: u64,
    /// The loss of a window, in nats, at which training ends before that; `None` to go on in any case.
    pub stop: Option<f64>,
    /// Sequences of an update.
    pub batch: usize,
    /// Updates over which the loss of a point of the curve is a mean.
    pub window: u64,
    /// Points of the curve from one look at the network to the next; 0 for none.
    pub look: u64,
    /// Seed of the weights.
    pub seed: u64,
}

/// What is trained: a task under a condition.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The task's sizes.
    pub data: FewShotConfig,
    /// Whether exemplars are handwritten characters rather than Gaussian.
    pub pictures: bool,
    /// What is clamped.
    pub condition: Condition,
    /// The head of layer 1 that is left where one is.
    pub live: usize,
}

/// The loss over training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// (sequences seen, mean loss of the window that ends there, nats).
    #[serde(with = "number::nested")]
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// Sequences after which the loss was `bar` or less for the first time.
    pub fn reached(&self, bar: f64) -> Option<f64> {
        self.points.iter().find(|(_, loss)| *loss <= bar).map(|(at, _)| *at)
    }

    /// The last point's loss.
    pub fn last(&self) -> f64 {
        self.points.last().map_or(f64::NAN, |p| p.1)
    }

    /// The loss after a share of the way to `bar`: mean over a tenth of the way around it.
    pub fn on_the_way(&self, share: f64, bar: f64) -> Option<f64> {
        let way = &self.points[..=self.points.iter().position(|(_, loss)| *loss <= bar)?];
        let (n, around) = (way.len() as f64, 0.05 * way.len() as f64);
        let first = (share * n - around).max(0.0) as usize;
        let end = ((share * n + around).ceil() as usize).clamp(first + 1, way.len());
        let first = first.min(end - 1);
        Some(way[first..end].iter().map(|p| p.1).sum::<f64>() / (end - first) as f64)
    }

    /// How much faster the loss falls over the last third of the way to `bar` than over the middle one: above 1 where it
    /// waits and then drops, below 1 where learning only ever slows down.
    ///
    /// The time spent near ln 2 does not tell them apart: every way down from ln 5 leads past it.
    pub fn late_speed(&self, bar: f64) -> Option<f64> {
        let at = |share: f64| self.on_the_way(share, bar);
        let (a, b, c) = (at(1.0 / 3.0)?, at(2.0 / 3.0)?, at(1.0)?);
        Some((b - c) / (a - b).max(1e-3))
    }

    /// The longest run of sequences over which the loss stayed within `low..=high`.
    pub fn stay(&self, low: f64, high: f64) -> f64 {
        let step = self.points.first().map_or(0.0, |p| p.0);
        let (mut best, mut now) = (0usize, 0usize);
        for (_, loss) in &self.points {
            now = if (low..=high).contains(loss) { now + 1 } else { 0 };
            best = best.max(now);
        }
        best as f64 * step
    }
}

/// A look at the network on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Sequences seen.
    pub sequences: f64,
    /// Induction strength of every head of layer 1.
    #[serde(with = "number::nested")]
    pub strengths: Vec<f64>,
    /// Attention of every head of layer 0 to the token before, mean over the label positions.
    #[serde(with = "number::nested")]
    pub previous: Vec<f64>,
    /// The loss with every head of layer 1 attending to the right label: how far part C is.
    #[serde(with = "number")]
    pub matched: f64,
    /// The loss as it is on the same sequences.
    #[serde(with = "number")]
    pub loss: f64,
}

/// A trained network and how it came about.
#[derive(Clone, Debug)]
pub struct Formed {
    /// What was trained.
    pub task: Task,
    /// Its loss.
    pub curve: Curve,
    /// Looks at it on the way.
    pub moments: Vec<Moment>,
    /// Its weights.
    pub weights: BTreeMap<String, Tensor>,
    /// The data.
    pub data: FewShot,
}

impl Formed {
    /// The network.
    ///
    /// # Errors
    /// None, for it was built from these weights before.
    pub fn network(&self) -> Result<AttentionOnly> {
        let config = AttentionOnlyConfig::paper(self.task.data.labels);
        AttentionOnly::new(config, Some(self.data.exemplars().clone()), &self.weights)
    }
}

/// Collects the curve.
struct Watch<'a> {
    net: &'a AttentionOnly,
    data: &'a FewShot,
    options: Options,
    sum: f64,
    curve: Curve,
    moments: Vec<Moment>,
}

impl Watch<'_> {
    fn done(&self) -> bool {
        self.options.stop.zip(self.curve.points.last()).is_some_and(|(stop, (_, loss))| *loss <= stop)
    }

    fn updated(&mut self, trainer: &Trainer, point: &Point) -> Result<()> {
        self.sum += point.losses.values().sum::<f64>();
        let done = trainer.step();
        if !done.is_multiple_of(self.options.window) {
            return Ok(());
        }
        let sequences = (done * self.options.batch as u64) as f64;
        self.curve.points.push((sequences, self.sum / self.options.window as f64));
        self.sum = 0.0;
        let looks = self.options.look > 0 && (self.curve.points.len() as u64).is_multiple_of(self.options.look);
        if looks {
            let episodes = self.data.batch(Draw::Train, u64::MAX, LOOKED_AT);
            let heads = self.net.config().n_heads;
            let as_it_is = evaluate(self.net, &Condition::Free.run(heads, 0)?, &episodes)?;
            let matched = evaluate(self.net, &Condition::Matched.run(heads, 0)?, &episodes)?;
            let (strengths, previous) = strengths(self.net, &episodes)?;
            self.moments.push(Moment { sequences, strengths, previous, matched: matched.loss, loss: as_it_is.loss });
        }
        Ok(())
    }
}

/// Trains a network on a task, with the exemplars of `data`.
///
/// # Errors
/// A loss that is no finite number.
pub fn form(task: &Task, data: FewShot, options: &Options) -> Result<Formed> {
    let config = AttentionOnlyConfig::paper(task.data.labels);
    let variables = AttentionOnly::variables(&config, Some(task.data.width), options.seed)?;
    let tensors = |variables: &BTreeMap<String, candle_core::Var>| -> BTreeMap<String, Tensor> {
        variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect()
    };
    let net = AttentionOnly::new(config, Some(data.exemplars().clone()), &tensors(&variables))?;
    let run = task.condition.run(config.n_heads, task.live)?;
    let optimiser = AdamW::new(&variables, &Group::usual(&variables, 0.0), AdamWOptions::default())?;
    let schedule = Schedule::Constant { rate: options.rate, warm_up: 0 };
    let mut trainer = Trainer::new(&net, optimiser, TrainerOptions { schedule, clip: None }, registry())?;
    let course = FewShotCourse { task: &data, run, batch: options.batch };
    let mut watch =
        Watch { net: &net, data: &data, options: *options, sum: 0.0, curve: Curve::default(), moments: Vec::new() };
    while trainer.step() < options.updates && !watch.done() {
        let point = trainer.update(&course)?;
        watch.updated(&trainer, &point)?;
    }
    let (curve, moments) = (watch.curve, watch.moments);
    let weights = variables.iter().map(|(name, v)| Ok((name.clone(), v.as_detached_tensor().copy()?)));
    let weights = weights.collect::<Result<_>>()?;
    Ok(Formed { task: *task, curve, moments, weights, data })
}

/// Trains several networks, as many at a time as there are processors; results in the order of `tasks`. `data` makes the
/// exemplars of a task, `done` hears how many trainings are over.
///
/// # Errors
/// The first error of any of them.
pub fn side_by_side(
    tasks: &[(Task, Options)],
    data: &(dyn Fn(&Task) -> Result<FewShot> + Sync),
    done: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Formed>> {
    abreast(tasks, |(task, options)| form(task, data(task)?, options), done)
}

/// How well a network answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean cross-entropy, nats.
    #[serde(with = "number")]
    pub loss: f64,
    /// Share of answers whose label is the likeliest of all.
    #[serde(with = "number")]
    pub accuracy: f64,
    /// Share of answers whose label is the likelier of the two in context.
    #[serde(with = "number")]
    pub in_context: f64,
}

/// Evaluates a network under the passes of a condition, or any other on one input.
///
/// # Errors
/// Passes that the network refuses, or no sequence.
pub fn evaluate(net: &AttentionOnly, run: &Run, episodes: &[Episode]) -> Result<Evaluation> {
    let (input, _) = batch(episodes)?;
    let registry = registry();
    let job = Job { run, inputs: &[input], stored: BTreeMap::new(), registry: &registry };
    let outcome = execute(net, job)?;
    let logits = outcome.passes.last().map(|p| p.output.clone());
    let logits = logits.ok_or_else(|| Error::invalid("no pass was given", "give one whose output is read"))?;
    let last = logits.narrow(1, logits.dim(1)? - 1, 1)?.squeeze(1)?; // [episodes, labels]
    let rows: Vec<Vec<f64>> = last.to_dtype(DType::F64)?.to_vec2()?;
    let (mut loss, mut right, mut of_two) = (0.0, 0.0, 0.0);
    for (episode, row) in episodes.iter().zip(&rows) {
        let own = row[episode.answer as usize];
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        loss += top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln() - own;
        right += f64::from(u8::from(own >= top));
        let other = episode.ids[4 - episode.position]; // labels stand at 1 and 3
        of_two += f64::from(u8::from(own > row[other as usize]));
    }
    let n = episodes.len() as f64;
    Ok(Evaluation { loss: loss / n, accuracy: right / n, in_context: of_two / n })
}

/// Induction strength of every head of layer 1 (attention of the query to the right label minus that to the other), and
/// attention of every head of layer 0 to the token before, from the label positions.
///
/// # Errors
/// None but Candle's own.
pub fn strengths(net: &AttentionOnly, episodes: &[Episode]) -> Result<(Vec<f64>, Vec<f64>)> {
    let (input, _) = batch(episodes)?;
    let sites = ["blocks.1.attn.hook_pattern", "blocks.0.attn.hook_pattern"];
    let records = sites.iter().map(|s| Ok(Record::whole(s.parse()?))).collect::<Result<_>>()?;
    let seen = observe(net, &input, &Pass { records, ..Pass::default() }, &registry())?.records;
    let map = |site: &str| -> Result<(Vec<f32>, [usize; 2])> {
        let x = seen.get(site)?;
        let (_, heads, t, _) = x.dims4()?;
        Ok((x.flatten_all()?.to_vec1()?, [heads, t]))
    };
    let (upper, [heads, t]) = map(sites[0])?;
    let (lower, _) = map(sites[1])?;
    let at = |row: usize, head: usize, query: usize, key: usize| ((row * heads + head) * t + query) * t + key;
    let n = episodes.len() as f64;
    let (mut strengths, mut previous) = (vec![0.0; heads], vec![0.0; heads]);
    for (row, episode) in episodes.iter().enumerate() {
        for head in 0..heads {
            let own = upper[at(row, head, t - 1, episode.position)];
            let other = upper[at(row, head, t - 1, 4 - episode.position)];
            strengths[head] += f64::from(own - other) / n;
            previous[head] += f64::from(lower[at(row, head, 1, 0)] + lower[at(row, head, 3, 2)]) / (2.0 * n);
        }
    }
    Ok((strengths, previous))
}

/// Accuracy with one head of layer 1 alone, head by head; and the loss with the strongest one, two, ... alone.
///
/// # Errors
/// None but Candle's own.
pub fn accuracy_by_head(net: &AttentionOnly, episodes: &[Episode]) -> Result<(Vec<f64>, Vec<f64>)> {
    let heads = net.config().n_heads;
    let (strength, _) = strengths(net, episodes)?;
    let alone = |kept: &[usize]| -> Result<Evaluation> {
        let mut pass = Pass { name: "left".into(), ..Pass::default() };
        for head in (0..heads).filter(|h| !kept.contains(h)) {
            let site = format!("blocks.1.attn.hook_z[head={head}]");
            pass.edits.push(crate::hook::Edit::new(site.parse()?, "zero"));
        }
        evaluate(net, &Run { passes: vec![pass] }, episodes)
    };
    let mut order: Vec<usize> = (0..heads).collect();
    order.sort_by(|a, b| strength[*b].total_cmp(&strength[*a]));
    let one = (0..heads).map(|h| Ok(alone(&[h])?.accuracy)).collect::<Result<_>>()?;
    let added = (1..=heads).map(|n| Ok(alone(&order[..n])?.loss)).collect::<Result<_>>()?;
    Ok((one, added))
}

/// The token form: trains a network of `layers` layers on repeated random rows, and scores it on longer ones.
///
/// Gives the curve, and (induction score of the best head of the last layer, loss) on halves of `longer` tokens.
///
/// # Errors
/// As [`form`].
pub fn tokens(course: &TokenCourse, longer: usize, options: &Options) -> Result<(Curve, f64, f64)> {
    let config = AttentionOnlyConfig::paper(course.vocab);
    let variables = AttentionOnly::variables(&config, None, options.seed)?;
    let weights: BTreeMap<String, Tensor> =
        variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect();
    let net = AttentionOnly::new(config, None, &weights)?;
    let optimiser = AdamW::new(&variables, &Group::usual(&variables, 0.0), AdamWOptions::default())?;
    let schedule = Schedule::Constant { rate: options.rate, warm_up: 0 };
    let mut trainer = Trainer::new(&net, optimiser, TrainerOptions { schedule, clip: None }, registry())?;
    let (mut curve, mut sum) = (Curve::default(), 0.0);
    for step in 0..options.updates {
        sum += trainer.update(course as &dyn Course)?.losses.values().sum::<f64>();
        if (step + 1).is_multiple_of(options.window) {
            curve.points.push((((step + 1) * options.batch as u64) as f64, sum / options.window as f64));
            sum = 0.0;
        }
    }
    let rows = repeated_rows(course.vocab, (longer, longer), course.seed, u64::MAX, 32)?;
    let (input, targets) = repeated(&rows)?;
    let site = format!("blocks.{}.attn.hook_pattern", config.layers - 1);
    let pass = Pass { records: vec![Record::whole(site.parse()?)], ..Pass::default() };
    let seen = observe(&net, &input, &pass, &registry())?;
    let nats = crate::train::next_token_loss(&seen.output, &targets, (targets.tokens.len() as f64).recip())?;
    let pattern = seen.records.get(&site)?;
    let (b, heads, t, _) = pattern.dims4()?;
    let weights: Vec<f32> = pattern.flatten_all()?.to_vec1()?;
    let score = |head: usize| {
        let queries = longer + 1..t; // BOS, then the first half
        let all = (0..b).flat_map(|row| queries.clone().map(move |i| (row, i)));
        let sum: f64 =
            all.map(|(row, i)| f64::from(weights[((row * heads + head) * t + i) * t + i - longer + 1])).sum();
        sum / (b * longer) as f64
    };
    let best = (0..heads).map(score).fold(0.0, f64::max);
    Ok((curve, best, f64::from(nats.to_dtype(DType::F32)?.to_scalar::<f32>()?)))
}
