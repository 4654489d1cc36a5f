//! Relearning: how few updates on the forgotten questions bring the answers back, edits in force.
//!
//! What an edit hides is back after one or two updates; what it removed must be learned anew. The untouched model,
//! trained in the same way, says what the updates do to a model that forgot nothing.

use serde::{Deserialize, Serialize};

use super::group::{Group, Split};
use super::methods::Fitted;
use super::score::measure;
use crate::analysis::tasks::Subject;
use crate::analysis::{Estimate, registry};
use crate::generate::Sampler;
use crate::hook::random::Stream;
use crate::hook::{Pass, Run, Values};
use crate::models::{Input, Model, Network, OpenOptions, Side, Tokens};
use crate::train::{
    AdamW, AdamWOptions, Course, Group as Members, Lesson, Schedule, Targets, Trainer, TrainerOptions, next_token_loss,
};
use crate::{Error, Result};

/// Questions of an update.
const ROWS: usize = 16;
/// The learning rate of AdamW: small, as of a fine-tuning.
const RATE: f64 = 1e-4;

/// How fast the answers come back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relearned {
    /// Updates after which was asked.
    pub updates: Vec<u64>,
    /// Right answers of the untouched model after each of them.
    pub untouched: Vec<Estimate>,
    /// Right answers under every chosen setting, in the order of [`Forgotten::chosen`](super::Forgotten::chosen).
    pub after: Vec<Vec<Estimate>>,
}

/// A question with its answer as a row, and which of its tokens are to be learned.
pub(super) struct Row {
    pub ids: Vec<u32>,
    pub wanted: Vec<bool>,
}

/// Trains a fresh copy of the model on `rows` under each of `edits`, and asks the test questions of `group` on the way.
///
/// # Errors
/// A model that cannot be trained; whatever the network and the edits refuse.
pub(super) fn relearn(
    model: &Model,
    group: &Group,
    rows: &[Row],
    edits: &[Fitted],
    updates: u64,
    seed: u64,
) -> Result<Relearned> {
    let mut stops: Vec<u64> = (0..).map(|i| 4u64.pow(i)).take_while(|n| *n < updates).collect();
    stops.push(updates);
    let curve = |fitted: &Fitted| one(model, group, rows, fitted, &stops, seed);
    let untouched = curve(&Fitted::default())?;
    let after = edits.iter().map(curve).collect::<Result<_>>()?;
    Ok(Relearned { updates: stops, untouched, after })
}

fn one(model: &Model, group: &Group, rows: &[Row], fitted: &Fitted, stops: &[u64], seed: u64) -> Result<Vec<Estimate>> {
    let options = OpenOptions { device: model.decoder.device().clone(), ..OpenOptions::default() };
    let (net, variables) = model.trainable(&options)?;
    let optimiser = AdamW::new(&variables, &Members::usual(&variables, 0.0), AdamWOptions::default())?;
    let options = TrainerOptions { schedule: Schedule::Constant { rate: RATE, warm_up: 0 }, clip: Some(1.0) };
    let mut trainer = Trainer::new(&net, optimiser, options, registry())?;
    let course = Drill { rows, fitted, pad: model.pad(), seed };
    let mut out = Vec::with_capacity(stops.len());
    for stop in stops {
        while trainer.step() < *stop {
            trainer.update(&course)?;
        }
        let pass = Pass { edits: fitted.edits.clone(), seed, ..Pass::default() };
        let values = Values { stored: fitted.tensors.clone(), ..Values::default() };
        let subject = Subject::of(&net, model.tokenizer()?, net.facts().context).edited(pass, registry(), values);
        let units = measure(&subject, group, Split::Test, &Sampler::Greedy, seed)?;
        out.push(Estimate::mean(&units.iter().map(|u| u.right).collect::<Vec<_>>(), seed));
    }
    Ok(out)
}

struct Drill<'a> {
    rows: &'a [Row],
    fitted: &'a Fitted,
    pad: u32,
    seed: u64,
}

impl Course for Drill<'_> {
    fn lessons(&self, step: u64) -> Result<Vec<Lesson>> {
        let mut from = Stream::new(self.seed, &[step]);
        if self.rows.is_empty() {
            return Err(Error::invalid("there is no question to relearn", "give more questions"));
        }
        let drawn: Vec<&Row> = (0..ROWS).map(|_| &self.rows[from.below(self.rows.len())]).collect();
        let width = drawn.iter().map(|row| row.ids.len()).max().unwrap_or(0);
        let total: usize = drawn.iter().flat_map(|row| &row.wanted).filter(|wanted| **wanted).count();
        let scale = 1.0 / total.max(1) as f64;
        let lesson = |rows: &[&Row]| {
            let ids: Vec<Vec<u32>> = rows.iter().map(|row| filled(&row.ids, width, self.pad)).collect();
            let wanted: Vec<Vec<bool>> = rows.iter().map(|row| filled(&row.wanted, width, false)).collect();
            let targets = Targets::of_rows(&ids, &wanted);
            let share = targets.tokens.len() as f64 * scale;
            let pass =
                Pass { name: "relearn".into(), edits: self.fitted.edits.clone(), seed: self.seed, ..Pass::default() };
            Ok(Lesson {
                kind: "loss".into(),
                run: Run { passes: vec![pass] },
                inputs: vec![Input::Tokens(Tokens::from_rows(&ids, Side::Right, self.pad)?)],
                stored: self.fitted.tensors.clone(),
                loss: Box::new(move |outputs| next_token_loss(&outputs[0], &targets, scale)),
                share,
            })
        };
        // Two halves run side by side.
        drawn.chunks(ROWS / 2).map(lesson).collect()
    }
}

/// Filled up on the right: attention looks left only, so that the filler changes nothing.
fn filled<T: Copy>(row: &[T], width: usize, with: T) -> Vec<T> {
    row.iter().copied().chain(std::iter::repeat_n(with, width - row.len())).collect()
}

/// A question as a row: its answer and the token that ends it are to be learned.
pub(super) fn row(prompt: &[u32], answer: &[u32], end: Option<u32>) -> Row {
    let ids = [prompt, answer, end.as_slice()].concat();
    let wanted = (0..ids.len()).map(|at| at >= prompt.len()).collect();
    Row { ids, wanted }
}
