//! A folder of files that appears as one: a reader finds all of the new files or all of the old ones.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::atomic::TEMPORARY;
use crate::{Error, Result};

/// A folder that is to be written. Files of other names in it are somebody's, so that it is never replaced then.
#[derive(Debug)]
pub struct FileSet {
    target: PathBuf,
    parent: PathBuf,
    names: &'static [&'static str],
}

impl FileSet {
    /// Checks, before any work is done, that `target` can be written: it is absent, or holds no other files than
    /// `names`, and its parent folder (made if it is missing) takes new folders.
    ///
    /// # Errors
    /// When it cannot.
    pub fn prepare(target: impl AsRef<Path>, names: &'static [&'static str]) -> Result<Self> {
        let given = target.as_ref();
        let target = if given.exists() { given.canonicalize() } else { std::path::absolute(given) };
        let target = target.map_err(Error::io(given))?;
        let parent = match (target.parent(), target.file_name()) {
            (Some(parent), Some(_)) => parent.to_path_buf(),
            _ => return Err(Error::file(given, "this cannot be replaced", "name a folder of its own")),
        };
        let set = Self { target, parent, names };
        set.check_target()?;
        std::fs::create_dir_all(&set.parent).map_err(Error::io(&set.parent))?;
        set.temporary()?;
        Ok(set)
    }

    /// The folder.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Keeps other processes from holding the same folder while the value lives.
    ///
    /// # Errors
    /// When another process holds it.
    pub fn hold(&self) -> Result<Hold> {
        let name = self.target.file_name().unwrap_or_default().to_string_lossy();
        let path = self.parent.join(format!("{TEMPORARY}{name}.lock"));
        let file = File::create(&path).map_err(Error::io(&path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::file(
                &self.target,
                "another process is writing this folder",
                "wait until it ends, or name another folder",
            )),
            // Some file systems have no locks; work there is as safe as it was.
            Err(TryLockError::Error(e)) if e.kind() != ErrorKind::Unsupported => Err(Error::io(&path)(e)),
            _ => Ok(Hold { path, _file: file }),
        }
    }

    /// Writes the files. If anything fails the target is as it was.
    ///
    /// # Errors
    /// When a file cannot be written, or somebody else's file came to lie in the folder.
    pub fn write(&self, files: &[(&str, Vec<u8>)]) -> Result<()> {
        self.fill(|folder| {
            for (name, bytes) in files {
                let path = folder.join(name);
                let mut file = File::create(&path).map_err(Error::io(&path))?;
                file.write_all(bytes).map_err(Error::io(&path))?;
            }
            Ok(())
        })
    }

    /// The same for files that are written in place, in the folder that `write` is given.
    ///
    /// # Errors
    /// What `write` returns, and as [`FileSet::write`].
    pub fn fill(&self, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let temporary = self.temporary()?;
        write(temporary.path())?;
        for entry in std::fs::read_dir(temporary.path()).map_err(Error::io(temporary.path()))? {
            let path = entry.map_err(Error::io(temporary.path()))?.path();
            File::options().write(true).open(&path).and_then(|file| file.sync_all()).map_err(Error::io(&path))?;
        }
        sync(temporary.path())?;
        self.check_target()?;
        self.replace_by(temporary.path())?;
        sync(&self.parent)
    }

    /// A folder beside the target, gone when dropped; with the rights that a newly made folder has.
    fn temporary(&self) -> Result<TempDir> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o777));
        }
        builder.tempdir_in(&self.parent).map_err(|e| match e.kind() {
            // The name of a temporary folder says nothing to anybody.
            ErrorKind::Other => Error::file(&self.parent, e.to_string(), "check the folder"),
            _ => Error::io(&self.parent)(e),
        })
    }

    fn check_target(&self) -> Result<()> {
        let entries = match std::fs::read_dir(&self.target) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == ErrorKind::NotADirectory => {
                return Err(Error::file(
                    &self.target,
                    "a part of this path is no folder, expected a folder or nothing",
                    "name another folder",
                ));
            }
            Err(e) => return Err(Error::io(&self.target)(e)),
        };
        for entry in entries {
            let name = entry.map_err(Error::io(&self.target))?.file_name();
            // What a writer that was killed left behind is ours.
            let ours = name.to_string_lossy().starts_with(TEMPORARY);
            if !ours && !self.names.iter().any(|known| OsStr::new(known) == name) {
                return Err(Error::file(
                    &self.target,
                    format!("the folder holds `{}`, which is no part of what is written there", name.display()),
                    "the whole folder is replaced; name another one, or move the file away",
                ));
            }
        }
        Ok(())
    }

    /// Puts a folder in the target's place: in one step where the system can exchange two folders.
    fn replace_by(&self, new: &Path) -> Result<()> {
        let failed = || Error::io(&self.target);
        if !self.target.exists() {
            return std::fs::rename(new, &self.target).map_err(failed());
        }
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            // The old files now lie in the temporary folder, which goes away.
            if renameat_with(CWD, new, CWD, &self.target, RenameFlags::EXCHANGE).is_ok() {
                return Ok(());
            }
        }
        let old = self.temporary()?;
        let aside = old.path().join("old");
        std::fs::rename(&self.target, &aside).map_err(failed())?;
        std::fs::rename(new, &self.target).map_err(|e| {
            // The way back is the same rename; if it fails too, the first error says more.
            let _ = std::fs::rename(&aside, &self.target);
            failed()(e)
        })
    }
}

/// A folder that this process alone writes, until the value is dropped or the process ends.
#[derive(Debug)]
pub struct Hold {
    path: PathBuf,
    _file: File,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A file that stays behind is locked by nobody and does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes the names in a folder last.
fn sync(folder: &Path) -> Result<()> {
    if cfg!(unix) { File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io(folder)) } else { Ok(()) }
}
