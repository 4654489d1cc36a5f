//! Texts as token windows, in the order in which every scan reads them.

use crate::hook::random;
use crate::models::{Model, Side, Tokens};
use crate::store::Tokenizer;
use crate::{Error, Result};

/// A piece of a text that the network reads at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Index of the text that it is a piece of.
    pub text: usize,
    /// Its token ids.
    pub ids: Vec<u32>,
}

/// Texts cut into windows, with what is needed to skip and to show tokens.
///
/// A window is a document of the reducers; intervals are over texts.
#[derive(Clone, Debug)]
pub struct Corpus<'a> {
    /// In order of the texts.
    pub windows: Vec<Window>,
    /// Number of texts.
    pub texts: usize,
    /// Ids that statistics skip.
    pub special: Vec<u32>,
    pad: u32,
    tokenizer: Option<&'a Tokenizer>,
}

impl<'a> Corpus<'a> {
    /// Texts for `model`: each is cut into windows of at most `window` tokens (or the model's context, if that is
    /// shorter), and every window begins with the special tokens that the model expects before a text.
    ///
    /// # Errors
    /// No tokenizer, no text with a token, a window too short for the special tokens and a token of text.
    pub fn of_texts(model: &'a Model, texts: &[String], window: usize) -> Result<Self> {
        let tokenizer = model.tokenizer()?;
        let window = model.decoder.facts().context.map_or(window, |limit| window.min(limit));
        let mut windows = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            windows.extend(cut(tokenizer, text, window)?.into_iter().map(|(_, ids)| Window { text: i, ids }));
        }
        let corpus = Self {
            windows,
            texts: texts.len(),
            special: model.special(),
            pad: model.pad(),
            tokenizer: Some(tokenizer),
        };
        corpus.check()
    }

    /// Rows of token ids, each a text of one window; `special` are skipped by statistics. Tokens are shown as ids.
    ///
    /// # Errors
    /// No row with a token.
    pub fn of_ids(rows: &[Vec<u32>], special: &[u32]) -> Result<Self> {
        let windows = rows.iter().enumerate().map(|(text, ids)| Window { text, ids: ids.clone() });
        let windows = windows.filter(|w| !w.ids.is_empty()).collect();
        let corpus = Self { windows, texts: rows.len(), special: special.to_vec(), pad: 0, tokenizer: None };
        corpus.check()
    }

    fn check(self) -> Result<Self> {
        if self.windows.is_empty() {
            return Err(Error::invalid("the texts hold no token", "give at least one text that is not empty"));
        }
        Ok(self)
    }

    /// Whether statistics count this token.
    pub fn counts(&self, id: u32) -> bool {
        !self.special.contains(&id)
    }

    /// Tokens that statistics count.
    pub fn counted(&self) -> usize {
        self.windows.iter().flat_map(|w| &w.ids).filter(|id| self.counts(**id)).count()
    }

    /// A printable form of a token: its text, with bytes that are no UTF-8 as `<0xE4>`, or its id without a tokenizer.
    pub fn word(&self, id: u32) -> String {
        self.tokenizer.map_or_else(|| format!("<id {id}>"), |t| t.token_text(id))
    }

    /// The same windows with their counted tokens in random order; special tokens keep their places.
    pub fn shuffled(&self, seed: u64) -> Self {
        let mut corpus = self.clone();
        for (number, window) in corpus.windows.iter_mut().enumerate() {
            let places: Vec<usize> = (0..window.ids.len()).filter(|p| self.counts(window.ids[*p])).collect();
            let order = permutation(places.len(), seed, number as u64);
            let old = window.ids.clone();
            for (place, from) in places.iter().zip(order) {
                window.ids[*place] = old[places[from]];
            }
        }
        corpus
    }

    /// Batches of neighbouring windows, filled up on the right, each with the range of its windows. No batch has more
    /// than `tokens` cells (one window at least).
    pub fn batches(&self, tokens: usize) -> impl Iterator<Item = Result<(std::ops::Range<usize>, Tokens)>> {
        self.batches_of(0..self.windows.len(), tokens)
    }

    /// Batches of a range of windows; see [`Corpus::batches`].
    pub fn batches_of(
        &self,
        range: std::ops::Range<usize>,
        tokens: usize,
    ) -> impl Iterator<Item = Result<(std::ops::Range<usize>, Tokens)>> {
        let mut next = range.start;
        std::iter::from_fn(move || {
            if next >= range.end {
                return None;
            }
            let (start, mut longest) = (next, 0);
            while next < range.end {
                longest = longest.max(self.windows[next].ids.len());
                if next > start && (next + 1 - start) * longest > tokens {
                    break;
                }
                next += 1;
            }
            Some(self.batch(start..next).map(|batch| (start..next, batch)))
        })
    }

    fn batch(&self, range: std::ops::Range<usize>) -> Result<Tokens> {
        let rows: Vec<Vec<u32>> = self.windows[range.clone()].iter().map(|w| w.ids.clone()).collect();
        let mut batch = Tokens::from_rows(&rows, Side::Right, self.pad)?;
        batch.documents = range.map(|w| w as u64).collect();
        batch.special = self.special.clone();
        Ok(batch)
    }
}

/// The windows of a text of at most `window` tokens, each after the special tokens that the model expects before a text,
/// and how many tokens of the text stand before each. A text of special tokens alone has none.
pub(super) fn cut(tokenizer: &Tokenizer, text: &str, window: usize) -> Result<Vec<(usize, Vec<u32>)>> {
    let whole = tokenizer.encode(text, true)?;
    let special = |id: &u32| tokenizer.special_ids().contains(id);
    if whole.iter().all(special) {
        return Ok(Vec::new());
    }
    if whole.len() <= window {
        return Ok(vec![(0, whole)]);
    }
    // Special tokens that the text itself begins with are its own.
    let added = tokenizer.encode("", true)?.len();
    let before = whole.iter().take(added).take_while(|id| special(id)).count();
    let (start, rest) = whole.split_at(before);
    if window <= start.len() {
        return Err(Error::invalid(
            format!("windows of {window} tokens have no room beside {} special tokens", start.len()),
            "allow longer windows",
        ));
    }
    let room = window - start.len();
    let piece = |(i, piece): (usize, &[u32])| (i * room, [start, piece].concat());
    Ok(rest.chunks(room).enumerate().map(piece).collect())
}

/// A random order of `0..n`: by hash, ties by index.
pub(super) fn permutation(n: usize, seed: u64, row: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|i| (random::key(seed, &[row, *i as u64]), *i));
    order
}
