//! Shards of one scan put together: what one pass over the whole corpus would have given.

use std::path::{Path, PathBuf};

use chrono::{SecondsFormat, Utc};

use super::reduced::{Reduced, open};
use super::{Manifest, Scanned, Shard, scanned, write};
use crate::analysis::{Environment, memory};
use crate::store::FileSet;
use crate::store::atlas::{ARRAYS, DATABASE, Database, NAMES, VERSION};
use crate::{Error, Result};

/// Merges the atlases of all shards of a scan into the folder `out`, which must not hold an atlas yet.
///
/// # Errors
/// Shards of different jobs, a shard that is missing or given twice, an atlas that is no shard, damaged files, a folder
/// that cannot be written.
pub fn merge(shards: &[PathBuf], out: &Path) -> Result<Scanned> {
    let (clock, started) = (std::time::Instant::now(), Utc::now());
    let set = FileSet::prepare(out, NAMES)?;
    if out.join(ARRAYS).exists() {
        return Err(Error::file(out, "there is an atlas already", "name another folder, or remove it"));
    }
    let shards = ordered(shards)?;
    let mut whole: Option<Reduced> = None;
    let mut databases = Vec::new();
    for folder in &shards {
        let part = Reduced::open(&folder.join(ARRAYS))?;
        databases.push(Database::open(&folder.join(DATABASE))?);
        match &mut whole {
            Some(whole) => whole.merge(part)?,
            None => whole = Some(part),
        }
    }
    let Some(mut whole) = whole else {
        return Err(Error::invalid("no shard was given", "name the folders of all shards"));
    };
    whole.about.job.shard = None;
    let missing = whole.about.job.corpus.documents.saturating_sub(whole.about.reached.documents());
    if missing > 0 {
        return Err(Error::invalid(format!("the shards lack {missing} documents"), "scan the shards again"));
    }
    let mut context = |place: &super::tables::Place| {
        // Where a place is an example of the whole, it is one of its shard's.
        for database in &databases {
            if let Some(row) = database.context(place.document, place.position)? {
                return Ok(row);
            }
        }
        Err(Error::invalid(
            format!("no shard has the context of document {}, position {}", place.document, place.position),
            "a database does not belong to its arrays: scan that shard again",
        ))
    };
    write(&set, &whole, &mut context, |arrays| Manifest {
        version: VERSION,
        optrode: env!("CARGO_PKG_VERSION").to_string(),
        model: None,
        corpus: None,
        job: whole.about.job.clone(),
        documents: whole.about.reached.documents(),
        tokens: whole.about.reached.tokens(),
        arrays,
        environment: Environment::here(),
        started: started.to_rfc3339_opts(SecondsFormat::Secs, true),
        seconds: clock.elapsed().as_secs_f64(),
    })?;
    let seconds = clock.elapsed().as_secs_f64();
    Ok(Scanned { seconds, peak: memory::peak(), ..scanned(&whole.about, None) })
}

/// The folders in the order of their shards, each once, all of one job.
fn ordered(folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found: Vec<(Shard, &PathBuf)> = Vec::new();
    let mut first = None;
    for folder in folders {
        let (about, _) = open(&folder.join(ARRAYS))?;
        let Some(shard) = about.job.shard else {
            return Err(Error::file(
                folder,
                "this is the atlas of a whole corpus",
                "name atlases made with --shard I/N",
            ));
        };
        let (job, example) = first.get_or_insert_with(|| (about.job.whole(), folder));
        if let Some(difference) = job.difference(&about.job.whole()) {
            return Err(Error::file(
                *example,
                format!("{} is a shard of another scan: {difference}", folder.display()),
                "merge shards of the same model, corpus and options",
            ));
        }
        if let Some((_, twin)) = found.iter().find(|(s, _)| *s == shard) {
            let what = format!("this and {} are both shard {shard}", twin.display());
            return Err(Error::file(folder, what, "name each shard once"));
        }
        found.push((shard, folder));
    }
    found.sort_by_key(|(shard, _)| *shard);
    let Some(of) = found.first().map(|(shard, _)| shard.of) else {
        return Err(Error::invalid("no shard was given", "name the folders of all shards"));
    };
    // Shards of another number of parts were another job's but for the number, which is part of the shard.
    if let Some((other, folder)) = found.iter().find(|(shard, _)| shard.of != of) {
        let what = format!("this is shard {other}, but there are shards of {of}");
        return Err(Error::file(*folder, what, "merge shards of the same division"));
    }
    let missing = (1..=of).filter(|i| !found.iter().any(|(s, _)| s.index == *i));
    let missing: Vec<String> = missing.map(|index| Shard { index, of }.to_string()).collect();
    if !missing.is_empty() {
        return Err(Error::invalid(format!("there is no shard {}", missing.join(", ")), "name all shards of the scan"));
    }
    Ok(found.into_iter().map(|(_, folder)| folder.clone()).collect())
}
