//! The logit lens: what the stream would say after each layer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{corpus, texts};
use crate::Result;
use crate::analysis::lens;
use crate::models::Model;
use crate::probe::step::{Context, StepKind, StepOutput, needs_tokenizer};

/// Reads the stream after every layer.
pub struct Lens;

/// What to show.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Tokens of a window of text.
    window: usize,
    /// Most documents of each set of texts.
    documents: usize,
    /// Tokens of the first text shown with their predictions; 0 for none.
    grid_tokens: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { window: 256, documents: 10, grid_tokens: 10 }
    }
}

impl StepKind for Lens {
    const NAME: &'static str = "lens";
    const SUMMARY: &'static str = "The logit lens: what the stream would predict after each layer.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        ("last_layer.accuracy", "share of next tokens that the model finds likeliest"),
        ("last_layer.loss", "nats per token of the model"),
        ("last_layer.kl", "divergence of the last layer's lens from the model's prediction; 0"),
        ("last_layer.agreement", "share of positions where both have the same likeliest token; 1"),
        ("last_layer.error", "largest difference of the last layer's lens from the logits, relative"),
        ("half_agreement.layer", "the first layer whose likeliest token is the model's at half of the positions"),
        ("layer.*.*", "kl, agreement, accuracy, loss of a layer, such as `layer.2.kl`"),
    ];
    type Params = Params;

    fn applies_to(&self, model: &Model) -> std::result::Result<(), String> {
        needs_tokenizer(model)
    }

    fn run(&self, context: &Context, params: &Params) -> Result<StepOutput> {
        let corpus = corpus(context, &texts(context), params.window, params.documents)?;
        let options = lens::Options { grid_tokens: params.grid_tokens, seed: context.seed, ..lens::Options::default() };
        StepOutput::of(&lens::lens(&context.model.decoder, &corpus, &options)?)
    }
}
