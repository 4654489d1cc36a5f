//! The one error type of the library.
//!
//! Every message says what went wrong, where, what was expected and what came instead, and, where there is
//! something to do about it, what to do. The binary prints it as one line and exits with 2.

use std::path::{Path, PathBuf};

/// `Result` with the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong in the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request cannot be carried out as it was put.
    #[error("{what}; {hint}")]
    Invalid {
        /// What is wrong, with the expected and the given value.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// A file is missing, damaged or not what it should be.
    #[error("{}: {what}; {hint}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// A site name or pattern matches nothing.
    #[error("no site matches `{name}`; nearest: {}", nearest.join(", "))]
    UnknownSite {
        /// The name or pattern as given.
        name: String,
        /// Up to five existing names, best first.
        nearest: Vec<String>,
    },
    /// A selector or another small piece of grammar does not parse.
    #[error("cannot read `{text}` at character {at}: {what}")]
    Syntax {
        /// The whole text.
        text: String,
        /// The character (counted from 0) where reading stopped.
        at: usize,
        /// What was expected there.
        what: String,
    },
    /// The operating system refused to read or write a file.
    #[error("{}: {}", path.display(), reason(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Whoever watches the work has stopped it.
    #[error("stopped: {0}")]
    Stopped(&'static str),
    /// A tensor operation failed: a defect of this crate or memory that ran out.
    #[error("tensor operation failed: {}", first_line(.0))]
    Tensor(#[from] candle_core::Error),
}

/// The system's reason in words, and what to do about it.
fn reason(source: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let (what, hint) = match source.kind() {
        ErrorKind::NotFound => ("there is no such file or folder", "check the path"),
        ErrorKind::PermissionDenied => ("the system does not permit it", "check the rights of the file and its folder"),
        ErrorKind::IsADirectory => ("this is a folder, expected a file", "name a file"),
        ErrorKind::NotADirectory => ("a part of the path is no folder", "check the path"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ("the disk is full", "free some space"),
        ErrorKind::FileTooLarge => ("the file is too large for the disk or the user's limit", "raise the limit"),
        ErrorKind::AlreadyExists => ("something of this name is in the way", "use another name"),
        _ => return source.to_string(),
    };
    format!("{what}; {hint}")
}

impl Error {
    /// A request that cannot be carried out: what is wrong, and what to do.
    pub fn invalid(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), hint: hint.into() }
    }

    /// A file that is not what it should be.
    pub fn file(path: impl AsRef<Path>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), what: what.into(), hint: hint.into() }
    }

    /// A failed read or write of `path`; to be used with `map_err`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// Candle's errors carry a backtrace behind their message when `RUST_BACKTRACE` is set; a person wants the message.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_string()
}
