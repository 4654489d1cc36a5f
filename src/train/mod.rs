//! Training with the same taps: edits and records act while a network learns.
//!
//! An update is a list of [`Lesson`]s: a job of passes (with whatever it records and edits), its inputs, and a loss of
//! the outputs. Lessons run side by side, one per worker; their gradients are added in order, so that the number of
//! threads changes nothing. A [`Course`] makes the lessons of an update from its number alone, which is what makes
//! resuming exact: a checkpoint holds weights, moments and the number of updates, and nothing else is needed.

pub mod adamw;
pub mod checkpoint;
pub mod loss;
pub mod optimiser;
pub mod organism;
pub mod schedule;
pub mod sgd;
mod side_by_side;
pub mod tongues;
pub mod trainer;

pub use adamw::{AdamW, AdamWOptions, Group};
pub use loss::{Targets, distillation_loss, next_token_loss};
pub use optimiser::Optimiser;
pub use schedule::Schedule;
pub use sgd::{Sgd, SgdOptions};
pub use side_by_side::side_by_side;
pub use trainer::{Course, Lesson, Observer, Point, Trainer, TrainerOptions, variables};
