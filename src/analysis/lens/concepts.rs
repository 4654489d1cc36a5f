//! Which concepts the lens finds on the way to an answer.
//!
//! At one position of a prompt each layer's lens ranks all tokens; a concept's rank at a layer is the best of its spellings
//! that are one token. pass@k is the mean over prompts of the share of their concepts whose best rank over layers is k or
//! less. The control gives every prompt the concepts of another one.

use candle_core::DType;
use serde::{Deserialize, Serialize};

use super::streams;
use crate::analysis::{Estimate, Figures};
use crate::data::{LensItem, LensPrompts, ReadAt};
use crate::hook::{Form, Output, Pass, Record, Registry};
use crate::models::execute::observe;
use crate::models::{Input, Model, Side, Tokens};
use crate::report::chart::{Axis, Line, Plot};
use crate::report::{Block, Cell, Chart, Column, Report, Table, number};
use crate::{Error, Result};

/// Ranks that a concept may have.
const KS: [usize; 4] = [1, 5, 10, 100];

/// Words that mean one thing: an evaluation of arithmetic names numbers and operations in one form of several.
const SAME: [&[&str]; 25] = [
    &["0", "zero"],
    &["1", "one"],
    &["2", "two"],
    &["3", "three"],
    &["4", "four"],
    &["5", "five"],
    &["6", "six"],
    &["7", "seven"],
    &["8", "eight"],
    &["9", "nine"],
    &["10", "ten"],
    &["11", "eleven"],
    &["12", "twelve"],
    &["13", "thirteen"],
    &["14", "fourteen"],
    &["15", "fifteen"],
    &["16", "sixteen"],
    &["17", "seventeen"],
    &["18", "eighteen"],
    &["19", "nineteen"],
    &["20", "twenty"],
    &["addition", "plus", "add", "sum", "+"],
    &["subtraction", "minus", "subtract", "difference", "-"],
    &["multiplication", "times", "multiply", "product", "*"],
    &["division", "divided", "divide", "quotient", "/"],
];

/// What the lens found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Concepts {
    /// The evaluation.
    pub name: String,
    /// Prompts with a concept that is one token in this tokenizer.
    pub prompts: usize,
    /// Prompts without one, left out.
    pub left_out: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// For each rank: pass@k, and pass@k with another prompt's concepts.
    pub pass: Vec<Passed>,
    /// By layer (the stream before the first block, then after each): mean 1 / rank, and of another prompt's concepts.
    pub layers: Vec<(Estimate, Estimate)>,
}

/// pass@k.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passed {
    /// The rank.
    pub k: usize,
    /// The share of concepts found.
    pub own: Estimate,
    /// The control: with the concepts of another prompt.
    pub other: Estimate,
    /// What random ranks would give at one layer: k over the vocabulary.
    #[serde(with = "number")]
    pub chance: f64,
}

/// Looks for the concepts of every prompt.
///
/// # Errors
/// A model without a tokenizer, prompts that it cannot take, and concepts of which none is one token.
pub fn concepts(model: &Model, prompts: &LensPrompts, seed: u64) -> Result<Concepts> {
    let mut kept: Vec<(&LensItem, Vec<Vec<u32>>)> = Vec::new();
    for item in &prompts.items {
        let words = item.intermediates.iter().map(|word| spellings(model, word)).collect::<Result<Vec<_>>>()?;
        let words: Vec<Vec<u32>> = words.into_iter().filter(|ids| !ids.is_empty()).collect();
        if !words.is_empty() {
            kept.push((item, words));
        }
    }
    if kept.len() < 2 {
        return Err(Error::invalid(
            format!(
                "{} of the {} prompts of {} have a concept of one token",
                kept.len(),
                prompts.items.len(),
                prompts.name
            ),
            "the lens reads single tokens: use a model with a larger vocabulary",
        ));
    }
    let sites = streams(&model.decoder);
    // By prompt: own and another's reciprocal ranks, layer by layer and concept by concept.
    let mut seen: Vec<[Vec<Vec<f64>>; 2]> = Vec::with_capacity(kept.len());
    for (i, (item, own)) in kept.iter().enumerate() {
        let other = &kept[(i + kept.len() / 2) % kept.len()].1;
        let layers = logits(model, item, prompts.at, &sites)?;
        let ranks = |concepts: &[Vec<u32>]| -> Vec<Vec<f64>> {
            layers.iter().map(|x| concepts.iter().map(|ids| (rank(x, ids) as f64).recip()).collect()).collect()
        };
        seen.push([ranks(own), ranks(other)]);
    }
    let over = |which: usize, of: &dyn Fn(&[Vec<f64>]) -> f64| {
        let values: Vec<f64> = seen.iter().map(|s| of(&s[which])).collect();
        Estimate::mean(&values, seed)
    };
    let share = |k: usize| {
        move |layers: &[Vec<f64>]| {
            let concepts = layers[0].len();
            let found = |c: &usize| layers.iter().any(|layer| layer[*c] * k as f64 >= 1.0 - 1e-9);
            (0..concepts).filter(found).count() as f64 / concepts as f64
        }
    };
    let mean = |layer: usize| move |l: &[Vec<f64>]| l[layer].iter().sum::<f64>() / l[layer].len() as f64;
    let vocab = model.decoder.facts().vocab;
    Ok(Concepts {
        name: prompts.name.clone(),
        prompts: kept.len(),
        left_out: prompts.items.len() - kept.len(),
        vocab,
        pass: KS
            .into_iter()
            .filter(|k| *k < vocab)
            .map(|k| Passed { k, own: over(0, &share(k)), other: over(1, &share(k)), chance: k as f64 / vocab as f64 })
            .collect(),
        layers: (0..sites.len()).map(|l| (over(0, &mean(l)), over(1, &mean(l)))).collect(),
    })
}

/// The tokens that spell a concept: with and without a space, and what means the same.
fn spellings(model: &Model, word: &str) -> Result<Vec<u32>> {
    let tokenizer = model.tokenizer()?;
    let alone = [word];
    let same = SAME.iter().find(|set| set.contains(&word)).map_or(&alone[..], |set| set);
    let mut ids = Vec::new();
    for word in same {
        for text in [format!(" {word}"), (*word).to_string()] {
            if let [id] = tokenizer.encode(&text, false)?.as_slice() {
                ids.push(*id);
            }
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The place of the best of `ids` among all logits, from 1.
fn rank(logits: &[f32], ids: &[u32]) -> usize {
    let best = ids.iter().map(|id| logits[*id as usize]).fold(f32::NEG_INFINITY, f32::max);
    1 + logits.iter().filter(|x| **x > best).count()
}

/// Each layer's lens at the position that is read: `[layers][vocab]`.
fn logits(model: &Model, item: &LensItem, at: ReadAt, sites: &[String]) -> Result<Vec<Vec<f32>>> {
    let ids = model.encode(&item.prompt)?;
    let breaks = |id: &u32| model.tokenizer().is_ok_and(|t| t.token_bytes(*id).is_some_and(|b| b.contains(&b'\n')));
    let position = match at {
        ReadAt::End => ids.len() - 1,
        ReadAt::LineBreak => ids.iter().rposition(breaks).ok_or_else(|| {
            Error::invalid(
                format!("the prompt `{}` has no token with a line break", item.name),
                "couplets are read at the end of their first line",
            )
        })?,
    };
    let records = sites.iter().map(|s| Ok(Record::whole(format!("{s}@{position}").parse()?))).collect::<Result<_>>()?;
    let pass = Pass { records, output: Output::Unread, ..Pass::default() };
    let input = Input::Tokens(Tokens::from_rows(&[ids], Side::Right, 0)?);
    let seen = observe(&model.decoder, &input, &pass, &Registry::elementary())?.records;
    let of = |site: &String| -> Result<Vec<f32>> {
        let x = seen.get(site)?.contiguous()?; // [1, 1, d]
        Ok(model.decoder.lens(&x, Form::Inference)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    };
    sites.iter().map(of).collect()
}

impl Figures for Concepts {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![("prompts".to_string(), self.prompts as f64)];
        for pass in &self.pass {
            figures.push((format!("pass@{}", pass.k), pass.own.value));
            figures.push((format!("pass@{}.other", pass.k), pass.other.value));
        }
        figures
    }
}

impl Report for Concepts {
    fn blocks(&self) -> Vec<Block> {
        let row = |p: &Passed| {
            vec![Cell::count(p.k), p.own.cell(3), p.other.cell(3), Cell::Number { value: p.chance, digits: 4 }]
        };
        let columns = ["rank at most", "concepts found", "another prompt's (control)", "chance at one layer"];
        let line = |name: &str, reference: bool, of: &dyn Fn(&(Estimate, Estimate)) -> Estimate| Line {
            name: name.into(),
            points: self.layers.iter().enumerate().map(|(l, e)| (l as f64, of(e).value)).collect(),
            band: self.layers.iter().map(|e| of(e).ends()).collect(),
            reference,
        };
        vec![
            Block::text(format!(
                "{}: {} prompts, {} left out because none of their concepts is one token. A concept is found if some layer's \
                 lens ranks it so high; higher is better. In brackets the 95 % interval over prompts.",
                self.name, self.prompts, self.left_out
            )),
            Block::Table(Table {
                columns: columns.map(Column::new).to_vec(),
                rows: self.pass.iter().map(row).collect(),
            }),
            Block::Chart(Chart {
                title: "Concepts by layer".to_string(),
                caption: "Layer 0 is the stream before the first block.".to_string(),
                plot: Plot::Lines {
                    x: Axis::new("layer"),
                    y: Axis::new("mean 1 / rank"),
                    series: vec![
                        line("the prompt's concepts", false, &|e| e.0),
                        line("another prompt's (control)", true, &|e| e.1),
                    ],
                },
            }),
        ]
    }
}
