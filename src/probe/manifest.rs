//! What it takes to repeat a run, and the numbers that it must then give again.

use std::path::{Path, PathBuf};

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::document::{BaseStep, Status, StepReport};
use super::script::Script;
use super::subject::ModelRecord;
use crate::analysis::DataFile;
use crate::analysis::Environment;
use crate::report::figures::Figures;
use crate::store::sha256_bytes;
use crate::store::text::read_json;
use crate::{Error, Result};

/// The version of `manifest.json`.
pub const VERSION: u32 = 1;

/// What it takes to repeat a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1.
    pub version: u32,
    /// The version of the program.
    pub optrode: String,
    /// What was done.
    pub script: ScriptRecord,
    /// Seed of every draw.
    pub seed: u64,
    /// What it was done to.
    pub model: ModelRecord,
    /// What it was compared with.
    pub against: Option<AgainstRecord>,
    /// The files that were read beside the models.
    pub data: Vec<DataFile>,
    /// The numbers of every step.
    pub steps: Vec<StepRecord>,
    /// The numbers of the comparison's steps.
    pub base: Vec<StepRecord>,
    /// Where it ran.
    pub environment: Environment,
    /// When it began, in UTC.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
}

/// A script with its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptRecord {
    /// Where it was read; its relative paths start there.
    pub path: PathBuf,
    /// sha256 of the text.
    pub sha256: String,
    /// The text.
    pub text: String,
}

impl ScriptRecord {
    /// The record of a script.
    pub fn of(script: &Script) -> Self {
        Self { path: script.path.clone(), sha256: script.sha256(), text: script.text.clone() }
    }
}

/// What a run was compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgainstRecord {
    /// Another model under the same script.
    Model(ModelRecord),
    /// An earlier report.
    Report {
        /// Where it lies.
        path: PathBuf,
        /// Its sha256.
        sha256: String,
    },
}

/// The numbers of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// Its name in the script.
    pub name: String,
    /// Whether it ran.
    pub status: Status,
    /// Its parameters, defaults filled in.
    pub parameters: Value,
    /// Its numbers.
    pub figures: Figures,
    /// sha256 of its result as JSON; `null` for a step of the comparison.
    pub digest: Option<String>,
}

impl StepRecord {
    /// The numbers of a step.
    pub fn of(step: &StepReport) -> Self {
        Self {
            name: step.name.clone(),
            status: step.status,
            parameters: step.parameters.clone(),
            figures: step.figures.clone(),
            digest: Some(sha256_bytes(step.result.to_string().as_bytes())),
        }
    }

    /// The numbers of a step of the comparison.
    pub fn of_base(step: &BaseStep) -> Self {
        Self {
            name: step.name.clone(),
            status: step.status,
            parameters: step.parameters.clone(),
            figures: step.figures.clone(),
            digest: None,
        }
    }
}

impl Manifest {
    /// Reads a `manifest.json`.
    ///
    /// # Errors
    /// A file that is none, or of another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let value = read_json(path)?;
        // First of all: a later version may have keys that this one does not know.
        if let Some(version) = value.get("version").filter(|v| **v != VERSION) {
            return Err(Error::file(
                path,
                format!("version {version} of the manifest format, expected {VERSION}"),
                "replay it with the version of optrode that wrote it",
            ));
        }
        serde_json::from_value(value).map_err(|e| {
            Error::file(
                path,
                format!("this is no manifest of optrode: {e}"),
                "name a manifest.json that an audit wrote",
            )
        })
    }

    /// The JSON schema of `manifest.json`.
    pub fn schema() -> Value {
        let mut schema = schema_for!(Self).to_value();
        if let Some(version) = schema.pointer_mut("/properties/version") {
            *version = json!({ "description": "The version of this format.", "const": VERSION });
        }
        schema
    }
}
