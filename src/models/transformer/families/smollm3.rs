//! SmolLM 3: Llama in which some layers have no positions.

use serde_json::Value;

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names};
use super::{llama_like, set_windows};
use crate::{Error, Result};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    c.skip(&["max_window_layers"]); // windows follow no_rope_layers
    let mut facts = llama_like(c, "smollm3", true)?;
    let rotary_dim = c.rotary_dim(facts.d_head, 1.0)?;
    facts.ropes = vec![c.rope_with_base(rotary_dim, None, 2_000_000.0)?];
    facts.n_kv_heads = c.usize_or("num_key_value_heads", facts.n_heads)?;
    let bias = c.bool_or("attention_bias", false)?;
    facts.attn.qkv_bias = bias;
    facts.attn.out_bias = bias;
    facts.mlp.bias = c.bool_or("mlp_bias", false)?;
    let every = c.usize_or("no_rope_layer_interval", 4)?.max(1);
    let n_layers = facts.layers.len();
    let turned: Vec<bool> = match c.list("no_rope_layers")? {
        None => (0..n_layers).map(|l| (l + 1) % every != 0).collect(),
        // 1 means that the layer does have rotary positions.
        Some(list) => list.iter().map(|v| v.as_u64() == Some(1) || *v == Value::Bool(true)).collect(),
    };
    if turned.len() != n_layers {
        return Err(Error::invalid(
            format!("config.json has {} `no_rope_layers` for {n_layers} layers", turned.len()),
            "give one per layer",
        ));
    }
    for (layer, turned) in facts.layers.iter_mut().zip(&turned) {
        layer.rope = turned.then_some(0);
    }
    let window = c.opt_usize("sliding_window")?;
    let used = c.bool_or("use_sliding_window", false)? && window.is_some();
    set_windows(&mut facts, c, window, |l| used && !turned[l])?;
    Ok((facts, LLAMA_NAMES))
}
