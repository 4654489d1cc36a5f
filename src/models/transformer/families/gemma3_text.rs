//! Gemma 3 (text): Gemma 2 without softcaps, with norms on queries and keys, and two rotary bases.

use super::super::config::Config;
use super::super::facts::{Facts, Names, QkNorm};
use super::gemma::gemma_like;
use super::{gemma2, set_windows};
use crate::Result;
use crate::nn::{Rope, RopeScaling};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    // Transformers writes the cap of the scores, but its Gemma 3 never applies it.
    c.skip(&["cache_implementation", "attn_logit_softcapping"]);
    let mut facts = gemma_like(c, "gemma3_text")?;
    gemma2::sandwich(c, &mut facts)?;
    facts.head.softcap = c.opt_f64("final_logit_softcapping")?;
    facts.attn.qk_norm = Some((QkNorm::PerHead, facts.norm.clone()));
    let window = Some(c.usize_or("sliding_window", 4096)?);
    let pattern = c.opt_usize("sliding_window_pattern")?.or(c.opt_usize("_sliding_window_pattern")?);
    let every = pattern.unwrap_or(6).max(1);
    set_windows(&mut facts, c, window, |l| (l + 1) % every != 0)?;
    // Global layers turn slowly and may be scaled; local layers keep the first base.
    let global = c.rope_with_base(facts.d_head, Some("full_attention"), 1_000_000.0)?;
    let local = match c.value("rope_parameters").and_then(|p| p.get("sliding_attention")) {
        Some(_) => c.rope_with_base(facts.d_head, Some("sliding_attention"), 10_000.0)?,
        None => {
            Rope { theta: c.f64_or("rope_local_base_freq", 10_000.0)?, scaling: RopeScaling::None, ..global.clone() }
        }
    };
    facts.ropes = vec![global, local];
    for layer in &mut facts.layers {
        layer.rope = Some(usize::from(layer.window.is_some()));
    }
    let names = Names { qk_norm: ["q_norm", "k_norm"], ..gemma2::NAMES };
    Ok((facts, names))
}
