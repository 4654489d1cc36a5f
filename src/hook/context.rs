//! What one forward call works on: which tokens are real, where each stands in its row, which rows are which documents.
//!
//! Positions count a row's real tokens from 0, whatever the padding, and go on through a cached generation. The *prompt*
//! is what the first forward call of a run saw; everything after it was *generated*. Both are facts of the row, not of
//! the call, so that an edit scoped by position or phase acts alike with and without a cache.

use super::selector::{Phase, Positions, Selector};
use crate::Result;

/// The rows and positions of one forward call. All tables are row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// Rows of the batch.
    pub rows: usize,
    /// Columns of this call (with a cache: only the new ones).
    pub pos: usize,
    /// `[rows, pos]`: false for padding.
    pub real: Vec<bool>,
    /// `[rows, pos]`: position of the token in its row; 0 for padding.
    pub position: Vec<u32>,
    /// `[rows, pos]`: token ids.
    pub tokens: Vec<u32>,
    /// `[rows]`: index of the row's document in the corpus.
    pub documents: Vec<u64>,
    /// `[rows]`: where the row begins in its document; empty for 0.
    pub offsets: Vec<u32>,
    /// `[rows]`: real tokens of the row's prompt.
    pub prompt: Vec<u32>,
    /// Columns of the keys (cached ones included).
    pub keys: usize,
    /// `[rows, keys]`: false for padding.
    pub key_real: Vec<bool>,
    /// `[rows, keys]`: position of the key's token in its row.
    pub key_position: Vec<u32>,
    /// Ids (BOS, EOS, padding and the like) that reducers skip unless asked not to.
    pub special: Vec<u32>,
    /// The step of a simulation; `None` in a network without time.
    pub time: Option<Moment>,
}

/// A step of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Counted from the beginning of the simulation, over all calls that carry its state on.
    pub step: usize,
    /// The step at which this call ends: what negative times count from.
    pub end: usize,
}

impl Context {
    /// A simulation of `rows` rows: a step is one place per row, without tokens.
    pub fn simulation(rows: usize) -> Self {
        Self {
            rows,
            pos: 1,
            real: vec![true; rows],
            position: vec![0; rows],
            tokens: vec![0; rows],
            documents: (0..rows as u64).collect(),
            prompt: vec![0; rows],
            ..Self::default()
        }
    }

    /// Whether the time scope of `selector` holds this step.
    pub fn in_time(&self, selector: &Selector) -> bool {
        self.time.is_none_or(|moment| selector.time().contains(moment.step, moment.end))
    }

    /// The columns of `row` at which `selector` acts in this call.
    pub fn columns(&self, row: usize, selector: &Selector) -> Result<Vec<bool>> {
        let base = row * self.pos;
        let prompt = self.prompt[row];
        let mut acts = vec![false; self.pos];
        if let Some(rows) = selector.rows()
            && !rows.contains(row, self.rows)
        {
            return Ok(acts);
        }
        for (column, act) in acts.iter_mut().enumerate() {
            if !self.real[base + column] {
                continue;
            }
            let position = self.position[base + column];
            let in_phase = match selector.phase() {
                Phase::Any => true,
                Phase::Prompt => position < prompt,
                Phase::Generated => position >= prompt,
            };
            *act = in_phase
                && match selector.positions() {
                    Positions::All => true,
                    // Every generated token was the last one when it was computed, cached or not.
                    Positions::Last => position + 1 >= prompt,
                    Positions::List(list) => list.names_position(position as usize, prompt as usize),
                };
        }
        Ok(acts)
    }

    /// `[rows, pos]`: where `selector` acts; `None` when it acts at every real token of every row.
    pub fn scope(&self, selector: &Selector) -> Result<Option<Vec<bool>>> {
        if matches!(selector.positions(), Positions::All) && selector.phase() == Phase::Any && selector.rows().is_none()
        {
            return Ok(None);
        }
        let mut acts = Vec::with_capacity(self.rows * self.pos);
        for row in 0..self.rows {
            acts.extend(self.columns(row, selector)?);
        }
        Ok(Some(acts))
    }

    /// The column that holds `position` of `row`, if this call computes it.
    pub fn column_of(&self, row: usize, position: u32) -> Option<usize> {
        let at = row * self.pos;
        (0..self.pos).find(|c| self.real[at + c] && self.position[at + c] == position)
    }

    /// The key column that holds `position` of `row`, if the row has got so far.
    pub fn key_column(&self, row: usize, position: usize) -> Option<usize> {
        let at = row * self.keys;
        (0..self.keys).find(|c| self.key_real[at + c] && self.key_position[at + c] as usize == position)
    }

    /// True where the query at flat index `at` of `[rows, pos]` could ever see the key in `column`: both are real, and
    /// the key is not later.
    pub fn precedes(&self, at: usize, column: usize) -> bool {
        let key = at / self.pos * self.keys + column;
        self.real[at] && self.key_real[key] && self.key_position[key] <= self.position[at]
    }

    /// True when both calls put the same positions of the same rows into the same columns.
    pub fn same_layout(&self, other: &Self) -> bool {
        self.rows == other.rows
            && self.pos == other.pos
            && self.real == other.real
            && self.position == other.position
            && self.keys == other.keys
    }

    /// Number of real keys of a row: the position that its next token takes.
    pub fn real_keys(&self, row: usize) -> u32 {
        let keys = &self.key_real[row * self.keys..(row + 1) * self.keys];
        keys.iter().map(|real| u32::from(*real)).sum()
    }

    /// The same call of these rows, in this order.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a row that there is not.
    pub fn select(&self, rows: &[u32]) -> Result<Self> {
        if let Some(beyond) = rows.iter().find(|row| **row as usize >= self.rows) {
            return Err(crate::Error::invalid(
                format!("row {beyond} of a call of {} rows", self.rows),
                "rows are counted from 0",
            ));
        }
        fn pick<T: Copy>(of: &[T], width: usize, rows: &[u32]) -> Vec<T> {
            // Tables that are left empty stay so.
            let whole = rows.iter().filter(|_| !of.is_empty());
            whole.flat_map(|row| of[*row as usize * width..][..width].iter().copied()).collect()
        }
        let (pos, keys) = (self.pos, self.keys);
        Ok(Self {
            rows: rows.len(),
            pos,
            keys,
            real: pick(&self.real, pos, rows),
            position: pick(&self.position, pos, rows),
            tokens: pick(&self.tokens, pos, rows),
            documents: pick(&self.documents, 1, rows),
            offsets: pick(&self.offsets, 1, rows),
            prompt: pick(&self.prompt, 1, rows),
            key_real: pick(&self.key_real, keys, rows),
            key_position: pick(&self.key_position, keys, rows),
            special: self.special.clone(),
            time: self.time,
        })
    }

    /// Sets the keys: those of the calls before, then this call's own tokens.
    pub fn follow(&mut self, before: Option<&Self>) {
        let kept = before.map_or(0, |b| b.keys);
        let (old_real, old_position) = before.map_or((&[][..], &[][..]), |b| (&b.key_real, &b.key_position));
        self.key_real = join_rows(old_real, kept, &self.real, self.pos, self.rows);
        self.key_position = join_rows(old_position, kept, &self.position, self.pos, self.rows);
        self.keys = kept + self.pos;
    }
}

fn join_rows<T: Copy>(a: &[T], a_width: usize, b: &[T], b_width: usize, rows: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    for r in 0..rows {
        out.extend_from_slice(&a[r * a_width..(r + 1) * a_width]);
        out.extend_from_slice(&b[r * b_width..(r + 1) * b_width]);
    }
    out
}
