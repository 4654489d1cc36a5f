//! The counting pass: every language in one stream over the corpus, one reducer of firing counts at each site.

use rayon::prelude::*;

use super::texts::{Language, Reading, Texts};
use super::{Counts, Part};
use crate::analysis::Corpus;
use crate::analysis::corpus::cut;
use crate::analysis::memory::{self, Needs};
use crate::data::Document;
use crate::generate::{Generator, Options as Generating};
use crate::hook::reduce::{FiringSpec, Reducer, ReducerSpec};
use crate::hook::{Output, Pass, Plan, Record, Registry, SiteTable, Tap, Values};
use crate::models::{Input, Model, Network, Side, State, Tokens};
use crate::{Error, Result};

/// Pieces of texts wait until they have as many tokens as so many full batches: then rows of like length are found.
const WAITING: usize = 16;

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
    let smallest = languages.iter().map(|language| language.available).min().unwrap_or(0);
    let quota = reading.tokens.map_or(smallest, |most| most.min(smallest));
    let parts = reading.parts.max(1);
    let mut counter = Counter::new(model, reading, counted, languages.len() * parts)?;
    let tokenizer = model.tokenizer()?;
    let special = tokenizer.special_ids();
    let window = model.decoder.facts().context.map_or(reading.window, |limit| reading.window.min(limit));
    let documents = texts.documents() as usize;
    let (mut read, mut seen) = (vec![0; languages.len()], 0);
    for chunk in texts.chunks() {
        let mut chunk = chunk?;
        seen += chunk.len();
        chunk.retain(|document| read[document.group] < quota && !reading.holds_out(document.number));
        let cut = |document: &Document| cut(tokenizer, &document.text, window);
        let pieces: Vec<Vec<(usize, Vec<u32>)>> = chunk.par_iter().map(cut).collect::<Result<_>>()?;
        for (document, pieces) in chunk.iter().zip(pieces) {
            if read[document.group] >= quota {
                continue;
            }
            read[document.group] +=
                pieces.iter().flat_map(|(_, ids)| ids).filter(|id| !special.contains(id)).count() as u64;
            let whose = document.group * parts + reading.part(document.number);
            counter.take(pieces.into_iter().map(|(_, ids)| Piece { whose, ids }))?;
        }
        progress(seen, documents);
        if read.iter().all(|read| *read >= quota) {
            progress(documents, documents);
            break;
        }
    }
    let (layers, neurons) = (counter.sites.len(), counter.neurons);
    let mut all = counter.finish()?.into_iter();
    let counts = Counts {
        languages: languages.iter().map(|language| language.name.clone()).collect(),
        layers,
        neurons,
        model: Some(model.folder.identity()?.sha256),
        parts: languages.iter().map(|_| all.by_ref().take(parts).filter(|part| part.tokens > 0).collect()).collect(),
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
        // Those of the reducers, and the parts that they become.
        .and("counts", counts.saturating_mul(2))
        // One naming at a time on every thread: shuffled counts, probabilities, and their copy that is sorted.
        .and("scores and shuffles", part.saturating_mul(4 * (languages * rayon::current_num_threads()) as u64))
        .and("program and libraries", 64 << 20))
}

/// A piece of a document that the network reads at once.
struct Piece {
    /// The language and the part of its documents that it counts for, in one number.
    whose: usize,
    ids: Vec<u32>,
}

/// What turns pieces of text into counts. Pieces of all languages and parts share batches, so that rows of a batch are of
/// like length and batches are full; the reducers tell them apart.
struct Counter<'a> {
    model: &'a Model,
    plan: Plan,
    sites: Vec<String>,
    neurons: usize,
    /// Numbers of pieces: parts of all languages.
    parts: usize,
    reading: &'a Reading,
    counted: Counted,
    waiting: Vec<Piece>,
    /// Tokens of the pieces that wait.
    tokens: usize,
}

impl<'a> Counter<'a> {
    fn new(model: &'a Model, reading: &'a Reading, counted: Counted, parts: usize) -> Result<Self> {
        let (sites, neurons) = neurons(model.decoder.sites())?;
        let scope = if counted == Counted::Texts { "" } else { "@generated" };
        let firing = |site: &String| {
            let spec = ReducerSpec::Firing(FiringSpec { documents: parts, ..FiringSpec::default() });
            Ok(Record::reduced(format!("{site}{scope}").parse()?, spec))
        };
        // Nobody reads the logits, which a large vocabulary makes the dearest of all.
        let records = sites.iter().map(firing).collect::<Result<_>>()?;
        let pass = Pass { records, output: Output::Unread, ..Pass::default() };
        let plan = Plan::compile(model.decoder.sites(), &pass, &Registry::elementary(), Values::default(), &[])?;
        Ok(Self { model, plan, sites, neurons, parts, reading, counted, waiting: Vec::new(), tokens: 0 })
    }

    /// Takes in the pieces of a document; they are read when enough have come.
    fn take(&mut self, pieces: impl Iterator<Item = Piece>) -> Result<()> {
        for piece in pieces {
            self.tokens += piece.ids.len();
            self.waiting.push(piece);
        }
        if self.tokens >= WAITING * self.reading.batch { self.read() } else { Ok(()) }
    }

    /// Reads what waits.
    fn read(&mut self) -> Result<()> {
        let mut pieces = std::mem::take(&mut self.waiting);
        self.tokens = 0;
        if pieces.is_empty() {
            return Ok(());
        }
        // Rows of like length make batches without padding.
        pieces.sort_by_key(|piece| piece.ids.len());
        let (whose, rows): (Vec<u64>, Vec<Vec<u32>>) =
            pieces.into_iter().map(|piece| (piece.whose as u64, piece.ids)).unzip();
        let corpus = Corpus::of_ids(&rows, &self.model.special())?;
        let net = &self.model.decoder;
        for batch in corpus.batches(self.reading.batch) {
            let (range, mut tokens) = batch?;
            if let Counted::Answers(length) = self.counted {
                tokens = self.answered(&tokens, length)?;
            }
            tokens.documents = whose[range].to_vec();
            net.forward(&Input::Tokens(tokens), &mut State::none(), &mut Tap::new(&mut self.plan))?;
        }
        Ok(())
    }

    /// The counts of every number.
    fn finish(mut self) -> Result<Vec<Part>> {
        self.read()?;
        let mut records = self.plan.records(self.model.decoder.sites())?;
        let mut parts = vec![Part::default(); self.parts];
        for site in &self.sites {
            for (number, part) in parts.iter_mut().enumerate() {
                if let Reducer::Firing(firing) = records.reducer(site, "firing")?
                    && let Some((seen, fired)) = firing.of_document(number)
                {
                    part.tokens = seen;
                    part.fired.extend(fired);
                }
            }
            records.reducers.remove(site);
        }
        Ok(parts)
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
