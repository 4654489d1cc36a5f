//! The tasks that come with the program, as files in `builtin/`.
//!
//! The data is not part of it: the caller gives a folder, a file or a Hub repository. Code that a model writes is never
//! run: `humaneval` and `mbpp` measure the likelihood of the reference solutions.

use super::task::Task;
use crate::store::text::nearest;
use crate::{Error, Result};

/// Name and file of every task.
const TASKS: [(&str, &str); 7] = [
    ("gsm8k", include_str!("builtin/gsm8k.toml")),
    ("humaneval", include_str!("builtin/humaneval.toml")),
    ("mbpp", include_str!("builtin/mbpp.toml")),
    ("mgsm", include_str!("builtin/mgsm.toml")),
    ("mmlu", include_str!("builtin/mmlu.toml")),
    ("organism", include_str!("builtin/organism.toml")),
    ("xquad", include_str!("builtin/xquad.toml")),
];

/// The names of the built-in tasks.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    TASKS.iter().map(|(name, _)| *name)
}

/// A built-in task by its name.
///
/// # Errors
/// [`Error::Invalid`] for another name.
pub fn builtin(name: &str) -> Result<Task> {
    match TASKS.iter().find(|(n, _)| *n == name) {
        Some((_, text)) => Task::from_toml(text),
        None => Err(Error::invalid(
            format!("there is no built-in task `{name}`; did you mean `{}`?", nearest(name, builtin_names(), 1)),
            format!("name one of {}, or give a task file", builtin_names().collect::<Vec<_>>().join(", ")),
        )),
    }
}
