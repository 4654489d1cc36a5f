//! The doctor's invariants as a step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analysis::doctor::{Options, doctor};
use crate::models::Model;
use crate::probe::step::{Context, StepKind, StepOutput};
use crate::report::{Report, Verdict};
use crate::{Error, Result};

/// Proves that the checkpoint computes what it should on this machine.
pub struct Doctor;

/// What to examine it on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Tokens of the longest random text, where no texts are given.
    tokens: usize,
    /// Texts to examine it on; random tokens if there are none.
    texts: Vec<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self { tokens: Options::default().tokens, texts: Vec::new() }
    }
}

impl StepKind for Doctor {
    const NAME: &'static str = "doctor";
    const SUMMARY: &'static str = "Invariants of the forward pass, without edits, with their largest errors.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        ("failed", "invariants that do not hold"),
        ("passed", "invariants that hold"),
        ("skipped", "invariants that this architecture cannot be asked"),
        ("largest_error", "the largest error of all, relative to the largest value of its site"),
    ];
    type Params = Params;

    fn applies_to(&self, _: &Model) -> std::result::Result<(), String> {
        Ok(())
    }

    fn run(&self, context: &Context, params: &Params) -> Result<StepOutput> {
        let texts = params.texts.iter().map(|t| context.model.encode(t)).collect::<Result<Vec<_>>>()?;
        let options = Options { seed: context.seed, tokens: params.tokens };
        let examination =
            doctor(&context.model.decoder.edited(None)?, &texts, &options, &mut |_, _| context.progress.check())?;
        let count = |verdict| examination.findings.iter().filter(|f| f.verdict == verdict).count() as f64;
        let errors = examination.findings.iter().map(|f| f.relative);
        // Not f64::max, which would drop a NaN.
        let largest = errors.fold(0.0, |a: f64, b| if a.is_nan() || a > b { a } else { b });
        Ok(StepOutput {
            blocks: examination.blocks(),
            figures: vec![
                ("failed".to_string(), count(Verdict::Failed)),
                ("passed".to_string(), count(Verdict::Passed)),
                ("skipped".to_string(), count(Verdict::Skipped)),
                ("largest_error".to_string(), largest),
            ],
            result: serde_json::to_value(&examination)
                .map_err(|e| Error::invalid(format!("the findings cannot be written: {e}"), "report this defect"))?,
        })
    }
}
