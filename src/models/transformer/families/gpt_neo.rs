//! GPT-Neo: GPT-2 with unscaled scores and, on every other layer, a local window.

use serde_json::Value;

use super::super::config::Config;
use super::super::facts::{Facts, Names};
use super::{GptSizes, activation, gpt_like, gpt2};
use crate::{Error, Result};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    let d_model = c.usize("hidden_size")?;
    let n_layers = c.usize("num_layers")?;
    let sizes = GptSizes {
        d_model,
        n_heads: c.usize("num_heads")?,
        n_layers,
        d_mlp: c.usize_or("intermediate_size", 4 * d_model)?,
    };
    let act = activation(c, "activation_function", "gelu_new")?;
    let mut facts = gpt_like(c, "gpt_neo", &sizes, act, c.f64_or("layer_norm_epsilon", 1e-5)?)?;
    let positions = c.usize("max_position_embeddings")?;
    facts.context = Some(positions);
    facts.embed.positions = Some((positions, 0));
    facts.attn.qkv_bias = false;
    let window = c.usize_or("window_size", 256)?;
    c.skip(&["attention_layers"]); // derived from attention_types
    let kinds = kinds(c)?;
    if kinds.len() != n_layers {
        return Err(Error::invalid(
            format!("config.json has {} `attention_types` for {n_layers} layers", kinds.len()),
            "give one per layer",
        ));
    }
    for (layer, local) in facts.layers.iter_mut().zip(kinds) {
        layer.scale = 1.0;
        layer.window = local.then_some(window);
    }
    let names = Names {
        attn: "attn.attention",
        qkv: ["q_proj", "k_proj", "v_proj"],
        out: "out_proj",
        transposed: false,
        ..gpt2::NAMES
    };
    Ok((facts, names))
}

/// `[[["global", "local"], 6]]`: the list, so many times over; true for local.
fn kinds(c: &Config) -> Result<Vec<bool>> {
    let wrong = || {
        Error::invalid(
            "config.json has `attention_types` of an unknown form",
            "expected [[[\"global\" | \"local\", ...], repeats], ...]",
        )
    };
    let mut kinds = Vec::new();
    for item in c.list("attention_types")?.ok_or_else(wrong)? {
        let names = item.get(0).and_then(Value::as_array).ok_or_else(wrong)?;
        let repeats = item.get(1).and_then(Value::as_u64).filter(|n| *n <= 4096).ok_or_else(wrong)?;
        if kinds.len() + names.len() * repeats as usize > 65_536 {
            return Err(wrong());
        }
        for _ in 0..repeats {
            for name in names {
                kinds.push(match name.as_str() {
                    Some("local") => true,
                    Some("global") => false,
                    _ => return Err(wrong()),
                });
            }
        }
    }
    Ok(kinds)
}
