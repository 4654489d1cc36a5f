//! GPT-2: learned positions, layer norms, one joined q, k, v matrix stored `[in, out]`.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names, QkvLayout};
use super::{GptSizes, activation, gpt_like};
use crate::Result;

/// Weight names of GPT-2; GPT-Neo and GPT-J change a few.
pub(super) const NAMES: Names = Names {
    base: "transformer.",
    embed: "wte",
    positions: "wpe",
    block: "h.{l}",
    ln1: "ln_1",
    ln2: "ln_2",
    attn: "attn",
    qkv: ["c_attn", "", ""],
    out: "c_proj",
    gate: "",
    up: "c_fc",
    down: "c_proj",
    final_norm: "ln_f",
    transposed: true,
    ..LLAMA_NAMES
};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    c.require("reorder_and_upcast_attn", false)?;
    let d_model = c.usize("n_embd")?;
    let sizes = GptSizes {
        d_model,
        n_heads: c.usize("n_head")?,
        n_layers: c.usize("n_layer")?,
        d_mlp: c.usize_or("n_inner", 4 * d_model)?,
    };
    let act = activation(c, "activation_function", "gelu_new")?;
    let mut facts = gpt_like(c, "gpt2", &sizes, act, c.f64_or("layer_norm_epsilon", 1e-5)?)?;
    let positions = c.usize("n_positions")?;
    facts.context = Some(positions);
    facts.embed.positions = Some((positions, 0));
    facts.attn.layout = QkvLayout::Joined;
    let by_depth = c.bool_or("scale_attn_by_inverse_layer_idx", false)?;
    let scaled = c.bool_or("scale_attn_weights", true)?;
    for (l, layer) in facts.layers.iter_mut().enumerate() {
        let scale = if scaled { layer.scale } else { 1.0 };
        layer.scale = if by_depth { scale / (l + 1) as f64 } else { scale };
    }
    Ok((facts, NAMES))
}
