//! Rows that repeat themselves: random tokens, or texts.

use super::{Options, Pool};
use crate::analysis::corpus::permutation;
use crate::models::Decoder;
use crate::{Error, Result};

/// Rows of one length.
pub(super) struct Rows {
    /// Tokens of a half.
    pub n: usize,
    /// Whether a start token comes first.
    pub start: usize,
    /// The rows.
    pub ids: Vec<Vec<u32>>,
    /// The same second halves, each after other tokens.
    other: Vec<Vec<u32>>,
}

impl Rows {
    /// Draws without replacement within a row; the 2n tokens of an unrepeated row are distinct too.
    pub fn draw(net: &Decoder, pool: &Pool, options: &Options) -> Result<Self> {
        let mut ids = pool.ids.clone();
        ids.sort_unstable();
        ids.dedup();
        let vocab = net.facts().vocab;
        if let Some(beyond) = ids.iter().chain(&pool.start).find(|id| **id as usize >= vocab) {
            return Err(Error::invalid(
                format!("token id {beyond} of the pool is beyond the vocabulary of {vocab}"),
                "the ids come from another tokenizer",
            ));
        }
        ids.retain(|id| Some(*id) != pool.start);
        let start = usize::from(pool.start.is_some());
        let room = net.facts().context.map_or(usize::MAX, |limit| limit.saturating_sub(start) / 2);
        let n = options.n.min(room).min(ids.len() / 2);
        if n < 2 || options.rows == 0 {
            return Err(Error::invalid(
                format!("rows of 2 x {n} tokens, {} of them, show no repetition", options.rows),
                "give at least two tokens per half, four in the pool, a context of five, and one row",
            ));
        }
        let row = |row: usize| -> Vec<u32> {
            permutation(ids.len(), options.seed, row as u64).into_iter().take(2 * n).map(|i| ids[i]).collect()
        };
        let drawn: Vec<Vec<u32>> = (0..options.rows).map(row).collect();
        let begin: Vec<u32> = pool.start.into_iter().collect();
        let repeated = drawn.iter().map(|d| [&begin[..], &d[..n], &d[..n]].concat()).collect();
        let other = drawn.iter().map(|d| [&begin[..], &d[n..], &d[..n]].concat()).collect();
        Ok(Self { n, start, ids: repeated, other })
    }

    /// The beginnings of texts, each given twice; the other half of a control row is the text before.
    pub fn of_texts(net: &Decoder, start: Option<u32>, texts: &[Vec<u32>], options: &Options) -> Result<Self> {
        let room =
            net.facts().context.map_or(usize::MAX, |limit| limit.saturating_sub(usize::from(start.is_some())) / 2);
        let n = options.n.min(room);
        let mut long: Vec<&[u32]> = texts.iter().filter(|t| t.len() >= n).map(|t| &t[..n]).collect();
        long.dedup();
        let order = permutation(long.len(), options.seed, 0);
        let drawn: Vec<&[u32]> = order.into_iter().take(options.rows).map(|i| long[i]).collect();
        if n < 2 || drawn.len() < 2 {
            return Err(Error::invalid(
                format!("{} of {} texts have {n} tokens; two are needed", long.len(), texts.len()),
                "give longer texts, or fewer tokens a half",
            ));
        }
        let vocab = net.facts().vocab;
        if let Some(beyond) = drawn.iter().copied().flatten().find(|id| **id as usize >= vocab) {
            return Err(Error::invalid(
                format!("token id {beyond} of a text is beyond the vocabulary of {vocab}"),
                "the ids come from another tokenizer",
            ));
        }
        let begin: Vec<u32> = start.into_iter().collect();
        let ids = drawn.iter().map(|d| [&begin[..], d, d].concat()).collect();
        let before = |i: usize| drawn[(i + drawn.len() - 1) % drawn.len()];
        let other = drawn.iter().enumerate().map(|(i, d)| [&begin[..], before(i), d].concat()).collect();
        Ok(Self { n, start: begin.len(), ids, other })
    }

    /// The control rows: nothing repeats.
    pub fn unrepeated(&self) -> Self {
        Self { n: self.n, start: self.start, ids: self.other.clone(), other: Vec::new() }
    }

    /// Position of the first query: the first token of the second half.
    pub fn first_query(&self) -> usize {
        self.start + self.n
    }

    /// Tokens of a row.
    pub fn length(&self) -> usize {
        self.start + 2 * self.n
    }
}
