//! The integration tests, in one binary so that they link once.

mod goldens;
mod reduce;
mod selector;
mod store;
