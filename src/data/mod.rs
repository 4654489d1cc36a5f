//! Data: texts, documents and tasks from the forms in which people keep them.

mod item;
mod task;
mod texts;

pub use item::{Doc, Item, Target};
pub use task::{Choices, Compare, FewShot, Files, Filter, LineField, Metric, OutputType, Sampler, Select, Task};
pub use texts::{read_id_rows, read_mask, read_texts};
