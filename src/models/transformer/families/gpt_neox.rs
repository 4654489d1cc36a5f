//! GPT-NeoX (Pythia): parallel attention and MLP, partial rotary positions, q, k, v by head in one matrix.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, LayerFacts, Names, Placement, QkvLayout};
use super::{GptSizes, activation, gpt_like};
use crate::Result;

const NAMES: Names = Names {
    base: "gpt_neox.",
    embed: "embed_in",
    attn: "attention",
    qkv: ["query_key_value", "", ""],
    out: "dense",
    gate: "",
    up: "dense_h_to_4h",
    down: "dense_4h_to_h",
    final_norm: "final_layer_norm",
    head: "embed_out",
    ..LLAMA_NAMES
};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    c.skip(&["rope_theta"]);
    let sizes = GptSizes {
        d_model: c.usize("hidden_size")?,
        n_heads: c.usize("num_attention_heads")?,
        n_layers: c.usize("num_hidden_layers")?,
        d_mlp: c.usize("intermediate_size")?,
    };
    let act = activation(c, "hidden_act", "gelu")?;
    let mut facts = gpt_like(c, "gpt_neox", &sizes, act, c.f64_or("layer_norm_eps", 1e-5)?)?;
    facts.head.tied = c.bool_or("tie_word_embeddings", false)?;
    facts.context = c.opt_usize("max_position_embeddings")?;
    let bias = c.bool_or("attention_bias", true)?;
    facts.attn.qkv_bias = bias;
    facts.attn.out_bias = bias;
    facts.attn.layout = QkvLayout::Grouped;
    let parallel = c.bool_or("use_parallel_residual", true)?;
    facts.placement = if parallel { Placement::ParallelTwoNorms } else { Placement::Pre };
    let base = c.f64_or("rotary_emb_base", 10_000.0)?;
    let rotary_dim = c.rotary_dim(facts.d_head, 0.25)?;
    facts.ropes = vec![c.rope_with_base(rotary_dim, None, base)?];
    facts.layers.iter_mut().for_each(|l: &mut LayerFacts| l.rope = Some(0));
    Ok((facts, NAMES))
}
