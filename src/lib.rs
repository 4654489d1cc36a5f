//! optrode records and steers every neuron: interpretability and neuron editing for language models and
//! bio-inspired networks, on Candle.
#![warn(missing_docs)]

pub mod error;
pub mod hook;
pub mod nn;

pub use error::{Error, Result};
