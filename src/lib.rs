//! optrode records and steers every neuron: interpretability and neuron editing for language models and
//! bio-inspired networks, on Candle.
//!
//! The layout, top to bottom (imports point only downward): [`cli`], [`serve`], [`probe`], [`papers`], [`analysis`], [`train`], [`data`],
//! [`generate`], [`models`],
//! [`nn`], [`report`], [`store`], [`hook`]. Start with [`models::Model`] and [`hook::Selector`].
#![warn(missing_docs)]

pub mod allocator;
pub mod analysis;
pub mod cli;
pub mod data;
pub mod error;
pub mod generate;
pub mod hook;
pub mod models;
pub mod nn;
pub mod papers;
pub mod probe;
pub mod report;
pub mod serve;
pub mod store;
pub mod train;

pub use error::{Error, Result};

/// The README's examples, compiled by the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
