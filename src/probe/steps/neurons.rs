//! Firing statistics of MLP neurons, and the texts that drive a few of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{corpus, texts};
use crate::Result;
use crate::analysis::neurons;
use crate::models::Model;
use crate::probe::step::{Context, StepKind, StepOutput, needs_tokenizer};

/// Watches every neuron of every MLP.
pub struct Neurons;

/// What to show.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Tokens of a window of text.
    window: usize,
    /// Most documents of each set of texts.
    documents: usize,
    /// Neurons to show, as [layer, neuron]; if empty, some are chosen.
    show: Vec<[usize; 2]>,
    /// How many are drawn at random, spread over the layers.
    random: usize,
    /// How many of the most selective are taken.
    selective: usize,
    /// Examples per neuron and side.
    examples: usize,
}

impl Default for Params {
    fn default() -> Self {
        let neurons::Options { show, random, selective, examples, .. } = neurons::Options::default();
        Self { window: 256, documents: 30, show, random, selective, examples }
    }
}

impl StepKind for Neurons {
    const NAME: &'static str = "neurons";
    const SUMMARY: &'static str = "How often MLP neurons fire, and the texts that drive a few of them.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        ("dead.share", "share of neurons that never fire"),
        ("dense.share", "share of neurons that fire at more than half of the tokens"),
        ("rate.mean", "share of tokens at which a neuron fires, on average"),
        ("dead.worst_layer", "share of dead neurons in the layer that has most"),
        ("dense.worst_layer", "share of dense neurons in the layer that has most"),
        ("tokens", "tokens read"),
        ("layer.*.*", "`dead`, `dense` and `rate` of a layer, such as `layer.0.dead`"),
        ("untrained.*.share", "`dead` and `dense` of the untrained twin"),
        ("untrained.rate.mean", "the mean rate of the untrained twin"),
    ];
    type Params = Params;

    fn applies_to(&self, model: &Model) -> std::result::Result<(), String> {
        needs_tokenizer(model)
    }

    fn run(&self, context: &Context, params: &Params) -> Result<StepOutput> {
        let corpus = corpus(context, &texts(context), params.window, params.documents)?;
        let options = neurons::Options {
            show: params.show.clone(),
            random: params.random,
            selective: params.selective,
            examples: params.examples,
            seed: context.seed,
            ..neurons::Options::default()
        };
        let twin = context.control.map(|c| &c.decoder);
        StepOutput::of(&neurons::neurons(&context.model.decoder, &corpus, twin, &options)?)
    }
}
