//! BLOOM: linear biases by distance instead of positions, a norm on the embedding, q, k, v by head in one matrix.

use super::super::config::Config;
use super::super::facts::{Alibi, Facts, LLAMA_NAMES, Names, QkvLayout};
use super::{GptSizes, gpt_like};
use crate::Result;
use crate::nn::Activation;

/// Weight names of BLOOM; Falcon shares most.
pub(super) const NAMES: Names = Names {
    base: "transformer.",
    embed: "word_embeddings",
    embed_norm: "word_embeddings_layernorm",
    block: "h.{l}",
    attn: "self_attention",
    qkv: ["query_key_value", "", ""],
    out: "dense",
    gate: "",
    up: "dense_h_to_4h",
    down: "dense_4h_to_h",
    final_norm: "ln_f",
    ..LLAMA_NAMES
};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    c.require("apply_residual_connection_post_layernorm", false)?;
    c.skip(&["seq_length", "attention_softmax_in_fp32", "bias_dropout_fusion"]);
    let d_model = c.usize_by("n_embed", "hidden_size")?;
    let sizes = GptSizes {
        d_model,
        n_heads: c.usize_by("n_head", "num_attention_heads")?,
        n_layers: c.usize_by("n_layer", "num_hidden_layers")?,
        d_mlp: c.usize_or("n_inner", 4 * d_model)?,
    };
    let mut facts =
        gpt_like(c, "bloom", &sizes, Activation::from_hf("gelu_pytorch_tanh")?, c.f64_or("layer_norm_epsilon", 1e-5)?)?;
    facts.embed.norm = true;
    facts.attn.layout = QkvLayout::Grouped;
    facts.attn.alibi = Some(Alibi { rounded: false, scaled: false });
    Ok((facts, NAMES))
}
