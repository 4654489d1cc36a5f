//! Files that the program carries, laid out on disk where everything else finds them.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::atomic::write_atomic;
use super::identity::{cache_folder, hex};
use crate::{Error, Result};

/// Lays files out in a folder of the user's cache (or of the system's temporary folder, where the cache cannot be
/// written) and gives the folder. It is named by the files' content; files that are there already stay.
///
/// # Errors
/// When neither place can be written.
pub fn lay_out(files: &[(&str, &[u8])]) -> Result<PathBuf> {
    let mut all = Sha256::new();
    for (name, bytes) in files {
        all.update(format!("{name}\0{}\n", bytes.len()));
        all.update(bytes);
    }
    let name = Path::new("embedded").join(&hex(&all.finalize())[..16]);
    let temporary = std::env::temp_dir().join("optrode").join(&name);
    match cache_folder().map(|cache| cache.join(&name)) {
        None => fill(&temporary, files)?,
        Some(cached) => match fill(&cached, files) {
            Ok(()) => return Ok(cached),
            Err(error) => {
                tracing::debug!(%error, "the cache cannot be written");
                fill(&temporary, files)?;
            }
        },
    }
    Ok(temporary)
}

/// Writes what is missing or differs from what the program carries.
fn fill(folder: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    for (name, bytes) in files {
        let path = folder.join(name);
        if std::fs::read(&path).is_ok_and(|there| there == *bytes) {
            continue;
        }
        write_atomic(&path, |file| std::io::Write::write_all(file, bytes).map_err(Error::io(&path)))?;
    }
    Ok(())
}
