//! How well a model does on a group, under edits.

use super::group::{Group, Split};
use super::methods::Fitted;
use crate::Result;
use crate::analysis::registry;
use crate::analysis::tasks::{Options as Asking, Start, Subject, evaluate, perplexity};
use crate::generate::Sampler;
use crate::hook::{Pass, Values};
use crate::models::Model;

/// Rows that run at once.
pub(super) const BATCH: usize = 32;

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

/// The units of a part of a group under edits. A question that is abstained from is answered by the abstention, which is
/// never right; texts do not end, so that abstention is up to [`reaches`](super::reaches).
///
/// # Errors
/// Whatever the network and the edits refuse.
pub fn score(model: &Model, group: &Group, split: Split, fitted: &Fitted, seed: u64) -> Result<Vec<Unit>> {
    measure(&subject(model, fitted, seed)?, group, split, &Sampler::Greedy, seed)
}

/// A model under edits.
pub(super) fn subject<'a>(model: &'a Model, fitted: &Fitted, seed: u64) -> Result<Subject<'a>> {
    let pass = Pass { edits: fitted.edits.clone(), seed, ..Pass::default() };
    let values = Values { stored: fitted.tensors.clone(), ..Values::default() };
    Ok(Subject::new(model)?.edited(pass, registry(), values))
}

/// The units of a part of a group; answers are written by `sampler`.
pub(super) fn measure(
    subject: &Subject,
    group: &Group,
    split: Split,
    sampler: &Sampler,
    seed: u64,
) -> Result<Vec<Unit>> {
    // Intervals are drawn by whoever compares; texts are scored as statistics read them.
    let options = Asking { batch: BATCH, seed, draws: 0, sampler: sampler.clone(), start: Start::Tokenizer };
    match group.asked(split) {
        Some((task, items)) => {
            let result = evaluate(subject, task, items, &options, &mut |_, _| {})?;
            let right = |scores: &[f64]| scores.first().copied().unwrap_or(0.0);
            Ok(result.samples.iter().map(|s| Unit { right: right(&s.scores), of: 1.0, nats: 0.0 }).collect())
        }
        None => {
            let read = perplexity(subject, group.read(split), &options, &mut |_, _| {})?;
            let unit =
                |d: &crate::analysis::tasks::TextNats| Unit { right: d.hits as f64, of: d.tokens as f64, nats: d.nats };
            Ok(read.documents.iter().map(unit).collect())
        }
    }
}
