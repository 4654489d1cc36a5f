//! Repeating a scan from its manifest.

use std::time::Duration;

use serde::Serialize;

use super::job::Job;
use super::{Manifest, Origin, Progress, scan};
use crate::analysis::Environment;
use crate::report::{Block, Cell, Column, Report, Table};
use crate::store::atlas::ARRAYS;
use crate::store::sha256_file;
use crate::{Error, Result};

/// What the repetition of a scan found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// Whether all states are those of the manifest, to the last bit. On a processor with other abilities the last digits
    /// may differ, and with them the whole; then only the numbers of documents and tokens are compared.
    pub equal: bool,
    /// Whether the states were compared.
    pub exact: bool,
    /// sha256 of the states, as recorded and as found.
    pub arrays: [String; 2],
    /// Documents, as recorded and as found.
    pub documents: [u64; 2],
    /// Tokens, as recorded and as found.
    pub tokens: [u64; 2],
}

/// Scans again, into a folder that goes away, and compares.
///
/// # Errors
/// A model, corpus or option that is not the one of the manifest, and whatever [`scan`] refuses.
pub fn replay(manifest: &Manifest, origin: &Origin, job: &Job, progress: &mut dyn Progress) -> Result<Replay> {
    if let Some(difference) = job.difference(&manifest.job) {
        return Err(Error::invalid(
            format!("this is not the scan of the manifest: {difference}"),
            "a repetition needs the same model and corpus",
        ));
    }
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let atlas = folder.path().join("atlas");
    let scanned = scan(origin, job, &atlas, Duration::from_secs(3600), progress)?;
    let arrays = [manifest.arrays.clone(), sha256_file(atlas.join(ARRAYS))?];
    let exact = Environment::here().computes_as(&manifest.environment);
    let documents = [manifest.documents, scanned.documents];
    let tokens = [manifest.tokens, scanned.tokens];
    let counts = documents[0] == documents[1] && tokens[0] == tokens[1];
    Ok(Replay { equal: counts && (!exact || arrays[0] == arrays[1]), exact, arrays, documents, tokens })
}

impl Report for Replay {
    fn blocks(&self) -> Vec<Block> {
        let how = match (self.equal, self.exact) {
            (true, true) => "Every state is the recorded one, to the last bit.",
            (true, false) => {
                "The counts are the recorded ones; the processor is another one, so that states may differ."
            }
            (false, _) => "The scan did not give what is recorded.",
        };
        let row =
            |name: &str, both: [String; 2]| std::iter::once(name.to_string()).chain(both).map(Cell::text).collect();
        let rows = vec![
            row("documents", self.documents.map(|n| n.to_string())),
            row("tokens", self.tokens.map(|n| n.to_string())),
            row("sha256 of the states", self.arrays.clone()),
        ];
        let columns = ["what", "recorded", "now"].map(Column::new).to_vec();
        vec![Block::text(how), Block::Table(Table { columns, rows })]
    }
}
