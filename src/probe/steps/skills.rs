//! The skills that come with a model: exact answers on its held-out items.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analysis::tasks::{Options, Scored, Subject, evaluate, harness};
use crate::data::{Docs, Task, builtin};
use crate::models::Model;
use crate::probe::step::{Context, StepKind, StepOutput, needs_tokenizer};
use crate::report::Report;
use crate::store::{DataSet, HubOptions};
use crate::{Error, Result};

/// Asks a model the items in its own folder.
pub struct Skills;

/// How much is asked.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Items of each skill.
    limit: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { limit: 100 }
    }
}

impl StepKind for Skills {
    const NAME: &'static str = "skills";
    const SUMMARY: &'static str = "Exact answers on the held-out items that come with the model.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        ("exact_match", "share of all items answered exactly"),
        ("*.exact_match", "the same of one skill, such as `addition.exact_match`"),
    ];
    type Params = Params;

    fn applies_to(&self, model: &Model) -> std::result::Result<(), String> {
        needs_tokenizer(model)?;
        match model.folder.path().join("held_out").is_dir() {
            true => Ok(()),
            false => Err("no items come with the model (a folder `held_out` of files SKILL.jsonl)".to_string()),
        }
    }

    fn run(&self, context: &Context, params: &Params) -> Result<StepOutput> {
        let mut task = builtin("organism")?;
        task.limit = Some(params.limit);
        score(context, &task, &context.model.folder.path().display().to_string())
    }
}

/// Runs a task on the documents at `data`.
pub(super) fn score(context: &Context, task: &Task, data: &str) -> Result<StepOutput> {
    let hub = HubOptions::from_env();
    let items = task.load(data, &hub)?;
    let set = DataSet::open(data, &hub)?;
    for name in set.files().iter().filter(|name| Docs::reads(std::path::Path::new(name))) {
        context.inputs.note(&set.file(name)?)?;
    }
    context.progress.begin(items.len() as u64);
    let options = Options { seed: context.seed, ..Options::default() };
    let mut done = 0;
    let mut advance = |now: usize, _: usize| {
        context.progress.advance(now.saturating_sub(done) as u64);
        done = now;
    };
    let result = evaluate(&Subject::new(context.model)?, task, &items, &options, &mut advance)?;
    let mut figures = figures(&result.all, None);
    for group in &result.groups {
        figures.extend(self::figures(group, Some(&group.name)));
    }
    let blocks = result.blocks();
    let samples = serde_json::to_value(&result.samples).map_err(unwritable)?;
    let mut value = harness(&[result], serde_json::json!({ "seed": context.seed }))?;
    value["samples"] = serde_json::json!({ &task.name: samples });
    Ok(StepOutput { blocks, figures, result: value })
}

fn unwritable(e: serde_json::Error) -> Error {
    Error::invalid(format!("the answers cannot be written: {e}"), "report this defect")
}

/// `exact_match`, `en.exact_match`, `strict_match.exact_match`: the filter is named where the task has any.
fn figures(scored: &Scored, group: Option<&str>) -> Vec<(String, f64)> {
    let name = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let full = |filter: &str, metric: &str| {
        let filter = (filter != "none").then(|| name(filter));
        let parts = [group.map(name), filter, Some(metric.to_string())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(".")
    };
    scored.scores.iter().map(|s| (full(&s.filter, s.metric.name()), s.value)).collect()
}
