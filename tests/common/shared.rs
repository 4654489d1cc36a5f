//! Models and data that lie beside the repository, and small folders made of the goldens.

use std::path::{Path, PathBuf};

use optrode::models::{Model, OpenOptions};

/// A path in `../shared` next to the repository, or `None` (with a line that says so) where that is absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    // Worktrees lie elsewhere; they may say where the models are.
    let root = std::env::var_os("OPTRODE_SHARED").map_or(root, PathBuf::from);
    if root.is_dir() {
        return Some(root.join(path));
    }
    // CI sets this where the folder lies beside the checkout: then nothing may be skipped.
    let required = std::env::var_os("OPTRODE_REQUIRE_SHARED").is_some();
    assert!(!required, "{} is absent, yet OPTRODE_REQUIRE_SHARED is set", root.display());
    eprintln!("SKIPPED: ../shared is absent");
    None
}

/// A model of `../shared/models`, opened.
pub fn shared_model(name: &str) -> Option<Model> {
    let folder = shared(&format!("models/{name}"))?;
    Some(open(&folder))
}

/// The folder of a golden network.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/goldens").join(name)
}

pub fn open(folder: &Path) -> Model {
    Model::open(folder.to_str().unwrap(), &OpenOptions::default()).unwrap()
}
