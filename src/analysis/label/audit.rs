//! Auditing by labels: the units whose labels name a term of a list, or whose strongest examples hold one more often than
//! the corpus does.

use std::collections::BTreeMap;
use std::path::Path;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::holm;
use super::text::ALPHA;
use crate::report::{Better, Block, Cell, Column, Report, Table};
use crate::store::atlas::{DATABASE, Database, LabelRow};
use crate::store::text::read_text;
use crate::{Error, Result};

/// Most terms, and characters of one.
const TERMS: usize = 10_000;
const LONGEST: usize = 200;
/// Bytes of the compiled terms.
const COMPILED: usize = 64 << 20;
/// Examples that stand for a unit, and those that stand for the corpus: bands of a random sample.
const OWN: [&str; 2] = ["top", "bottom"];
const CORPUS: [&str; 5] = ["q99-100", "q95-99", "q75-95", "q50-75", "q00-50"];
/// Units that the terminal shows.
const SHOWN: usize = 40;

/// Words and phrases to look for, whatever their case. A word matches whole words.
#[derive(Clone, Debug)]
pub struct Terms {
    words: Vec<String>,
    any: Regex,
}

impl Terms {
    /// Reads a file with a term a line; empty lines and lines that begin with `#` are none.
    ///
    /// # Errors
    /// A file that is missing or not UTF-8, without a term, with too many or too long ones.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        Self::of(lines.map(str::to_string)).map_err(|e| Error::file(path, e.to_string(), "give one term a line"))
    }

    /// These terms.
    ///
    /// # Errors
    /// No term, too many or too long ones.
    pub fn of(words: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut words: Vec<String> = words.into_iter().map(|w| w.to_lowercase()).collect();
        words.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        words.dedup();
        if words.is_empty() || words.len() > TERMS {
            return Err(Error::invalid(format!("there are {} terms", words.len()), format!("give 1 to {TERMS} terms")));
        }
        if let Some(long) = words.iter().find(|w| w.chars().count() > LONGEST) {
            let start: String = long.chars().take(20).collect();
            return Err(Error::invalid(
                format!("the term that begins with `{start}` has more than {LONGEST} characters"),
                "give words or short phrases",
            ));
        }
        // The longest first, so that a phrase is found before a word of it.
        let pattern: Vec<String> = words.iter().map(|w| pattern(w)).collect();
        let any = RegexBuilder::new(&pattern.join("|")).case_insensitive(true).size_limit(COMPILED).build();
        let any = any.map_err(|_| {
            Error::invalid(format!("the {} terms are too much for one search", words.len()), "give fewer terms")
        })?;
        Ok(Self { words, any })
    }

    /// The terms that stand in a text, in lower case.
    pub fn found(&self, text: &str) -> Vec<String> {
        let mut found: Vec<String> = self.any.find_iter(text).map(|m| m.as_str().to_lowercase()).collect();
        found.sort();
        found.dedup();
        found
    }
}

/// A term with the ends of words around it, where its own ends are letters of a script that parts words.
fn pattern(word: &str) -> String {
    let bounded = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() && u32::from(c) < 0x0E00);
    let edge = |c: Option<char>| if bounded(c) { r"\b" } else { "" };
    format!("{}{}{}", edge(word.chars().next()), regex::escape(word), edge(word.chars().last()))
}

/// What an audit of labels found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelAudit {
    /// What the model is called.
    pub model: String,
    /// Terms looked for.
    pub terms: usize,
    /// Labels in the atlas.
    pub labels: usize,
    /// Share of random contexts of the corpus that hold a term.
    pub corpus: f64,
    /// By site.
    pub layers: Vec<Layer>,
    /// Units with a hit: those named by a label first, by score, then by p.
    pub hits: Vec<Hit>,
}

/// A site's share of the hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The site.
    pub site: String,
    /// Its units.
    pub units: usize,
    /// Units with a label that names a term.
    pub labelled: usize,
    /// Of those, with a label that is more than chance.
    pub held: usize,
    /// Units whose examples hold terms more often than the corpus.
    pub examples: usize,
}

/// A unit with a hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Its site.
    pub site: String,
    /// Its number.
    pub number: usize,
    /// Labels that name a term.
    pub labels: Vec<Named>,
    /// Terms in its strongest examples, and in how many of them each.
    pub terms: Vec<(String, usize)>,
    /// Strongest examples with a term.
    pub examples: usize,
    /// Strongest examples.
    pub of: usize,
    /// Chance of as many if examples were random contexts, corrected for all units (Holm).
    pub p: f64,
}

/// A label that names a term.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// Who wrote it.
    pub explainer: String,
    /// The label.
    pub text: String,
    /// Its held-out score.
    pub score: Option<f64>,
    /// Whether it is more than chance, where that is known.
    pub holds: Option<bool>,
}

/// Looks for terms in the labels and examples of an atlas.
///
/// # Errors
/// What is wrong with the atlas.
pub fn audit(atlas: &Path, terms: &Terms) -> Result<LabelAudit> {
    let database = Database::open(&atlas.join(DATABASE))?;
    let run = database.run()?;
    // How often a random context holds a term. Contexts are of tokens drawn at random, so a unit counts each band once.
    let (mut with, mut all) = (0u64, 0u64);
    let mut seen: BTreeMap<String, bool> = BTreeMap::new();
    database.each_example(&CORPUS, |_, text| {
        if !seen.contains_key(text) {
            let found = !terms.found(text).is_empty();
            (with, all) = (with + u64::from(found), all + 1);
            seen.insert(text.to_string(), found);
        }
    })?;
    let corpus = if all == 0 { 0.0 } else { with as f64 / all as f64 };
    // A term that no random context happens to hold is rare, not impossible.
    let chance = (with + 1) as f64 / (all + 2) as f64;
    drop(seen);
    let mut examples: BTreeMap<i64, (usize, usize, BTreeMap<String, usize>)> = BTreeMap::new();
    database.each_example(&OWN, |unit, text| {
        let found = terms.found(text);
        let (hits, of, by_term) = examples.entry(unit).or_default();
        *of += 1;
        *hits += usize::from(!found.is_empty());
        found.into_iter().for_each(|term| *by_term.entry(term).or_default() += 1);
    })?;
    let rows = database.labels(None)?;
    let labels = rows.len();
    let mut named: BTreeMap<i64, Vec<Named>> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| !terms.found(&row.text).is_empty()) {
        named.entry(row.unit).or_default().push(self::named(row));
    }
    let (mut hits, mut layers, mut p) = (Vec::new(), Vec::new(), Vec::new());
    for (index, site) in database.sites()?.into_iter().enumerate() {
        let ids = database.unit_ids(index)?;
        layers.push(Layer { site: site.name.clone(), units: ids.len(), labelled: 0, held: 0, examples: 0 });
        for (number, id) in ids.into_iter().enumerate() {
            let (count, of, by_term) = examples.remove(&id).unwrap_or_default();
            // An atlas without random contexts tells no chance.
            p.push(if all == 0 { f64::NAN } else { binomial_tail(count, of, chance) });
            let mut terms: Vec<(String, usize)> = by_term.into_iter().collect();
            terms.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            let labels = named.remove(&id).unwrap_or_default();
            hits.push((index, Hit { site: site.name.clone(), number, labels, terms, examples: count, of, p: 1.0 }));
        }
    }
    for ((index, hit), p) in hits.iter_mut().zip(holm(&p)) {
        hit.p = if p.is_nan() { 1.0 } else { p };
        let layer = &mut layers[*index];
        layer.labelled += usize::from(!hit.labels.is_empty());
        layer.held += usize::from(hit.labels.iter().any(|l| l.holds == Some(true)));
        layer.examples += usize::from(hit.p < ALPHA);
    }
    let mut hits: Vec<Hit> = hits.into_iter().map(|(_, hit)| hit).collect();
    hits.retain(|hit| !hit.labels.is_empty() || hit.p < ALPHA);
    let score = |hit: &Hit| hit.labels.iter().filter_map(|l| l.score).fold(f64::NEG_INFINITY, f64::max);
    hits.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.p.total_cmp(&b.p)));
    Ok(LabelAudit { model: run.model, terms: terms.words.len(), labels, corpus, layers, hits })
}

fn named(row: LabelRow) -> Named {
    let provenance: Value = serde_json::from_str(&row.provenance).unwrap_or_default();
    let holds = provenance.get("holds").and_then(Value::as_bool);
    Named { explainer: row.explainer, text: row.text, score: row.score, holds }
}

/// P(X >= k) for X binomial with n trials of chance q.
pub fn binomial_tail(k: usize, n: usize, q: f64) -> f64 {
    if k == 0 || q >= 1.0 {
        return 1.0;
    }
    if q <= 0.0 {
        return 0.0;
    }
    // log C(n, i) step by step.
    let (mut log_choose, mut sum) = (0.0, 0.0);
    for i in 0..=n {
        if i > 0 {
            log_choose += ((n - i + 1) as f64 / i as f64).ln();
        }
        if i >= k {
            sum += (log_choose + i as f64 * q.ln() + (n - i) as f64 * (1.0 - q).ln()).exp();
        }
    }
    sum.min(1.0)
}

impl Report for LabelAudit {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![Block::text(format!(
            "{} terms in {} labels and in the largest and smallest examples of every unit of {}. {:.2} % of random contexts \
             hold a term; examples count where they hold more (p < 0.05 after Holm's correction for all units).",
            self.terms,
            self.labels,
            self.model,
            100.0 * self.corpus
        ))];
        let row = |l: &Layer| {
            vec![
                Cell::text(&l.site),
                Cell::count(l.units),
                Cell::count(l.labelled),
                Cell::count(l.held),
                Cell::count(l.examples),
            ]
        };
        let names = ["site", "units", "named by a label", "by one that is more than chance", "by examples"];
        blocks.push(Block::Table(Table {
            columns: names.map(Column::new).to_vec(),
            rows: self.layers.iter().map(row).collect(),
        }));
        if self.hits.is_empty() {
            blocks.push(Block::text("No unit is hit."));
            return blocks;
        }
        let hit = |h: &Hit| {
            let label = h.labels.iter().max_by(|a, b| a.score.unwrap_or(0.0).total_cmp(&b.score.unwrap_or(0.0)));
            let terms: Vec<String> = h.terms.iter().take(3).map(|(term, n)| format!("{term} {n}")).collect();
            vec![
                Cell::text(format!("{}[{}]", h.site, h.number)),
                label.map_or(Cell::Empty, |l| Cell::text(&l.text)),
                label.and_then(|l| l.score).map_or(Cell::Empty, |value| Cell::Number { value, digits: 3 }),
                Cell::text(format!("{} of {}", h.examples, h.of)),
                Cell::text(terms.join(", ")),
                Cell::Error(h.p),
            ]
        };
        blocks.push(Block::heading("Units"));
        blocks.push(Block::Table(Table {
            columns: vec![
                Column::new("unit"),
                Column::new("label"),
                Column::new("AUROC").better(Better::More),
                Column::new("examples with a term"),
                Column::new("terms"),
                Column::new("p"),
            ],
            rows: self.hits.iter().take(SHOWN).map(hit).collect(),
        }));
        if self.hits.len() > SHOWN {
            blocks.push(Block::text(format!("{} more units are in --json.", self.hits.len() - SHOWN)));
        }
        blocks
    }
}
