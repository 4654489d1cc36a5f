//! Labels for the channels of convolutional networks (MILAN, Hernandez et al. 2022, arXiv 2201.11114).
//!
//! - [`units`]: exemplars, levels and masks of every channel.
//! - [`concepts`]: formulas of concepts that are there or not at every pixel, the executable labels.
//! - [`phrases`], [`words`], [`describe`]: descriptions in words, by pmi.
//! - [`labels`]: a whole network's labels, with [`sheets`] of exemplars.
//! - [`cuts`], [`mend`]: accuracy with units silenced, and networks that are better for it.
//! - [`study`], [`spurious`]: the experiments of paper 31 on images whose every pixel is known, with the networks that they
//!   [`learn`].

pub mod concepts;
pub mod cuts;
pub mod describe;
pub mod labels;
pub mod learn;
pub mod mend;
pub mod names;
pub mod phrases;
pub mod planted;
mod report;
pub mod sheets;
pub mod spurious;
pub mod study;
pub mod units;
pub mod words;
