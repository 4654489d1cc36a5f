//! Attention heads: which attend to the previous token, to an earlier copy of the token, or to what followed that copy
//! (induction heads, Olsson et al. 2022), and which copy what they attend to.
//!
//! Rows are `[start, s_1 .. s_n, s_1 .. s_n]` with distinct random tokens `s`. Queries are those of the second half, at
//! positions i with the token's first occurrence at j = i - n, and all three scores are means over them:
//!
//! ```text
//! previous:  pattern[i, i - 1]     duplicate:  pattern[i, j]     induction:  pattern[i, j + 1]  (offset n - 1)
//! ```
//!
//! No such stripe touches the start token, and the last token of the first half, whose copy has not come yet, is no
//! query. Controls: what uniform attention scores; the same second halves after other tokens (a head that finds the
//! place by its distance alone scores as much there); an untrained network. Beside these stand TransformerLens's template
//! scores ([`template`](Template)), with the templates of the same tokens in another order as their control, and the
//! composition scores of all pairs of heads ([`compositions`]).

mod causal;
mod causal_report;
mod circuit;
mod composition;
mod report;
mod rows;
mod scores;
mod template;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Estimate;
use crate::models::{Decoder, Model};
use crate::report::number;
use crate::{Error, Result};

pub use causal::{
    Ablation, Causal, CausalOptions, Effect, Forbidden, Kind, Lesion, On, Reader as KReader, ablate, ablate_text,
    causal,
};
pub use circuit::{Spectrum, copying_score, ov_spectra};
pub use composition::{Link, Reader, compositions};
pub use scores::uniform;
pub use template::{Excluded, Measure, Template, similarity};

use rows::Rows;
use scores::{Measured, measure};

/// An induction head scores more than this, and copies.
pub const INDUCTION: f64 = 0.3;
/// A previous-token head scores more than this.
pub const PREVIOUS: f64 = 0.3;
/// A strong previous-token head scores more than this.
pub const STRONG: f64 = 0.5;

/// The rows to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Tokens of a half; fewer where the context or the pool of tokens is too small.
    pub n: usize,
    /// Rows.
    pub rows: usize,
    /// Seed of the tokens and of the intervals' draws.
    pub seed: u64,
    /// Attention that the template scores leave out.
    pub excluded: Excluded,
}

impl Default for Options {
    fn default() -> Self {
        Self { n: 50, rows: 16, seed: 0, excluded: Excluded::default() }
    }
}

/// Repeated rows, unrepeated rows, copying, composition.
const STAGES: usize = 4;

/// The tokens that rows are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// What every row starts with.
    pub start: Option<u32>,
    /// Ids to draw from, each once.
    pub ids: Vec<u32>,
}

impl Pool {
    /// Every id of the tokenizer but the special ones, after BOS (or else EOS); every id of the vocabulary, after
    /// nothing, where there is no tokenizer.
    pub fn of(model: &Model) -> Self {
        let vocab = model.decoder.facts().vocab;
        match model.tokenizer() {
            Ok(tokenizer) => {
                let known = |id: &u32| tokenizer.token_bytes(*id).is_some() && !tokenizer.special_ids().contains(id);
                let ids = (0..vocab as u32).filter(known).filter(|id| tokenizer.unk() != Some(*id)).collect();
                Self { start: tokenizer.bos().or_else(|| tokenizer.eos().first().copied()), ids }
            }
            Err(_) => Self { start: None, ids: (0..vocab as u32).collect() },
        }
    }
}

/// Refuses a head that the network does not have.
///
/// # Errors
/// A layer or a head beyond the last one.
pub fn check_head(net: &Decoder, layer: usize, head: usize) -> Result<()> {
    let (layers, heads) = (net.facts().layers.len(), net.facts().n_heads);
    if layer < layers && head < heads {
        return Ok(());
    }
    Err(Error::invalid(
        format!("there is no head {layer}.{head}"),
        format!("layers count from 0 to {}, heads from 0 to {}", layers - 1, heads - 1),
    ))
}

/// What the heads do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heads {
    /// Tokens of a half.
    pub n: usize,
    /// Rows.
    pub rows: usize,
    /// Whether rows begin with a start token.
    pub start: bool,
    /// Tokens that rows were drawn from.
    pub pool: usize,
    /// Layer by layer, head by head.
    pub heads: Vec<Head>,
    /// The largest scores of uniform attention in any layer.
    pub uniform: Uniform,
    /// How well the network itself copies.
    pub loss: Loss,
    /// The same network untrained, if there was one.
    pub untrained: Option<Untrained>,
    /// What the template scores left out.
    pub excluded: Excluded,
    /// The pairs of heads whose weights fit best.
    pub composition: Composition,
    /// What a reader should know of this architecture.
    pub notes: Vec<String>,
}

/// One head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Its layer, from 0.
    pub layer: usize,
    /// Its number in the layer, from 0.
    pub head: usize,
    /// Attention to the token before.
    pub previous: Estimate,
    /// Attention to the first occurrence of the token.
    pub duplicate: Estimate,
    /// Attention to what followed the first occurrence: prefix matching.
    pub induction: Estimate,
    /// The control: `duplicate` where nothing repeats.
    pub duplicate_unrepeated: Estimate,
    /// The control: `induction` where nothing repeats.
    pub induction_unrepeated: Estimate,
    /// Re(sum of eigenvalues) / sum of magnitudes of W_O W_U W_E W_V, -1 to 1; `None` if the product is zero.
    pub copying: Option<f64>,
    /// Shares of attention on the templates (TransformerLens's `mul`).
    pub mul: Templates,
    /// Agreement with the templates (TransformerLens's `abs`).
    pub abs: Templates,
    /// The control of `mul`: the templates of the row's tokens in another order.
    pub mul_shuffled: Templates,
}

/// Template scores, means over whole rows; see [`Template`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Templates {
    /// The token before.
    #[serde(with = "number")]
    pub previous: f64,
    /// Earlier copies.
    #[serde(with = "number")]
    pub duplicate: f64,
    /// What followed them.
    #[serde(with = "number")]
    pub induction: f64,
}

impl Templates {
    fn mean(sums: [f64; 3], rows: usize) -> Self {
        let [previous, duplicate, induction] = sums.map(|s| s / rows as f64);
        Self { previous, duplicate, induction }
    }
}

/// What the composition scores showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Composition {
    /// What two random matrices score: 1 / sqrt(d_model).
    #[serde(with = "number")]
    pub random: f64,
    /// The strongest pairs, [`PAIRS`] as Q, K and V each, strongest first.
    pub strongest: Vec<Link>,
    /// K composition of every head (by layer and head) with its strongest earlier head; 0 in the first layer.
    #[serde(with = "number::nested")]
    pub k_by_head: Vec<Vec<f64>>,
}

/// Pairs of each kind that [`Composition::strongest`] holds.
pub const PAIRS: usize = 8;

impl Head {
    /// `3.6`: layer 3, head 6.
    pub fn name(&self) -> String {
        format!("{}.{}", self.layer, self.head)
    }

    /// Matches prefixes and copies (the usual criterion; see [`INDUCTION`]).
    pub fn is_induction(&self) -> bool {
        self.induction.value > INDUCTION && self.copying.is_some_and(|c| c > 0.0)
    }
}

/// The scores of attention that is spread evenly over what a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uniform {
    /// Previous token.
    #[serde(with = "number")]
    pub previous: f64,
    /// Earlier copy.
    #[serde(with = "number")]
    pub duplicate: f64,
    /// What followed it.
    #[serde(with = "number")]
    pub induction: f64,
}

/// Mean -log probability, nats, of the tokens of a half without its first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// First half.
    pub first: Estimate,
    /// Second half: the induction loss.
    pub second: Estimate,
    /// First minus second, row by row.
    pub drop: Estimate,
    /// The control: the same tokens at the same places, where others came before.
    pub unrepeated: Estimate,
    /// `unrepeated` minus `second`, row by row: what the repetition is worth.
    pub gain: Estimate,
    /// ln of the pool's size: guessing among its tokens.
    #[serde(with = "number")]
    pub guess: f64,
}

/// The largest scores of an untrained network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Untrained {
    /// Over its heads.
    #[serde(with = "number")]
    pub previous: f64,
    /// Over its heads.
    #[serde(with = "number")]
    pub duplicate: f64,
    /// Over its heads.
    #[serde(with = "number")]
    pub induction: f64,
    /// Its drop in loss.
    pub drop: Estimate,
}

/// Scores every head of `net` on rows of `pool`; `untrained` is a network to compare with. `watch` hears (stages done,
/// stages in all) and ends the work with an error.
///
/// Memory holds the patterns of some rows and layers at a time.
///
/// # Errors
/// A pool of fewer than four ids or with ids that the network lacks, no rows, a context of fewer than five tokens.
pub fn heads(
    net: &Decoder,
    pool: &Pool,
    untrained: Option<&Decoder>,
    options: &Options,
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Heads> {
    let facts = net.facts();
    let rows = Rows::draw(net, pool, options)?;
    watch(0, STAGES)?;
    let measured = measure(net, &rows, options, &[])?;
    watch(1, STAGES)?;
    let unrepeated = measure(net, &rows.unrepeated(), options, &[])?;
    watch(2, STAGES)?;
    let spectra = ov_spectra(net)?;
    watch(3, STAGES)?;
    let mean = |values: &[f64]| Estimate::mean(values, options.seed);
    let mut heads = Vec::with_capacity(facts.layers.len() * facts.n_heads);
    for (layer, spectra) in spectra.iter().enumerate() {
        for (head, spectrum) in spectra.iter().enumerate() {
            let (own, control) = (&measured.heads[layer][head], &unrepeated.heads[layer][head]);
            heads.push(Head {
                layer,
                head,
                previous: mean(&own.previous),
                duplicate: mean(&own.duplicate),
                induction: mean(&own.induction),
                duplicate_unrepeated: mean(&control.duplicate),
                induction_unrepeated: mean(&control.induction),
                copying: spectrum.score(),
                mul: Templates::mean(own.mul, rows.ids.len()),
                abs: Templates::mean(own.abs, rows.ids.len()),
                mul_shuffled: Templates::mean(own.mul_shuffled, rows.ids.len()),
            });
        }
    }
    let untrained = untrained.map(|other| twin(net, other, &rows, options)).transpose()?;
    Ok(Heads {
        n: rows.n,
        rows: rows.ids.len(),
        start: pool.start.is_some(),
        pool: pool.ids.len(),
        heads,
        uniform: largest_uniform(net, &rows),
        loss: loss(&measured, &unrepeated, pool.ids.len(), options.seed),
        untrained,
        excluded: options.excluded,
        composition: composition(net)?,
        notes: notes(net),
    })
}

fn composition(net: &Decoder) -> Result<Composition> {
    let facts = net.facts();
    let links = compositions(net)?;
    let mut k_by_head = vec![vec![0.0; facts.n_heads]; facts.layers.len()];
    for link in links.iter().filter(|l| l.reader == Reader::K) {
        let best: &mut f64 = &mut k_by_head[link.to.0][link.to.1];
        *best = best.max(link.score);
    }
    let mut strongest = Vec::new();
    for reader in Reader::ALL {
        let mut own: Vec<Link> = links.iter().copied().filter(|l| l.reader == reader).collect();
        own.sort_by(|a, b| b.score.total_cmp(&a.score));
        own.truncate(PAIRS);
        strongest.extend(own);
    }
    Ok(Composition { random: (facts.d_model as f64).sqrt().recip(), strongest, k_by_head })
}

fn loss(measured: &Measured, unrepeated: &Measured, pool: usize, seed: u64) -> Loss {
    let mean = |values: &[f64]| Estimate::mean(values, seed);
    Loss {
        first: mean(&measured.first),
        second: mean(&measured.second),
        drop: mean(&differences(&measured.first, &measured.second)),
        unrepeated: mean(&unrepeated.second),
        gain: mean(&differences(&unrepeated.second, &measured.second)),
        guess: (pool as f64).ln(),
    }
}

fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn twin(net: &Decoder, other: &Decoder, rows: &Rows, options: &Options) -> Result<Untrained> {
    if other.facts().vocab != net.facts().vocab {
        return Err(Error::invalid(
            format!("the untrained network has {} tokens, the model {}", other.facts().vocab, net.facts().vocab),
            "compare with the same architecture",
        ));
    }
    let measured = measure(other, rows, options, &[])?;
    let largest = |of: fn(&scores::RowScores) -> &[f64]| {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        measured.heads.iter().flatten().map(|h| mean(of(h))).fold(f64::NEG_INFINITY, f64::max)
    };
    Ok(Untrained {
        previous: largest(|h| &h.previous),
        duplicate: largest(|h| &h.duplicate),
        induction: largest(|h| &h.induction),
        drop: Estimate::mean(&differences(&measured.first, &measured.second), options.seed),
    })
}

fn largest_uniform(net: &Decoder, rows: &Rows) -> Uniform {
    let of_layers = |offset: usize| {
        let layers = net.facts().layers.iter();
        layers.map(|l| uniform(rows.first_query(), rows.n, offset, l.window)).fold(0.0, f64::max)
    };
    Uniform { previous: of_layers(1), duplicate: of_layers(rows.n), induction: of_layers(rows.n - 1) }
}

fn notes(net: &Decoder) -> Vec<String> {
    let facts = net.facts();
    let mut notes = vec![
        "Copying is of the stored matrices, W_O W_U W_E W_V: gains and biases of norms are not folded in.".to_string(),
    ];
    if facts.embed.norm {
        notes.push("The embedding passes a norm on its way into the stream, which copying leaves out.".to_string());
    }
    if facts.attn.clip.is_some() {
        notes.push(
            "Values are clipped in this architecture; copying is of the weights, as if they were not.".to_string(),
        );
    }
    if let Some(window) = facts.layers.iter().filter_map(|l| l.window).min() {
        notes.push(format!("Some layers see the last {window} tokens only: what lies further back scores 0 there."));
    }
    notes
}
