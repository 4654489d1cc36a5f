//! Training the networks of the synthetic experiment: a classifier of scenes, the describer, the language model beside it.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::phrases::Set;
use super::words::Vocabulary;
use crate::data::ImageSet;
use crate::hook::random::Stream;
use crate::hook::{Pass, Registry, Run};
use crate::models::{Captioner, CaptionerConfig, Convolutional, ConvolutionalConfig, Input, Network, Side, Tokens};
use crate::report::Progress;
use crate::train::{
    AdamW, AdamWOptions, Course, Group, Lesson, Observer, Point, Schedule, Targets, Trainer, TrainerOptions,
    next_token_loss, variables,
};
use crate::{Error, Result};

/// Lessons of an update: they are learnt side by side.
const LESSONS: usize = 2;

/// How long to train, and how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    /// Updates.
    pub updates: u64,
    /// Rows of an update.
    pub batch: usize,
    /// The highest learning rate; it falls to 0 along half a cosine.
    pub rate: f64,
    /// Seed of weights and order.
    pub seed: u64,
}

/// Images with what each shows: 1 or 0 for every class.
struct ImageCourse<'a> {
    set: &'a ImageSet,
    /// `[image, class]`.
    targets: &'a [f32],
    classes: usize,
    batch: usize,
    seed: u64,
}

impl Course for ImageCourse<'_> {
    fn lessons(&self, step: u64) -> Result<Vec<Lesson>> {
        let at = drawn(self.set.len(), self.batch, self.seed, step);
        let scale = ((self.batch * self.classes) as f64).recip();
        let parts = at.chunks(self.batch.div_ceil(LESSONS));
        let lesson = |at: &[usize]| -> Result<Lesson> {
            let targets: Vec<f32> =
                at.iter().flat_map(|i| &self.targets[i * self.classes..][..self.classes]).copied().collect();
            let shape = (at.len(), self.classes);
            let loss = move |outputs: &[Tensor]| -> Result<Tensor> {
                let logits = last(outputs)?;
                let y = Tensor::from_slice(&targets, shape, logits.device())?;
                Ok((binary_cross_entropy(logits, &y)? * scale)?)
            };
            Ok(Lesson {
                kind: "loss".into(),
                run: plain(),
                inputs: vec![Input::Images(self.set.batch(at)?)],
                stored: BTreeMap::new(),
                loss: Box::new(loss),
                share: at.len() as f64 / self.batch as f64,
            })
        };
        parts.map(lesson).collect()
    }
}

/// The summed cross-entropy (nats) of independent yes-or-no questions: softplus(x) - x y.
pub fn binary_cross_entropy(logits: &Tensor, y: &Tensor) -> Result<Tensor> {
    // The slope of relu at 0 does not matter: softplus is relu(x) + ln(1 + exp(-|x|)).
    let softplus = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    Ok((softplus - (logits * y)?)?.sum_all()?)
}

/// Sets with their phrases.
struct PhraseCourse<'a> {
    /// (set, words from the first to the one that ends).
    rows: &'a [(usize, Vec<u32>)],
    batch: usize,
    seed: u64,
}

impl Course for PhraseCourse<'_> {
    fn lessons(&self, step: u64) -> Result<Vec<Lesson>> {
        let mut at = drawn(self.rows.len(), self.batch, self.seed, step);
        // Rows of like length need less filling up.
        at.sort_by_key(|i| self.rows[*i].1.len());
        let parts: Vec<&[usize]> = at.chunks(self.batch.div_ceil(LESSONS)).collect();
        let words = |at: &[usize]| -> usize { at.iter().map(|i| self.rows[*i].1.len() - 1).sum() };
        let all = words(&at) as f64;
        let lesson = |at: &&[usize]| -> Result<Lesson> {
            let width = at.iter().map(|i| self.rows[*i].1.len()).max().unwrap_or(0);
            let rows: Vec<Vec<u32>> = at.iter().map(|i| self.rows[*i].1.clone()).collect();
            let filled: Vec<Vec<u32>> = rows
                .iter()
                .map(|row| row.iter().copied().chain(std::iter::repeat(Vocabulary::END)).take(width).collect())
                .collect();
            let wanted: Vec<Vec<bool>> = rows.iter().map(|row| (0..width).map(|t| t < row.len()).collect()).collect();
            let targets = Targets::of_rows(&filled, &wanted);
            let mut tokens = Tokens::from_rows(&filled, Side::Right, Vocabulary::END)?;
            tokens.documents = at.iter().map(|i| self.rows[*i].0 as u64).collect();
            let loss =
                move |outputs: &[Tensor]| -> Result<Tensor> { next_token_loss(last(outputs)?, &targets, all.recip()) };
            Ok(Lesson {
                kind: "loss".into(),
                run: plain(),
                inputs: vec![Input::Tokens(tokens)],
                stored: BTreeMap::new(),
                loss: Box::new(loss),
                share: words(at) as f64 / all,
            })
        };
        parts.iter().map(lesson).collect()
    }
}

/// The items of an update: an order of all, drawn anew for every time through.
fn drawn(count: usize, batch: usize, seed: u64, step: u64) -> Vec<usize> {
    let first = step as usize * batch;
    let mut order: Vec<usize> = Vec::new();
    let mut round = usize::MAX;
    (first..first + batch)
        .map(|i| {
            if i / count != round {
                round = i / count;
                order = (0..count).collect();
                Stream::new(seed, &[7, round as u64]).shuffle(&mut order);
            }
            order[i % count]
        })
        .collect()
}

fn plain() -> Run {
    Run { passes: vec![Pass { name: "learn".into(), ..Pass::default() }] }
}

fn last(outputs: &[Tensor]) -> Result<&Tensor> {
    outputs.last().ok_or_else(|| Error::invalid("a lesson has no pass", "give it one"))
}

/// Shows how far a training is, and keeps its losses.
struct Watch<'a> {
    progress: &'a Progress,
    losses: Vec<f64>,
}

impl Observer for Watch<'_> {
    fn updated(&mut self, _: &Trainer, point: &Point) -> Result<()> {
        self.losses.push(point.losses.get("loss").copied().unwrap_or(f64::NAN));
        self.progress.advance(1);
        Ok(())
    }
}

/// Trains a network; returns the mean loss of the last twentieth of the updates.
fn train(
    net: &(dyn Network + Sync),
    course: &dyn Course,
    how: Training,
    decay: f64,
    progress: &Progress,
) -> Result<f64> {
    let by_name = variables(net)?;
    let optimiser = AdamW::new(&by_name, &Group::usual(&by_name, decay), AdamWOptions::default())?;
    let schedule = Schedule::Cosine { rate: how.rate, warm_up: how.updates / 50, updates: how.updates, floor: 0.0 };
    let options = TrainerOptions { schedule, clip: Some(1.0) };
    let mut trainer = Trainer::new(net, optimiser, options, Registry::elementary())?;
    progress.begin(how.updates);
    let mut watch = Watch { progress, losses: Vec::new() };
    trainer.train(course, how.updates, &mut watch)?;
    let end = &watch.losses[watch.losses.len() - (watch.losses.len() / 20).max(1)..];
    Ok(end.iter().sum::<f64>() / end.len() as f64)
}

/// A classifier trained to say which classes each image shows; `targets` are `[image, class]`, 1 or 0.
///
/// # Errors
/// Targets of another size than the images and classes.
pub fn classifier(
    config: &ConvolutionalConfig,
    set: &ImageSet,
    targets: &[f32],
    how: Training,
    progress: &Progress,
) -> Result<Convolutional> {
    let classes = config.classes.len();
    if targets.len() != set.len() * classes || set.is_empty() {
        return Err(Error::invalid(
            format!("{} targets for {} images of {classes} classes", targets.len(), set.len()),
            "give one for every image and class",
        ));
    }
    let net = Convolutional::new(config.clone(), &tensors(Convolutional::variables(config, how.seed)?))?;
    let course = ImageCourse { set, targets, classes, batch: how.batch, seed: how.seed };
    train(&net, &course, how, 0.0, progress)?;
    Convolutional::new(config.clone(), &detached(&net))
}

/// The describer of `features` `[sets, k, width]`, trained on the phrases of `sets`; without features, the language
/// model of the phrases alone.
///
/// # Errors
/// None but Candle's own.
pub fn describer(
    config: CaptionerConfig,
    features: Option<Tensor>,
    sets: &[Set],
    words: &Vocabulary,
    how: Training,
    progress: &Progress,
) -> Result<Captioner> {
    let width = features.as_ref().map(|f| f.dim(2)).transpose()?;
    let weights = tensors(Captioner::variables(&config, width, how.seed)?);
    let net = Captioner::new(config, features.clone(), &weights)?;
    let of = |(s, set): (usize, &Set)| set.phrases.iter().map(move |p| (s, words.encode(p))).collect::<Vec<_>>();
    let rows: Vec<(usize, Vec<u32>)> = sets.iter().enumerate().flat_map(of).collect();
    let course = PhraseCourse { rows: &rows, batch: how.batch, seed: how.seed };
    train(&net, &course, how, 0.01, progress)?;
    Captioner::new(config, features, &detached(&net))
}

/// Variables as the tensors that a network is built from: they stay variables.
fn tensors(variables: BTreeMap<String, candle_core::Var>) -> BTreeMap<String, Tensor> {
    variables.into_iter().map(|(name, var)| (name, var.as_tensor().clone())).collect()
}

/// What a network has learnt, as plain tensors.
fn detached(net: &dyn Network) -> BTreeMap<String, Tensor> {
    net.parameters().iter().map(|(name, tensor)| (name.clone(), tensor.detach())).collect()
}
