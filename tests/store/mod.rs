//! Files and the Hub: what is read back is what was written, and every kind of damage has its message.

mod chat;
mod folder;
mod hub;
pub mod hub_stub;
mod npz;
mod tokenizer;
mod weights;

use crate::common::shared::shared;

/// The message of an error that must be there.
pub fn message<T>(result: optrode::Result<T>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}
