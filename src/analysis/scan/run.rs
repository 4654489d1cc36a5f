//! The pass over the corpus: chunk by chunk, group by group, in batches of windows of like length.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::job::Job;
use super::reduced::{Reduced, tagged};
use super::units::{Watched, watched};
use super::{Extent, Progress};
use crate::analysis::corpus::cut;
use crate::data::{Chunk, Document, Documents};
use crate::hook::{Output, Pass, Plan, Registry, Tap, Values};
use crate::models::{Input, Model, Network, Side, State, Tokens};
use crate::store::Tokenizer;
use crate::{Error, Result};

/// A piece of a document that the network reads at once.
struct Window {
    document: u64,
    /// Tokens of the document before it.
    offset: u32,
    ids: Vec<u32>,
}

/// Reads what is left of the corpus into `reduced`. A checkpoint is written to `checkpoint` whenever a chunk ends and
/// `every` has passed since the last one.
pub(super) fn pass(
    model: &Model,
    documents: &Documents,
    reduced: &mut Reduced,
    checkpoint: &Path,
    every: Duration,
    progress: &mut dyn Progress,
) -> Result<()> {
    let job = reduced.about.job.clone();
    let reader = Reader::new(model, &job)?;
    let next = reduced.about.reached.next;
    let mut saved = Instant::now();
    for chunk in documents.chunks_of(|chunk| chunk >= next && job.owns(chunk)) {
        let chunk = chunk?;
        reader.chunk(&chunk, reduced, progress)?;
        let reached = &mut reduced.about.reached;
        (reached.next, reached.chunks) = (chunk.number + 1, reached.chunks + 1);
        if saved.elapsed() >= every {
            reduced.save(checkpoint)?;
            saved = Instant::now();
        }
    }
    Ok(())
}

/// What turns documents into records.
struct Reader<'a> {
    model: &'a Model,
    tokenizer: &'a Tokenizer,
    pass: Pass,
    special: Vec<u32>,
    window: usize,
    batch: usize,
}

impl<'a> Reader<'a> {
    fn new(model: &'a Model, job: &Job) -> Result<Self> {
        let mut pass = Pass { output: Output::Unread, ..Pass::default() };
        for site in watched(model.decoder.sites(), &job.options) {
            pass.records.extend(Watched::records(&site, &job.options)?);
        }
        let window = job.options.window;
        Ok(Self {
            model,
            tokenizer: model.tokenizer()?,
            pass,
            special: model.special(),
            window: model.decoder.facts().context.map_or(window, |limit| window.min(limit)),
            batch: job.options.batch,
        })
    }

    fn chunk(&self, chunk: &Chunk, reduced: &mut Reduced, progress: &mut dyn Progress) -> Result<()> {
        // Batches hold one group, so that a pass's reducers are that group's.
        let mut groups: BTreeMap<usize, Vec<&Document>> = BTreeMap::new();
        for document in &chunk.documents {
            groups.entry(document.group).or_default().push(document);
        }
        for (group, documents) in groups {
            let windows = self.windows(&documents)?;
            let counted = |w: &Window| w.ids.iter().filter(|id| !self.special.contains(id)).count() as u64;
            let tokens: u64 = windows.iter().map(counted).sum();
            let bytes: u64 = documents.iter().map(|d| d.text.len() as u64).sum();
            let mut told = 0;
            if !windows.is_empty() {
                let net = &self.model.decoder;
                let registry = Registry::elementary();
                let mut plan = Plan::compile(net.sites(), &self.pass, &registry, Values::default(), &[])?;
                for batch in batches(&windows, self.batch) {
                    let input = Input::Tokens(self.tokens(batch, group)?);
                    net.forward(&input, &mut State::none(), &mut Tap::new(&mut plan))?;
                    let tokens_of_batch: u64 = batch.iter().map(counted).sum();
                    // Bytes in proportion, so that the time left is known before the first chunk ends.
                    let share = (bytes as u128 * tokens_of_batch as u128 / tokens.max(1) as u128) as u64;
                    told += share;
                    progress.advance(&Extent { tokens: tokens_of_batch, bytes: share, documents: 0 })?;
                }
                reduced.take(plan.records(net.sites())?, group)?;
            }
            let reached = &mut reduced.about.reached;
            reached.bytes += bytes;
            let (all_documents, all_tokens) = reached.groups[group];
            reached.groups[group] = (all_documents + documents.len() as u64, all_tokens + tokens);
            progress.advance(&Extent { documents: documents.len() as u64, bytes: bytes - told, tokens: 0 })?;
        }
        Ok(())
    }

    /// The windows of documents, shortest first.
    fn windows(&self, documents: &[&Document]) -> Result<Vec<Window>> {
        let cut = |document: &&Document| {
            let pieces = cut(self.tokenizer, &document.text, self.window)?;
            let window = |(offset, ids): (usize, Vec<u32>)| {
                let offset = u32::try_from(offset).map_err(|_| {
                    Error::invalid(
                        format!("document {} has more than {} tokens", document.number, u32::MAX),
                        "split it into documents",
                    )
                })?;
                Ok(Window { document: document.number, offset, ids })
            };
            pieces.into_iter().map(window).collect::<Result<Vec<_>>>()
        };
        let cut: Vec<Vec<Window>> = documents.par_iter().map(cut).collect::<Result<_>>()?;
        let mut windows: Vec<Window> = cut.into_iter().flatten().collect();
        windows.sort_by_key(|w| (w.ids.len(), w.document, w.offset));
        Ok(windows)
    }

    fn tokens(&self, windows: &[Window], group: usize) -> Result<Tokens> {
        let rows: Vec<Vec<u32>> = windows.iter().map(|w| w.ids.clone()).collect();
        let mut tokens = Tokens::from_rows(&rows, Side::Right, self.model.pad())?;
        tokens.documents = windows.iter().map(|w| tagged(w.document, group)).collect();
        tokens.offsets = windows.iter().map(|w| w.offset).collect();
        tokens.special = self.special.clone();
        Ok(tokens)
    }
}

/// Runs of neighbours with at most so many cells each, padding included; one window at least.
fn batches(windows: &[Window], cells: usize) -> impl Iterator<Item = &[Window]> {
    let mut rest = windows;
    std::iter::from_fn(move || {
        let mut count = 0;
        while count < rest.len() && (count == 0 || (count + 1) * rest[count].ids.len() <= cells) {
            count += 1;
        }
        let (batch, tail) = rest.split_at(count);
        rest = tail;
        (!batch.is_empty()).then_some(batch)
    })
}
