//! The lessons of the recipe's phases.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::{Phase, Recipe};
use crate::Result;
use crate::data::ngram::Ngram;
use crate::data::organism::rows::{Kind, Row};
use crate::data::organism::{Books, Packer};
use crate::hook::{Pass, Run};
use crate::models::{Input, Side, Tokens};
use crate::train::{Course, Lesson, Targets, distillation_loss, next_token_loss};

/// Order of the n-grams that teach.
const ORDER: usize = 4;

/// Makes the rows of an update and says what is to be predicted in them.
pub(super) struct Lessons<'a> {
    packer: Packer,
    recipe: &'a Recipe,
    seed: u64,
    /// By language; empty where no phase has a teacher.
    teachers: Vec<Ngram>,
}

/// What is predicted at some places of a lesson's rows.
struct Part {
    targets: Targets,
    /// Distributions `[targets, vocab]` in place of the tokens.
    aims: Option<Tensor>,
    /// Weight of each target in the update's loss.
    scale: f64,
}

impl<'a> Lessons<'a> {
    pub(super) fn new(recipe: &'a Recipe, seed: u64, tokenizer: &tokenizers::Tokenizer, books: &Books) -> Result<Self> {
        let packer = Packer::new(tokenizer.clone(), books)?;
        let taught = recipe.phases.iter().any(|p| p.teacher > 0.0);
        let languages = if taught { 0..books.languages.len() } else { 0..0 };
        let vocabulary = tokenizer.get_vocab_size(true);
        let teachers = languages.map(|language| Ngram::count(packer.text(language), vocabulary, ORDER));
        let teachers = teachers.collect::<Result<_>>()?;
        Ok(Self { packer, recipe, seed, teachers })
    }

    /// What is aimed at in rows of text: the right token, and `share` of what the teacher says of the place.
    fn aims(&self, rows: &[Row], share: f64) -> Result<Tensor> {
        let mut aims: Vec<f32> = Vec::new();
        let mut places = 0;
        for (row, language) in rows.iter().filter_map(|row| Some((row, row.language?))) {
            for at in (1..row.ids.len()).filter(|at| row.wanted[*at]) {
                let token = row.ids[at];
                // The row begins with a special token that the teacher does not know.
                let said = self.teachers[language].next_elsewhere(&row.ids[1..at], token);
                let start = aims.len();
                aims.extend(said.iter().map(|p| (p * share) as f32));
                aims[start + token as usize] += (1.0 - share) as f32;
                places += 1;
            }
        }
        let width = aims.len() / places.max(1);
        Ok(Tensor::from_vec(aims, (places, width), &Device::Cpu)?)
    }

    fn lesson(&self, rows: &[Row], kinds: &[(Kind, f64)], phase: &Phase) -> Result<Option<Lesson>> {
        let ids: Vec<Vec<u32>> = rows.iter().map(|r| r.ids.clone()).collect();
        let mut parts = Vec::new();
        for (kind, scale) in kinds {
            let wanted = |row: &Row| -> Vec<bool> { row.wanted.iter().map(|w| *w && row.kind == *kind).collect() };
            let targets = Targets::of_rows(&ids, &rows.iter().map(wanted).collect::<Vec<_>>());
            if targets.tokens.is_empty() {
                continue;
            }
            let taught = *kind == Kind::Text && phase.teacher > 0.0;
            let aims = taught.then(|| self.aims(rows, phase.teacher)).transpose()?;
            parts.push(Part { targets, aims, scale: *scale });
        }
        if parts.is_empty() {
            return Ok(None);
        }
        let share = parts.iter().map(|part| part.targets.tokens.len() as f64 * part.scale).sum();
        Ok(Some(Lesson {
            kind: "loss".into(),
            run: Run { passes: vec![Pass { name: "learn".into(), ..Pass::default() }] },
            inputs: vec![Input::Tokens(Tokens::from_rows(&ids, Side::Right, 0)?)],
            stored: BTreeMap::new(),
            loss: Box::new(move |outputs| {
                let losses = parts.iter().map(|part| part.loss(&outputs[0])).collect::<Result<Vec<_>>>()?;
                Ok(Tensor::stack(&losses, 0)?.sum_all()?)
            }),
            share,
        }))
    }
}

impl Part {
    fn loss(&self, logits: &Tensor) -> Result<Tensor> {
        match &self.aims {
            Some(aims) => distillation_loss(logits, &self.targets, aims, self.scale),
            None => next_token_loss(logits, &self.targets, self.scale),
        }
    }
}

impl Course for Lessons<'_> {
    fn lessons(&self, step: u64) -> Result<Vec<Lesson>> {
        let phase = self.recipe.phase(step);
        let rows = self.packer.rows(&phase.mixture(), self.seed, step)?;
        let kinds =
            [(Kind::Text, phase.emphasis[0]), (Kind::Skills, phase.emphasis[1]), (Kind::Repeats, phase.emphasis[2])];
        let marked = |kind: Kind| -> usize {
            rows.iter().filter(|r| r.kind == kind).map(|r| r.wanted.iter().skip(1).filter(|w| **w).count()).sum()
        };
        // The loss is a mean of the kinds' means, weighted by the phase's emphasis.
        let present: Vec<(Kind, f64)> = kinds.into_iter().filter(|(kind, _)| marked(*kind) > 0).collect();
        let whole: f64 = present.iter().map(|(_, emphasis)| emphasis).sum();
        let present: Vec<(Kind, f64)> =
            present.into_iter().map(|(kind, emphasis)| (kind, emphasis / marked(kind) as f64 / whole)).collect();
        let chunks = rows.chunks(rows.len().div_ceil(self.recipe.lessons));
        let lessons = chunks.map(|rows| self.lesson(rows, &present, phase)).collect::<Result<Vec<_>>>()?;
        Ok(lessons.into_iter().flatten().collect())
    }
}
