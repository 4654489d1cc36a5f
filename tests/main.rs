//! The integration tests, in one binary so that they link once.

mod browser;
mod cli;
mod common;
mod doctor;
mod generate;
mod goldens;
mod gradients;
mod invariants;
mod nn;
mod reduce;
mod report;
mod schema;
mod selector;
mod store;
