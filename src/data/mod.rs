//! Data: texts from the forms in which people keep them.

pub mod ngram;
pub mod organism;
mod texts;

pub use texts::{read_id_rows, read_mask, read_texts};
