//! The texts that a network is examined on when the caller has none: random tokens, rows of different lengths.

use crate::hook::random::key;
use crate::models::transformer::facts::Facts;

/// Three texts of random tokens, the longest of `tokens` tokens or the network's context if that is shorter.
pub fn texts(facts: &Facts, seed: u64, tokens: usize) -> Vec<Vec<u32>> {
    let longest = facts.context.map_or(tokens, |limit| tokens.min(limit)).max(1);
    let lengths = [longest.div_ceil(2), longest, longest.div_ceil(4)];
    let text = |(row, length): (usize, usize)| {
        let id = |position: usize| key(seed, &[row as u64, position as u64]) % facts.vocab.max(1) as u64;
        (0..length).map(|position| id(position) as u32).collect()
    };
    lengths.into_iter().enumerate().map(text).collect()
}

/// How long a text may be for its first tokens to be computed alike whatever follows.
///
/// Rotary frequencies of some checkpoints (`dynamic`, `longrope`) change with the length of the text; then a cached
/// token keeps what an earlier length gave it, and no two lengths agree. `None`: any length.
pub fn steady_length(facts: &Facts, longest: usize) -> crate::Result<Option<usize>> {
    let mut steady = None;
    for rope in facts.ropes.iter().filter(|rope| rope.scaling.depends_on_length()) {
        let first = rope.inv_freq(1)?;
        let mut length = 1;
        while length < longest && rope.inv_freq(length + 1)? == first {
            length += 1;
        }
        if length < longest {
            steady = Some(steady.map_or(length, |s: usize| s.min(length)));
        }
    }
    Ok(steady)
}
