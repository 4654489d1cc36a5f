//! What a scan has found out so far: the states of its reducers, and how far it is.
//!
//! A reducer's key is `SITE/KIND`, or `SITE/KIND/GROUP` for the kinds that are kept by group.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::job::Job;
use super::units::{BY_GROUP, Watched};
use crate::hook::Records;
use crate::hook::reduce::Reducer;
use crate::models::Model;
use crate::store::atlas::{ARRAYS, Arrays, DATABASE, Database, write_arrays};
use crate::{Error, Result};

/// Bits of a reducer's document number that hold the group, so that a kept example tells it: a corpus has at most 1000.
const GROUP_BITS: u32 = 10;

/// The number that reducers know a document by.
pub(super) fn tagged(document: u64, group: usize) -> u64 {
    document << GROUP_BITS | group as u64
}

/// Document and group of such a number.
pub(super) fn untagged(number: u64) -> (u64, usize) {
    (number >> GROUP_BITS, (number & ((1 << GROUP_BITS) - 1)) as usize)
}

/// How far a scan is: it has done so many chunks, and all of their documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// Number of the chunk that comes next, or of one that follows it if that is another shard's.
    pub next: u64,
    /// Chunks done.
    pub chunks: u64,
    /// Bytes of text read.
    pub bytes: u64,
    /// Documents and counted tokens, by group.
    pub groups: Vec<(u64, u64)>,
}

impl Reached {
    /// Documents done.
    pub fn documents(&self) -> u64 {
        self.groups.iter().map(|(documents, _)| documents).sum()
    }

    /// Tokens that the statistics count.
    pub fn tokens(&self) -> u64 {
        self.groups.iter().map(|(_, tokens)| tokens).sum()
    }
}

/// What is known besides the reducers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// What is scanned, and how.
    pub job: Job,
    /// What the model is called.
    pub model: String,
    /// The sites.
    pub watched: Vec<Watched>,
    /// How far it is.
    pub reached: Reached,
}

/// A scan's state.
#[derive(Clone, Debug)]
pub struct Reduced {
    /// What is scanned, and how far that is.
    pub about: About,
    /// The reducers by key.
    pub reducers: BTreeMap<String, Reducer>,
}

impl Reduced {
    /// Nothing so far.
    pub fn new(job: Job, model: String, watched: Vec<Watched>) -> Self {
        let reached = Reached { groups: vec![(0, 0); job.corpus.groups.len()], ..Reached::default() };
        Self { about: About { job, model, watched, reached }, reducers: BTreeMap::new() }
    }

    /// Takes in what one pass over documents of one group recorded.
    pub fn take(&mut self, records: Records, group: usize) -> Result<()> {
        for (site, kinds) in records.reducers {
            for (kind, reducer) in kinds {
                self.join(key(&site, kind, group), reducer)?;
            }
        }
        Ok(())
    }

    /// Takes in the state of other chunks.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        for (key, reducer) in other.reducers {
            self.join(key, reducer)?;
        }
        let (own, more) = (&mut self.about.reached, other.about.reached);
        own.next = own.next.max(more.next);
        own.chunks += more.chunks;
        own.bytes += more.bytes;
        for (own, more) in own.groups.iter_mut().zip(more.groups) {
            *own = (own.0 + more.0, own.1 + more.1);
        }
        Ok(())
    }

    fn join(&mut self, key: String, reducer: Reducer) -> Result<()> {
        match self.reducers.get_mut(&key) {
            Some(all) => all.merge(reducer),
            None => {
                self.reducers.insert(key, reducer);
                Ok(())
            }
        }
    }

    /// Writes it, whole or not at all; equal states give equal bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let about = serde_json::to_value(&self.about).map_err(|e| Error::file(path, e.to_string(), "report this"))?;
        write_arrays(path, &about, &self.reducers)
    }

    /// Reads it.
    ///
    /// # Errors
    /// A file that is missing, damaged, of another version or none of this kind.
    pub fn open(path: &Path) -> Result<Self> {
        let (about, arrays) = open(path)?;
        Ok(Self { about, reducers: arrays.reducers()? })
    }

    /// All groups' states of a kind together; `None` where none is.
    pub fn all(&self, site: &str, kind: &str) -> Result<Option<Reducer>> {
        let mut all: Option<Reducer> = None;
        for group in 0..self.about.job.corpus.groups.len() {
            let Some(part) = self.reducers.get(&key(site, kind, group)) else { continue };
            match &mut all {
                Some(all) => all.merge(part.clone())?,
                None => all = Some(part.clone()),
            }
            if !BY_GROUP.contains(&kind) {
                break;
            }
        }
        Ok(all)
    }
}

/// What a file of states is about, and its states unread.
///
/// # Errors
/// As [`Reduced::open`].
pub fn open(path: &Path) -> Result<(About, Arrays)> {
    let arrays = Arrays::open(path)?;
    let about: About = serde_json::from_value(arrays.about().clone()).map_err(|e| {
        Error::file(path, format!("these are not the states of a scan: {e}"), "name a folder that `optrode scan` wrote")
    })?;
    let (groups, counted) = (about.job.corpus.groups.len(), about.reached.groups.len());
    if groups != counted {
        let what = format!("{counted} groups are counted, but the corpus has {groups}");
        return Err(Error::file(path, what, "the file is damaged: scan again"));
    }
    Ok((about, arrays))
}

/// The atlas in a folder, which must be of this model: what it is about, its states unread, its database.
///
/// # Errors
/// Another model's atlas, and whatever is wrong with it.
pub fn open_of(model: &Model, atlas: &Path) -> Result<(About, Arrays, Database)> {
    let (about, arrays) = open(&atlas.join(ARRAYS))?;
    let database = Database::open(&atlas.join(DATABASE))?;
    let run = database.run()?;
    let own = model.folder.identity()?.sha256;
    if run.model_sha256 != own || about.job.model != own {
        return Err(Error::file(
            atlas,
            format!("this is an atlas of another model: expected sha256 {own}, got {}", run.model_sha256),
            "name the atlas of this model, or scan it",
        ));
    }
    Ok((about, arrays, database))
}

/// The key of a reducer.
pub fn key(site: &str, kind: &str, group: usize) -> String {
    match BY_GROUP.contains(&kind) {
        true => format!("{site}/{kind}/{group}"),
        false => format!("{site}/{kind}"),
    }
}
