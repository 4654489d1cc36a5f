//! Falcon in its three forms: 7b (multi-query, parallel, one norm), 40b (grouped heads, parallel, two norms) and rw
//! (linear biases, rounded to bf16 as it was trained).

use super::super::config::Config;
use super::super::facts::{Alibi, Facts, Names, Placement, QkvLayout};
use super::bloom;
use super::{GptSizes, activation, gpt_like};
use crate::Result;

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    c.require("apply_residual_connection_post_layernorm", false)?;
    c.skip(&["ff_factor"]); // ffn_hidden_size counts
    let d_model = c.usize_by("n_embed", "hidden_size")?;
    let sizes = GptSizes {
        d_model,
        n_heads: c.usize_by("n_head", "num_attention_heads")?,
        n_layers: c.usize_by("n_layer", "num_hidden_layers")?,
        d_mlp: c.usize_or("ffn_hidden_size", 4 * d_model)?,
    };
    let act = activation(c, "activation", "gelu")?;
    let mut facts = gpt_like(c, "falcon", &sizes, act, c.f64_or("layer_norm_epsilon", 1e-5)?)?;
    let bias = c.bool_or("bias", false)?;
    facts.attn.qkv_bias = bias;
    facts.attn.out_bias = bias;
    facts.mlp.bias = bias;
    facts.attn.layout = QkvLayout::Grouped;
    let new = c.bool_or("new_decoder_architecture", false)?;
    let kv_heads = either_or(c, sizes.n_heads)?;
    let multi_query = c.bool_or("multi_query", true)?;
    facts.n_kv_heads = match (new, multi_query) {
        (true, _) => kv_heads,
        (false, true) => 1,
        (false, false) => sizes.n_heads,
    };
    let parallel = c.bool_or("parallel_attn", true)? || new;
    let norms = c.usize_or("num_ln_in_parallel_attn", if new { 2 } else { 1 })?;
    facts.placement = match (parallel, norms) {
        (false, _) => Placement::Pre,
        (true, 2) if new => Placement::ParallelTwoNorms,
        (true, _) => Placement::ParallelOneNorm,
    };
    c.skip(&["max_position_embeddings", "rope_theta", "rope_scaling", "rope_parameters"]);
    if c.bool_or("alibi", false)? {
        facts.attn.alibi = Some(Alibi { rounded: true, scaled: true });
    } else {
        facts.context = c.opt_usize("max_position_embeddings")?;
        facts.ropes = vec![c.rope(facts.d_head, None)?];
        facts.layers.iter_mut().for_each(|l| l.rope = Some(0));
    }
    let two = facts.placement == Placement::ParallelTwoNorms;
    let names = Names {
        embed_norm: "",
        ln1: if two { "ln_attn" } else { "input_layernorm" },
        ln2: if two { "ln_mlp" } else { "post_attention_layernorm" },
        ..bloom::NAMES
    };
    Ok((facts, names))
}

fn either_or(c: &Config, default: usize) -> Result<usize> {
    match c.opt_usize("n_head_kv")? {
        Some(n) => c.usize_or("num_kv_heads", n),
        None => c.usize_or("num_kv_heads", default),
    }
}
