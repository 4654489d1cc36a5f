//! The lessons: batches of the task under a condition.

use std::collections::BTreeMap;

use crate::Result;
use crate::data::fewshot::{Draw, Episode, FewShot, LENGTH, repeated_rows};
use crate::hook::{Pass, Run};
use crate::models::{Input, Side, Tokens};
use crate::train::{Course, Lesson, Targets, next_token_loss};

/// The few-shot task: the loss is that of the label after the last exemplar.
pub struct FewShotCourse<'a> {
    /// The task.
    pub task: &'a FewShot,
    /// The passes of the condition.
    pub run: Run,
    /// Sequences of an update.
    pub batch: usize,
}

/// Sequences as an input, with what the last position should say.
pub(super) fn batch(episodes: &[Episode]) -> Result<(Input, Targets)> {
    let rows: Vec<Vec<u32>> = episodes.iter().map(|e| e.ids.to_vec()).collect();
    let places = (0..rows.len()).map(|row| (row * LENGTH + LENGTH - 1) as u32).collect();
    let targets = Targets { places, tokens: episodes.iter().map(|e| e.answer).collect() };
    Ok((Input::Tokens(Tokens::from_rows(&rows, Side::Right, 0)?), targets))
}

impl Course for FewShotCourse<'_> {
    fn lessons(&self, step: u64) -> Result<Vec<Lesson>> {
        let (input, targets) = batch(&self.task.batch(Draw::Train, step, self.batch))?;
        lesson(input, targets, self.run.clone())
    }
}

/// The token form: the loss is that of the second half's tokens but the first.
pub struct TokenCourse {
    /// Tokens of the vocabulary, BOS among them.
    pub vocab: usize,
    /// Least and most tokens of a half.
    pub half: (usize, usize),
    /// Rows of an update.
    pub batch: usize,
    /// Seed of the rows.
    pub seed: u64,
}

/// Rows as an input, with the tokens of their second halves but the first as targets.
pub(super) fn repeated(rows: &[Vec<u32>]) -> Result<(Input, Targets)> {
    let n = rows.first().map_or(0, |row| row.len() / 2);
    let wanted: Vec<Vec<bool>> = rows.iter().map(|row| (0..row.len()).map(|at| at > n + 1).collect()).collect();
    Ok((Input::Tokens(Tokens::from_rows(rows, Side::Right, 0)?), Targets::of_rows(rows, &wanted)))
}

impl Course for TokenCourse {
    fn lessons(&self, step: u64) -> Result<Vec<Lesson>> {
        let (input, targets) = repeated(&repeated_rows(self.vocab, self.half, self.seed, step, self.batch)?)?;
        lesson(input, targets, Run { passes: vec![Pass { name: "learn".into(), ..Pass::default() }] })
    }
}

/// One lesson whose loss is the mean over its targets, of the last pass.
fn lesson(input: Input, targets: Targets, run: Run) -> Result<Vec<Lesson>> {
    let last = run.passes.len() - 1;
    let scale = (targets.tokens.len() as f64).recip();
    Ok(vec![Lesson {
        kind: "loss".into(),
        run,
        inputs: vec![input],
        stored: BTreeMap::new(),
        loss: Box::new(move |outputs| next_token_loss(&outputs[last], &targets, scale)),
        share: 1.0,
    }])
}
