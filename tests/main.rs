//! The integration tests, in one binary so that they link once.

mod doctor;
mod goldens;
mod nn;
mod reduce;
mod report;
mod selector;
mod store;
