//! Methods: functions from a network, data and parameters to a result that can be stored, shown and compared.

pub mod corpus;
pub mod doctor;
pub mod environment;
pub mod facts;
pub mod heads;
mod inputs;
pub mod lens;
pub mod measure;
pub mod memory;
pub mod neurons;
mod operations;
pub mod patching;
pub mod scan;
pub mod sweep;
pub mod tasks;
pub mod unit;
pub mod unlearn;

pub use corpus::Corpus;
pub use environment::Environment;
pub use inputs::{DataFile, Inputs};
pub use measure::{Estimate, Figures};
pub use operations::registry;
