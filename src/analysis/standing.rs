//! Edits from files, as part of a model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clamp;
use super::operations::registry;
use crate::hook::Standing;
use crate::models::{Model, Network};
use crate::store::Bundle;
use crate::{Error, Result};

/// What says that a file of edits is the same one again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditRecord {
    /// The JSON file or bundle folder.
    pub path: PathBuf,
    /// sha256 over its files.
    pub sha256: String,
}

impl EditRecord {
    /// The record of a file or folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        let sha256 = Bundle::sha256(path)?;
        Ok(Self { path: path.canonicalize().map_err(Error::io(path))?, sha256 })
    }
}

/// The edits of several files, in their order, with the tensors they refer to, checked against the model they were fitted
/// on.
///
/// # Errors
/// A file that is none, edits of another model, two tensors of one name.
pub fn read_edits(model: &Model, paths: &[PathBuf]) -> Result<Standing> {
    let mut all = Standing { edits: Vec::new(), registry: registry(), stored: BTreeMap::new() };
    for path in paths {
        let bundle = Bundle::open(path, model.decoder.device())?;
        bundle.check_model(|| Ok(model.folder.identity()?.sha256))?;
        take_in(&mut all, path, bundle)?;
    }
    Ok(all)
}

/// Makes the edits of several files part of a model: they act in every pass from now on.
///
/// # Errors
/// As [`read_edits`]; edits that do not fit the network.
pub fn edit_model(model: &mut Model, paths: &[PathBuf]) -> Result<()> {
    if !paths.is_empty() {
        let standing = read_edits(model, paths)?;
        for note in clamp::shared_heads(&model.decoder, &standing.edits)? {
            tracing::warn!("{note}");
        }
        model.decoder = model.decoder.edited(Some(standing))?;
    }
    Ok(())
}

/// Adds the edits and tensors of a bundle.
///
/// # Errors
/// Two tensors of one name.
pub(super) fn take_in(all: &mut Standing, path: &Path, bundle: Bundle) -> Result<()> {
    all.edits.extend(bundle.file.edits);
    for (name, tensor) in bundle.tensors {
        if all.stored.insert(name.clone(), tensor).is_some() {
            return Err(Error::file(
                path,
                format!("a second bundle stores a tensor named `{name}`"),
                "rename one of them",
            ));
        }
    }
    Ok(())
}
