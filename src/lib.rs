//! optrode records and steers every neuron: interpretability and neuron editing for language models and
//! bio-inspired networks, on Candle.
#![warn(missing_docs)]

pub mod analysis;
pub mod error;
pub mod hook;
pub mod models;
pub mod nn;
pub mod report;
pub mod store;

pub use error::{Error, Result};
