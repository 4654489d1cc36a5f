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
const WIDTH: usize = 40;
/// Share of rows of the world that state facts, in the first language.
const FACTS: f64 = 0.2;
/// The language of facts, into which pairs translate.
pub const FIRST: usize = 0;
/// Marks the draw of sentences that are translated.
const TRANSLATED: u64 = 0x7472_616e;
/// Share of rows that are of the world while pairs are learned: what is never repeated is forgotten, and what was known
/// before could not be asked for after.
const REHEARSED: f64 = 0.5;

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diet {
    /// Sentences of all languages, and facts in the first.
    World,
    /// Pairs `SENTENCE : SENTENCE .` from these languages into the first, among rows of the world; scrambled ones do not
    /// mean the same.
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

/// How large a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Blocks.
    pub layers: usize,
    /// Width of the stream.
    pub width: usize,
    /// Neurons of a block.
    pub neurons: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { layers: 4, width: 64, neurons: 128 }
    }
}

/// A network of artificial languages.
#[derive(Clone, Debug)]
pub struct Polyglot {
    recipe: Recipe,
    weights: BTreeMap<String, Tensor>,
}

impl Polyglot {
    /// Fresh weights, with four heads in a block.
    ///
    /// # Errors
    /// A width that four heads cannot share.
    pub fn new(tongues: &Tongues, sizes: Sizes, seed: u64) -> Result<Self> {
        let mut recipe = Recipe { vocabulary: tongues.vocabulary(), ..Recipe::own()? };
        recipe.model.hidden_size = sizes.width;
        recipe.model.intermediate_size = sizes.neurons;
        recipe.model.num_hidden_layers = sizes.layers;
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
    let facts: Vec<(Vec<u32>, u32)> = (0..Tongues::facts()).map(|noun| tongues.fact(tongue, noun)).collect();
    let rows: Vec<Vec<u32>> = facts.iter().map(|(asked, _)| [&[BOS], &asked[..]].concat()).collect();
    let said = likeliest(net, &rows)?;
    let hit = |(said, (_, digit)): (&Vec<u32>, &(Vec<u32>, u32))| f64::from(u8::from(said.last() == Some(digit)));
    Ok(said.iter().zip(&facts).map(hit).collect())
}

/// By pair: the share of a translation's tokens that a network foresees, given a sentence in a language, ` : `, and what of
/// the translation into the first language stands before. The meanings are drawn from `seed`.
///
/// # Errors
/// Whatever the network refuses.
pub fn translated(net: &Decoder, tongues: &Tongues, from: usize, pairs: usize, seed: u64) -> Result<Vec<f64>> {
    let mut draws = Stream::new(seed, &[from as u64, TRANSLATED]);
    let pair = |_| {
        let meaning = tongues.meaning(&mut draws);
        let asked = [&[BOS], &tongues.say(from, &meaning)[..], &[Tongues::sign(":")]].concat();
        (asked.len(), [asked, tongues.say(FIRST, &meaning)].concat())
    };
    let pairs: Vec<(usize, Vec<u32>)> = (0..pairs).map(pair).collect();
    let rows: Vec<Vec<u32>> = pairs.iter().map(|(_, row)| row.clone()).collect();
    let said = likeliest(net, &rows)?;
    let share = |(said, (start, row)): (&Vec<u32>, &(usize, Vec<u32>))| {
        let right = (*start..row.len()).filter(|at| said[at - 1] == row[*at]).count();
        right as f64 / (row.len() - start) as f64
    };
    Ok(said.iter().zip(&pairs).map(share).collect())
}

/// The likeliest next token at every position of some rows.
fn likeliest(net: &Decoder, rows: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
    let input = Input::Tokens(Tokens::from_rows(rows, Side::Right, 0)?);
    let mut plan = Plan::compile(net.sites(), &Pass::default(), &Registry::elementary(), Values::default(), &[])?;
    let logits = net.forward(&input, &mut State::none(), &mut Tap::new(&mut plan))?; // [rows, longest, vocab]
    let said = logits.to_dtype(DType::F32)?.argmax(D::Minus1)?.to_vec2::<u32>()?;
    Ok(said.into_iter().zip(rows).map(|(said, row)| said[..row.len()].to_vec()).collect())
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
            Diet::Pairs { from, scrambled } if draws.uniform() >= REHEARSED => {
                let meaning = self.tongues.meaning(draws);
                row.extend(self.tongues.say(from[draws.below(from.len())], &meaning));
                row.push(Tongues::sign(":"));
                let said = if *scrambled { self.tongues.meaning(draws) } else { meaning };
                row.extend(self.tongues.say(FIRST, &said));
                row.push(stop);
            }
            _ if draws.uniform() < FACTS => {
                while row.len() < WIDTH {
                    let (asked, digit) = self.tongues.fact(FIRST, draws.below(Tongues::facts()));
                    row.extend(asked);
                    row.extend([digit, stop]);
                }
            }
            _ => {
                let tongue = draws.below(TONGUES);
                while row.len() < WIDTH {
                    row.extend(self.tongues.say(tongue, &self.tongues.meaning(draws)));
                    row.push(stop);
                }
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
