//! Writing files so that a reader never sees half of one.
//!
//! The bytes go to a temporary file in the same folder, are flushed to the disk and then take the place of the
//! target in one rename. If anything fails the target is as it was and the temporary file is gone.

use std::fs::File;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// How the names of temporary files and folders begin.
pub(super) const TEMPORARY: &str = ".optrode-";

/// Writes `path` through `fill`, whole or not at all. Missing parent folders are made.
///
/// The file gets the rights that a newly created file would have (the temporary file itself is private).
///
/// # Errors
/// What `fill` returns, or [`Error::Io`] naming the path that could not be written.
pub fn write_atomic(path: impl AsRef<Path>, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let path = path.as_ref();
    let mut temp = temporary(path)?;
    fill(temp.as_file_mut())?;
    temp.as_file().sync_all().map_err(Error::io(path))?;
    temp.persist(path).map_err(|e| Error::io(path)(e.error))?;
    Ok(())
}

/// Checks, before any work is done, that [`write_atomic`] can write `path`.
///
/// # Errors
/// When it cannot.
pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
    temporary(path.as_ref()).map(|_| ())
}

/// An empty file beside `path`, gone when dropped.
fn temporary(path: &Path) -> Result<NamedTempFile> {
    if let Ok(there) = path.metadata().map(|m| m.file_type())
        && !there.is_file()
    {
        // A rename would put a file in the place of a device.
        let kind = if there.is_dir() { "this is a folder, expected a file" } else { "this is no regular file" };
        return Err(Error::file(path, kind, "name a file"));
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    builder().tempfile_in(folder).map_err(Error::io(path))
}

/// Temporary files are made with mode 0600 unless told otherwise; a written result should be as readable as any
/// other file of the user, so ask for 0666 and let the umask take its share.
#[cfg(unix)]
fn builder() -> tempfile::Builder<'static, 'static> {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY).permissions(std::fs::Permissions::from_mode(0o666));
    builder
}

#[cfg(not(unix))]
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    builder
}
