//! OLMo 2: norms only after attention and MLP, and one norm over all heads' queries (and keys).

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names, Placement, QkNorm};
use super::llama_like;
use crate::Result;

const NAMES: Names = Names {
    ln1: "",
    ln1_post: "post_attention_layernorm",
    ln2: "",
    ln2_post: "post_feedforward_layernorm",
    qk_norm: ["q_norm", "k_norm"],
    ..LLAMA_NAMES
};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    let mut facts = llama_like(c, "olmo2", false)?;
    facts.norm.eps = c.f64_or("rms_norm_eps", 1e-5)?;
    facts.placement = Placement::Post;
    facts.attn.qk_norm = Some((QkNorm::Flat, facts.norm.clone()));
    let bias = c.bool_or("attention_bias", false)?;
    facts.attn.qkv_bias = bias;
    facts.attn.out_bias = bias;
    Ok((facts, NAMES))
}
