//! Methods: functions from a network, data and parameters to a result that can be stored, shown and compared.

pub mod attribution;
pub mod bake;
pub mod bio;
pub mod clamp;
pub mod corpus;
pub mod dendrites;
pub mod doctor;
pub mod dynamics;
pub mod elm;
pub mod environment;
pub mod facts;
pub mod forming;
pub mod heads;
mod inputs;
pub mod inspect;
pub mod label;
pub mod languages;
pub mod lens;
pub mod liquid;
pub mod measure;
pub mod memory;
pub mod neurons;
mod operations;
pub mod patching;
pub mod prompts;
pub mod reservoir;
pub mod scan;
mod standing;
pub mod steering;
pub mod sweep;
pub mod swimmer;
pub mod tasks;
pub mod timescales;
pub mod unit;
pub mod unlearn;
pub mod vision;

pub use corpus::Corpus;
pub use environment::Environment;
pub use inputs::{DataFile, Inputs};
pub use measure::{Estimate, Figures};
pub use operations::registry;
pub use standing::{EditRecord, edit_model, read_edits};

/// Nobody watches: for methods that tell how far they are and may be stopped.
///
/// # Errors
/// None.
pub fn unwatched(_: usize, _: usize) -> crate::Result<()> {
    Ok(())
}
