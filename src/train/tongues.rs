//! A small network that learns artificial languages ([`crate::data::tongues`]), and its alignment on translation pairs.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{D, DType, Tensor, Var};

use super::organism::export::write_network;
use super::organism::{Recipe, detached, fresh};
use super::{
    AdamW, AdamWOptions, Course, Group, Lesson, Observer, Point, Schedule, Targets, Trainer, TrainerOptions,
    next_token_loss,
};
use crate::data::tongues::{BOS, TONGUES, Tongues};
use crate::hook::random::Stream;
use crate::hook::{Pass, Plan, Registry, Run, Tap, Values};
use crate::models::{Decoder, Input, Model, Network, OpenOptions, Side, State, Tokens};
use crate::{Error, Result};

/// Tokens of a row.
const WIDTH: usize = 24;
/// Share of rows that state facts, in the first language.
const FACTS: f64 = 0.2;
/// The language of facts, into which pairs translate.
pub const FIRST: usize = 0;

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diet {
    /// Sentences of all languages, and facts in the first.
    World,
    /// Pairs `SENTENCE : SENTENCE .` from these languages into the first; scrambled ones do not mean the same.
    Pairs {
        /// The languages that are translated from.
        from: Vec<usize>,
        /// The control: both sentences are drawn apart.
        scrambled: bool,
    },
}

/// How long, how much at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Updates.
    pub updates: u64,
    /// Rows of an update.
    pub rows: usize,
    /// The highest learning rate.
    pub rate: f64,
}

/// A network of artificial languages.
#[derive(Clone, Debug)]
pub struct Polyglot {
    recipe: Recipe,
    weights: BTreeMap<String, Tensor>,
}

impl Polyglot {
    /// Fresh weights: three layers of width 64 with 256 neurons.
    ///
    /// # Errors
    /// None for the sizes at hand.
    pub fn new(seed: u64) -> Result<Self> {
        let mut recipe = Recipe { vocabulary: Tongues::vocabulary(), ..Recipe::own()? };
        recipe.model.hidden_size = 64;
        recipe.model.intermediate_size = 256;
        recipe.model.num_hidden_layers = 3;
        recipe.model.num_attention_heads = 4;
        recipe.model.num_key_value_heads = 4;
        recipe.model.max_position_embeddings = 64;
        let weights = fresh(&recipe.config(), &recipe, seed)?;
        Ok(Self { recipe, weights })
    }

    /// The network after learning from a diet. `progress` hears (updates done, updates in all).
    ///
    /// # Errors
    /// Those of [`Trainer`].
    pub fn learn(
        &self,
        tongues: &Tongues,
        diet: &Diet,
        effort: &Effort,
        seed: u64,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let variables: BTreeMap<String, Var> =
            self.weights.iter().map(|(name, w)| Ok((name.clone(), Var::from_tensor(w)?))).collect::<Result<_>>()?;
        let tensors: BTreeMap<String, Tensor> =
            variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect();
        let net = Decoder::new(&self.recipe.config(), &tensors)?;
        let optimiser = AdamW::new(&variables, &Group::usual(&variables, 0.01), AdamWOptions::default())?;
        let warm_up = (effort.updates / 20).max(1);
        let schedule = Schedule::Cosine { rate: effort.rate, warm_up, updates: effort.updates, floor: 0.1 };
        let options = TrainerOptions { schedule, clip: Some(1.0) };
        let mut trainer = Trainer::new(&net, optimiser, options, Registry::elementary())?;
        let lessons = Lessons { tongues, diet, rows: effort.rows, seed };
        let mut watch = Watch { updates: effort.updates, progress };
        trainer.train(&lessons, effort.updates, &mut watch)?;
        Ok(Self { recipe: self.recipe.clone(), weights: detached(&variables)? })
    }

    /// The network as a model in a folder.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn model(&self, tongues: &Tongues, folder: &Path) -> Result<Model> {
        let tokenizer = tongues.tokenizer().to_string().parse::<tokenizers::Tokenizer>();
        let tokenizer = tokenizer.map_err(|e| {
            Error::invalid(format!("the languages' tokenizer cannot be built: {e}"), "report this defect")
        })?;
        write_network(folder, &self.recipe.config(), &self.weights, &tokenizer)?;
        Model::open(&folder.display().to_string(), &OpenOptions::default())
    }
}

/// By noun: whether a network knows its digit when it is asked in a language (1 or 0).
///
/// # Errors
/// Whatever the network refuses.
pub fn fact_hits(net: &Decoder, tongues: &Tongues, tongue: usize) -> Result<Vec<f64>> {
    let facts: Vec<Vec<u32>> = (0..Tongues::facts()).map(|noun| tongues.fact(tongue, noun)).collect();
    let rows: Vec<Vec<u32>> = facts.iter().map(|fact| vec![BOS, fact[0], fact[1]]).collect();
    let input = Input::Tokens(Tokens::from_rows(&rows, Side::Right, 0)?);
    let mut plan = Plan::compile(net.sites(), &Pass::default(), &Registry::elementary(), Values::default(), &[])?;
    let logits = net.forward(&input, &mut State::none(), &mut Tap::new(&mut plan))?; // [nouns, 3, vocab]
    let said = logits.narrow(1, 2, 1)?.to_dtype(DType::F32)?.argmax(D::Minus1)?.flatten_all()?;
    let said = said.to_vec1::<u32>()?;
    Ok(said.iter().zip(&facts).map(|(said, fact)| f64::from(u8::from(*said == fact[2]))).collect())
}

struct Watch<'a> {
    updates: u64,
    progress: &'a mut dyn FnMut(usize, usize),
}

impl Observer for Watch<'_> {
    fn updated(&mut self, trainer: &Trainer, _: &Point) -> Result<()> {
        (self.progress)(trainer.step() as usize, self.updates as usize);
        Ok(())
    }
}

struct Lessons<'a> {
    tongues: &'a Tongues,
    diet: &'a Diet,
    rows: usize,
    seed: u64,
}

impl Lessons<'_> {
    /// A row and where it ends, before it is filled up.
    fn row(&self, draws: &mut Stream) -> Vec<u32> {
        let stop = Tongues::sign(".");
        let mut row = vec![BOS];
        match self.diet {
            Diet::World if draws.uniform() < FACTS => {
                while row.len() < WIDTH {
                    row.extend(self.tongues.fact(FIRST, draws.below(Tongues::facts())));
                }
            }
            Diet::World => {
                let tongue = draws.below(TONGUES);
                while row.len() < WIDTH {
                    row.extend(Tongues::say(tongue, &self.tongues.meaning(draws)));
                    row.push(stop);
                }
            }
            Diet::Pairs { from, scrambled } => {
                let meaning = self.tongues.meaning(draws);
                row.extend(Tongues::say(from[draws.below(from.len())], &meaning));
                row.push(Tongues::sign(":"));
                let said = if *scrambled { self.tongues.meaning(draws) } else { meaning };
                row.extend(Tongues::say(FIRST, &said));
                row.push(stop);
            }
        }
        row.truncate(WIDTH);
        row
    }
}

impl Course for Lessons<'_> {
    fn lessons(&self, step: u64) -> Result<Vec<Lesson>> {
        let mut draws = Stream::new(self.seed, &[step]);
        let rows: Vec<Vec<u32>> = (0..self.rows.max(2)).map(|_| self.row(&mut draws)).collect();
        let total: usize = rows.iter().map(|row| row.len() - 1).sum();
        let scale = 1.0 / total as f64;
        let lesson = |rows: &[Vec<u32>]| {
            let wanted: Vec<Vec<bool>> = rows.iter().map(|row| (0..WIDTH).map(|at| at < row.len()).collect()).collect();
            let filled: Vec<Vec<u32>> =
                rows.iter().map(|row| [row.clone(), vec![0; WIDTH - row.len()]].concat()).collect();
            let targets = Targets::of_rows(&filled, &wanted);
            let share = targets.tokens.len() as f64 * scale;
            Ok(Lesson {
                kind: "loss".into(),
                run: Run { passes: vec![Pass { name: "learn".into(), ..Pass::default() }] },
                inputs: vec![Input::Tokens(Tokens::from_rows(&filled, Side::Right, 0)?)],
                stored: BTreeMap::new(),
                loss: Box::new(move |outputs| next_token_loss(&outputs[0], &targets, scale)),
                share,
            })
        };
        rows.chunks(rows.len().div_ceil(2)).map(lesson).collect()
    }
}
