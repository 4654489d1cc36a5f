//! The integration tests, in one binary so that they link once.

mod common;
mod goldens;
mod gradients;
mod invariants;
mod reduce;
mod selector;
mod store;
