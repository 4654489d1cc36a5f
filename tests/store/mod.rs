//! Files and the Hub: what is read back is what was written, and every kind of damage has its message.

mod chat;
mod folder;
mod hub;
mod hub_stub;
mod npz;
mod tokenizer;
mod weights;

use std::path::PathBuf;

/// A path in `../shared` next to the repository, or `None` (with a line that says so) where that is absent.
fn shared(path: &str) -> Option<PathBuf> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    // Worktrees lie elsewhere; they may say where the models are.
    let root = std::env::var_os("OPTRODE_SHARED").map_or(root, PathBuf::from);
    if !root.is_dir() {
        println!("SKIPPED: ../shared is absent");
        return None;
    }
    Some(root.join(path))
}

/// The message of an error that must be there.
fn message<T>(result: optrode::Result<T>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}
