//! Choosing a token from logits.
//!
//! A draw is a function of (seed, document, position): the same token whatever the batch, the cache or the calls before.

use crate::hook::random;
use crate::{Error, Result};

/// How a token is chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampler {
    /// The likeliest token; of equals the one with the lowest id.
    Greedy,
    /// A draw from softmax(logits / temperature), cut to the `top_k` likeliest tokens, and of these to the fewest that
    /// hold the share `top_p` of what is left.
    Random {
        /// Above 0; 1 leaves the distribution as it is.
        temperature: f64,
        /// At least 1.
        top_k: Option<usize>,
        /// In (0, 1].
        top_p: Option<f64>,
    },
}

impl Sampler {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number out of its range.
    pub fn check(&self) -> Result<()> {
        let Self::Random { temperature, top_k, top_p } = *self else {
            return Ok(());
        };
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::invalid(
                format!("a temperature of {temperature} cannot be drawn with"),
                "give a number above 0, or take the likeliest token (--greedy)",
            ));
        }
        if top_k == Some(0) {
            return Err(Error::invalid("a top-k of 0 leaves no token", "give at least 1"));
        }
        match top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => {
                Err(Error::invalid(format!("a top-p of {p} is no share"), "give a number above 0 and at most 1"))
            }
            _ => Ok(()),
        }
    }

    /// The token at `position` of a document.
    pub(super) fn choose(&self, logits: &[f32], seed: u64, document: u64, position: u64) -> u32 {
        let Self::Random { temperature, top_k, top_p } = *self else {
            return likeliest(logits);
        };
        let mut kept = weights(logits, temperature);
        kept.truncate(top_k.unwrap_or(usize::MAX).max(1));
        let total: f64 = kept.iter().map(|(_, w)| w).sum();
        if let Some(share) = top_p {
            kept.truncate(fewest(&kept, share * total));
        }
        let total: f64 = kept.iter().map(|(_, w)| w).sum();
        let mut left = random::uniform(random::key(seed, &[document, position])) * total;
        for (id, weight) in &kept {
            left -= weight;
            if left < 0.0 {
                return *id;
            }
        }
        // Rounding may leave a sliver beyond the last weight.
        kept.first().map_or(0, |(id, _)| *id)
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().fold(0, |best, (i, x)| if *x > logits[best] { i } else { best });
    best as u32
}

/// exp((logit - largest) / temperature) of every token that can be drawn, the likeliest first.
fn weights(logits: &[f32], temperature: f64) -> Vec<(u32, f64)> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |x: f32| match x == largest {
        true => 1.0, // also where the largest is infinite
        false => (f64::from(x - largest) / temperature).exp(),
    };
    let mut all: Vec<(u32, f64)> = (0u32..).zip(logits.iter().map(|x| weight(*x))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

/// How many of the first tokens hold the weight `enough`; at least one.
fn fewest(sorted: &[(u32, f64)], enough: f64) -> usize {
    let mut sum = 0.0;
    for (i, (_, weight)) in sorted.iter().enumerate() {
        sum += weight;
        if sum >= enough {
            return i + 1;
        }
    }
    sorted.len()
}
