//! Scanning: one streaming pass over a corpus that keeps, for every unit of a network, what people ask about it.
//!
//! A unit is an MLP neuron (its `mlp.hook_post`; it fires where `mlp.hook_pre` is positive), and if asked for an attention
//! head (the norm of its `attn.hook_result`) or a coordinate of the stream (`hook_resid_post`). Kept are moments, firing
//! counts and sums by group, the largest and smallest values with context (one per document), a histogram with
//! quantiles, and a random sample of tokens at which all units are seen together; see [`crate::store::atlas`].
//!
//! Documents are read in chunks of a fixed number. Batches never cross chunks nor groups; what each chunk gives is merged
//! in the order of chunks. So an atlas depends on the job alone: not on threads, on when a scan was killed and resumed,
//! and, but for the last digits of sums, not on how chunks were shared out.

mod job;
mod manifest;
mod merge;
mod quick;
mod reduced;
mod replay;
mod report;
mod run;
mod tables;
mod units;

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::Environment;
use super::memory::{self, Needs};
use crate::data::Documents;
use crate::hook::SiteTable;
use crate::models::{Model, Network};
use crate::store::atlas::{ARRAYS, CHECKPOINT, DATABASE, MANIFEST, NAMES, VERSION};
use crate::store::{FileSet, sha256_file};
use crate::{Error, Result};

pub use job::{Job, Options, Shard};
pub use manifest::Manifest;
pub use merge::merge;
pub use quick::{QUICK, quick};
pub use reduced::{About, Reached, key, open, open_of};
pub use replay::{Replay, replay};
pub use units::{Kind, Watched, watched};

use reduced::Reduced;

/// So much of a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Documents.
    pub documents: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Tokens counted; 0 where it is not known.
    pub tokens: u64,
}

/// Whoever watches a scan.
pub trait Progress {
    /// The pass begins: how long it is, and how much of it an earlier run has done.
    fn begin(&mut self, whole: &Extent, done: &Extent);
    /// So much more is done.
    ///
    /// # Errors
    /// [`Error::Stopped`] ends the scan; its checkpoint stays.
    fn advance(&mut self, more: &Extent) -> Result<()>;
}

/// Nobody watches.
pub struct Unwatched;

impl Progress for Unwatched {
    fn begin(&mut self, _: &Extent, _: &Extent) {}
    fn advance(&mut self, _: &Extent) -> Result<()> {
        Ok(())
    }
}

/// What a scan gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scanned {
    /// Watched units: how many sites and units of each kind.
    pub units: Vec<Units>,
    /// Documents read.
    pub documents: u64,
    /// Tokens that the statistics count: padding and special tokens are not among them.
    pub tokens: u64,
    /// Chunks read.
    pub chunks: u64,
    /// Documents and tokens by group: name, documents, tokens.
    pub groups: Vec<(String, u64, u64)>,
    /// The part of the corpus, if it is not all of it.
    pub shard: Option<Shard>,
    /// The chunk that an earlier run, now resumed, had come to.
    pub resumed: Option<u64>,
    /// The atlas was there already, of the same job.
    pub found: bool,
    /// Seconds of this run.
    pub seconds: f64,
    /// Tokens read by this run, counted ones, per second of the pass.
    pub rate: f64,
    /// The most memory that the process held, in bytes.
    pub peak: Option<u64>,
}

/// Watched units of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    /// What they are.
    pub kind: Kind,
    /// Sites.
    pub sites: usize,
    /// Units of all of them.
    pub units: usize,
}

/// An upper estimate of the memory that a scan needs.
pub fn needs(table: &SiteTable, weights: u64, documents: &Documents, options: &Options, shard: Option<Shard>) -> Needs {
    let groups = documents.survey.groups.len() as u64;
    let watched = watched(table, options);
    let once: u64 = watched.iter().map(|w| w.bytes(options, 1)).fold(0, u64::saturating_add);
    let all: u64 = watched.iter().map(|w| w.bytes(options, groups)).fold(0, u64::saturating_add);
    let owned = documents.chunks.iter().enumerate().filter(|(i, _)| shard.is_none_or(|s| s.owns(*i as u64)));
    let texts = owned.map(|(_, (_, bytes))| *bytes).max().unwrap_or(0);
    let (batch, window) = (options.batch.max(options.window) as u64, options.window as u64);
    let mut activations = memory::activations(table, batch, window);
    let streams = table.iter().filter(|(_, s)| options.heads && s.name.ends_with("attn.hook_result"));
    // One layer's at a time, and its squares.
    activations += streams.map(|(_, s)| 8 * batch * s.width() as u64).max().unwrap_or(0);
    Needs::default()
        .and("weights", weights)
        .and("activations of a batch", activations)
        .and("statistics", all)
        // Beside them those of one chunk, and then their copy in a checkpoint.
        .and("statistics of a chunk or their copy", once.max(all))
        // A token has a byte at least, and its id four; the longest pieces are held twice while they are cut.
        .and("texts of a chunk", texts.saturating_mul(5))
        .and("program and libraries", memory::PROGRAM)
}

/// What to do where memory does not suffice.
pub const ADVICE: &str =
    "lower --batch, --examples or --chunk, keep the weights as --dtype bf16, or run on a larger machine";

/// Where an atlas comes from.
pub struct Origin<'a> {
    /// The network.
    pub model: &'a Model,
    /// The corpus.
    pub documents: &'a Documents,
    /// The corpus as it was named.
    pub corpus: &'a str,
}

/// Carries out a scan and writes its atlas to the folder `out`, as a whole. If the folder has a checkpoint of the same
/// job, goes on from there; if it has the job's atlas, leaves it.
///
/// # Errors
/// A folder that cannot be written, that another process writes or that holds something else, another job's atlas or checkpoint, texts without a token,
/// and whatever the network refuses.
pub fn scan(origin: &Origin, job: &Job, out: &Path, every: Duration, progress: &mut dyn Progress) -> Result<Scanned> {
    let (clock, started) = (Instant::now(), Utc::now());
    let set = FileSet::prepare(out, NAMES)?;
    let _alone = set.hold()?;
    if out.join(ARRAYS).exists() {
        let (about, _) = open(&out.join(ARRAYS))?;
        same(job, &about.job, out, "atlas")?;
        return Ok(Scanned { found: true, ..scanned(&about, None) });
    }
    let checkpoint = out.join(CHECKPOINT);
    let sites = watched(origin.model.decoder.sites(), &job.options);
    let (mut reduced, resumed) = if checkpoint.exists() {
        let reduced = Reduced::open(&checkpoint)?;
        same(job, &reduced.about.job, out, "checkpoint")?;
        let chunks = reduced.about.reached.chunks;
        (reduced, Some(chunks))
    } else {
        (Reduced::new(job.clone(), called(origin.model), sites), None)
    };
    let owned = origin.documents.chunks.iter().enumerate().filter(|(i, _)| job.owns(*i as u64));
    let whole = owned.fold(Extent::default(), |sum, (_, (documents, bytes))| Extent {
        documents: sum.documents + documents,
        bytes: sum.bytes + bytes,
        tokens: 0,
    });
    let reached = &reduced.about.reached;
    let before = reached.tokens();
    progress.begin(&whole, &Extent { documents: reached.documents(), bytes: reached.bytes, tokens: before });
    run::pass(origin.model, origin.documents, &mut reduced, &checkpoint, every, progress)?;
    let seconds = clock.elapsed().as_secs_f64();
    if reduced.reducers.is_empty() {
        return Err(Error::invalid(
            match job.shard {
                Some(shard) => format!("shard {shard} has no chunk with a token of text"),
                None => "the corpus has no token of text".to_string(),
            },
            format!("there are {} chunks; use fewer shards, or smaller chunks", origin.documents.chunks.len()),
        ));
    }
    let rate = (reduced.about.reached.tokens() - before) as f64 / seconds.max(f64::MIN_POSITIVE);
    let tokenizer = origin.model.tokenizer()?;
    write(&set, &reduced, &mut |place| place.row(tokenizer), |arrays| Manifest {
        version: VERSION,
        optrode: env!("CARGO_PKG_VERSION").to_string(),
        model: Some(origin.model.reference()),
        corpus: Some(origin.corpus.to_string()),
        job: job.clone(),
        documents: reduced.about.reached.documents(),
        tokens: reduced.about.reached.tokens(),
        arrays,
        environment: Environment::here(),
        started: started.to_rfc3339_opts(SecondsFormat::Secs, true),
        seconds,
    })?;
    let seconds = clock.elapsed().as_secs_f64();
    Ok(Scanned { seconds, rate, peak: memory::peak(), ..scanned(&reduced.about, resumed) })
}

/// What a model is called, wherever its folder lies.
fn called(model: &Model) -> String {
    let folder = &model.folder;
    match folder.origin() {
        crate::store::Origin::Hub { .. } => folder.name(),
        crate::store::Origin::Local => {
            let path = folder.path().canonicalize().unwrap_or_else(|_| folder.path().to_path_buf());
            path.file_name().map_or_else(|| folder.name(), |name| name.to_string_lossy().into_owned())
        }
    }
}

/// Writes an atlas as a whole.
fn write(
    set: &FileSet,
    reduced: &Reduced,
    context: &mut dyn FnMut(&tables::Place) -> Result<crate::store::atlas::ContextRow>,
    manifest: impl FnOnce(String) -> Manifest,
) -> Result<()> {
    set.fill(|folder| {
        reduced.save(&folder.join(ARRAYS))?;
        tables::write(&folder.join(DATABASE), reduced, context)?;
        let manifest = manifest(sha256_file(folder.join(ARRAYS))?).bytes()?;
        let path = folder.join(MANIFEST);
        std::fs::write(&path, manifest).map_err(Error::io(path))
    })
}

/// Refuses what another job has left.
fn same(job: &Job, there: &Job, out: &Path, what: &str) -> Result<()> {
    match job.difference(there) {
        None => Ok(()),
        Some(difference) => Err(Error::file(
            out,
            format!("the folder holds the {what} of another scan: {difference}"),
            "name another folder, give the same options, or remove the folder",
        )),
    }
}

/// What the states say of themselves.
fn scanned(about: &About, resumed: Option<u64>) -> Scanned {
    let kinds = [Kind::Neuron, Kind::Head, Kind::Direction];
    let units = kinds.map(|kind| {
        let sites = about.watched.iter().filter(|w| w.kind == kind);
        Units { kind, sites: sites.clone().count(), units: sites.map(|w| w.width).sum() }
    });
    let groups = about.job.corpus.groups.iter().zip(&about.reached.groups);
    let groups = groups.map(|(name, (documents, tokens))| (name.clone(), *documents, *tokens));
    Scanned {
        units: units.into_iter().filter(|u| u.sites > 0).collect(),
        documents: about.reached.documents(),
        tokens: about.reached.tokens(),
        chunks: about.reached.chunks,
        groups: groups.collect(),
        shard: about.job.shard,
        resumed,
        found: false,
        seconds: 0.0,
        rate: 0.0,
        peak: None,
    }
}
