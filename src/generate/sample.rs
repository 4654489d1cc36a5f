//! Choosing a token from logits.
//!
//! A draw is a function of (seed, document, position): the same token whatever the batch, the cache or the calls before.

use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};

use crate::hook::random;
use crate::{Error, Result};

/// Below this temperature 1 / T overflows in f32; only the likeliest token is left anyway.
const COLD: f64 = 1e-7;

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
    ///
    /// # Errors
    /// Logits that leave nothing to draw from (an infinite one, say).
    pub(super) fn choose(&self, logits: &[f32], seed: u64, document: u64, position: u64) -> Result<u32> {
        // With the largest at 0, a small temperature cannot overflow.
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut logits: Vec<f32> = logits.iter().map(|x| if *x == largest { 0.0 } else { x - largest }).collect();
        let sampling = match *self {
            Self::Greedy => Sampling::ArgMax,
            Self::Random { temperature, .. } if temperature < COLD => Sampling::ArgMax,
            Self::Random { temperature, top_k, top_p } => {
                if let Some(k) = top_k {
                    keep_largest(&mut logits, k);
                }
                top_p.map_or(Sampling::All { temperature }, |p| Sampling::TopP { p, temperature })
            }
        };
        // Candle's own combination of both cuts takes top-p of the whole distribution; here, as in Hugging Face, it is
        // of what top-k left.
        let mut draw = LogitsProcessor::from_sampling(random::key(seed, &[document, position]), sampling);
        draw.sample(&Tensor::new(logits.as_slice(), &Device::Cpu)?).map_err(|e| {
            Error::invalid(
                format!("no token can be drawn at position {position}: {}", Error::from(e)),
                "an edit or the weights give infinite logits: run `doctor`, or record them",
            )
        })
    }
}

/// All but the `k` largest become -inf; of equals the first stay.
fn keep_largest(logits: &mut [f32], k: usize) {
    if k >= logits.len() {
        return;
    }
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order[k..].iter().for_each(|i| logits[*i] = f32::NEG_INFINITY);
}
