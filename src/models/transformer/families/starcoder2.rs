//! StarCoder 2: layer norms, rotary positions, a plain tanh-GELU MLP, biases, a sliding window on all layers.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names, NormFacts};
use super::{LAYER_NORM, activation, llama_like, set_windows};
use crate::Result;

const NAMES: Names = Names { gate: "", up: "c_fc", down: "c_proj", ..LLAMA_NAMES };

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    // Left over from the training code; the model reads hidden_act and norm_epsilon.
    c.skip(&[
        "activation_function",
        "attention_softmax_in_fp32",
        "embedding_dropout",
        "layer_norm_epsilon",
        "mlp_type",
        "norm_type",
        "scale_attention_softmax_in_fp32",
        "scale_attn_weights",
    ]);
    let mut facts = llama_like(c, "starcoder2", true)?;
    facts.norm = NormFacts { eps: c.f64_or("norm_epsilon", 1e-5)?, ..LAYER_NORM };
    let bias = c.bool_or("use_bias", true)?;
    facts.attn.qkv_bias = bias;
    facts.attn.out_bias = bias;
    facts.mlp.bias = bias;
    facts.mlp.gated = false;
    facts.mlp.activation = activation(c, "hidden_act", "gelu_pytorch_tanh")?;
    let window = c.opt_usize("sliding_window")?;
    set_windows(&mut facts, c, window, |_| window.is_some())?;
    Ok((facts, NAMES))
}
