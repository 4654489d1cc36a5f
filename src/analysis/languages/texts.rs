//! The texts of languages: which documents are counted and which are kept for tests, how many tokens of each language
//! are read so that all have about as many, and what the tokenizer makes of them.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::counts::MOST;
use crate::data::{Document, Documents, TextSet};
use crate::hook::random;
use crate::models::Model;
use crate::report::number;
use crate::store::Tokenizer;
use crate::{Error, Result};

/// Where more than this share of a language's tokens are unknown to the tokenizer, its neurons would be those of `<unk>`.
const UNKNOWN: f64 = 0.5;
/// Where more than this share of a language's tokens are parts of characters, a note says so.
const IN_PARTS: f64 = 0.5;
/// As many tokens of every language are counted as the smallest has; a language with less than this part of another's
/// tokens would leave next to nothing to be counted.
const UNEQUAL: u64 = 100;
/// Neurons are ranked well from about 50,000 tokens of a language on (the method card); with fewer than this a note says
/// so.
const FEW: u64 = 10_000;
/// Marks the draw of documents that are kept for tests.
const HELD: u64 = 0x6865_6c64;

/// Where texts come from.
#[derive(Clone, Copy)]
pub enum Texts<'a> {
    /// A corpus on disk, streamed; its groups are the languages.
    Corpus(&'a Documents),
    /// Sets in memory, one per language.
    Sets(&'a [TextSet]),
}

impl Texts<'_> {
    /// Names of the languages.
    pub fn languages(&self) -> Vec<String> {
        match self {
            Self::Corpus(documents) => documents.survey.groups.clone(),
            Self::Sets(sets) => sets.iter().map(|set| set.name.clone()).collect(),
        }
    }

    /// Documents in all.
    pub fn documents(&self) -> u64 {
        match self {
            Self::Corpus(documents) => documents.survey.documents,
            Self::Sets(sets) => sets.iter().map(|set| set.texts.len() as u64).sum(),
        }
    }

    /// A language, or its file, without a document.
    fn empty(&self) -> Option<&str> {
        match self {
            Self::Corpus(documents) => {
                documents.survey.files.iter().find(|f| f.documents == 0).map(|f| f.name.as_str())
            }
            Self::Sets(sets) => sets.iter().find(|set| set.texts.is_empty()).map(|set| set.name.as_str()),
        }
    }

    /// The documents in order, some at a time.
    pub(super) fn chunks(&self) -> Box<dyn Iterator<Item = Result<Vec<Document>>> + '_> {
        match self {
            Self::Corpus(documents) => Box::new(documents.chunks_of(|_| true).map(|chunk| Ok(chunk?.documents))),
            Self::Sets(sets) => {
                let mut number = 0;
                Box::new(sets.iter().enumerate().map(move |(group, set)| {
                    let start = number;
                    number += set.texts.len() as u64;
                    let numbered = set.texts.iter().zip(start..);
                    Ok(numbered.map(|(text, number)| Document { number, group, text: text.clone() }).collect())
                }))
            }
        }
    }
}

/// How texts are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Most tokens counted of a language; what the smallest language has is a limit too.
    pub tokens: Option<u64>,
    /// Share of the documents that are kept for tests and never counted.
    pub held_out: f64,
    /// Longest piece of a document that the network reads at once, in tokens.
    pub window: usize,
    /// Most tokens of a batch, padding included.
    pub batch: usize,
    /// Parts of each language's documents that are counted apart, for the permutation null.
    pub parts: usize,
    /// Seed of what is kept for tests and of the parts.
    pub seed: u64,
}

impl Default for Reading {
    fn default() -> Self {
        Self { tokens: None, held_out: 0.25, window: 256, batch: 4096, parts: 8, seed: 0 }
    }
}

impl Reading {
    /// Whether a document is kept for tests.
    pub fn holds_out(&self, document: u64) -> bool {
        random::uniform(random::key(self.seed, &[HELD, document])) < self.held_out
    }

    /// The part that a document belongs to.
    pub fn part(&self, document: u64) -> usize {
        (random::key(self.seed, &[document]) % self.parts.max(1) as u64) as usize
    }
}

/// A language's texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Language {
    /// Its name: the file's, or the value of the column.
    pub name: String,
    /// Documents that may be counted.
    pub documents: u64,
    /// Their tokens, special ones aside.
    pub available: u64,
    /// Documents that are kept for tests.
    pub held_out: u64,
    /// Share of tokens that the tokenizer does not know (`<unk>`).
    #[serde(with = "number")]
    pub unknown: f64,
    /// Share of tokens that are no whole characters: neurons of such a language may be neurons of its bytes.
    #[serde(with = "number")]
    pub fragments: f64,
}

/// Looks through all texts: one pass of the tokenizer, without the network.
///
/// # Errors
/// Fewer than two languages, one without a text or a token to count, one with a hundredth of another's tokens to count, or
/// one that the tokenizer does not know.
pub fn survey(model: &Model, texts: Texts, reading: &Reading) -> Result<Vec<Language>> {
    let groups = texts.languages();
    if let Some(empty) = texts.empty() {
        return Err(Error::invalid(format!("`{empty}` holds no text"), "give the language texts, or leave it out"));
    }
    if !(2..=MOST).contains(&groups.len()) {
        return Err(Error::invalid(
            format!("the texts are of {} languages ({}), expected 2 to {MOST}", groups.len(), shown(&groups)),
            "give a folder with one file per language, or a table with --language-column COLUMN",
        ));
    }
    let tokenizer = model.tokenizer()?;
    let mut found = vec![Seen::default(); groups.len()];
    for chunk in texts.chunks() {
        let one = |document: &Document| Ok((document.group, Seen::of(tokenizer, document, reading)?));
        let seen: Vec<(usize, Seen)> = chunk?.par_iter().map(one).collect::<Result<_>>()?;
        seen.into_iter().for_each(|(group, seen)| found[group].add(seen));
    }
    let languages: Vec<Language> = groups.iter().zip(found).map(|(name, seen)| seen.language(name)).collect();
    if let Some(language) = languages.iter().find(|language| language.unknown > UNKNOWN) {
        return Err(Error::invalid(
            format!(
                "the tokenizer does not know {:.0} % of the tokens of `{}`",
                100.0 * language.unknown,
                language.name
            ),
            "the model cannot read this language: leave it out",
        ));
    }
    if let Some(language) = languages.iter().find(|language| language.available == 0) {
        return Err(Error::invalid(
            format!("the texts of `{}` have no token to count ({} held out)", language.name, language.held_out),
            "give the language more texts, or hold fewer out",
        ));
    }
    let wanted = |language: &Language| reading.tokens.map_or(language.available, |most| most.min(language.available));
    let (least, most) = (languages.iter().min_by_key(|l| wanted(l)), languages.iter().max_by_key(|l| wanted(l)));
    if let (Some(least), Some(most)) = (least, most)
        && wanted(most) > UNEQUAL.saturating_mul(wanted(least))
    {
        return Err(Error::invalid(
            format!(
                "`{}` has {} tokens to count and `{}` {}: as many of every language are counted, so {} alone",
                most.name,
                wanted(most),
                least.name,
                wanted(least),
                wanted(least)
            ),
            format!("give `{}` more texts, leave it out, or ask for fewer of all with --tokens", least.name),
        ));
    }
    Ok(languages)
}

/// What a reader should know of texts before believing what they gave; `counted` are the tokens of each language that were
/// counted.
pub fn notes(languages: &[Language], counted: &[u64]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(few) = counted.iter().min().filter(|few| **few < FEW) {
        notes.push(format!(
            "{few} tokens of a language were counted; neurons are ranked well from about 50000 on, and below {FEW} much \
             of the order is chance"
        ));
    }
    for language in languages.iter().filter(|language| language.fragments > IN_PARTS) {
        notes.push(format!(
            "{:.0} % of the tokens of `{}` are parts of characters, so that its neurons may be those of its script's bytes",
            100.0 * language.fragments,
            language.name
        ));
    }
    notes
}

/// The texts that are kept for tests, at most so many documents of each language.
///
/// # Errors
/// Documents that cannot be read; a language without one.
pub fn held_out(texts: Texts, reading: &Reading, limit: usize) -> Result<Vec<TextSet>> {
    sets(texts, limit, |document| reading.holds_out(document.number))
}

/// The first documents of each language that are wanted.
///
/// # Errors
/// As [`held_out`].
pub fn sets(texts: Texts, limit: usize, wanted: impl Fn(&Document) -> bool) -> Result<Vec<TextSet>> {
    let set = |name: String| TextSet { name, texts: Vec::new() };
    let mut sets: Vec<TextSet> = texts.languages().into_iter().map(set).collect();
    for chunk in texts.chunks() {
        for document in chunk? {
            let texts = &mut sets[document.group].texts;
            if texts.len() < limit && !document.text.trim().is_empty() && wanted(&document) {
                texts.push(document.text);
            }
        }
        if sets.iter().all(|set| set.texts.len() >= limit) {
            break;
        }
    }
    match sets.iter().find(|set| set.texts.is_empty()) {
        Some(set) => Err(Error::invalid(
            format!("there is no text of `{}` to test on", set.name),
            "hold more documents out, or name texts with --test",
        )),
        None => Ok(sets),
    }
}

/// Names in a message.
fn shown(names: &[String]) -> String {
    let more = if names.len() > 8 { ", ..." } else { "" };
    names.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ") + more
}

/// What was seen of a language.
#[derive(Clone, Debug, Default)]
struct Seen {
    documents: u64,
    held_out: u64,
    available: u64,
    tokens: u64,
    unknown: u64,
    fragments: u64,
}

impl Seen {
    fn of(tokenizer: &Tokenizer, document: &Document, reading: &Reading) -> Result<Self> {
        let ids = tokenizer.encode(&document.text, false)?;
        let is_unknown = |id: &&u32| tokenizer.unk() == Some(**id);
        let special = |id: &&u32| tokenizer.special_ids().contains(*id);
        let unknown = ids.iter().filter(is_unknown).count() as u64;
        let text: Vec<&u32> = ids.iter().filter(|id| !special(id) && !is_unknown(id)).collect();
        let whole = |id: &u32| tokenizer.token_bytes(*id).is_some_and(|bytes| std::str::from_utf8(&bytes).is_ok());
        let fragments = text.iter().filter(|id| !whole(id)).count() as u64;
        let held = reading.holds_out(document.number);
        let counted = ids.iter().filter(|id| !special(id)).count() as u64;
        Ok(Self {
            documents: u64::from(!held),
            held_out: u64::from(held),
            available: if held { 0 } else { counted },
            tokens: text.len() as u64 + unknown,
            unknown,
            fragments,
        })
    }

    fn add(&mut self, more: Self) {
        self.documents += more.documents;
        self.held_out += more.held_out;
        self.available += more.available;
        self.tokens += more.tokens;
        self.unknown += more.unknown;
        self.fragments += more.fragments;
    }

    fn language(self, name: &str) -> Language {
        let share = |n: u64| n as f64 / self.tokens.max(1) as f64;
        Language {
            name: name.to_string(),
            documents: self.documents,
            available: self.available,
            held_out: self.held_out,
            unknown: share(self.unknown),
            fragments: share(self.fragments),
        }
    }
}
