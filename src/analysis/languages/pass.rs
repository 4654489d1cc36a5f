//! The counting pass: every language in one stream over the corpus, reducers of firing counts at all neurons.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::texts::{Language, Reading, Texts};
use super::{Counts, Part};
use crate::analysis::Corpus;
use crate::analysis::memory::{self, Needs};
use crate::data::Document;
use crate::generate::{Generator, Options as Generating};
use crate::hook::reduce::{FiringSpec, Reducer, ReducerSpec};
use crate::hook::{Output, Pass, Plan, Record, Registry, SiteTable, Tap, Values};
use crate::models::{Input, Model, Network, Side, State, Tokens};
use crate::{Error, Result};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Every token of the texts.
    Texts,
    /// Only what the model itself writes: so many tokens, greedily, after each document as a prompt. A prompt is cut to
    /// the last tokens that the window holds beside them.
    Answers(usize),
}

/// The sites where neurons fire, block by block, and how many neurons a block has.
///
/// # Errors
/// A network without MLP neurons, or with different numbers of them.
pub fn neurons(table: &SiteTable) -> Result<(Vec<String>, usize)> {
    let named = |name: &str| name.starts_with("blocks.") && name.ends_with(".mlp.hook_pre");
    let sites: Vec<_> = table.iter().map(|(_, site)| site).filter(|site| named(&site.name)).collect();
    let width = sites.first().map_or(0, |site| site.width());
    if width == 0 || sites.iter().any(|site| site.width() != width) {
        return Err(Error::invalid(
            "language neurons need MLPs of one width in every block, which this network lacks",
            "use a transformer with MLPs",
        ));
    }
    Ok((sites.iter().map(|site| site.name.clone()).collect(), width))
}

/// Counts how often every neuron fires in the documents that are not held out, up to as many tokens of each language as
/// the smallest has. Padding, BOS and other special tokens are not counted. `progress` hears (documents read, documents
/// in all).
///
/// # Errors
/// Documents that cannot be read and whatever the network refuses.
pub fn count(
    model: &Model,
    texts: Texts,
    languages: &[Language],
    reading: &Reading,
    counted: Counted,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Counts> {
    let (sites, neurons) = neurons(model.decoder.sites())?;
    let scope = if counted == Counted::Texts { "" } else { "@generated" };
    let firing = |site: &String| {
        let spec = ReducerSpec::Firing(FiringSpec::default());
        Ok(Record::reduced(format!("{site}{scope}").parse()?, spec))
    };
    let counter = Counter {
        model,
        // Nobody reads the logits, which a large vocabulary makes the dearest of all.
        pass: Pass {
            records: sites.iter().map(firing).collect::<Result<_>>()?,
            output: Output::Unread,
            ..Pass::default()
        },
        sites,
        reading,
        counted,
    };
    let smallest = languages.iter().map(|language| language.available).min().unwrap_or(0);
    let quota = reading.tokens.map_or(smallest, |most| most.min(smallest));
    let units = counter.sites.len() * neurons;
    let mut parts = vec![vec![Part::empty(units); reading.parts.max(1)]; languages.len()];
    let tokenizer = model.tokenizer()?;
    let special = tokenizer.special_ids();
    let (mut read, mut seen) = (vec![0; languages.len()], 0);
    for chunk in texts.chunks() {
        let chunk = chunk?;
        seen += chunk.len();
        let length = |document: &Document| -> Result<u64> {
            let ids = tokenizer.encode(&document.text, false)?;
            Ok(ids.iter().filter(|id| !special.contains(id)).count() as u64)
        };
        let lengths: Vec<u64> = chunk.par_iter().map(length).collect::<Result<_>>()?;
        let mut wanted: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
        for (document, length) in chunk.into_iter().zip(lengths) {
            if length == 0 || read[document.group] >= quota || reading.holds_out(document.number) {
                continue;
            }
            read[document.group] += length;
            wanted.entry((document.group, reading.part(document.number))).or_default().push(document.text);
        }
        for ((language, part), texts) in wanted {
            parts[language][part].add(&counter.part(texts)?);
        }
        progress(seen, texts.documents() as usize);
    }
    for parts in &mut parts {
        parts.retain(|part| part.tokens > 0);
    }
    let counts = Counts {
        languages: languages.iter().map(|language| language.name.clone()).collect(),
        layers: counter.sites.len(),
        neurons,
        model: Some(model.folder.identity()?.sha256),
        parts,
    };
    counts.check()?;
    Ok(counts)
}

/// An upper estimate of the memory that counting so many languages needs.
///
/// # Errors
/// As [`neurons`].
pub fn needs(table: &SiteTable, weights: u64, languages: usize, reading: &Reading) -> Result<Needs> {
    let (sites, neurons) = neurons(table)?;
    let (batch, window) = (reading.batch.max(reading.window) as u64, reading.window as u64);
    let part = 8 * (sites.len() * neurons) as u64;
    let counts = part.saturating_mul((languages * reading.parts.max(1)) as u64);
    Ok(Needs::default()
        .and("weights", weights)
        .and("activations of a batch", memory::activations(table, batch, window))
        // One naming at a time on every thread: shuffled counts, probabilities, and their copy that is sorted.
        .and("counts", counts)
        .and("scores and shuffles", part.saturating_mul(4 * (languages * rayon::current_num_threads()) as u64))
        .and("program and libraries", 64 << 20))
}

/// What turns texts into counts.
struct Counter<'a> {
    model: &'a Model,
    pass: Pass,
    sites: Vec<String>,
    reading: &'a Reading,
    counted: Counted,
}

impl Counter<'_> {
    /// The counts of some texts, each with a token.
    fn part(&self, mut texts: Vec<String>) -> Result<Part> {
        // Rows of like length make batches without padding.
        texts.sort_by_key(String::len);
        let corpus = Corpus::of_texts(self.model, &texts, self.reading.window)?;
        let net = &self.model.decoder;
        let mut plan = Plan::compile(net.sites(), &self.pass, &Registry::elementary(), Values::default(), &[])?;
        for batch in corpus.batches(self.reading.batch) {
            let (_, mut tokens) = batch?;
            if let Counted::Answers(length) = self.counted {
                tokens = self.answered(&tokens, length)?;
            }
            net.forward(&Input::Tokens(tokens), &mut State::none(), &mut Tap::new(&mut plan))?;
        }
        let records = plan.records(net.sites())?;
        let mut part = Part::default();
        for site in &self.sites {
            if let Reducer::Firing(firing) = records.reducer(site, "firing")? {
                part.tokens = firing.seen();
                part.fired.extend(firing.fired());
            }
        }
        Ok(part)
    }

    /// The prompts with what the model writes after them.
    fn answered(&self, prompts: &Tokens, length: usize) -> Result<Tokens> {
        let room = self.reading.window.saturating_sub(length).max(1);
        let rows: Vec<Vec<u32>> = (0..prompts.rows)
            .map(|r| {
                let row = prompts.row(r);
                row[row.len().saturating_sub(room)..].to_vec()
            })
            .collect();
        let short = Tokens::from_rows(&rows, Side::Left, self.model.pad())?;
        let (pass, registry) = (Pass::default(), Registry::elementary());
        let generator =
            Generator { net: &self.model.decoder, pass: &pass, registry: &registry, values: Values::default() };
        let context = self.model.decoder.facts().context;
        let options = Generating { max_new_tokens: length, stop: self.model.eos(), context, ..Generating::default() };
        let made = generator.run(&short, &options, &mut |_, _| {})?;
        let whole: Vec<Vec<u32>> =
            rows.iter().zip(&made.rows).map(|(row, new)| [row.clone(), new.clone()].concat()).collect();
        let mut tokens = Tokens::from_rows(&whole, Side::Right, self.model.pad())?;
        tokens.prompt = rows.iter().map(|row| row.len() as u32).collect();
        tokens.special = self.model.special();
        Ok(tokens)
    }
}
