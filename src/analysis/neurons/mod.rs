//! MLP neurons: how often they fire, and the tokens at which a few of them are largest and smallest.
//!
//! A neuron fires at a token where `mlp.hook_pre` is positive: for SiLU, GELU, ReLU and every activation with the sign of
//! its input that is where its activation is. Padding, BOS and other special tokens are skipped. A *dead* neuron never
//! fires on these texts, a *dense* one fires at more than half of the tokens. Examples are the extremes of
//! `mlp.hook_post`, one per window of text. Controls: the same texts with their tokens shuffled (a neuron that is as large
//! there reads single tokens, not what they say together), and an untrained network's shares.

mod choose;
mod examples;
mod report;
mod scan;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Corpus, Estimate};
use crate::models::Decoder;
use crate::nn::Activation;
use crate::report::number;
use crate::{Error, Result};

use scan::Scan;

/// A neuron that fires at more than this share of tokens is dense.
pub const DENSE: f64 = 0.5;

/// Which neurons to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Neurons to show, as [layer, neuron]; if empty, some are chosen.
    pub show: Vec<[usize; 2]>,
    /// How many are drawn at random, spread over the layers.
    pub random: usize,
    /// How many of the most selective are taken.
    pub selective: usize,
    /// Examples per neuron and side.
    pub examples: usize,
    /// Tokens shown on either side of an example.
    pub context: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { show: Vec::new(), random: 4, selective: 4, examples: 4, context: 8, seed: 0 }
    }
}

/// What the neurons do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neurons {
    /// Texts.
    pub texts: usize,
    /// Tokens counted.
    pub tokens: u64,
    /// Layer by layer.
    pub layers: Vec<Layer>,
    /// All layers together.
    pub all: Shares,
    /// The same network untrained on the same texts, if there was one.
    pub untrained: Option<Shares>,
    /// The neurons shown.
    pub shown: Vec<Shown>,
    /// What a reader should know of this architecture.
    pub notes: Vec<String>,
}

/// How often neurons fire.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Share of neurons that never fire. More text can only lower it.
    pub dead: Estimate,
    /// Share of neurons that fire at more than half of the tokens.
    pub dense: Estimate,
    /// Mean share of tokens at which a neuron fires.
    pub rate: Estimate,
}

/// One layer's neurons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Its number, from 0.
    pub layer: usize,
    /// Its neurons.
    pub neurons: usize,
    /// How often they fire.
    pub shares: Shares,
    /// Firing rates of the neurons: quantiles 0.05, 0.25, 0.5, 0.75 and 0.95.
    pub quantiles: [f64; 5],
    /// How many neurons fire at a share of tokens in [0, 0.05), [0.05, 0.1), ..; the last bin includes 1.
    pub rates: Vec<u64>,
}

/// A neuron with its examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Its layer.
    pub layer: usize,
    /// Its number in the layer.
    pub neuron: usize,
    /// Why it is shown.
    pub why: Why,
    /// Share of tokens at which it fires.
    pub rate: f64,
    /// Excess kurtosis of `hook_post`: large where few tokens stand far out; `None` if it never changes.
    pub kurtosis: Option<f64>,
    /// Its largest values, largest first.
    pub top: Vec<Example>,
    /// Its smallest values, smallest first.
    pub bottom: Vec<Example>,
    /// Its largest value on the shuffled texts: the control of the top examples.
    #[serde(with = "number")]
    pub shuffled_max: f64,
    /// Its smallest value on the shuffled texts.
    #[serde(with = "number")]
    pub shuffled_min: f64,
}

/// Why a neuron is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The caller named it.
    Asked,
    /// It was drawn at random in its layer.
    Random,
    /// It has one of the largest kurtoses among the neurons that fire at ten tokens or more.
    Selective,
}

/// A token at which a neuron is extreme, with its neighbours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The text.
    pub text: usize,
    /// Position in the window of text.
    pub position: u32,
    /// The neuron's value there.
    pub value: f32,
    /// The tokens shown.
    pub tokens: Vec<String>,
    /// The neuron's value at each.
    pub values: Vec<f32>,
    /// Which of them the example is about.
    pub focus: usize,
}

/// Counts how often every neuron of `net` fires on `corpus`, and shows some of them.
///
/// One pass over the texts counts, one finds the extremes of the neurons shown, one more does so on shuffled texts, and
/// the windows of the examples run once again. Memory does not grow with the texts.
///
/// # Errors
/// Neurons that there are not, texts that the network cannot take or with special tokens alone.
pub fn neurons(net: &Decoder, corpus: &Corpus, untrained: Option<&Decoder>, options: &Options) -> Result<Neurons> {
    if corpus.counted() == 0 {
        return Err(Error::invalid("the texts hold special tokens alone", "give at least one text with a word"));
    }
    let facts = net.facts();
    if let Some([layer, neuron]) = options.show.iter().find(|[l, n]| *l >= facts.layers.len() || *n >= facts.d_mlp) {
        return Err(Error::invalid(
            format!("there is no neuron {neuron} in layer {layer}"),
            format!("there are layers 0 to {} of {} neurons", facts.layers.len().max(1) - 1, facts.d_mlp),
        ));
    }
    let scan = Scan::run(net, corpus)?;
    let chosen = choose::choose(&scan, options);
    let shown = examples::show(net, corpus, &scan, &chosen, options)?;
    let untrained = untrained.map(|twin| Ok::<_, Error>(Scan::run(twin, corpus)?.shares(None))).transpose()?;
    Ok(Neurons {
        texts: corpus.texts,
        tokens: scan.tokens(),
        layers: (0..facts.layers.len()).map(|l| scan.layer(l)).collect(),
        all: scan.shares(None),
        untrained,
        shown,
        notes: notes(facts.mlp.activation),
    })
}

fn notes(activation: Activation) -> Vec<String> {
    match activation {
        Activation::Sigmoid => {
            vec!["The activation is a sigmoid, always positive: firing means that it exceeds one half.".to_string()]
        }
        _ => Vec::new(),
    }
}
