//! Mistral: Llama with a sliding window on every layer (4,096 if the config is silent, none if it says null).

use super::super::config::Config;
use super::super::facts::{Facts, LLAMA_NAMES, Names};
use super::{llama_like, set_windows};
use crate::Result;

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    let mut facts = llama_like(c, "mistral", false)?;
    let window = if c.is_null("sliding_window") { None } else { Some(c.usize_or("sliding_window", 4096)?) };
    set_windows(&mut facts, c, window, |_| window.is_some())?;
    Ok((facts, LLAMA_NAMES))
}
