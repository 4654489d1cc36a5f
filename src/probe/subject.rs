//! The model of a run: which one, opened, and what says that it is the same one again.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::analysis::{EditRecord, edit_model};
use crate::data::organism::embedded;
use crate::models::{Model, OpenOptions};
use crate::store::tokenizer_identity;

/// What the embedded model is called.
const EMBEDDED_NAME: &str = "the model organism";

/// An opened model with its untrained twin, where there is one.
#[derive(Debug)]
pub struct Subject {
    /// The model.
    pub model: Model,
    /// The same architecture untrained.
    pub control: Option<Model>,
    /// What it is.
    pub record: ModelRecord,
}

/// What says that a model is the same one again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    /// What to call it.
    pub name: String,
    /// A folder, or a Hub id with its commit; `null` for the model that the program carries.
    pub reference: Option<String>,
    /// sha256 over its files.
    pub sha256: String,
    /// sha256 over the files of its tokenizer; `null` where it has none.
    pub tokenizer: Option<String>,
    /// What the weights were kept as.
    pub dtype: String,
    /// Where it ran.
    pub device: String,
    /// Its untrained twin.
    pub control: Option<ControlRecord>,
    /// Edits that acted on it throughout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<EditRecord>,
}

/// What says that an untrained twin is the same one again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlRecord {
    /// A folder, or a Hub id with its commit.
    pub reference: String,
    /// sha256 over its files.
    pub sha256: String,
}

impl Subject {
    /// Opens a model, with edits that act on it throughout, and its control; without a name, the organism that the program
    /// carries and its own.
    ///
    /// # Errors
    /// As [`Model::open`] and [`edit_model`].
    pub fn open(model: Option<&str>, control: Option<&str>, edits: &[PathBuf], options: &OpenOptions) -> Result<Self> {
        let mut opened = match model {
            Some(name) => Model::open(name, options)?,
            None => Model::open(&embedded::folder()?.display().to_string(), options)?,
        };
        edit_model(&mut opened, edits)?;
        let control = match (control, model) {
            (Some(name), _) => Some(Model::open(name, options)?),
            (None, None) => Some(Model::open(&embedded::untrained()?.display().to_string(), options)?),
            (None, Some(_)) => None,
        };
        let identity = opened.folder.identity()?;
        let record = ModelRecord {
            name: model.map_or_else(|| EMBEDDED_NAME.to_string(), |_| opened.folder.name()),
            reference: model.map(|_| opened.reference()),
            tokenizer: tokenizer_identity(&identity).map(|t| t.sha256),
            sha256: identity.sha256,
            dtype: options.storage.name().to_string(),
            device: opened.device_name(),
            control: match &control {
                None => None,
                Some(c) => Some(ControlRecord { reference: c.reference(), sha256: c.folder.identity()?.sha256 }),
            },
            edits: edits.iter().map(|path| EditRecord::of(path)).collect::<Result<_>>()?,
        };
        Ok(Self { model: opened, control, record })
    }
}
