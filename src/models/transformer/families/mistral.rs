//! Mistral: Llama with a sliding window on every layer (if the config gives one).

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names};
use super::{llama_like, set_windows};
use crate::Result;

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    let mut facts = llama_like(c, "mistral", false)?;
    let window = c.opt_usize("sliding_window")?;
    set_windows(&mut facts, c, window, |_| window.is_some())?;
    Ok((facts, LLAMA_NAMES))
}
