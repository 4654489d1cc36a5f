//! Phi 1 to 2: parallel attention and MLP behind one norm, partial rotary positions, biases everywhere.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names, NormFacts, Placement, QkNorm};
use super::{LAYER_NORM, activation, llama_like};
use crate::Result;

const NAMES: Names = Names {
    out: "dense",
    qk_norm: ["q_layernorm", "k_layernorm"],
    gate: "",
    up: "fc1",
    down: "fc2",
    final_norm: "final_layernorm",
    ..LLAMA_NAMES
};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    let mut facts = llama_like(c, "phi", false)?;
    facts.norm = NormFacts { eps: c.f64_or("layer_norm_eps", 1e-5)?, ..LAYER_NORM };
    facts.placement = Placement::ParallelOneNorm;
    let rotary_dim = c.rotary_dim(facts.d_head, 0.5)?;
    facts.ropes = vec![c.rope(rotary_dim, None)?];
    facts.attn.qkv_bias = true;
    facts.attn.out_bias = true;
    if c.bool_or("qk_layernorm", false)? {
        facts.attn.qk_norm = Some((QkNorm::PerHead, facts.norm.clone()));
    }
    facts.mlp.gated = false;
    facts.mlp.bias = true;
    facts.mlp.activation = activation(c, "hidden_act", "gelu_new")?;
    facts.head.bias = true;
    Ok((facts, NAMES))
}
