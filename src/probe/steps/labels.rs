//! Labels for units, each with a held-out score, and what chance would give.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::texts;
use crate::Result;
use crate::analysis::label::text::{self, Text};
use crate::analysis::label::{Evidence, Request, label, neurons};
use crate::models::Model;
use crate::probe::step::{Context, StepKind, StepOutput, needs_tokenizer};

/// Labels MLP neurons by executable rules.
pub struct Labels;

/// Which units, and how.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// A selector of MLP neurons.
    units: String,
    /// Most documents of each set of texts.
    documents: usize,
    /// Fewest active windows of a unit; others are too rare for a label.
    least: u64,
    /// Draws of the bootstrap over documents.
    draws: usize,
    /// Longest piece of text that the network reads at once, in tokens.
    window: usize,
}

impl Default for Params {
    fn default() -> Self {
        let text::Options { least, draws, .. } = text::Options::default();
        Self { units: "blocks.*.mlp.hook_post".to_string(), documents: 1000, least, draws, window: 256 }
    }
}

impl StepKind for Labels {
    const NAME: &'static str = "labels";
    const SUMMARY: &'static str = "Labels of MLP neurons by executable rules, each scored on held-out documents.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        ("share", "share of units, not too rare, whose label is more than chance"),
        ("permuted.share", "the same of labels given to other units"),
        ("auroc", "median AUROC of the labels on held-out documents"),
        ("permuted.auroc", "mean AUROC of labels given to other units"),
        ("coverage", "median share of the active tokens that labels cover"),
        ("too_rare", "units with too few active windows"),
        ("units", "units, sides counted singly"),
        ("layer.*.*", "`share` and `auroc` of the labels of a site, such as `layer.0.share`"),
        ("promotes.*", "`share`, `auroc` and `coverage` of the tokens that a neuron promotes, as a label"),
        ("promotes.permuted.*", "`share` and `auroc` of those given to other units"),
    ];
    type Params = Params;

    fn applies_to(&self, model: &Model) -> std::result::Result<(), String> {
        needs_tokenizer(model)
    }

    fn run(&self, context: &Context, params: &Params) -> Result<StepOutput> {
        let sets = texts(context);
        let groups: Vec<String> = sets.iter().map(|s| s.name.clone()).collect();
        let mut all = Vec::new();
        for (group, set) in sets.iter().enumerate() {
            for text in set.texts.iter().take(params.documents) {
                all.push(Text { number: all.len() as u64, group, text: text.clone() });
            }
        }
        let options =
            text::Options { least: params.least, draws: params.draws, seed: context.seed, ..text::Options::default() };
        let request = Request { window: params.window, options, ..Request::of(params.units.parse()?) };
        let watches = neurons(context.model, &request.units)?;
        let evidence = Evidence::of(context.model, &all, &groups, watches, &request, context.progress)?;
        StepOutput::of(&label(context.model, &evidence, &request.options)?)
    }
}
