//! The lists of all units on one side (largest or smallest), and the fast rejection of what belongs in none.

use rayon::prelude::*;

use super::super::TopSpec;
use super::super::observation::Kept;
use super::list::{Entry, List};

/// Units that one task owns.
const TASK: usize = 64;

/// Units compared with their bars at once.
const LANES: usize = 16;

/// One list per unit. Scores are values times `sign`, so that larger is better on both sides.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub sign: f32,
    pub lists: Vec<List>,
    /// Worst kept score per unit, minus infinity while the list has room.
    pub bars: Vec<f32>,
    /// The last (document, position) seen.
    pub latest: Option<(u64, u32)>,
}

impl Side {
    pub fn new(sign: f32, spec: &TopSpec, width: usize) -> Self {
        let window = spec.context[0] + 1 + spec.context[1];
        let lists = (0..width).map(|_| List::new(spec.k, window, spec.one_per_document)).collect();
        Self { sign, lists, bars: vec![f32::NEG_INFINITY; width], latest: None }
    }

    pub fn observe(&mut self, kept: &Kept, spec: &TopSpec) {
        // Whether a position comes after everything before it, so that it loses all ties.
        let later: Vec<bool> = kept
            .at
            .iter()
            .map(|&at| {
                let place = Some(kept.place(at));
                let later = place > self.latest;
                self.latest = self.latest.max(place);
                later
            })
            .collect();
        let sign = self.sign;
        let tasks = self.lists.par_chunks_mut(TASK).zip(self.bars.par_chunks_mut(TASK));
        tasks.enumerate().for_each(|(task, (lists, bars))| {
            let mut part = Part { kept, spec, sign, first: task * TASK, lists, bars };
            if spec.one_per_document {
                let mut from = 0;
                for row in kept.at.chunk_by(|a, b| a / kept.seen.pos == b / kept.seen.pos) {
                    part.row(row, later[from]);
                    from += row.len();
                }
            } else {
                kept.at.iter().zip(&later).for_each(|(&at, &later)| part.position(at, later));
            }
        });
    }

    pub fn merge(&mut self, other: Side) {
        self.latest = self.latest.max(other.latest);
        for ((list, bar), more) in self.lists.iter_mut().zip(&mut self.bars).zip(other.lists) {
            for (entry, tokens) in more.iter() {
                list.offer(*entry, |into| into.copy_from_slice(tokens));
            }
            *bar = list.bar();
        }
    }
}

/// The lists and bars of the units from `first` on, during one observation.
struct Part<'a> {
    kept: &'a Kept<'a>,
    spec: &'a TopSpec,
    sign: f32,
    first: usize,
    lists: &'a mut [List],
    bars: &'a mut [f32],
}

impl Part<'_> {
    /// Offers one position to every unit.
    fn position(&mut self, at: usize, later: bool) {
        let values = self.kept.units(at, self.first, self.lists.len());
        for (group, values) in values.chunks(LANES).enumerate() {
            let from = group * LANES;
            if any_over(values, &self.bars[from..], self.sign, later) {
                for (i, x) in values.iter().enumerate() {
                    if over(x * self.sign, self.bars[from + i], later) {
                        self.offer(from + i, x * self.sign, at);
                    }
                }
            }
        }
    }

    /// Offers the best position of one row to every unit; ties go to the lower position, which comes first.
    fn row(&mut self, row: &[usize], later: bool) {
        let mut best = [f32::NEG_INFINITY; TASK];
        let mut place = [u32::MAX; TASK];
        for (p, &at) in row.iter().enumerate() {
            let values = self.kept.units(at, self.first, self.lists.len());
            for ((best, place), x) in best.iter_mut().zip(&mut place).zip(values) {
                let score = if x.is_finite() { x * self.sign } else { f32::NEG_INFINITY };
                let better = score > *best;
                *best = if better { score } else { *best };
                *place = if better { p as u32 } else { *place };
            }
        }
        for u in 0..self.lists.len() {
            if place[u] != u32::MAX && over(best[u], self.bars[u], later) {
                self.offer(u, best[u], row[place[u] as usize]);
            }
        }
    }

    fn offer(&mut self, unit: usize, score: f32, at: usize) {
        if !score.is_finite() {
            return;
        }
        let (document, position) = self.kept.place(at);
        let (start, tokens) = self.kept.window(at, self.spec.context);
        let entry =
            Entry { score, document, position, before: (at - start) as u16, length: tokens.len() as u16, slot: 0 };
        self.lists[unit].offer(entry, |into| into.copy_from_slice(tokens));
        self.bars[unit] = self.lists[unit].bar();
    }
}

fn over(score: f32, bar: f32, later: bool) -> bool {
    if later { score > bar } else { score >= bar }
}

/// Whether any value passes its bar: no branch inside, so that it runs on whole vectors.
fn any_over(values: &[f32], bars: &[f32], sign: f32, later: bool) -> bool {
    let scores = values.iter().map(|x| x * sign).zip(bars);
    if later {
        scores.fold(false, |any, (score, bar)| any | (score > *bar))
    } else {
        scores.fold(false, |any, (score, bar)| any | (score >= *bar))
    }
}
