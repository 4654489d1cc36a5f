//! Induction heads while they form: a two-layer network learns a few-shot task, freely and with parts of the circuit
//! clamped to what they will become (Singh et al. 2024, arXiv 2404.07129).
//!
//! The circuit has three parts, each smooth on its own, whose product makes the sudden drop of the loss: A, a first-layer
//! head attends to the token before and copies it; B, the second layer matches the query with it; C, the matched label is
//! copied to the logits. A clamp hands the network the finished form of some of them, so that what is left can be watched
//! by itself. Layers and heads are counted from 0 here; the paper's layer 1 is layer 0.

mod clamps;
mod course;
mod experiment;
mod judge;
mod plan;
mod report;
mod run;
mod toy;

pub use clamps::Condition;
pub use course::{FewShotCourse, TokenCourse};
pub use experiment::{Experiment, LEARNT, PLATEAU, Trained, experiment};
pub use plan::Plan;
pub use run::{
    Curve, Evaluation, Formed, Moment, Options, Task, accuracy_by_head, evaluate, form, side_by_side, strengths, tokens,
};
pub use toy::{Clamped, Toy, toy};
