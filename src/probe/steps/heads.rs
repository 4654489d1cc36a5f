//! What attention heads do on repeated random tokens, and what they copy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::analysis::heads;
use crate::models::Model;
use crate::probe::step::{Context, StepKind, StepOutput};

/// Scores every head.
pub struct Heads;

/// The rows of random tokens.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Tokens of a half.
    n: usize,
    /// Rows.
    rows: usize,
}

impl Default for Params {
    fn default() -> Self {
        let heads::Options { n, rows, .. } = heads::Options::default();
        Self { n, rows }
    }
}

impl StepKind for Heads {
    const NAME: &'static str = "heads";
    const SUMMARY: &'static str = "Attention heads: previous-token, duplicate, induction and copying scores.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        (
            "induction.*",
            "prefix-matching score: `max`, `max_copying` (of heads that copy), `heads`, `uniform` (chance)",
        ),
        ("induction.unrepeated.max", "the same stripe where nothing repeats: the control"),
        ("previous.*", "previous-token score: `max`, `heads`, `strong_heads`, `uniform`"),
        ("duplicate.*", "duplicate-token score: `max`, `uniform`"),
        ("duplicate.unrepeated.max", "the control of it"),
        ("copying.*", "copying score of the OV circuits: `max`"),
        ("copying.positive.share", "share of heads with a positive copying score"),
        ("loss.*", "nats per token: `first` half, `second` half, `drop`, `gain`"),
        (
            "template.*",
            "TransformerLens's template scores: `mul`, `abs`, and `shuffled` tokens (control), by kind, `.max`",
        ),
        ("composition.*", "composition scores: `q.max`, `k.max`, `v.max`, `random`"),
        ("untrained.*.max", "the scores of the untrained twin"),
        ("untrained.loss.drop", "the drop of the untrained twin"),
    ];
    type Params = Params;

    fn applies_to(&self, _: &Model) -> std::result::Result<(), String> {
        Ok(())
    }

    fn run(&self, context: &Context, params: &Params) -> Result<StepOutput> {
        let options =
            heads::Options { n: params.n, rows: params.rows, seed: context.seed, ..heads::Options::default() };
        let twin = context.control.map(|c| &c.decoder);
        StepOutput::of(&heads::heads(
            &context.model.decoder,
            &heads::Pool::of(context.model),
            twin,
            &options,
            &mut |_, _| context.progress.check(),
        )?)
    }
}
