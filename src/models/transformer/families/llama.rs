//! Llama 1 to 3: RMSNorm, rotary positions (plain, linear, dynamic, llama3, yarn), gated SiLU, grouped key/value heads.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names};
use super::llama_like;
use crate::Result;

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    c.require("rope_interleaved", false)?;
    let mut facts = llama_like(c, "llama", false)?;
    let bias = c.bool_or("attention_bias", false)?;
    facts.attn.qkv_bias = bias;
    facts.attn.out_bias = bias;
    facts.mlp.bias = c.bool_or("mlp_bias", false)?;
    Ok((facts, LLAMA_NAMES))
}
