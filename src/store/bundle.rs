//! Edits on disk: a JSON file, or a folder with `edit.json` and `tensors.safetensors`.
//!
//! ```json
//! {"version": 1, "edits": [{"site": "blocks.3.attn.hook_z[head=6]@all", "op": "zero"}]}
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::safetensors::WeightFile;
use super::text::read_versioned;
use super::{FileSet, sha256_bytes, sha256_file};
use crate::hook::edit::real_first;
use crate::hook::{Edit, Registry};
use crate::{Error, Result};

/// The files of a bundle.
const NAMES: &[&str] = &["edit.json", "tensors.safetensors"];

/// The only version so far.
pub const VERSION: u32 = 1;

/// The content of an edit file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditFile {
    /// 1.
    pub version: u32,
    /// The edits, in order.
    pub edits: Vec<Edit>,
    /// Identity (sha256) of the model that they were fitted on; checked before they are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl EditFile {
    /// Reads a JSON file, or that of a bundle folder, without the tensors.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, malformed, of another version, or with unknown keys.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let json = file_of(path.as_ref());
        let value = read_versioned(
            &json,
            "edit",
            VERSION,
            "write it with this version of optrode, or use the version that wrote it",
        )?;
        Self::deserialize(value).map_err(|e| {
            Error::file(
                &json,
                format!("no edit file: {e}"),
                r#"expected {"version": 1, "edits": [{"site": ..., "op": ...}]}"#,
            )
        })
    }

    /// The JSON schema of an edit file, with the parameters of every operation of `registry`.
    pub fn schema(registry: &Registry) -> Value {
        let mut schema = registry.embed_into(schemars::schema_for!(Self).to_value());
        if let Some(version) = schema.pointer_mut("/properties/version") {
            *version = json!({ "description": "The version of this format.", "const": VERSION });
        }
        schema
    }
}

/// Edits with the tensors that they refer to.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Where they were read from.
    pub path: PathBuf,
    /// The edits.
    pub file: EditFile,
    /// The stored tensors, f32.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Bundle {
    /// Reads a JSON file or a bundle folder.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, malformed, of another version, or with unknown keys.
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        let file = EditFile::open(path)?;
        let mut tensors = BTreeMap::new();
        let stored = path.join("tensors.safetensors");
        if path.is_dir() && stored.exists() {
            let weights = WeightFile::open(&stored)?;
            for name in weights.names() {
                tensors.insert(name.to_string(), weights.activation(name, device)?);
            }
            lay_out_by_position(&mut tensors)?;
        }
        Ok(Self { path: file_of(path), file, tensors })
    }

    /// Writes the bundle as a folder, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written, or somebody else's files lie there.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let defect = |e: &dyn std::fmt::Display| {
            Error::file(folder, format!("the edits cannot be written: {e}"), "report this as a defect")
        };
        let mut json = serde_json::to_vec_pretty(&self.file).map_err(|e| defect(&e))?;
        json.push(b'\n');
        let tensors = safetensors::serialize(&self.tensors, None).map_err(|e| defect(&e))?;
        FileSet::prepare(folder, NAMES)?.write(&[(NAMES[0], json), (NAMES[1], tensors)])
    }

    /// The sha256 of the files of a bundle, or of an edit file.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn sha256(path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        if !path.is_dir() {
            return sha256_file(path);
        }
        let parts = NAMES.iter().map(|name| path.join(name)).filter(|file| file.exists());
        let each = parts.map(sha256_file).collect::<Result<Vec<_>>>()?;
        Ok(sha256_bytes(each.join(" ").as_bytes()))
    }

    /// Checks that the edits belong to this model.
    ///
    /// # Errors
    /// [`Error::File`] when they were fitted on another one.
    pub fn check_model(&self, identity: impl FnOnce() -> Result<String>) -> Result<()> {
        let Some(expected) = &self.file.model else {
            return Ok(());
        };
        let got = identity()?;
        if *expected != got {
            return Err(Error::file(
                &self.path,
                format!("the edits were fitted on the model with the sha256 {expected}, this one has {got}"),
                "use the model they belong to, or remove `model` from the file if you mean it",
            ));
        }
        Ok(())
    }
}

/// The file with the edits.
fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("edit.json") } else { path.to_path_buf() }
}

/// Recorded tensors bring the mask of their texts: with it their columns become positions, and their padding NaN, so
/// that neither can pass for something else. Attention maps stay as they are.
fn lay_out_by_position(tensors: &mut BTreeMap<String, Tensor>) -> Result<()> {
    tensors.remove("input_ids");
    let Some(mask) = tensors.remove("attention_mask") else { return Ok(()) };
    let (rows, columns) = mask.dims2()?;
    let real: Vec<bool> =
        mask.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?.iter().map(|m| *m != 0.0).collect();
    for (name, tensor) in tensors.iter_mut() {
        let map = name.ends_with("hook_pattern") || name.ends_with("hook_attn_scores");
        if tensor.rank() > 2 && tensor.dims()[..2] == [rows, columns] && !map {
            *tensor = real_first(tensor, &real)?;
        }
    }
    Ok(())
}
