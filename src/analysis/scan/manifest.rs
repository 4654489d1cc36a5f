//! What it takes to repeat a scan, and what it must then give again.

use std::path::Path;

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::job::Job;
use crate::analysis::Environment;
use crate::store::atlas::VERSION;
use crate::store::text::read_versioned;
use crate::{Error, Result};

/// What it takes to repeat a scan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1.
    pub version: u32,
    /// The version of the program.
    pub optrode: String,
    /// A folder, or a Hub id with its commit; `null` for an atlas that was merged.
    pub model: Option<String>,
    /// The corpus as it was named; `null` for an atlas that was merged.
    pub corpus: Option<String>,
    /// Everything that the numbers depend on.
    pub job: Job,
    /// Documents read.
    pub documents: u64,
    /// Tokens counted.
    pub tokens: u64,
    /// sha256 of `arrays.safetensors`, which a repetition on a processor with the same abilities gives again.
    pub arrays: String,
    /// Where it ran.
    pub environment: Environment,
    /// When it began, or was last resumed, in UTC.
    pub started: String,
    /// How long it took, or has taken since it was last resumed.
    pub seconds: f64,
}

impl Manifest {
    /// Reads the `manifest.json` of an atlas.
    ///
    /// # Errors
    /// A file that is missing, none of this kind, or of another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let value = read_versioned(path, "atlas", VERSION, "read it with the version of optrode that wrote it")?;
        serde_json::from_value(value).map_err(|e| {
            Error::file(path, format!("this is no manifest of a scan: {e}"), "name a folder that `optrode scan` wrote")
        })
    }

    /// As the bytes of a file.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::invalid(format!("the manifest cannot be written: {e}"), "report this defect"))?;
        text.push(b'\n');
        Ok(text)
    }

    /// The JSON schema of an atlas's `manifest.json`.
    pub fn schema() -> Value {
        let mut schema = schema_for!(Self).to_value();
        if let Some(version) = schema.pointer_mut("/properties/version") {
            *version = json!({ "description": "The version of this format.", "const": VERSION });
        }
        schema
    }
}
