//! Checkpoints: weights, moments and the number of updates in one safetensors file, written whole or not at all.
//!
//! Training goes on from a checkpoint as if it had never stopped: the weights come out bit-identical.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::{Point, Trainer};
use crate::store::{Source, Storage, WeightFile, write_safetensors};
use crate::{Error, Result};

/// Key of the notes in the file's metadata.
const NOTES: &str = "optrode_checkpoint";
/// Version of the notes.
const VERSION: u32 = 1;

/// What a checkpoint says beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    /// Version of this format.
    pub version: u32,
    /// Updates made.
    pub updates: u64,
    /// What is being learned and how, as the caller tells it; a checkpoint of another recipe is refused.
    pub recipe: String,
    /// The loss curve so far.
    pub curve: Vec<Point>,
}

/// Writes the state of a training.
///
/// # Errors
/// The file cannot be written; an earlier one of the same name is then still whole.
pub fn save(
    path: &Path,
    trainer: &Trainer,
    weights: &BTreeMap<String, Var>,
    recipe: &str,
    curve: &[Point],
) -> Result<()> {
    let notes = Notes { version: VERSION, updates: trainer.step(), recipe: recipe.into(), curve: curve.to_vec() };
    let mut tensors: Vec<(String, Source)> = Vec::new();
    for (name, weight) in weights {
        tensors.push((format!("w.{name}"), Source::Tensor(weight.as_tensor().clone())));
    }
    tensors.extend(trainer.optimiser.moments()?.into_iter().map(|(name, tensor)| (name, Source::Tensor(tensor))));
    let notes = serde_json::to_string(&notes).map_err(|e| {
        Error::invalid(format!("a checkpoint's notes cannot be written: {e}"), "report this as a defect")
    })?;
    write_safetensors(path, &tensors, &BTreeMap::from([(NOTES.to_string(), notes)]))
}

/// Goes on from a saved state, and returns its loss curve.
///
/// # Errors
/// A file that is no checkpoint, or one of another recipe or network.
pub fn load(path: &Path, trainer: &mut Trainer, weights: &BTreeMap<String, Var>, recipe: &str) -> Result<Vec<Point>> {
    let file = WeightFile::open(path)?;
    let wrong = |what: String| Error::file(path, what, "remove the file to start anew, or resume with the same recipe");
    let notes = file.metadata().get(NOTES).ok_or_else(|| wrong("it is no checkpoint of a training".into()))?;
    let notes: Notes = serde_json::from_str(notes).map_err(|e| wrong(format!("its notes are not understood: {e}")))?;
    if notes.version != VERSION {
        return Err(wrong(format!("the checkpoint has version {}, expected {VERSION}", notes.version)));
    }
    if notes.recipe != recipe {
        return Err(wrong("the checkpoint belongs to another recipe".into()));
    }
    let stored = |name: &str, shape: &[usize]| -> Result<Tensor> {
        let info = file.info(name).ok_or_else(|| wrong(format!("the checkpoint has no tensor `{name}`")))?;
        if info.shape != shape {
            return Err(wrong(format!("its tensor `{name}` has shape {:?}, expected {shape:?}", info.shape)));
        }
        file.tensor(name, &Device::Cpu, Storage::F32)
    };
    for (name, weight) in weights {
        let tensor = stored(&format!("w.{name}"), weight.dims())?;
        weight.set(&tensor.to_device(weight.device())?)?;
    }
    trainer.optimiser.restore(notes.updates, stored)?;
    Ok(notes.curve)
}
