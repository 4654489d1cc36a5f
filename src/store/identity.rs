//! What a model *is*: the sha256 of its files.
//!
//! A file in a Hugging Face cache is a link to a blob named by the file's sha256, and that name is taken. Any
//! other file is read once; the result is remembered by path, size and time of change in
//! `$XDG_CACHE_HOME/optrode/hashes.json` (or `~/.cache/optrode/`). That memory is a convenience: whatever goes
//! wrong with it is ignored and the file is read again.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::atomic::write_atomic;
use crate::{Error, Result};

/// The sha256 of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileHash {
    /// File name within the model folder.
    pub name: String,
    /// Lower-case hexadecimal sha256.
    pub sha256: String,
}

/// The sha256 of a model: of its files, and of the list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// sha256 over `name NUL hash LF` of every file, sorted by name: one word for the whole model.
    pub sha256: String,
    /// The files, sorted by name.
    pub files: Vec<FileHash>,
}

impl Identity {
    /// The identity of a set of files, named by their file names.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(paths: &[PathBuf]) -> Result<Self> {
        Self::remembered(paths, memory_path().as_deref())
    }

    /// As [`Identity::of`], with the memory in a given file, or none.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn remembered(paths: &[PathBuf], memory: Option<&Path>) -> Result<Self> {
        let name = |path: &PathBuf| path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let hashes = hash_remembered(paths, memory)?;
        let files = paths.iter().zip(hashes).map(|(path, sha256)| FileHash { name: name(path), sha256 });
        let mut files: Vec<FileHash> = files.collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self::of_hashes(files))
    }

    fn of_hashes(files: Vec<FileHash>) -> Self {
        let mut all = Sha256::new();
        for file in &files {
            all.update(format!("{}\0{}\n", file.name, file.sha256));
        }
        Self { sha256: hex(&all.finalize()), files }
    }

    /// The identity of some of the files; `None` if none of them is there.
    pub fn part(&self, names: &[&str]) -> Option<Self> {
        let files: Vec<FileHash> = self.files.iter().filter(|f| names.contains(&f.name.as_str())).cloned().collect();
        (!files.is_empty()).then(|| Self::of_hashes(files))
    }
}

/// The sha256 of every file, in order; those that were hashed before are remembered.
///
/// # Errors
/// When a file cannot be read.
pub fn sha256_files(paths: &[PathBuf]) -> Result<Vec<String>> {
    hash_remembered(paths, memory_path().as_deref())
}

fn hash_remembered(paths: &[PathBuf], memory: Option<&Path>) -> Result<Vec<String>> {
    let mut known = Memory::load(memory);
    let hashes = paths.iter().map(|path| known.hash(path)).collect();
    known.save(memory);
    hashes
}

/// The sha256 of bytes in memory.
pub fn sha256_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The sha256 of a file's bytes, read in pieces.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_file(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let got = file.read(&mut buffer).map_err(Error::io(path))?;
        if got == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..got]);
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether a blob name is a sha256 (small files of a repository are named by their shorter git hash).
pub(super) fn is_sha256(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The blob name behind a link of a Hub cache: `snapshots/<commit>/<file>` -> `../../blobs/<sha256>`.
fn blob_name(path: &Path) -> Option<String> {
    let target = std::fs::read_link(path).ok()?;
    let name = target.file_name()?.to_str()?;
    let in_blobs = target.parent().and_then(Path::file_name).is_some_and(|f| f == "blobs");
    (in_blobs && is_sha256(name)).then(|| name.to_string())
}

#[derive(Clone, Serialize, Deserialize)]
struct Remembered {
    size: u64,
    /// Nanoseconds since 1970, as text: JSON numbers end before them.
    modified: String,
    sha256: String,
}

#[derive(Default)]
struct Memory {
    entries: BTreeMap<String, Remembered>,
    changed: bool,
}

impl Memory {
    fn load(path: Option<&Path>) -> Self {
        let entries = path
            .and_then(|p| std::fs::read(p).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self { entries, changed: false }
    }

    fn save(&self, path: Option<&Path>) {
        if let (true, Some(path)) = (self.changed, path)
            && let Ok(text) = serde_json::to_vec_pretty(&self.entries)
        {
            let written = write_atomic(path, |file| std::io::Write::write_all(file, &text).map_err(Error::io(path)));
            if let Err(error) = written {
                tracing::debug!(%error, "file hashes are not remembered");
            }
        }
    }

    fn hash(&mut self, path: &Path) -> Result<String> {
        if let Some(name) = blob_name(path) {
            return Ok(name);
        }
        let meta = std::fs::metadata(path).map_err(Error::io(path))?;
        let key = std::fs::canonicalize(path).map_err(Error::io(path))?.to_string_lossy().into_owned();
        let stamp = modified(&meta);
        if let (Some(known), Some(stamp)) = (self.entries.get(&key), &stamp)
            && known.size == meta.len()
            && known.modified == *stamp
        {
            return Ok(known.sha256.clone());
        }
        let sha256 = sha256_file(path)?;
        if let Some(modified) = stamp {
            let entry = Remembered { size: meta.len(), modified, sha256: sha256.clone() };
            self.entries.insert(key, entry);
            self.changed = true;
        }
        Ok(sha256)
    }
}

fn modified(meta: &Metadata) -> Option<String> {
    let since = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_nanos().to_string())
}

/// `$XDG_CACHE_HOME/optrode`, or `~/.cache/optrode`.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("optrode"))
}

fn memory_path() -> Option<PathBuf> {
    Some(cache_folder()?.join("hashes.json"))
}
