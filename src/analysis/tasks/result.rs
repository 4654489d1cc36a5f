//! What a task gave: scores with intervals and controls, and every answer.

use serde::{Deserialize, Serialize};

use crate::data::{Metric, Task};
use crate::report::number;

/// The result of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The task as it was run.
    pub task: Task,
    /// Scores over all items.
    pub all: Scored,
    /// Scores by group, in the order in which groups appear; empty where the task has none.
    pub groups: Vec<Scored>,
    /// Every answer, in the order of the items.
    pub samples: Vec<Sample>,
    /// Items whose prompt was cut on the left to fit the context.
    pub truncated: usize,
}

/// Scores over some items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The group, or the task's name for all items.
    pub name: String,
    /// How many items.
    pub items: usize,
    /// One score per metric and filter.
    pub scores: Vec<Score>,
}

/// One figure with what it takes to judge it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The metric.
    pub metric: Metric,
    /// The filter; `none` where the whole answer counts.
    pub filter: String,
    /// The figure.
    #[serde(with = "number")]
    pub value: f64,
    /// Standard error as lm-evaluation-harness takes it: sample deviation over the root of n, or the deviation of
    /// bootstrap draws. NaN for a single item.
    #[serde(with = "number")]
    pub stderr: f64,
    /// 95 % interval: Wilson's for shares, bootstrap percentiles for the rest.
    pub interval: (f64, f64),
    /// What the figure would be without any skill.
    pub control: Option<Control>,
}

/// A figure to compare with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// What it is.
    pub name: String,
    /// Its value.
    #[serde(with = "number")]
    pub value: f64,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Number of the document within its group.
    pub doc_id: usize,
    /// The group, if the task has groups.
    pub group: Option<String>,
    /// The prompt as it was given.
    pub prompt: String,
    /// The right answer.
    pub target: String,
    /// What the model said: the generated text, the likeliest choice, or nothing for a perplexity.
    pub response: String,
    /// What each filter left of the answer (generation).
    pub filtered: Vec<String>,
    /// Log-likelihood of each choice, or of the text, in nats.
    pub log_likelihoods: Vec<f64>,
    /// One number per metric and filter, in the order of [`Scored::scores`]; for a perplexity its nats.
    pub scores: Vec<f64>,
}

impl TaskResult {
    /// The score of a metric over all items: of the filter named, or of the first one.
    pub fn score(&self, metric: Metric, filter: Option<&str>) -> Option<&Score> {
        let named = |s: &&Score| s.metric == metric && filter.is_none_or(|f| s.filter == f);
        self.all.scores.iter().find(named)
    }
}
