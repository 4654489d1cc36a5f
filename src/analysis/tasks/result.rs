//! What a task gave: scores with intervals and controls, and every answer.

use serde::{Deserialize, Serialize};

use crate::data::{Doc, Metric, OutputType, Task};
use crate::report::chart::{Axis, Bars, Plot};
use crate::report::{Better, Block, Cell, Chart, Column, Report, Table, number};

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
    /// One score per filter and metric.
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
    /// 95 % interval over items: Wilson's for shares, bootstrap percentiles for the rest; `None` where a single item
    /// leaves none.
    pub interval: Option<(f64, f64)>,
    /// What the figure would be without any skill.
    pub control: Option<Control>,
}

impl Score {
    /// The key in `results`: `acc,none`.
    pub fn key(&self) -> String {
        format!("{},{}", self.metric.name(), self.filter)
    }
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Number of the document within its group.
    pub doc_id: usize,
    /// The group, if the task has groups.
    pub group: Option<String>,
    /// The document.
    pub doc: Doc,
    /// The prompt before any cut.
    pub prompt: String,
    /// The right answer.
    pub target: String,
    /// What the model said: the generated text, the likeliest choice, or nothing for a perplexity.
    pub response: String,
    /// Why a generated answer ended.
    pub finish: String,
    /// What each filter left of a generated answer.
    pub filtered: Vec<String>,
    /// Log-likelihood of each choice, or of the text, in nats.
    pub log_likelihoods: Vec<f64>,
    /// One number per filter and metric, in the order of [`Scored::scores`]; of a perplexity, the mean over this item.
    pub scores: Vec<f64>,
}

impl TaskResult {
    /// The score of a metric over all items: of the filter named, or of the first one.
    pub fn score(&self, metric: Metric, filter: Option<&str>) -> Option<&Score> {
        self.all.scores.iter().find(|s| s.metric == metric && filter.is_none_or(|f| s.filter == f))
    }
}

impl Report for TaskResult {
    fn blocks(&self) -> Vec<Block> {
        let task = &self.task;
        let mut facts = format!("{} items", self.all.items);
        if task.fewshot.count > 0 {
            facts += &format!(", {} worked examples before each", task.fewshot.count);
        }
        if self.truncated > 0 {
            facts += &format!("; {} prompts were cut on the left to fit the context", self.truncated);
        }
        let kind = match task.output_type {
            OutputType::GenerateUntil => "answers are written greedily",
            OutputType::MultipleChoice => "the likeliest choice is the answer",
            OutputType::Perplexity => "the likelihood of given texts",
        };
        let about = if task.about.is_empty() { String::new() } else { format!("{}. ", task.about) };
        let mut blocks = vec![
            Block::heading(format!("Task {}", task.name)),
            Block::text(format!("{about}{kind}; {facts}. Intervals are 95 % over items.")),
        ];
        blocks.extend(self.tables());
        blocks.extend(self.controls());
        blocks.extend(self.chart());
        blocks
    }
}

impl TaskResult {
    /// One table for the metrics of which more is better, one for the others.
    fn tables(&self) -> Vec<Block> {
        let table = |better: Better| {
            let wanted = |s: &&Score| s.metric.more_is_better() == (better == Better::More);
            let mut table = Table {
                columns: vec![
                    Column::new("items of"),
                    Column::new("items"),
                    Column::new("metric"),
                    Column::new("filter"),
                    Column::new("score").better(better),
                    Column::new("low"),
                    Column::new("high"),
                    Column::new("control"),
                ],
                rows: Vec::new(),
            };
            for scored in std::iter::once(&self.all).chain(&self.groups) {
                for score in scored.scores.iter().filter(wanted) {
                    table.rows.push(row(scored, score));
                }
            }
            (!table.rows.is_empty()).then_some(Block::Table(table))
        };
        [table(Better::More), table(Better::Less)].into_iter().flatten().collect()
    }

    /// What the controls of the metrics are.
    fn controls(&self) -> Option<Block> {
        let scores = std::iter::once(&self.all).chain(&self.groups).flat_map(|s| &s.scores);
        let mut all: Vec<(&str, &str)> =
            scores.filter_map(|s| Some((s.metric.name(), s.control.as_ref()?.name.as_str()))).collect();
        all.sort_unstable();
        all.dedup();
        let lines: Vec<String> = all.iter().map(|(metric, control)| format!("{metric}: {control}")).collect();
        (!lines.is_empty()).then(|| Block::text(format!("Controls. {}.", lines.join("; "))))
    }

    /// Bars of the first metric, group by group, beside its control.
    fn chart(&self) -> Option<Block> {
        let shown: Vec<&Scored> = if self.groups.is_empty() { vec![&self.all] } else { self.groups.iter().collect() };
        let first = self.all.scores.first()?;
        let scores: Vec<&Score> = shown.iter().filter_map(|s| s.scores.first()).collect();
        let name = first.metric.name();
        let better = if first.metric.more_is_better() { "more is better" } else { "less is better" };
        let mut series = vec![Bars {
            name: name.to_string(),
            values: scores.iter().map(|s| s.value).collect(),
            intervals: scores.iter().map(|s| s.interval.unwrap_or((s.value, s.value))).collect(),
        }];
        let mut caption = format!("{better}; filter {}; lines are 95 % intervals over items", first.filter);
        if let Some(control) = &first.control {
            caption += &format!("; control: {}", control.name);
            let value = |s: &&Score| s.control.as_ref().map_or(f64::NAN, |c| c.value);
            series.push(Bars {
                name: "control".to_string(),
                values: scores.iter().map(value).collect(),
                intervals: Vec::new(),
            });
        }
        let axis = Axis::new(name);
        let y = if first.metric.more_is_better() { axis.range(0.0, 1.0) } else { axis };
        let categories = shown.iter().map(|s| s.name.clone()).collect();
        let plot = Plot::Bars { y, categories, series };
        Some(Block::Chart(Chart { title: format!("{name} on {}", self.task.name), caption, plot }))
    }
}

fn row(scored: &Scored, score: &Score) -> Vec<Cell> {
    let number = |value: f64| Cell::Number { value, digits: 3 };
    let end = |value: Option<f64>| value.map_or(Cell::Empty, number);
    vec![
        Cell::text(&scored.name),
        Cell::count(scored.items),
        Cell::text(score.metric.name()),
        Cell::text(&score.filter),
        number(score.value),
        end(score.interval.map(|i| i.0)),
        end(score.interval.map(|i| i.1)),
        end(score.control.as_ref().map(|c| c.value)),
    ]
}
