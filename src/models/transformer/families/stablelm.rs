//! StableLM: Llama with layer norms, partial rotary positions, and optionally a parallel block and norms on each head.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names, NormFacts, Placement, QkNorm};
use super::{LAYER_NORM, llama_like};
use crate::Result;

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    c.require("rotary_scaling_factor", 1.0)?;
    c.skip(&["norm_eps", "rope_pct"]); // layer_norm_eps and partial_rotary_factor count
    let mut facts = llama_like(c, "stablelm", false)?;
    facts.norm = NormFacts { eps: c.f64_or("layer_norm_eps", 1e-5)?, ..LAYER_NORM };
    let rotary_dim = c.rotary_dim(facts.d_head, 0.25)?;
    facts.ropes = vec![c.rope(rotary_dim, None)?];
    facts.attn.qkv_bias = c.bool_or("use_qkv_bias", false)?;
    if c.bool_or("use_parallel_residual", false)? {
        facts.placement = Placement::ParallelOneNorm;
    }
    if c.bool_or("qk_layernorm", false)? {
        let norm = NormFacts { bias: false, ..facts.norm.clone() };
        facts.attn.qk_norm = Some((QkNorm::PerHeadGains, norm));
    }
    let names = Names { qk_norm: ["q_layernorm", "k_layernorm"], ..LLAMA_NAMES };
    Ok((facts, names))
}
