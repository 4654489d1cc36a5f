//! The texts that units are labelled on, as one row of tokens: documents dealt to splits that share none, and the pieces
//! in which a network reads them.
//!
//! Candidates and their choice see the selection documents alone; calibration fits what scores need; validation orders
//! edits; what is reported is measured on test documents. A document that occurs twice is read once.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::spelling::Spelling;
use crate::analysis::corpus::cut;
use crate::analysis::label::Bits;
use crate::hook::random;
use crate::store::Tokenizer;
use crate::{Error, Result};

/// Tokens of a window: where a unit is or is not active as a whole.
pub const WINDOW: usize = 32;
/// Where the peak stands in an exemplar's window: three quarters are what the network had read.
pub const PEAK: usize = 24;

/// What a document is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Candidates are made and chosen here.
    Selection,
    /// Simulations are brought to scale here.
    Calibration,
    /// Edits are ordered here.
    Validation,
    /// Scores are reported from here.
    Test,
}

/// How documents are dealt, over and over: half to selection, a quarter to test.
const DEAL: [Split; 8] = [
    Split::Selection,
    Split::Test,
    Split::Selection,
    Split::Calibration,
    Split::Selection,
    Split::Test,
    Split::Selection,
    Split::Validation,
];
const SPLITS: [Split; 4] = [Split::Selection, Split::Calibration, Split::Validation, Split::Test];

/// A text before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its number in its corpus.
    pub number: u64,
    /// Its group: an index into the groups' names.
    pub group: usize,
    /// The text.
    pub text: String,
}

/// A document that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its number in its corpus.
    pub number: u64,
    /// Its group.
    pub group: usize,
    /// What it is for.
    pub split: Split,
    /// Its places.
    pub places: Range<usize>,
}

/// What the network reads at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Index of its document.
    pub document: usize,
    /// Its places.
    pub places: Range<usize>,
}

/// Texts as a row of tokens. A *place* is an index into it.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Token ids. Splits begin at multiples of 64; what fills up to there belongs to no document and is not counted.
    pub tokens: Vec<u32>,
    /// Places that statistics count: no special tokens and no first token of a piece, at which attention sinks act.
    pub counted: Bits,
    /// In the order of places.
    pub documents: Vec<Document>,
    /// In the order of places.
    pub pieces: Vec<Piece>,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// The tokens in letters and words.
    pub spelling: Spelling,
    /// The places of each split, in the order of [`Split`].
    ranges: [Range<usize>; 4],
}

impl Reading {
    /// Reads texts in pieces of at most `window` tokens.
    ///
    /// # Errors
    /// Fewer than eight different documents with a token, so that a split has none.
    pub fn of(tokenizer: &Tokenizer, texts: &[Text], groups: &[String], window: usize, seed: u64) -> Result<Self> {
        let order = |t: &&Text| (t.group, random::key(seed, &[random::name("label"), t.number]), t.number);
        let mut ordered: Vec<&Text> = texts.iter().collect();
        ordered.sort_by_key(order);
        let mut seen = BTreeSet::new();
        let mut dealt: Vec<(Split, &Text, Vec<Vec<u32>>)> = Vec::new();
        for text in ordered {
            if !seen.insert(random::name(text.text.trim())) {
                continue;
            }
            let pieces: Vec<Vec<u32>> = cut(tokenizer, &text.text, window)?.into_iter().map(|(_, ids)| ids).collect();
            // A piece of one token has no counted place.
            if pieces.iter().any(|p| p.len() > 1) {
                dealt.push((DEAL[dealt.len() % DEAL.len()], text, pieces));
            }
        }
        if dealt.len() < DEAL.len() {
            return Err(Error::invalid(
                format!("labels need at least {} different documents with text, got {}", DEAL.len(), dealt.len()),
                "give more documents: one a line or row",
            ));
        }
        let special = tokenizer.special_ids();
        let (mut tokens, mut documents, mut pieces, mut counted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut ranges = [0..0, 0..0, 0..0, 0..0];
        for (range, split) in ranges.iter_mut().zip(SPLITS) {
            let filled = tokens.len().next_multiple_of(64);
            tokens.resize(filled, 0);
            counted.resize(filled, false);
            let start = tokens.len();
            for (_, text, read) in dealt.iter().filter(|(s, ..)| *s == split) {
                let first = tokens.len();
                for piece in read {
                    let begin = tokens.len();
                    counted.extend(piece.iter().enumerate().map(|(i, id)| i > 0 && !special.contains(id)));
                    tokens.extend(piece);
                    pieces.push(Piece { document: documents.len(), places: begin..tokens.len() });
                }
                documents.push(Document { number: text.number, group: text.group, split, places: first..tokens.len() });
            }
            *range = start..tokens.len();
        }
        if u32::try_from(tokens.len()).is_err() {
            return Err(Error::invalid("more tokens than can be numbered", "label on fewer tokens"));
        }
        let counted = Bits::from_fn(tokens.len(), |i| counted[i]);
        let spans: Vec<Range<usize>> = documents.iter().map(|d| d.places.clone()).collect();
        let spelling = Spelling::of(tokenizer, &tokens, &spans);
        Ok(Self { tokens, counted, documents, pieces, groups: groups.to_vec(), spelling, ranges })
    }

    /// The places of a split.
    pub fn range(&self, split: Split) -> Range<usize> {
        self.ranges[split as usize].clone()
    }

    /// Counted places.
    pub fn count(&self) -> u64 {
        self.counted.count()
    }

    /// The documents of a split.
    pub fn of_split(&self, split: Split) -> impl Iterator<Item = &Document> {
        self.documents.iter().filter(move |d| d.split == split)
    }

    /// The document of a place; `None` for what fills up.
    pub fn document(&self, place: usize) -> Option<&Document> {
        let at = self.documents.partition_point(|d| d.places.end <= place);
        self.documents.get(at).filter(|d| d.places.contains(&place))
    }

    /// The window of an exemplar: [`WINDOW`] tokens of the document with the place at [`PEAK`], moved where the document
    /// ends.
    pub fn window(&self, place: usize) -> Range<usize> {
        let within = self.document(place).map_or(place..place + 1, |d| d.places.clone());
        let start = place.saturating_sub(PEAK).max(within.start);
        let end = (start + WINDOW).min(within.end);
        end.saturating_sub(WINDOW).max(within.start)..end
    }

    /// The windows that a document is laid out in: neighbours that share no token.
    pub fn tiles(&self, document: &Document) -> impl Iterator<Item = Range<usize>> + use<> {
        let Range { start, end } = document.places;
        (start..end).step_by(WINDOW).map(move |first| first..(first + WINDOW).min(end))
    }
}
