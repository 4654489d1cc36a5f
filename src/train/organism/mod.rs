//! The model organism: a small Llama trained from nothing on known data, by a recipe that is part of the program.
//!
//! [`train`] follows a [`Recipe`] (`recipe.toml` unless another is given): it learns a tokenizer, packs rows of skills,
//! repeats and books in the phases of the recipe, saves checkpoints to go on from, and [`export`](export::export)s a
//! Hugging Face folder in bf16 with its model card.

mod card;
pub mod exam;
pub mod export;
mod lessons;
mod recipe;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use serde_json::{Map, Value};

pub use exam::{Exam, LanguageScore, SkillScore};
pub use recipe::{Phase, Recipe};

use lessons::Lessons;

use super::checkpoint;
use super::{AdamW, Group, Observer, Point, Trainer, TrainerOptions};
use crate::data::organism::{Books, vocabulary};
use crate::hook::Registry;
use crate::hook::random::{key, name, normal};
use crate::models::Decoder;
use crate::{Error, Result};

/// Standard deviation of fresh weights; matrices that write to the stream have it over sqrt(2 layers) (GPT-2).
const SPREAD: f64 = 0.02;
/// Updates between two checkpoints.
const SAVE_EVERY: u64 = 100;

/// What training gives.
pub struct Trained {
    /// `config.json`.
    pub config: Map<String, Value>,
    /// The tokenizer.
    pub tokenizer: tokenizers::Tokenizer,
    /// The weights in f32.
    pub weights: BTreeMap<String, Tensor>,
    /// The loss curve.
    pub curve: Vec<Point>,
}

/// Told how a training goes.
pub trait Progress {
    /// After every update: its point, and the updates in all.
    fn updated(&mut self, point: &Point, updates: u64);
    /// After every exam, taken each `every` updates.
    fn examined(&mut self, step: u64, exam: &Exam);
    /// Updates between two exams.
    fn every(&self) -> u64;
}

/// Trains an organism by `recipe` on the books of `root`, from the checkpoint at `checkpoint` if it is there.
///
/// # Errors
/// Books that cannot be read, a checkpoint of another recipe or seed, or a file that cannot be written.
pub fn train(
    recipe: &Recipe,
    books: &Books,
    seed: u64,
    checkpoint: &Path,
    progress: &mut dyn Progress,
) -> Result<Trained> {
    let tokenizer = vocabulary::learn(books, recipe.vocabulary, seed)?;
    let config = recipe.config();
    let weights = fresh(&config, recipe, seed)?;
    let variables: BTreeMap<String, Var> =
        weights.iter().map(|(name, w)| Ok((name.clone(), Var::from_tensor(w)?))).collect::<Result<_>>()?;
    let tensors: BTreeMap<String, Tensor> =
        variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect();
    let net = Decoder::new(&config, &tensors)?;
    let optimiser = AdamW::new(&variables, &Group::usual(&variables, recipe.weight_decay), recipe.optimiser)?;
    let options = TrainerOptions { schedule: recipe.schedule.clone(), clip: recipe.clip };
    let mut trainer = Trainer::new(&net, optimiser, options, Registry::elementary())?;
    let identity = recipe.identity(seed)?;
    let curve = match checkpoint.exists() {
        true => checkpoint::load(checkpoint, &mut trainer, &variables, &identity)?,
        false => Vec::new(),
    };
    let lessons = Lessons::new(recipe, seed, &tokenizer, books)?;
    let updates = recipe.updates();
    let mut watch = Watch {
        variables: &variables,
        config: &config,
        tokenizer: &tokenizer,
        books,
        checkpoint,
        identity: &identity,
        updates,
        curve,
        progress,
    };
    trainer.train(&lessons, updates, &mut watch)?;
    let curve = watch.curve;
    Ok(Trained { config, tokenizer, weights: detached(&variables)?, curve })
}

/// Saves and examines while the organism learns.
struct Watch<'a> {
    variables: &'a BTreeMap<String, Var>,
    config: &'a Map<String, Value>,
    tokenizer: &'a tokenizers::Tokenizer,
    books: &'a Books,
    checkpoint: &'a Path,
    identity: &'a str,
    updates: u64,
    curve: Vec<Point>,
    progress: &'a mut dyn Progress,
}

impl Observer for Watch<'_> {
    fn updated(&mut self, trainer: &Trainer, point: &Point) -> Result<()> {
        self.curve.push(point.clone());
        self.progress.updated(point, self.updates);
        let made = trainer.step();
        if made.is_multiple_of(SAVE_EVERY) || made == self.updates {
            checkpoint::save(self.checkpoint, trainer, self.variables, self.identity, &self.curve)?;
        }
        if made.is_multiple_of(self.progress.every()) {
            let decoder = Decoder::new(self.config, &detached(self.variables)?)?;
            let exam = exam::examine(&decoder, self.tokenizer, self.books, exam::QUICK)?;
            self.progress.examined(made, &exam);
        }
        Ok(())
    }
}

/// Plain tensors with the values of the variables.
pub(super) fn detached(variables: &BTreeMap<String, Var>) -> Result<BTreeMap<String, Tensor>> {
    variables.iter().map(|(name, v)| Ok((name.clone(), v.as_tensor().copy()?.detach()))).collect()
}

/// Weights before training: gains 1, everything else normal, keyed by (seed, name, index).
///
/// # Errors
/// [`Error::Invalid`] for a recipe with sizes that do not fit.
pub fn fresh(config: &Map<String, Value>, recipe: &Recipe, seed: u64) -> Result<BTreeMap<String, Tensor>> {
    let shapes = recipe.shapes();
    let writes = SPREAD / (2.0 * recipe.model.num_hidden_layers as f64).sqrt();
    let mut weights = BTreeMap::new();
    for (weight, shape) in shapes {
        let n: usize = shape.iter().product();
        let spread =
            if weight.ends_with("o_proj.weight") || weight.ends_with("down_proj.weight") { writes } else { SPREAD };
        let from = key(seed, &[name(&weight)]);
        let values: Vec<f32> = match shape.len() {
            1 => vec![1.0; n],
            _ => (0..n as u64).map(|i| (normal(key(from, &[i])) * spread) as f32).collect(),
        };
        weights.insert(weight, Tensor::from_vec(values, shape, &Device::Cpu)?);
    }
    Decoder::new(config, &weights).map_err(|e| {
        Error::invalid(format!("the recipe's model cannot be built: {e}"), "repair the [model] table of the recipe")
    })?;
    Ok(weights)
}
