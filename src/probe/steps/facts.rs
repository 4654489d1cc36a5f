//! What the model is: its architecture and its files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::analysis::facts;
use crate::models::Model;
use crate::probe::step::{Context, StepKind, StepOutput};

/// Says what the model is.
pub struct Facts;

/// It has none.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {}

impl StepKind for Facts {
    const NAME: &'static str = "facts";
    const SUMMARY: &'static str = "The architecture and the files with their hashes.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        ("parameters", "numbers that training sets"),
        ("layers", "blocks"),
        ("d_model", "width of the residual stream"),
        ("heads", "query heads of a layer"),
        ("kv_heads", "key and value heads of a layer"),
        ("d_head", "width of a head"),
        ("d_mlp", "neurons of a layer"),
        ("vocab", "tokens of the vocabulary"),
        ("sites", "named places that can be recorded"),
    ];
    type Params = Params;

    fn applies_to(&self, _: &Model) -> std::result::Result<(), String> {
        Ok(())
    }

    fn run(&self, context: &Context, _: &Params) -> Result<StepOutput> {
        StepOutput::of(&facts::facts(context.model)?)
    }
}
