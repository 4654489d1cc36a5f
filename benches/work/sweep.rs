//! A sweep of patches: every block and position of the stream before a block, in a short prompt.

use optrode::Result;
use optrode::analysis::sweep::Sweep;
use optrode::hook::Selector;
use optrode::models::Decoder;

/// Tokens of a short prompt.
pub const PROMPT: usize = 16;

/// The token at a place of the rows that all jobs read.
pub fn token(row: usize, position: usize) -> u32 {
    ((row * 7919 + position * 104_729) % 250) as u32
}

/// A short prompt: the first tokens of a row.
pub fn prompt(row: usize) -> Vec<u32> {
    (0..PROMPT).map(|position| token(row, position)).collect()
}

/// Every block and position of the stream of a short prompt.
pub fn patches(net: &Decoder) -> Result<Vec<Selector>> {
    let places = (0..net.facts().layers.len()).flat_map(|block| (0..PROMPT).map(move |at| (block, at)));
    places.map(|(block, at)| format!("blocks.{block}.hook_resid_pre@{at}").parse()).collect()
}

/// What every tool has to do for a sweep: both runs, every patch, a logit difference of each.
pub fn sweep(net: &Decoder, base: &[u32], source: &[u32], patches: &[Selector], tokens: usize) -> Result<Vec<f32>> {
    let mut effects = vec![f32::NAN; patches.len()];
    let sweep = Sweep::new(net, &[base.to_vec()], &[source.to_vec()], patches)?;
    sweep.run(tokens, &mut |p| {
        effects[p.patch] = p.logits[100] - p.logits[200];
        Ok(())
    })?;
    Ok(effects)
}
