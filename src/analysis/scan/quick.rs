//! A scan of the texts that come with the program: enough to see what the units of a small model do.

use std::io::Write;
use std::time::Duration;

use tempfile::TempDir;

use super::{Job, Options, Origin, Progress, scan};
use crate::data::organism::embedded;
use crate::data::{DocumentOptions, Documents};
use crate::models::{Model, OpenOptions};
use crate::store::write_atomic;
use crate::{Error, Result};

/// Paragraphs of each language that are read: a few seconds' worth.
const PARAGRAPHS: u64 = 30;

/// The name of the atlas in the folder that [`quick`] makes.
pub const QUICK: &str = "atlas";

/// A temporary folder with an atlas, [`QUICK`], of some of the program's own texts: neurons, heads and the stream.
///
/// # Errors
/// As [`scan`].
pub fn quick(model: &Model, options: &OpenOptions, progress: &mut dyn Progress) -> Result<TempDir> {
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let texts = folder.path().join("texts");
    for set in embedded::texts() {
        let path = texts.join(format!("{}.txt", set.name));
        write_atomic(&path, |file| file.write_all(set.texts.join("\n").as_bytes()).map_err(Error::io(&path)))?;
    }
    let corpus = texts.display().to_string();
    let read = DocumentOptions { per_file: Some(PARAGRAPHS), ..DocumentOptions::default() };
    let documents = Documents::open(&corpus, read, &options.hub)?;
    let wanted = Options { heads: true, residual: true, ..Options::default() };
    let job = Job::of(model, options.storage, &documents, &wanted, None)?;
    let origin = Origin { model, documents: &documents, corpus: &corpus };
    scan(&origin, &job, &folder.path().join(QUICK), Duration::from_secs(3600), progress)?;
    Ok(folder)
}
