//! What a model loses without its induction heads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::analysis::heads::{CausalOptions, Kind, Options, Pool, causal};
use crate::models::Model;
use crate::probe::step::{Context, StepKind, StepOutput};

/// Ablates the strongest induction heads and forbids what they build on.
pub struct Induction;

/// What to ablate.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Tokens of a half.
    n: usize,
    /// Rows.
    rows: usize,
    /// How many induction heads, strongest first.
    top: usize,
    /// What takes their place.
    kind: Kind,
    /// Random sets of heads to compare with.
    draws: usize,
}

impl Default for Params {
    fn default() -> Self {
        let CausalOptions { rows: Options { n, rows, .. }, top, kind, draws } = CausalOptions::default();
        Self { n, rows, top, kind, draws }
    }
}

impl StepKind for Induction {
    const NAME: &'static str = "induction";
    const SUMMARY: &'static str = "Induction heads ablated, and the previous-token pattern forbidden.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        ("found", "1 if a head matches prefixes and copies; without one there are no other figures"),
        ("ablated.second_rise", "rise of the loss of repeated tokens, nats"),
        ("ablated.first_rise", "rise of the loss of tokens that do not repeat"),
        ("random.second_rise.mean", "the mean rise with random heads of the same layers: the control"),
        ("random.second_rise.max", "the largest rise with random heads of the same layers: the control"),
        ("clean.*", "losses with nothing ablated: `first`, `second`"),
        ("forbidden.before", "induction score of the strongest induction head"),
        ("forbidden.after", "its score with the previous-token pattern forbidden in earlier heads"),
        (
            "forbidden.random.min",
            "its least score with the pattern forbidden in other heads of these layers: the control",
        ),
    ];
    type Params = Params;

    fn applies_to(&self, _: &Model) -> std::result::Result<(), String> {
        Ok(())
    }

    fn run(&self, context: &Context, params: &Params) -> Result<StepOutput> {
        let options = CausalOptions {
            rows: Options { n: params.n, rows: params.rows, seed: context.seed, ..Options::default() },
            top: params.top,
            kind: params.kind,
            draws: params.draws,
        };
        StepOutput::of(&causal(&context.model.decoder, &Pool::of(context.model), &[], &options)?)
    }
}
