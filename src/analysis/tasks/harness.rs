//! Results in the shape that lm-evaluation-harness writes, so that its readers read ours.

use serde_json::{Map, Value, json};

use super::result::{Score, Scored, TaskResult};
use crate::{Error, Result};

/// `{"results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "config",
/// "samples"}` of some tasks, and ours beside them: `intervals` and `controls`, by task and metric.
///
/// A task with groups has an entry per group, `task_group`, beside its own over all items. `config` is whatever says how
/// the job was run (model, seed).
///
/// # Errors
/// A result that JSON cannot express.
pub fn harness(results: &[TaskResult], config: Value) -> Result<Value> {
    let mut out: Map<String, Value> = Map::new();
    for result in results {
        let task = &result.task;
        let name = task.name.as_str();
        let subtasks: Vec<String> = result.groups.iter().map(|g| format!("{name}_{}", g.name)).collect();
        let entries = std::iter::once((name.to_string(), &result.all));
        for (name, scored) in entries.chain(subtasks.iter().cloned().zip(&result.groups)) {
            add(&mut out, "results", &name, scores(&name, scored));
            add(&mut out, "versions", &name, task.version.into());
            add(&mut out, "n-shot", &name, task.fewshot.count.into());
            add(&mut out, "n-samples", &name, json!({ "effective": scored.items }));
            let better = scored.scores.iter().map(|s| (s.metric.name().to_string(), s.metric.more_is_better().into()));
            add(&mut out, "higher_is_better", &name, Value::Object(better.collect()));
            add(&mut out, "intervals", &name, by_key(scored, |s| json!(s.interval)));
            add(&mut out, "controls", &name, by_key(scored, |s| json!(s.control)));
        }
        add(&mut out, "group_subtasks", name, subtasks.into());
        add(&mut out, "configs", name, configured(result)?);
        add(&mut out, "samples", name, samples(result));
    }
    out.insert("config".to_string(), config);
    Ok(Value::Object(out))
}

fn add(out: &mut Map<String, Value>, table: &str, name: &str, value: Value) {
    let table = out.entry(table).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(table) = table {
        table.insert(name.to_string(), value);
    }
}

fn scores(name: &str, scored: &Scored) -> Value {
    let mut out = Map::new();
    out.insert("alias".to_string(), name.into());
    for score in &scored.scores {
        let stderr = if score.stderr.is_finite() { json!(score.stderr) } else { json!("N/A") };
        out.insert(score.key(), json!(score.value));
        out.insert(format!("{}_stderr,{}", score.metric.name(), score.filter), stderr);
    }
    Value::Object(out)
}

fn by_key(scored: &Scored, value: impl Fn(&Score) -> Value) -> Value {
    Value::Object(scored.scores.iter().map(|s| (s.key(), value(s))).collect())
}

/// The task under the names that readers of these files look for.
fn configured(result: &TaskResult) -> Result<Value> {
    let mut config = serde_json::to_value(&result.task)
        .map_err(|e| Error::invalid(format!("a task cannot be written as JSON: {e}"), "report this as a defect"))?;
    if let Value::Object(config) = &mut config {
        config.insert("task".to_string(), result.task.name.as_str().into());
        config.insert("num_fewshot".to_string(), result.task.fewshot.count.into());
        config.insert("metadata".to_string(), json!({ "version": result.task.version }));
    }
    Ok(config)
}

fn samples(result: &TaskResult) -> Value {
    let rows = result.samples.iter().map(|sample| {
        let responses = match sample.log_likelihoods.is_empty() {
            true => json!([[sample.response]]),
            false => sample.log_likelihoods.iter().map(|l| json!([l])).collect(),
        };
        let mut row = json!({
            "doc_id": sample.doc_id,
            "group": sample.group,
            "doc": sample.doc,
            "target": sample.target,
            "arguments": [[sample.prompt]],
            "resps": responses,
            "filtered_resps": sample.filtered,
            "response": sample.response,
        });
        for (score, value) in result.all.scores.iter().zip(&sample.scores) {
            row[score.key()] = json!(value);
        }
        row
    });
    rows.collect()
}
