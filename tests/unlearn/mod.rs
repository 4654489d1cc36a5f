//! Skill unlearning: the invariants of its operations and statistics, and the experiment.

mod command;
mod experiment;
mod fitting;
mod operations;
