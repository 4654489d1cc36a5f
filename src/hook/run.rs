//! Runs as data: a job is a list of named passes, each with what to record, edit and differentiate.
//!
//! ```json
//! {"passes": [
//!   {"name": "clean"},
//!   {"name": "patched",
//!    "edits": [{"site": "blocks.2.hook_resid_pre@3", "op": "replace",
//!               "value": {"pass": "clean", "site": "blocks.2.hook_resid_pre"}}],
//!    "records": [{"site": "blocks.*.hook_resid_post"}]}]}
//! ```
//!
//! A value in an edit may come from an earlier pass; patching, path patching and resampling are such plans.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::edit::{Edit, Registry, Source, SourceOf};
use super::record::Record;
use super::selector::Selector;

/// How much of the network's output somebody reads.
///
/// What nobody reads is not computed. For a decoder that is most of the work when only lower layers are recorded, and
/// the unembedding at all positions but one when text is generated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// All of it.
    #[default]
    Whole,
    /// Only what stands at the last real token of each row: `[batch, 1, ..]`.
    Last,
    /// Nothing: the output is empty (`[batch, 0, ..]`), and the network stops after the last site that somebody wants.
    Unread,
}

impl Output {
    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

/// One forward pass (or generation) of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// Name by which later passes refer to it.
    #[serde(default)]
    pub name: String,
    /// What to keep.
    #[serde(default)]
    pub records: Vec<Record>,
    /// What to change, in order.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// Sites that get a gradient of the metric.
    #[serde(default)]
    pub gradients: Vec<Selector>,
    /// Seed of stochastic edits.
    #[serde(default)]
    pub seed: u64,
    /// How much of the output is read; a generation reads the last position whatever this says.
    #[serde(default, skip_serializing_if = "Output::is_whole")]
    pub output: Output,
}

/// A job: passes in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The passes; each may use values of the earlier ones.
    pub passes: Vec<Pass>,
}

impl Run {
    /// The site names that later passes use of the pass `name`.
    pub(crate) fn captures(&self, name: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for pass in &self.passes {
            for edit in &pass.edits {
                for value in edit.params.values() {
                    let Ok(Source::Of(SourceOf { pass: Some(p), site: Some(s), .. })) =
                        serde_json::from_value::<Source>(value.clone())
                    else {
                        continue;
                    };
                    if p == name && !names.contains(&s) {
                        names.push(s);
                    }
                }
            }
        }
        names
    }

    /// The JSON schema of a job, with the parameters of every operation of `registry`.
    pub fn schema(registry: &Registry) -> Value {
        registry.embed_into(schemars::schema_for!(Run).to_value())
    }
}
