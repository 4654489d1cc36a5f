//! The integration tests, in one binary so that they link once.

mod common;
mod doctor;
mod goldens;
mod gradients;
mod invariants;
mod nn;
mod reduce;
mod report;
mod selector;
mod store;
