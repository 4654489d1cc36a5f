//! Gemma: Llama with `1 + w` norm gains, embeddings scaled by sqrt(d_model) and a tanh GELU gate.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names};
use super::llama_like;
use crate::Result;
use crate::nn::Activation;

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    Ok((gemma_like(c, "gemma")?, LLAMA_NAMES))
}

/// What all Gemmas share.
pub(super) fn gemma_like(c: &Config, family: &'static str) -> Result<Facts> {
    c.require("use_bidirectional_attention", false)?;
    let mut facts = llama_like(c, family, true)?;
    facts.norm.offset = 1.0;
    facts.embed.scale = (facts.d_model as f64).sqrt();
    // First configs say "gelu" and mean the tanh form; `hidden_activation` is the later key.
    let given = c.str_or("hidden_act", "gelu_pytorch_tanh")?;
    let act = c.str_or("hidden_activation", &given)?;
    facts.mlp.activation = Activation::from_hf(if act == "gelu" { "gelu_pytorch_tanh" } else { &act })?;
    let bias = c.bool_or("attention_bias", false)?;
    facts.attn.qkv_bias = bias;
    facts.attn.out_bias = bias;
    Ok(facts)
}
