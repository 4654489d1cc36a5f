//! Choosing a token from logits.

use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};

use crate::hook::random;
use crate::{Error, Result};

/// How a token is chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampler {
    /// The likeliest token.
    Greedy,
    /// A draw from softmax(logits / temperature), cut to the `top_k` likeliest tokens and to the fewest that hold the
    /// probability `top_p`.
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
        let Self::Random {
            temperature,
            top_k,
            top_p,
        } = self
        else {
            return Ok(());
        };
        if !(*temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::invalid(
                format!("a temperature of {temperature}"),
                "give a number above 0, or --greedy",
            ));
        }
        if *top_k == Some(0) {
            return Err(Error::invalid("top-k of 0", "give at least 1"));
        }
        if top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            return Err(Error::invalid(
                format!("top-p of {top_p:?}"),
                "give a number above 0 and at most 1",
            ));
        }
        Ok(())
    }

    /// The draws of one row: its own stream, keyed by seed and document.
    pub(super) fn draw(&self, seed: u64, document: u64) -> Draw {
        let sampling = match *self {
            Self::Greedy => Sampling::ArgMax,
            Self::Random {
                temperature,
                top_k: None,
                top_p: None,
            } => Sampling::All { temperature },
            Self::Random {
                temperature,
                top_k: Some(k),
                top_p: None,
            } => Sampling::TopK { k, temperature },
            Self::Random {
                temperature,
                top_k: None,
                top_p: Some(p),
            } => Sampling::TopP { p, temperature },
            Self::Random {
                temperature,
                top_k: Some(k),
                top_p: Some(p),
            } => Sampling::TopKThenTopP { k, p, temperature },
        };
        Draw(LogitsProcessor::from_sampling(random::key(seed, &[document]), sampling))
    }
}

/// One row's stream of draws.
pub(super) struct Draw(LogitsProcessor);

impl Draw {
    pub fn next(&mut self, logits: &[f32]) -> Result<u32> {
        Ok(self.0.sample(&Tensor::new(logits, &Device::Cpu)?)?)
    }
}
