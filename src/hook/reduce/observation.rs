//! What a reducer sees of one site in one forward pass, and the loops that all reducers share.

use rayon::prelude::*;

use crate::{Error, Result};

/// The value of [`Observation::positions`] at padding.
pub const PADDING: u32 = u32::MAX;

/// Units that one task owns: small enough that its accumulators stay in the first-level cache.
pub(super) const UNITS: usize = 256;

/// Positions whose partial sums are gathered before they join the state.
pub(super) const BLOCK: usize = 64;

/// What a reducer sees of one site in one forward pass: plain slices, made by the tap.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Activations, `[rows, pos, width]`, contiguous.
    pub values: &'a [f32],
    /// Rows of the batch.
    pub rows: usize,
    /// Positions per row, padding included.
    pub pos: usize,
    /// Units per position.
    pub width: usize,
    /// Whether a position counts, `[rows, pos]`: false for padding, special tokens, positions outside the selector.
    pub keep: &'a [bool],
    /// Token ids, `[rows, pos]`.
    pub tokens: &'a [u32],
    /// Index of each row's document in the whole corpus, `[rows]`.
    pub documents: &'a [u64],
    /// Position of each token in its document, `[rows, pos]`: 0 is the first real token, [`PADDING`] is padding.
    /// Neighbours belong to the context of a token if their positions continue its own.
    pub positions: &'a [u32],
}

/// A checked observation together with its kept positions.
pub(super) struct Kept<'a> {
    /// The whole observation.
    pub seen: &'a Observation<'a>,
    /// Flat indices `row * pos + p` of the kept positions, ascending.
    pub at: Vec<usize>,
}

impl<'a> Kept<'a> {
    /// Checks that the slices agree with each other and with a reducer of `width` units.
    pub fn new(seen: &'a Observation<'a>, width: usize) -> Result<Self> {
        if seen.width != width {
            return Err(defect(format!("an observation has width {}, its reducer {width}", seen.width)));
        }
        let slots = seen.rows.saturating_mul(seen.pos);
        let lengths = [
            ("values", seen.values.len(), slots.saturating_mul(width)),
            ("keep", seen.keep.len(), slots),
            ("tokens", seen.tokens.len(), slots),
            ("documents", seen.documents.len(), seen.rows),
            ("positions", seen.positions.len(), slots),
        ];
        for (name, got, expected) in lengths {
            if got != expected {
                let (rows, pos) = (seen.rows, seen.pos);
                return Err(defect(format!(
                    "an observation of {rows} rows, {pos} positions and width {width} has {got} {name}, expected \
                     {expected}"
                )));
            }
        }
        let at: Vec<usize> = (0..slots).filter(|&i| seen.keep[i]).collect();
        for pair in at.windows(2) {
            let [a, b] = [pair[0], pair[1]];
            if a / seen.pos == b / seen.pos && seen.positions[a] >= seen.positions[b] {
                return Err(defect(format!(
                    "positions {} and {} of kept neighbours in row {} do not ascend",
                    seen.positions[a],
                    seen.positions[b],
                    a / seen.pos
                )));
            }
        }
        Ok(Self { seen, at })
    }

    /// All units at flat index `at`, `[width]`.
    pub fn vector(&self, at: usize) -> &'a [f32] {
        let width = self.seen.width;
        &self.seen.values[at * width..][..width]
    }

    /// Units `first..first + len` at flat index `at`.
    pub fn units(&self, at: usize, first: usize, len: usize) -> &'a [f32] {
        &self.seen.values[at * self.seen.width + first..][..len]
    }

    /// Document and position of flat index `at`: the key that orders ties.
    pub fn place(&self, at: usize) -> (u64, u32) {
        (self.seen.documents[at / self.seen.pos], self.seen.positions[at])
    }

    /// Flat index of the first token of the context of `at` (at most so many before and after it), and the tokens:
    /// neighbours in the row whose positions continue its own.
    pub fn window(&self, at: usize, [before, after]: [usize; 2]) -> (usize, &'a [u32]) {
        let seen = self.seen;
        let (row, place) = (at / seen.pos * seen.pos, u64::from(seen.positions[at]));
        let continues = |i: usize| u64::from(seen.positions[i]) + at as u64 == place + i as u64;
        let start = (row.max(at.saturating_sub(before))..at).rev().take_while(|&i| continues(i)).last().unwrap_or(at);
        let end = (at + 1..(row + seen.pos).min(at + 1 + after)).take_while(|&i| continues(i)).last().unwrap_or(at);
        (start, &seen.tokens[start..=end])
    }

    /// Adds to `counts` (one per unit) how many values at the flat indices `at` satisfy `test`.
    pub fn tally(&self, at: &[usize], counts: &mut [u64], test: impl Fn(f32) -> bool + Sync) {
        counts.par_chunks_mut(UNITS).enumerate().for_each(|(task, counts)| {
            // Narrow counters let the inner loop run on whole vectors; they are emptied long before they overflow.
            for block in at.chunks(1 << 16) {
                let mut partial = [0u32; UNITS];
                for &at in block {
                    let values = self.units(at, task * UNITS, counts.len());
                    for (n, &value) in partial.iter_mut().zip(values) {
                        *n += u32::from(test(value));
                    }
                }
                for (count, n) in counts.iter_mut().zip(partial) {
                    *count += u64::from(n);
                }
            }
        });
    }
}

fn defect(what: String) -> Error {
    Error::invalid(what, "the tap that made the observation is at fault: please report it")
}
