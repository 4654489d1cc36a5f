//! OLMo: Llama with layer norms that learn nothing, and optionally clipped q, k, v.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names, NormFacts};
use super::{LAYER_NORM, llama_like};
use crate::Result;

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    let mut facts = llama_like(c, "olmo", false)?;
    facts.norm = NormFacts { weight: false, bias: false, ..LAYER_NORM };
    facts.attn.clip = c.opt_f64("clip_qkv")?;
    let bias = c.bool_or("attention_bias", false)?;
    facts.attn.qkv_bias = bias;
    facts.attn.out_bias = bias;
    Ok((facts, LLAMA_NAMES))
}
