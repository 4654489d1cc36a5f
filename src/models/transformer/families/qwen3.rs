//! Qwen 3: Qwen 2 without q, k, v biases (unless asked), with RMS norms on each head's queries and keys.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names, QkNorm};
use super::{llama_like, qwen2};
use crate::Result;

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    let mut facts = llama_like(c, "qwen3", false)?;
    let bias = c.bool_or("attention_bias", false)?;
    facts.attn.qkv_bias = bias;
    facts.attn.out_bias = bias;
    facts.attn.qk_norm = Some((QkNorm::PerHead, facts.norm.clone()));
    qwen2::windows(c, &mut facts)?;
    let names = Names { qk_norm: ["q_norm", "k_norm"], ..LLAMA_NAMES };
    Ok((facts, names))
}
