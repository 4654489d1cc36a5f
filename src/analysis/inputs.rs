//! The files that a run reads, with their hashes, for manifests.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::store::sha256_file;

/// A file that a run read beside its models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its sha256.
    pub sha256: String,
}

/// The files that a run has read.
#[derive(Debug, Default)]
pub struct Inputs(Mutex<Vec<DataFile>>);

impl Inputs {
    /// Notes a file with its hash.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn note(&self, path: &Path) -> Result<()> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if files.iter().all(|f| f.path != path) {
            files.push(DataFile { path: path.to_path_buf(), sha256: sha256_file(path)? });
        }
        Ok(())
    }

    /// The files, by path.
    pub fn files(&self) -> Vec<DataFile> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }
}
