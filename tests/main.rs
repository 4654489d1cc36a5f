//! The integration tests, in one binary so that they link once.

mod cli;
mod common;
mod generate;
mod goldens;
mod reduce;
mod schema;
mod selector;
mod store;
