//! Likelihood of plain texts: nats per token with an interval over documents.

use serde::{Deserialize, Serialize};

use super::coder::{Coder, Pair};
use super::likelihood::likelihoods;
use super::{Options, Subject, stats};
use crate::data::TextSet;
use crate::report::chart::{Axis, Bars, Plot};
use crate::report::{Better, Block, Cell, Chart, Column, Report, Table, number};
use crate::{Error, Result};

/// How likely a set of texts is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perplexity {
    /// Mean nats per scored token.
    #[serde(with = "number")]
    pub nats_per_token: f64,
    /// Its 95 % interval: documents drawn anew, with replacement. `None` for a single document.
    pub interval: Option<(f64, f64)>,
    /// Bits per byte of text; special tokens count in neither.
    #[serde(with = "number")]
    pub bits_per_byte: f64,
    /// Share of scored tokens that were the likeliest.
    #[serde(with = "number")]
    pub accuracy: f64,
    /// Its 95 % interval over documents.
    pub accuracy_interval: Option<(f64, f64)>,
    /// Scored tokens.
    pub tokens: usize,
    /// What stood before each text.
    pub start: String,
    /// Each document, in order.
    pub documents: Vec<TextNats>,
}

impl Perplexity {
    /// exp of the mean nats.
    pub fn per_token(&self) -> f64 {
        self.nats_per_token.exp()
    }
}

/// One document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TextNats {
    /// Sum over its scored tokens.
    pub nats: f64,
    /// Scored tokens: all but special ones, and but the first where nothing stands before it.
    pub tokens: usize,
    /// Bytes that they stand for.
    pub bytes: usize,
    /// Scored tokens that were the likeliest.
    pub hits: usize,
}

/// The likelihood of texts, each a document of its own.
///
/// Before a text stands what [`Options::start`] says ([`Perplexity::start`] names it); it is context only. A text longer than the model's context is cut into windows; every token is scored once, with at
/// least the token before it (see [`super::evaluate`]). Special tokens are context, never scored. `progress` hears
/// (windows done, windows in all).
///
/// # Errors
/// No text with a token to score, a text that the tokenizer cannot express, and whatever the network and the edits refuse.
pub fn perplexity(
    subject: &Subject,
    texts: &[String],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Perplexity> {
    let coder = Coder::new(subject)?;
    let mut requests = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let mut continuation = coder.bare(text)?;
        let mut context = coder.start(options.start);
        if context.is_empty() && !continuation.is_empty() {
            context.push(continuation.remove(0));
        }
        let pair = Pair { context, continuation, moved: String::new() };
        requests.extend(coder.windows(i, i as u64, pair).0);
    }
    let all = requests.len();
    let found = likelihoods(subject, &requests, options, &mut |done| progress(done, all))?;
    let mut documents = vec![TextNats::default(); texts.len()];
    let special = subject.tokenizer.special_ids();
    for (request, likelihood) in requests.iter().zip(&found) {
        let document = &mut documents[request.owner];
        let each = request.continuation.iter().zip(likelihood.log_probs.iter().zip(&likelihood.hits));
        for (id, (log_prob, hit)) in each.filter(|(id, _)| !special.contains(id)) {
            document.nats -= log_prob;
            document.tokens += 1;
            document.bytes += subject.tokenizer.token_bytes(*id).map_or(0, |b| b.len());
            document.hits += usize::from(*hit);
        }
    }
    let scored: Vec<&TextNats> = documents.iter().filter(|d| d.tokens > 0).collect();
    if scored.is_empty() {
        return Err(Error::invalid("the texts have no token to score", "give at least one text that is not empty"));
    }
    let ratio = |of: fn(&TextNats) -> (f64, f64)| {
        let pairs: Vec<(f64, f64)> = scored.iter().map(|d| of(d)).collect();
        stats::bootstrap(&pairs, |x| x, options.draws, options.seed)
    };
    let nats = ratio(|d| (d.nats, d.tokens as f64));
    let hits = ratio(|d| (d.hits as f64, d.tokens as f64));
    Ok(Perplexity {
        nats_per_token: nats.value,
        interval: nats.interval,
        bits_per_byte: ratio(|d| (d.nats, d.bytes as f64)).value / std::f64::consts::LN_2,
        accuracy: hits.value,
        accuracy_interval: hits.interval,
        tokens: scored.iter().map(|d| d.tokens).sum(),
        start: coder.start_words(options.start),
        documents,
    })
}

/// The likelihood of several sets of texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perplexities {
    /// Name and figures of each set.
    pub sets: Vec<(String, Perplexity)>,
    /// Nats per token if every token were as likely as any other.
    #[serde(with = "number")]
    pub uniform: f64,
}

/// [`perplexity()`] of every set. `progress` hears (sets done, sets in all).
///
/// # Errors
/// As [`perplexity()`]; no sets.
pub fn perplexities(
    subject: &Subject,
    sets: &[TextSet],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Perplexities> {
    if sets.is_empty() {
        return Err(Error::invalid("no set of texts was given", "give at least one"));
    }
    let mut out = Vec::with_capacity(sets.len());
    for (i, set) in sets.iter().enumerate() {
        out.push((set.name.clone(), perplexity(subject, &set.texts, options, &mut |_, _| {})?));
        progress(i + 1, sets.len());
    }
    Ok(Perplexities { sets: out, uniform: (subject.tokenizer.vocab_size() as f64).ln() })
}

impl Report for Perplexities {
    fn blocks(&self) -> Vec<Block> {
        let number = |value: f64, digits: u8| Cell::Number { value, digits };
        let end = |value: Option<f64>| value.map_or(Cell::Empty, |v| number(v, 3));
        let mut table = Table {
            columns: vec![
                Column::new("texts"),
                Column::new("documents"),
                Column::new("tokens"),
                Column::new("nats per token").better(Better::Less),
                Column::new("low"),
                Column::new("high"),
                Column::new("bits per byte").better(Better::Less),
                Column::new("next token right").better(Better::More),
            ],
            rows: Vec::new(),
        };
        for (name, p) in &self.sets {
            table.rows.push(vec![
                Cell::text(name),
                Cell::count(p.documents.len()),
                Cell::count(p.tokens),
                number(p.nats_per_token, 3),
                end(p.interval.map(|i| i.0)),
                end(p.interval.map(|i| i.1)),
                number(p.bits_per_byte, 3),
                number(p.accuracy, 3),
            ]);
        }
        let start = self.sets.first().map_or("", |(_, p)| p.start.as_str());
        let bars = Bars {
            name: "nats per token".to_string(),
            values: self.sets.iter().map(|(_, p)| p.nats_per_token).collect(),
            intervals: self
                .sets
                .iter()
                .map(|(_, p)| p.interval.unwrap_or((p.nats_per_token, p.nats_per_token)))
                .collect(),
        };
        let chart = Chart {
            title: "How likely the texts are".to_string(),
            caption: format!(
                "less is better; lines are 95 % intervals over documents; control: {:.2} if every token were as likely \
                 as any other",
                self.uniform
            ),
            plot: Plot::Bars {
                y: Axis::new("nats per token"),
                categories: self.sets.iter().map(|(name, _)| name.clone()).collect(),
                series: vec![bars],
            },
        };
        vec![
            Block::heading("Perplexity"),
            Block::text(format!(
                "Mean nats per token; intervals are 95 % over documents. Before each text stands {start}. Special tokens \
                 are not scored. If every token were as likely as any other it would be {:.3}.",
                self.uniform
            )),
            Block::Table(table),
            Block::Chart(chart),
        ]
    }
}
