//! OPT: learned positions that start at row 2, ReLU, norms before the modules, or after the addition (OPT-350m, which
//! also embeds in a narrower space).

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names, Placement};
use super::{GptSizes, activation, gpt_like};
use crate::Result;

const NAMES: Names = Names {
    base: "model.decoder.",
    positions: "embed_positions",
    project: ("project_in", "project_out"),
    ln1: "self_attn_layer_norm",
    ln2: "final_layer_norm",
    out: "out_proj",
    mlp: "",
    gate: "",
    up: "fc1",
    down: "fc2",
    final_norm: "final_layer_norm",
    ..LLAMA_NAMES
};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    let sizes = GptSizes {
        d_model: c.usize("hidden_size")?,
        n_heads: c.usize("num_attention_heads")?,
        n_layers: c.usize("num_hidden_layers")?,
        d_mlp: c.usize("ffn_dim")?,
    };
    c.skip(&["layer_norm_epsilon"]); // never read by OPT: its layer norms keep 1e-5
    let act = activation(c, "activation_function", "relu")?;
    let mut facts = gpt_like(c, "opt", &sizes, act, 1e-5)?;
    let positions = c.usize("max_position_embeddings")?;
    facts.context = Some(positions);
    facts.embed.positions = Some((positions + 2, 2));
    facts.embed.width = c.usize_or("word_embed_proj_dim", sizes.d_model)?;
    let bias = c.bool_or("enable_bias", true)?;
    facts.attn.qkv_bias = bias;
    facts.attn.out_bias = bias;
    facts.mlp.bias = bias;
    let affine = c.bool_or("layer_norm_elementwise_affine", true)?;
    facts.norm.weight = affine;
    facts.norm.bias = affine;
    let before = c.bool_or("do_layer_norm_before", true)?;
    let removed = c.bool_or("_remove_final_layer_norm", false)?;
    facts.placement = if before { Placement::Pre } else { Placement::AfterAdd };
    facts.head.norm = before && !removed;
    Ok((facts, NAMES))
}
