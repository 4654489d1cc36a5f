//! Data: texts, documents and tasks from the forms in which people keep them.

mod builtin;
pub mod dendrites;
mod docs;
mod documents;
pub mod events;
pub mod fewshot;
pub mod glyphs;
mod ids;
mod images;
mod item;
mod lens_prompts;
mod load;
pub mod ngram;
mod omniglot;
pub mod organism;
pub mod scenes;
pub mod series;
pub mod strokes;
mod task;
mod template;
mod texts;
pub mod tongues;

pub use builtin::{builtin, builtin_names};
pub use docs::Docs;
pub use documents::{Chunk, Document, DocumentOptions, Documents, Survey, SurveyedFile};
pub use ids::{read_id_rows, read_mask};
pub use images::ImageSet;
pub use item::{Doc, Item, Target};
pub use lens_prompts::{LensItem, LensPrompts, Question, ReadAt, read_questions};
pub use load::Split;
pub use omniglot::Omniglot;
pub use task::{Choices, Compare, FewShot, Files, Filter, LineField, Metric, OutputType, Sampler, Select, Task};
pub use texts::{TextSet, read_text_sets, read_texts, read_texts_from, text_file};
