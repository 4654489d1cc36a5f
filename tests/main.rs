//! The integration tests, in one binary so that they link once.

mod analysis;
mod bake;
mod bio;
mod browser;
mod cli;
mod common;
mod data;
mod doctor;
mod generate;
mod goldens;
mod gradients;
mod invariants;
mod languages;
mod nn;
mod papers;
mod probe;
mod reduce;
mod report;
mod scan;
mod schema;
mod selector;
mod store;
mod sweep;
mod train;
mod unlearn;
