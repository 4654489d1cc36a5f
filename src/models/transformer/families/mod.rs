//! The families of decoders: one file each, from `config.json` to facts and weight names.

mod bloom;
mod falcon;
mod gemma;
mod gemma2;
mod gemma3_text;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod gptj;
mod granite;
mod llama;
mod mistral;
mod olmo;
mod olmo2;
mod opt;
mod phi;
mod phi3;
mod qwen2;
mod qwen3;
mod smollm3;
mod stablelm;
mod starcoder2;

use serde_json::{Map, Value};

use super::config::Config;
use super::facts::{
    AttnFacts, EmbedFacts, Facts, HeadFacts, LayerFacts, MlpFacts, Names, NormFacts, Placement, QkvLayout,
};
use crate::hook::site::edit_distance;
use crate::nn::{Activation, NormKind};
use crate::{Error, Result};

type Describe = fn(&Config) -> Result<(Facts, Names)>;

/// Hugging Face `model_type` to the function that reads its config.
const FAMILIES: &[(&str, Describe)] = &[
    ("gpt2", gpt2::describe),
    ("gpt_neo", gpt_neo::describe),
    ("gpt_neox", gpt_neox::describe),
    ("gptj", gptj::describe),
    ("opt", opt::describe),
    ("bloom", bloom::describe),
    ("llama", llama::describe),
    ("mistral", mistral::describe),
    ("qwen2", qwen2::describe),
    ("qwen3", qwen3::describe),
    ("gemma", gemma::describe),
    ("gemma2", gemma2::describe),
    ("gemma3_text", gemma3_text::describe),
    ("phi", phi::describe),
    ("phi3", phi3::describe),
    ("olmo", olmo::describe),
    ("olmo2", olmo2::describe),
    ("smollm3", smollm3::describe),
    ("granite", granite::describe),
    ("stablelm", stablelm::describe),
    ("starcoder2", starcoder2::describe),
    ("falcon", falcon::describe),
];

/// The `model_type`s that can be loaded.
pub fn known() -> Vec<&'static str> {
    FAMILIES.iter().map(|(name, _)| *name).collect()
}

/// Facts and weight names of a config.
///
/// # Errors
/// [`Error::Invalid`] for an unknown architecture, a missing or wrong value, or a key that is not understood.
pub fn describe(config: &Map<String, Value>) -> Result<(Facts, Names)> {
    let Some(kind) = config.get("model_type").and_then(Value::as_str) else {
        return Err(Error::invalid("config.json has no `model_type`", "use the config that belongs to the weights"));
    };
    let Some((name, describe)) = FAMILIES.iter().find(|(name, _)| *name == kind) else {
        let mut names = known();
        names.sort_by_key(|n| edit_distance(n, kind));
        return Err(Error::invalid(
            format!("unknown architecture `{kind}` in config.json"),
            format!("the known ones are {}", names.join(", ")),
        ));
    };
    let reader = Config::new(config);
    let (facts, names) = describe(&reader)?;
    reader.finish(name)?;
    check(&facts)?;
    Ok((facts, names))
}

/// Sizes that must fit each other whatever the family.
fn check(facts: &Facts) -> Result<()> {
    let Facts { n_heads, n_kv_heads, d_head, .. } = *facts;
    if n_kv_heads == 0 || n_heads == 0 || d_head == 0 || !n_heads.is_multiple_of(n_kv_heads) {
        return Err(Error::invalid(
            format!("config.json has {n_heads} heads of {d_head} for {n_kv_heads} key/value heads"),
            "the key/value heads must divide the heads",
        ));
    }
    if !(facts.norm.eps.is_finite() && facts.norm.eps >= 0.0) {
        return Err(Error::invalid(
            format!("config.json has a norm epsilon of {}", facts.norm.eps),
            "it must be a number of at least 0",
        ));
    }
    if facts.layers.iter().any(|l| l.window == Some(0)) {
        return Err(Error::invalid("config.json has a sliding window of 0", "a query sees at least itself"));
    }
    Ok(())
}

/// The size of a head when the config does not give it.
fn split_heads(d_model: usize, n_heads: usize) -> Result<usize> {
    if !d_model.is_multiple_of(n_heads) {
        return Err(Error::invalid(
            format!("config.json splits a width of {d_model} into {n_heads} heads"),
            "the heads must divide the width",
        ));
    }
    Ok(d_model / n_heads)
}

fn activation(c: &Config, key: &'static str, default: &str) -> Result<Activation> {
    Activation::from_hf(&c.str_or(key, default)?)
}

const RMS: NormFacts = NormFacts { kind: NormKind::Rms, eps: 1e-6, offset: 0.0, weight: true, bias: false };
const LAYER_NORM: NormFacts = NormFacts { kind: NormKind::Layer, eps: 1e-5, offset: 0.0, weight: true, bias: true };

fn inverse_sqrt(d_head: usize) -> f64 {
    1.0 / (d_head as f64).sqrt()
}

/// What Llama and its many relatives share; each family changes what it does otherwise.
fn llama_like(c: &Config, family: &'static str, tied: bool) -> Result<Facts> {
    let d_model = c.usize("hidden_size")?;
    let n_heads = c.usize("num_attention_heads")?;
    let d_head = match c.opt_usize("head_dim")? {
        Some(d) => d,
        None => split_heads(d_model, n_heads)?,
    };
    let layer = LayerFacts { window: None, rope: Some(0), scale: inverse_sqrt(d_head) };
    let rotary_dim = c.rotary_dim(d_head, 1.0)?;
    Ok(Facts {
        family,
        d_model,
        n_heads,
        n_kv_heads: c.usize_or("num_key_value_heads", n_heads)?,
        d_head,
        d_mlp: c.usize("intermediate_size")?,
        vocab: c.usize("vocab_size")?,
        context: c.context()?,
        layers: vec![layer; c.usize("num_hidden_layers")?],
        // Parameter sets by layer type (Gemma 3) are told apart there.
        ropes: vec![c.rope(rotary_dim, Some("full_attention"))?],
        embed: EmbedFacts { width: d_model, scale: 1.0, norm: false, positions: None },
        norm: NormFacts { eps: c.f64_or("rms_norm_eps", 1e-6)?, ..RMS },
        placement: Placement::Pre,
        attn: AttnFacts {
            layout: QkvLayout::Separate,
            qkv_bias: false,
            out_bias: false,
            qk_norm: None,
            clip: None,
            softcap: None,
            alibi: None,
        },
        mlp: MlpFacts { gated: true, fused: false, activation: activation(c, "hidden_act", "silu")?, bias: false },
        residual_multiplier: 1.0,
        head: HeadFacts {
            norm: true,
            tied: c.bool_or("tie_word_embeddings", tied)?,
            bias: false,
            divisor: 1.0,
            softcap: None,
        },
    })
}

/// What GPT-2 and its relatives share: layer norms, learned positions or none, a plain MLP.
struct GptSizes {
    d_model: usize,
    n_heads: usize,
    n_layers: usize,
    d_mlp: usize,
}

fn gpt_like(c: &Config, family: &'static str, sizes: &GptSizes, act: Activation, eps: f64) -> Result<Facts> {
    let d_head = split_heads(sizes.d_model, sizes.n_heads)?;
    let layer = LayerFacts { window: None, rope: None, scale: inverse_sqrt(d_head) };
    Ok(Facts {
        family,
        d_model: sizes.d_model,
        n_heads: sizes.n_heads,
        n_kv_heads: sizes.n_heads,
        d_head,
        d_mlp: sizes.d_mlp,
        vocab: c.usize("vocab_size")?,
        context: None,
        layers: vec![layer; sizes.n_layers],
        ropes: Vec::new(),
        embed: EmbedFacts { width: sizes.d_model, scale: 1.0, norm: false, positions: None },
        norm: NormFacts { eps, ..LAYER_NORM },
        placement: Placement::Pre,
        attn: AttnFacts {
            layout: QkvLayout::Separate,
            qkv_bias: true,
            out_bias: true,
            qk_norm: None,
            clip: None,
            softcap: None,
            alibi: None,
        },
        mlp: MlpFacts { gated: false, fused: false, activation: act, bias: true },
        residual_multiplier: 1.0,
        head: HeadFacts {
            norm: true,
            tied: c.bool_or("tie_word_embeddings", true)?,
            bias: false,
            divisor: 1.0,
            softcap: None,
        },
    })
}

/// Windows by layer: `layer_types` where given, else by `default(layer)`.
fn set_windows(facts: &mut Facts, c: &Config, window: Option<usize>, default: impl Fn(usize) -> bool) -> Result<()> {
    let given = c.sliding_layers(facts.layers.len())?;
    for (l, layer) in facts.layers.iter_mut().enumerate() {
        let slides = given.as_ref().map_or_else(|| default(l), |g| g[l]);
        layer.window = if slides { window } else { None };
        if slides && window.is_none() {
            return Err(Error::invalid(
                format!("config.json makes layer {l} a sliding-window layer but gives no `sliding_window`"),
                "give the window",
            ));
        }
    }
    Ok(())
}
