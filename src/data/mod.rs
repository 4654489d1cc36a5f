//! Data: texts from the forms in which people keep them.

mod texts;

pub use texts::{read_id_rows, read_mask, read_texts, text_file};
