//! Qwen 2 and 2.5: Llama with biases on q, k, v, and optionally a sliding window on the upper layers.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names};
use super::{llama_like, set_windows};
use crate::Result;

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    c.require("use_mrope", false)?;
    let mut facts = llama_like(c, "qwen2", false)?;
    facts.attn.qkv_bias = true;
    windows(c, &mut facts)?;
    Ok((facts, LLAMA_NAMES))
}

/// The window counts only with `use_sliding_window`, from layer `max_window_layers` on.
pub(super) fn windows(c: &Config, facts: &mut Facts) -> Result<()> {
    let used = c.bool_or("use_sliding_window", false)?;
    let window = c.opt_usize("sliding_window")?.filter(|_| used);
    let from = c.usize_or("max_window_layers", 28)?;
    set_windows(facts, c, window, |l| window.is_some() && l >= from)
}
