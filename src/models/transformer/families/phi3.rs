//! Phi 3 and 3.5: Llama with joined matrices, a sliding window on all layers, and LongRoPE.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names, QkvLayout};
use super::{llama_like, set_windows};
use crate::Result;

const NAMES: Names = Names { qkv: ["qkv_proj", "", ""], gate: "gate_up_proj", up: "", ..LLAMA_NAMES };

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    for (key, expected) in [("attention_bias", false), ("mlp_bias", false), ("lm_head_bias", false)] {
        c.require(key, expected)?;
    }
    c.require("full_attn_mod", 1)?;
    c.require("interpolate_factor", 1)?;
    let mut facts = llama_like(c, "phi3", false)?;
    facts.norm.eps = c.f64_or("rms_norm_eps", 1e-5)?;
    facts.attn.layout = QkvLayout::Joined;
    facts.mlp.fused = true;
    let window = c.opt_usize("sliding_window")?;
    set_windows(&mut facts, c, window, |_| window.is_some())?;
    Ok((facts, NAMES))
}
