//! How near the keys of questions and texts come to cubes, and what is left when those within reach are abstained from.

use std::collections::BTreeSet;

use candle_core::DType;

use super::group::{Group, Split, WINDOW};
use super::key_space::Cube;
use super::score::{BATCH, Unit};
use crate::analysis::Corpus;
use crate::data::{Item, Task};
use crate::generate::{Generator, Options};
use crate::hook::{Output, Pass, Record, Registry, Values};
use crate::models::execute::observe;
use crate::models::{Input, Model, Side, Tokens};
use crate::{Error, Result};

/// Most tokens of a forward pass over texts.
const TOKENS: usize = 2048;
/// Most values that a forward pass over texts keeps: 128 MiB.
const VALUES: usize = 32 << 20;

/// How near the keys of a question or text come to the centre of a cube: the least alpha at which it is abstained from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// At the end of the prompt; infinite for a text, which is read token by token.
    pub prefill: f64,
    /// At any token that was written or read after it.
    pub decode: f64,
}

impl Reach {
    const NEVER: Self = Self { prefill: f64::INFINITY, decode: f64::INFINITY };

    /// The least alpha at which it is abstained from.
    pub fn alpha(&self) -> f64 {
        self.prefill.min(self.decode)
    }
}

/// How near the keys come to each cube, which belongs to a layer: `[cubes][units]`, from one run of the model as it is.
///
/// A key is looked at when its token is the last one: at the end of a prompt and at every token written after it; at every
/// token of a text.
///
/// # Errors
/// Whatever the network refuses.
pub fn reaches(model: &Model, group: &Group, split: Split, cubes: &[(usize, Cube)]) -> Result<Vec<Vec<Reach>>> {
    let mut near = Near {
        cubes,
        layers: cubes.iter().map(|c| c.0).collect(),
        units: vec![vec![Reach::NEVER; group.len(split)]; cubes.len()],
    };
    if cubes.is_empty() {
        return Ok(near.units);
    }
    match group.asked(split) {
        Some((task, items)) => near.ask(model, task, items)?,
        None => near.read(model, group.read(split))?,
    }
    if near.units.iter().flatten().any(|r| r.alpha().is_nan()) {
        return Err(Error::invalid("`mlp.hook_post` is not finite on these items", "run `doctor` on the model"));
    }
    Ok(near.units)
}

/// The units when those within `alpha` are abstained from: an abstained question or text has nothing right.
pub fn abstained(units: &[Unit], reaches: &[Reach], alpha: f64) -> Vec<Unit> {
    let each = units.iter().zip(reaches);
    each.map(|(unit, reach)| if reach.alpha() <= alpha { Unit { right: 0.0, ..*unit } } else { *unit }).collect()
}

/// Where a key was seen.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Prefill,
    Decode,
}

struct Near<'a> {
    cubes: &'a [(usize, Cube)],
    layers: BTreeSet<usize>,
    /// `[cubes][units]`
    units: Vec<Vec<Reach>>,
}

impl Near<'_> {
    fn ask(&mut self, model: &Model, task: &Task, items: &[Item]) -> Result<()> {
        let pass = Pass { records: self.records("@last")?, ..Pass::default() };
        let registry = Registry::elementary();
        let prompts: Vec<Vec<u32>> = items.iter().map(|i| model.encode(&i.prompt)).collect::<Result<_>>()?;
        let options = Options {
            max_new_tokens: task.max_gen_toks,
            stop: model.eos(),
            context: model.decoder.facts().context,
            ..Options::default()
        };
        for (batch, prompts) in prompts.chunks(BATCH).enumerate() {
            let tokens = Tokens::from_rows(prompts, Side::Left, model.pad())?;
            let generator =
                Generator { net: &model.decoder, pass: &pass, registry: &registry, values: Values::default() };
            let made = generator.run(&tokens, &options, &mut |_, _| {})?;
            for layer in self.layers.clone() {
                let keys = made.records.get(&site(layer))?.to_dtype(DType::F32)?.to_vec3::<f32>()?; // [rows, steps, neuron]
                for (row, steps) in keys.iter().enumerate() {
                    // A row that ended early is filled up with NaN, or with what its filler tokens gave.
                    let own = steps.iter().enumerate().take(made.rows[row].len().max(1));
                    for (step, key) in own.filter(|(_, key)| key.iter().all(|x| !x.is_nan())) {
                        let phase = if step == 0 { Phase::Prefill } else { Phase::Decode };
                        self.see(layer, batch * BATCH + row, phase, key);
                    }
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, model: &Model, texts: &[String]) -> Result<()> {
        let corpus = Corpus::of_texts(model, texts, WINDOW)?;
        let pass = Pass { records: self.records("")?, output: Output::Unread, ..Pass::default() };
        let cells = VALUES / (self.layers.len() * model.decoder.facts().d_mlp).max(1);
        for batch in corpus.batches(cells.min(TOKENS)) {
            let (windows, tokens) = batch?;
            let (pos, ids, real) = (tokens.pos, tokens.ids.clone(), tokens.real.clone());
            let records = observe(&model.decoder, &Input::Tokens(tokens), &pass, &Registry::elementary())?.records;
            for layer in self.layers.clone() {
                let keys = records.get(&site(layer))?.to_dtype(DType::F32)?.to_vec3::<f32>()?; // [rows, pos, neuron]
                for (row, window) in windows.clone().enumerate() {
                    let counts = |column: &usize| real[row * pos + column] && corpus.counts(ids[row * pos + column]);
                    for column in (0..pos).filter(counts) {
                        self.see(layer, corpus.windows[window].text, Phase::Decode, &keys[row][column]);
                    }
                }
            }
        }
        Ok(())
    }

    fn records(&self, index: &str) -> Result<Vec<Record>> {
        self.layers.iter().map(|layer| Ok(Record::whole(format!("{}{index}", site(*layer)).parse()?))).collect()
    }

    fn see(&mut self, layer: usize, unit: usize, phase: Phase, key: &[f32]) {
        for ((_, cube), units) in self.cubes.iter().zip(&mut self.units).filter(|((of, _), _)| *of == layer) {
            let reach = &mut units[unit];
            match phase {
                Phase::Prefill => reach.prefill = cube.reach(key),
                Phase::Decode => reach.decode = reach.decode.min(cube.reach(key)),
            }
        }
    }
}

fn site(layer: usize) -> String {
    format!("blocks.{layer}.mlp.hook_post")
}
