//! Methods: functions from a network, data and parameters to a result that can be stored, shown and compared.

pub mod corpus;
pub mod doctor;
pub mod facts;
pub mod heads;
pub mod lens;
pub mod measure;
pub mod neurons;
pub mod patching;
pub mod sweep;
pub mod tasks;

pub use corpus::Corpus;
pub use measure::{Estimate, Figures};
