//! How likely texts are, set by set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::texts;
use crate::analysis::tasks::{Options, Subject, perplexities};
use crate::data::TextSet;
use crate::models::Model;
use crate::probe::step::{Context, StepKind, StepOutput, needs_tokenizer};
use crate::report::Report;
use crate::{Error, Result};

/// Takes the likelihood of texts.
pub struct Perplexity;

/// It has none: the texts are the script's, or those that the program carries.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {}

impl StepKind for Perplexity {
    const NAME: &'static str = "perplexity";
    const SUMMARY: &'static str = "How likely the texts are, set by set.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        ("*.nats", "mean nats per token of a set, such as `en.nats`"),
        ("*.perplexity", "exp of it"),
        ("*.bits_per_byte", "bits per byte, which compares across tokenizers"),
        ("*.accuracy", "share of tokens that were the likeliest"),
        ("worst_gain", "the smallest gain over uniform guessing of all sets, in nats per token"),
    ];
    type Params = Params;

    fn applies_to(&self, model: &Model) -> std::result::Result<(), String> {
        needs_tokenizer(model)
    }

    fn run(&self, context: &Context, _: &Params) -> Result<StepOutput> {
        let sets: Vec<TextSet> = texts(context);
        let options = Options { seed: context.seed, ..Options::default() };
        context.progress.begin(sets.len() as u64);
        let subject = Subject::new(context.model)?;
        let found = perplexities(&subject, &sets, &options, &mut |_, _| context.progress.advance(1))?;
        let gains = found.sets.iter().map(|(_, p)| found.uniform - p.nats_per_token);
        let mut figures = vec![("worst_gain".to_string(), gains.fold(f64::INFINITY, f64::min))];
        for (name, p) in &found.sets {
            let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            figures.push((format!("{name}.nats"), p.nats_per_token));
            figures.push((format!("{name}.perplexity"), p.per_token()));
            figures.push((format!("{name}.bits_per_byte"), p.bits_per_byte));
            figures.push((format!("{name}.accuracy"), p.accuracy));
        }
        let result = serde_json::to_value(&found)
            .map_err(|e| Error::invalid(format!("the likelihoods cannot be written: {e}"), "report this defect"))?;
        Ok(StepOutput { blocks: found.blocks(), figures, result })
    }
}
