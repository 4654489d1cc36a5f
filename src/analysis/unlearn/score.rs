//! How well a model does on a group, under edits; and how near its keys come to cubes.

use candle_core::DType;

use super::group::{Group, Split};
use super::key_space::Cube;
use super::methods::Fitted;
use crate::analysis::tasks::{Options as Asking, Subject, evaluate, perplexity};
use crate::analysis::{Corpus, registry};
use crate::generate::{Generator, Options as Generating};
use crate::hook::{Output, Pass, Record, Registry, Values};
use crate::models::execute::observe;
use crate::models::{Input, Model, Side, Tokens};
use crate::{Error, Result};

/// Rows that run at once.
const BATCH: usize = 32;
/// Most tokens of a forward pass over texts.
const TOKENS: usize = 2048;

/// A question or text as it was answered or read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unit {
    /// What was right: 0 or 1 of a question, tokens of a text.
    pub right: f64,
    /// Of so much.
    pub of: f64,
    /// Nats of a text's tokens; 0 of a question.
    pub nats: f64,
}

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

/// The units of a part of a group under edits. A question that is abstained from is answered by the abstention, which is
/// never right; texts do not end, so that abstention is up to [`reaches`].
///
/// # Errors
/// Whatever the network and the edits refuse.
pub fn score(model: &Model, group: &Group, split: Split, fitted: &Fitted, seed: u64) -> Result<Vec<Unit>> {
    let pass = Pass { edits: fitted.edits.clone(), seed, ..Pass::default() };
    let values = Values { stored: fitted.tensors.clone(), ..Values::default() };
    let subject = Subject::new(model)?.edited(pass, registry(), values);
    // Intervals are drawn by whoever compares.
    let options = Asking { batch: BATCH, seed, draws: 0, ..Asking::default() };
    match group.asked(split) {
        Some((task, items)) => {
            let result = evaluate(&subject, task, items, &options, &mut |_, _| {})?;
            let right = |scores: &[f64]| scores.first().copied().unwrap_or(0.0);
            Ok(result.samples.iter().map(|s| Unit { right: right(&s.scores), of: 1.0, nats: 0.0 }).collect())
        }
        None => {
            let read = perplexity(&subject, group.read(split), &options, &mut |_, _| {})?;
            let unit =
                |d: &crate::analysis::tasks::TextNats| Unit { right: d.hits as f64, of: d.tokens as f64, nats: d.nats };
            Ok(read.documents.iter().map(unit).collect())
        }
    }
}

/// How near the keys of `layer` come to each cube: `[cubes][units]`, from one run of the model as it is.
///
/// A key is looked at when its token is the last one: at the end of a prompt and at every token written after it; at every
/// token of a text.
///
/// # Errors
/// Whatever the network refuses.
pub fn reaches(model: &Model, group: &Group, split: Split, cubes: &[Cube], layer: usize) -> Result<Vec<Vec<Reach>>> {
    let mut out = vec![vec![Reach::NEVER; group.len(split)]; cubes.len()];
    let site = format!("blocks.{layer}.mlp.hook_post");
    match group.asked(split) {
        Some((task, items)) => {
            let record = Record::whole(format!("{site}@last").parse()?);
            let pass = Pass { records: vec![record], ..Pass::default() };
            let registry = Registry::elementary();
            let prompts: Vec<Vec<u32>> = items.iter().map(|i| model.encode(&i.prompt)).collect::<Result<_>>()?;
            let options = Generating {
                max_new_tokens: task.max_gen_toks,
                stop: model.eos(),
                context: model.decoder.facts().context,
                ..Generating::default()
            };
            for (batch, prompts) in prompts.chunks(BATCH).enumerate() {
                let tokens = Tokens::from_rows(prompts, Side::Left, model.pad())?;
                let generator =
                    Generator { net: &model.decoder, pass: &pass, registry: &registry, values: Values::default() };
                let made = generator.run(&tokens, &options, &mut |_, _| {})?;
                let keys = made.records.get(&site)?.to_dtype(DType::F32)?.to_vec3::<f32>()?; // [rows, steps, neuron]
                for (row, steps) in keys.iter().enumerate() {
                    // A row that ended early is filled up with NaN, or with what its filler tokens gave.
                    for (step, key) in steps.iter().enumerate().take(made.rows[row].len().max(1)) {
                        if key.iter().any(|x| x.is_nan()) {
                            continue;
                        }
                        for (cube, reach) in cubes.iter().zip(&mut out) {
                            let reach = &mut reach[batch * BATCH + row];
                            let near = cube.reach(key);
                            match step {
                                0 => reach.prefill = near,
                                _ => reach.decode = reach.decode.min(near),
                            }
                        }
                    }
                }
            }
        }
        None => {
            let corpus = Corpus::of_texts(model, group.read(split), TOKENS / 8)?;
            let pass = Pass { records: vec![Record::whole(site.parse()?)], output: Output::Unread, ..Pass::default() };
            for batch in corpus.batches(TOKENS) {
                let (windows, tokens) = batch?;
                let (pos, ids, real) = (tokens.pos, tokens.ids.clone(), tokens.real.clone());
                let records = observe(&model.decoder, &Input::Tokens(tokens), &pass, &Registry::elementary())?.records;
                let keys = records.get(&site)?.to_dtype(DType::F32)?.to_vec3::<f32>()?; // [rows, pos, neuron]
                for (row, window) in windows.enumerate() {
                    let unit = corpus.windows[window].text;
                    for (column, key) in keys[row].iter().enumerate() {
                        let at = row * pos + column;
                        if !real[at] || !corpus.counts(ids[at]) {
                            continue;
                        }
                        for (cube, reach) in cubes.iter().zip(&mut out) {
                            reach[unit].decode = reach[unit].decode.min(cube.reach(key));
                        }
                    }
                }
            }
        }
    }
    if out.iter().flatten().any(|r| r.alpha().is_nan()) {
        return Err(Error::invalid(format!("`{site}` is not finite"), "run `doctor` on the model"));
    }
    Ok(out)
}

/// The units when those within `alpha` are abstained from: an abstained question or text has nothing right.
pub fn abstained(units: &[Unit], reaches: &[Reach], alpha: f64) -> Vec<Unit> {
    let each = units.iter().zip(reaches);
    each.map(|(unit, reach)| if reach.alpha() <= alpha { Unit { right: 0.0, ..*unit } } else { *unit }).collect()
}
