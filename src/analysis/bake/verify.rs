//! Whether a model with edits in its weights does what the edits do while a model runs.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::analysis::registry;
use crate::hook::random::Stream;
use crate::hook::{Pass, Run};
use crate::models::{Input, Job, Model, Network, Side, Tokens, execute};
use crate::report::{Better, Block, Cell, Column, Report, Table, Verdict, number};
use crate::store::Bundle;
use crate::{Error, Result};

/// Largest relative difference of logits that is rounding of the arithmetic.
pub const AGREE: f64 = 1e-5;

/// What both are run on.
#[derive(Clone, Debug)]
pub enum Texts {
    /// Rows of random tokens: how many, how long, their seed.
    Random(usize, usize, u64),
    /// Token ids.
    Rows(Vec<Vec<u32>>),
}

/// What the comparison gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// Weights that differ from the model's, and of how many.
    pub changed: (usize, usize),
    /// The largest difference of a weight.
    #[serde(with = "number")]
    pub weight: f64,
    /// The largest difference of a logit between the edited weights and the edited run, over the largest logit.
    #[serde(with = "number")]
    pub logits: f64,
    /// Mean KL divergence from the edited run to the edited weights, nats per token.
    #[serde(with = "number")]
    pub kl: f64,
    /// The control: from the edited run to the model as it was.
    #[serde(with = "number")]
    pub kl_unedited: f64,
    /// Tokens compared.
    pub tokens: usize,
    /// The largest KL that passes where the weights were rounded, as a share of the control: of what the edits do.
    #[serde(with = "number")]
    pub limit: f64,
    /// Whether both agree: logits to 1e-5, or (where the stored type rounds) KL within that share.
    pub holds: bool,
}

/// Compares `edited`, a model with the edits of `bundle` in its weights, with `model` run under the edits. `limit` is the
/// largest share of the edits' own KL that rounding may have.
///
/// # Errors
/// Models of different weights' names, no weight that differs, and whatever the edits refuse.
pub fn verify(model: &Model, bundle: &Bundle, edited: &Model, texts: &Texts, limit: f64) -> Result<Verified> {
    let (changed, weight) = difference(model, edited)?;
    let facts = model.decoder.facts();
    let rows = match texts {
        Texts::Rows(rows) => rows.clone(),
        Texts::Random(rows, length, seed) => {
            let length = facts.context.map_or(*length, |limit| (*length).min(limit));
            let row = |row: usize| {
                let mut from = Stream::new(*seed, &[row as u64]);
                (0..length).map(|_| from.below(facts.vocab) as u32).collect()
            };
            (0..*rows).map(row).collect()
        }
    };
    let mut out = Verified { changed, weight, logits: 0.0, kl: 0.0, kl_unedited: 0.0, tokens: 0, limit, holds: false };
    let plain = Pass::default();
    let under = Pass { edits: bundle.file.edits.clone(), ..Pass::default() };
    for row in rows {
        let tokens = Tokens::from_rows(&[row], Side::Right, model.pad())?;
        let run = logits(model, &tokens, &under, bundle)?;
        let baked = logits(edited, &tokens, &plain, bundle)?;
        let before = logits(model, &tokens, &plain, bundle)?;
        for ((run, baked), before) in run.iter().zip(&baked).zip(&before) {
            let scale = run.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
            let gap = run.iter().zip(baked).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            out.logits = out.logits.max(gap / scale);
            out.kl += divergence(run, baked);
            out.kl_unedited += divergence(run, before);
            out.tokens += 1;
        }
    }
    let n = out.tokens.max(1) as f64;
    (out.kl, out.kl_unedited) = (out.kl / n, out.kl_unedited / n);
    out.holds = out.logits <= AGREE || out.kl <= limit * out.kl_unedited;
    Ok(out)
}

/// How many weights differ, of how many, and the largest difference; an unembedding that only one of the two has was
/// untied.
fn difference(model: &Model, edited: &Model) -> Result<((usize, usize), f64)> {
    let (old, new) = (model.decoder.parameters(), edited.decoder.parameters());
    let (mut changed, mut of, mut largest) = (0, 0, 0.0f64);
    for (name, old) in old {
        let other = new.iter().find(|(n, _)| n == name).map(|(_, t)| t).filter(|t| t.dims() == old.dims());
        let other = other.ok_or_else(|| {
            Error::invalid(
                format!("the edited model has no tensor `{name}` of the shape {:?}", old.dims()),
                "compare a model with what was exported of it",
            )
        })?;
        let gap = (old.to_dtype(DType::F64)? - other.to_dtype(DType::F64)?)?.abs()?.flatten_all()?;
        let gap = gap.to_vec1::<f64>()?;
        of += gap.len();
        changed += gap.iter().filter(|x| **x != 0.0).count();
        largest = gap.into_iter().fold(largest, f64::max);
    }
    if changed == 0 {
        return Err(Error::invalid(
            "the two models have the same weights: nothing was baked in",
            "compare a model with what was exported of it",
        ));
    }
    Ok(((changed, of), largest))
}

/// Logits of one row, position by position.
fn logits(model: &Model, tokens: &Tokens, pass: &Pass, bundle: &Bundle) -> Result<Vec<Vec<f64>>> {
    let run = Run { passes: vec![pass.clone()] };
    let inputs = [Input::Tokens(tokens.clone())];
    let registry = registry();
    let job = Job { run: &run, inputs: &inputs, stored: bundle.tensors.clone(), registry: &registry };
    let outcome = execute(&model.decoder, job)?;
    let logits: Tensor = outcome.pass("")?.output.squeeze(0)?; // [t, vocab]
    Ok(logits.to_dtype(DType::F64)?.to_vec2::<f64>()?)
}

/// KL(p || q) of two rows of logits, in nats.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let normaliser = |x: &[f64]| {
        let top = x.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        top + x.iter().map(|v| (v - top).exp()).sum::<f64>().ln()
    };
    let (np, nq) = (normaliser(p), normaliser(q));
    let each = p.iter().zip(q).map(|(p, q)| (p - np).exp() * ((p - np) - (q - nq)));
    each.sum::<f64>().max(0.0)
}

impl Report for Verified {
    fn blocks(&self) -> Vec<Block> {
        let columns = vec![Column::new("what"), Column::new("value"), Column::new("limit").better(Better::Less)];
        let row = |what: &str, value: Cell, limit: Cell| vec![Cell::text(what), value, limit];
        let rows = vec![
            row("weights changed", Cell::count(self.changed.0), Cell::Empty),
            row("weights in all", Cell::count(self.changed.1), Cell::Empty),
            row("largest difference of a weight", Cell::Error(self.weight), Cell::Empty),
            row("largest relative difference of a logit", Cell::Error(self.logits), Cell::Error(AGREE)),
            row(
                "KL from the edited run, nats per token",
                Cell::Error(self.kl),
                Cell::Error(self.limit * self.kl_unedited),
            ),
            row("control: KL to the unedited model", Cell::Error(self.kl_unedited), Cell::Empty),
            row("tokens", Cell::count(self.tokens), Cell::Empty),
            row(
                "agrees (logits, or KL where the stored type rounds)",
                Cell::Verdict(if self.holds { Verdict::Passed } else { Verdict::Failed }),
                Cell::Empty,
            ),
        ];
        vec![Block::heading("Edited weights against the edited run"), Block::Table(Table { columns, rows })]
    }
}
