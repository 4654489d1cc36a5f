//! Scores on a task.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::skills::score;
use crate::Result;
use crate::data::{Task, builtin, builtin_names};
use crate::models::Model;
use crate::probe::step::{Context, StepKind, StepOutput, needs_tokenizer};

/// Asks the model the items of a task.
pub struct Tasks;

/// Which task.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// A built-in task, or a task file (`.toml` or `.json`).
    task: String,
    /// Where its documents are: a folder, a file, or `hub:org/name`.
    data: String,
    /// Most items per group; all that the task asks if absent.
    #[serde(default)]
    limit: Option<usize>,
}

impl StepKind for Tasks {
    const NAME: &'static str = "tasks";
    const SUMMARY: &'static str = "Scores on a task, with intervals and a control.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        ("*", "a metric over all items, such as `exact_match`"),
        ("*.*", "a metric of a group, such as `en.exact_match`, or of a filter, such as `strict_match.exact_match`"),
        ("*.*.*", "a metric of a filter of a group"),
    ];
    type Params = Params;

    fn applies_to(&self, model: &Model) -> std::result::Result<(), String> {
        needs_tokenizer(model)
    }

    fn run(&self, context: &Context, params: &Params) -> Result<StepOutput> {
        let known = builtin_names().any(|name| name == params.task);
        let mut task = if known { builtin(&params.task)? } else { Task::open(context.input(&params.task)?)? };
        task.limit = params.limit.or(task.limit);
        let data = match params.data.starts_with("hub:") {
            true => params.data.clone(),
            false => context.folder.join(&params.data).display().to_string(),
        };
        score(context, &task, &data)
    }
}
