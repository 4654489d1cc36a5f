//! What a network is given.

use candle_core::Tensor;

use crate::hook::Context;
use crate::{Error, Result};

/// On which side shorter rows are filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Padding before the text.
    Left,
    /// Padding after the text.
    Right,
}

/// The input of a forward call.
#[derive(Clone, Debug)]
pub enum Input {
    /// Token ids for language models.
    Tokens(Tokens),
    /// Images for classifiers.
    Images(Images),
    /// Numbers over time for simulations: currents, spikes, a signal.
    Series(Series),
    /// Nothing: a simulation of so many rows goes on by itself for so many steps.
    None {
        /// Rows of the batch.
        rows: usize,
        /// Time steps.
        steps: usize,
    },
}

impl Input {
    /// What it is, in words.
    fn kind(&self) -> &'static str {
        match self {
            Self::Tokens(_) => "tokens",
            Self::Images(_) => "images",
            Self::Series(_) => "numbers over time",
            Self::None { .. } => "no input",
        }
    }

    fn wrong(&self, network: &str, expected: &str) -> Error {
        Error::invalid(format!("{network} is given {}", self.kind()), format!("give it {expected}"))
    }

    /// The tokens of a language model's input.
    ///
    /// # Errors
    /// [`Error::Invalid`] for input of another kind.
    pub fn tokens(&self) -> Result<&Tokens> {
        match self {
            Self::Tokens(tokens) => Ok(tokens),
            other => Err(other.wrong("a language model", "`Input::Tokens`")),
        }
    }

    /// The images of a classifier's input.
    ///
    /// # Errors
    /// [`Error::Invalid`] for input of another kind.
    pub fn images(&self) -> Result<&Images> {
        match self {
            Self::Images(images) => Ok(images),
            other => Err(other.wrong("a network for images", "`Input::Images`")),
        }
    }

    /// Rows and steps of a simulation's input of `channels` channels, with its values where it has any.
    ///
    /// # Errors
    /// Tokens, another number of channels, an empty run.
    pub(crate) fn series(&self, channels: usize) -> Result<(usize, usize, Option<&Series>)> {
        let (rows, steps, series) = match self {
            Self::Series(series) => (series.rows, series.steps, Some(series)),
            Self::None { rows, steps } => (*rows, *steps, None),
            other => return Err(other.wrong("a simulation", "`Input::Series` or `Input::None`")),
        };
        if let Some(series) = series.filter(|s| s.channels != channels || s.values.len() != rows * steps * channels) {
            return Err(Error::invalid(
                format!(
                    "a series of {rows} rows, {steps} steps and {} channels with {} values is given to a network of \
                     {channels} input channels",
                    series.channels,
                    series.values.len()
                ),
                "give one value per row, step and channel",
            ));
        }
        if rows == 0 || steps == 0 {
            return Err(Error::invalid(format!("a run of {rows} rows and {steps} steps"), "give at least one of each"));
        }
        Ok((rows, steps, series))
    }
}

/// A batch of images.
#[derive(Clone, Debug)]
pub struct Images {
    /// `[rows, channels, height, width]`, 0 to 255, in any type.
    pub pixels: Tensor,
    /// `[rows]`: index of each image in its set.
    pub documents: Vec<u64>,
}

/// Numbers over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Rows of the batch.
    pub rows: usize,
    /// Time steps.
    pub steps: usize,
    /// Numbers per step.
    pub channels: usize,
    /// `[rows, steps, channels]`, row-major.
    pub values: Vec<f32>,
}

impl Series {
    /// One row with one channel.
    pub fn of(values: Vec<f32>) -> Self {
        Self { rows: 1, steps: values.len(), channels: 1, values }
    }

    /// What `row` is given in `step`.
    pub fn at(&self, row: usize, step: usize) -> &[f32] {
        &self.values[(row * self.steps + step) * self.channels..][..self.channels]
    }
}

/// A batch of token rows, row-major, with padding marked.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    /// Rows of the batch.
    pub rows: usize,
    /// Columns of the batch.
    pub pos: usize,
    /// `[rows, pos]`.
    pub ids: Vec<u32>,
    /// `[rows, pos]`: false for padding.
    pub real: Vec<bool>,
    /// `[rows]`: index of each row's document in the corpus.
    pub documents: Vec<u64>,
    /// `[rows]`: where each row begins in its document, for rows that are pieces of a longer text; empty for 0. Reducers
    /// count positions from there; the network does not.
    pub offsets: Vec<u32>,
    /// `[rows]`: real tokens that count as the prompt; filled in by the first call when empty.
    pub prompt: Vec<u32>,
    /// Ids that reducers skip.
    pub special: Vec<u32>,
}

impl Tokens {
    /// A batch of rows of any lengths, filled up with `pad` on `side`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no rows or an empty row.
    pub fn from_rows(rows: &[Vec<u32>], side: Side, pad: u32) -> Result<Self> {
        let pos = rows.iter().map(Vec::len).max().unwrap_or(0);
        if let Some(empty) = rows.iter().position(Vec::is_empty) {
            return Err(Error::invalid(
                format!("text {empty} (counted from 0) has no tokens"),
                "give at least one token per text, or a tokenizer that adds BOS",
            ));
        }
        if rows.is_empty() {
            return Err(Error::invalid("no text was given", "give at least one"));
        }
        let mut ids = Vec::with_capacity(rows.len() * pos);
        let mut real = Vec::with_capacity(rows.len() * pos);
        for row in rows {
            let missing = pos - row.len();
            let (before, after) = if side == Side::Left { (missing, 0) } else { (0, missing) };
            ids.extend(std::iter::repeat_n(pad, before));
            ids.extend_from_slice(row);
            ids.extend(std::iter::repeat_n(pad, after));
            real.extend(std::iter::repeat_n(false, before));
            real.extend(std::iter::repeat_n(true, row.len()));
            real.extend(std::iter::repeat_n(false, after));
        }
        Ok(Self {
            rows: rows.len(),
            pos,
            ids,
            real,
            documents: (0..rows.len() as u64).collect(),
            offsets: Vec::new(),
            prompt: Vec::new(),
            special: Vec::new(),
        })
    }

    /// A batch with a mask of its own: 1 for real tokens, in one run per row.
    ///
    /// # Errors
    /// [`Error::Invalid`] for rows of different lengths, a mask of another shape, a row without a real token, or a
    /// mask with holes (a token that is padding between real ones has no position).
    pub fn from_mask(rows: &[Vec<u32>], mask: &[Vec<u32>]) -> Result<Self> {
        let mut batch = Self::from_rows(rows, Side::Right, 0)?;
        if let Some((r, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != batch.pos) {
            return Err(Error::invalid(
                format!("row {r} of the token ids has {} entries, the longest has {}", row.len(), batch.pos),
                "give rows of equal length, with padding marked in the attention mask",
            ));
        }
        let shape_fits = mask.len() == rows.len() && mask.iter().all(|m| m.len() == batch.pos);
        if !shape_fits {
            return Err(Error::invalid(
                format!("the attention mask does not have the shape [{}, {}] of the token ids", batch.rows, batch.pos),
                "give one 0 or 1 per token",
            ));
        }
        batch.real = mask.iter().flatten().map(|m| *m != 0).collect();
        for (r, row) in batch.real.chunks(batch.pos).enumerate() {
            let first = row.iter().position(|b| *b);
            let last = row.iter().rposition(|b| *b);
            match (first, last) {
                (Some(f), Some(l)) if row[f..=l].iter().all(|b| *b) => {}
                (None, _) => {
                    return Err(Error::invalid(format!("row {r} of the attention mask is all 0"), "drop the row"));
                }
                _ => {
                    return Err(Error::invalid(
                        format!("row {r} of the attention mask has padding between real tokens"),
                        "put the padding before or after the text",
                    ));
                }
            }
        }
        Ok(batch)
    }

    /// Checks that all tables have the batch's size, and that a cache belongs to as many rows.
    pub(crate) fn check(&self, before: Option<&Context>) -> Result<()> {
        let cells = self.rows * self.pos;
        let fits = self.ids.len() == cells && self.real.len() == cells && self.documents.len() == self.rows;
        let fits = fits && (self.offsets.is_empty() || self.offsets.len() == self.rows);
        if !fits || cells == 0 {
            return Err(Error::invalid(
                format!(
                    "a batch of {} rows of {} tokens has {} ids, {} mask entries and {} document numbers",
                    self.rows,
                    self.pos,
                    self.ids.len(),
                    self.real.len(),
                    self.documents.len()
                ),
                "make it with `Tokens::from_rows` or `Tokens::from_mask`",
            ));
        }
        match before {
            Some(before) if before.rows != self.rows => Err(Error::invalid(
                format!("a cache of {} rows is given {} rows", before.rows, self.rows),
                "go on with the batch that filled the cache, or start a new state",
            )),
            _ => Ok(()),
        }
    }

    /// The real ids of a row.
    pub fn row(&self, row: usize) -> Vec<u32> {
        let span = row * self.pos..(row + 1) * self.pos;
        let both = self.ids[span.clone()].iter().zip(&self.real[span]);
        both.filter(|(_, real)| **real).map(|(id, _)| *id).collect()
    }

    /// The same batch with one new token per row appended as the next call of a cached generation.
    pub fn next(&self, ids: &[u32], real: &[bool]) -> Self {
        Self { pos: 1, ids: ids.to_vec(), real: real.to_vec(), ..self.clone() }
    }

    /// What the tap must know of this call, after the calls whose keys `before` describes.
    pub(crate) fn context(&self, before: Option<&Context>) -> Context {
        let (rows, pos) = (self.rows, self.pos);
        let mut call = Context {
            rows,
            pos,
            real: self.real.clone(),
            tokens: self.ids.clone(),
            documents: self.documents.clone(),
            offsets: self.offsets.clone(),
            special: self.special.clone(),
            position: Vec::with_capacity(rows * pos),
            ..Context::default()
        };
        for row in 0..rows {
            let mut next = before.map_or(0, |b| b.real_keys(row));
            for real in &self.real[row * pos..(row + 1) * pos] {
                call.position.push(if *real { next } else { 0 });
                next += u32::from(*real);
            }
        }
        call.follow(before);
        call.prompt = match before {
            Some(b) => b.prompt.clone(),
            None if self.prompt.len() == rows => self.prompt.clone(),
            None => (0..rows).map(|r| call.real_keys(r)).collect(),
        };
        call
    }
}
