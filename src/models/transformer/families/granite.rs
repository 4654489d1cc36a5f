//! Granite: Llama with multipliers on embeddings, scores, contributions and logits.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names};
use super::llama_like;
use crate::{Error, Result};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    let mut facts = llama_like(c, "granite", false)?;
    let bias = c.bool_or("attention_bias", false)?;
    facts.attn.qkv_bias = bias;
    facts.attn.out_bias = bias;
    facts.mlp.bias = c.bool_or("mlp_bias", false)?;
    facts.embed.scale = c.f64_or("embedding_multiplier", 1.0)?;
    facts.residual_multiplier = c.f64_or("residual_multiplier", 1.0)?;
    facts.head.divisor = c.f64_or("logits_scaling", 1.0)?;
    if facts.head.divisor == 0.0 {
        return Err(Error::invalid("config.json has `logits_scaling` = 0", "logits are divided by it"));
    }
    let scale = c.f64_or("attention_multiplier", 1.0)?;
    facts.layers.iter_mut().for_each(|l| l.scale = scale);
    Ok((facts, LLAMA_NAMES))
}
