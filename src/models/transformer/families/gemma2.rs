//! Gemma 2: norms before and after each module, softcaps, every other layer with a sliding window.

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names, Placement};
use super::gemma::gemma_like;
use super::set_windows;
use crate::Result;

/// Weight names of Gemma 2 and 3.
pub(super) const NAMES: Names = Names {
    ln1_post: "post_attention_layernorm",
    ln2: "pre_feedforward_layernorm",
    ln2_post: "post_feedforward_layernorm",
    ..LLAMA_NAMES
};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    c.skip(&["cache_implementation", "sliding_window_size"]);
    let mut facts = gemma_like(c, "gemma2")?;
    sandwich(c, &mut facts)?;
    facts.attn.softcap = softcap(c, "attn_logit_softcapping", 50.0)?;
    facts.head.softcap = softcap(c, "final_logit_softcapping", 30.0)?;
    let window = Some(c.usize_or("sliding_window", 4096)?);
    set_windows(&mut facts, c, window, |l| l % 2 == 0)?;
    Ok((facts, NAMES))
}

/// Norms on both sides of each module, and scores scaled by a number of their own.
pub(super) fn sandwich(c: &Config, facts: &mut Facts) -> Result<()> {
    facts.placement = Placement::PrePost;
    let scale = c.f64_or("query_pre_attn_scalar", 256.0)?.powf(-0.5);
    facts.layers.iter_mut().for_each(|l| l.scale = scale);
    Ok(())
}

/// A cap that is on unless the config says null.
fn softcap(c: &Config, key: &'static str, default: f64) -> Result<Option<f64>> {
    if c.is_null(key) {
        return Ok(None);
    }
    Ok(Some(c.f64_or(key, default)?))
}
