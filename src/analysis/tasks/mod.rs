//! Scoring a model on tasks, in the shape and with the definitions of lm-evaluation-harness.
//!
//! A [`Task`] is data (see [`crate::data`]); [`evaluate`] asks a [`Subject`] its items and gives a [`TaskResult`] with every
//! answer, intervals and a control. [`perplexity()`] measures plain texts.
//!
//! ```no_run
//! use optrode::analysis::tasks::{Options, Subject, evaluate, harness};
//! use optrode::data::builtin;
//! use optrode::models::{Model, OpenOptions};
//! use optrode::store::HubOptions;
//! let model = Model::open("HuggingFaceTB/SmolLM2-135M", &OpenOptions::default())?;
//! let task = builtin("gsm8k")?;
//! let items = task.load("hub:openai/gsm8k", &HubOptions::from_env())?;
//! let result = evaluate(&Subject::new(&model)?, &task, &items, &Options::default(), &mut |_, _| {})?;
//! println!("{}", harness(&[result], serde_json::json!({ "model": "SmolLM2-135M" }))?["results"]);
//! # Ok::<(), optrode::Error>(())
//! ```

mod answer;
mod choice;
mod coder;
mod harness;
mod likelihood;
mod perplexity;
mod respond;
mod result;
mod stats;
mod subject;
mod written;

use crate::data::{Item, Metric, OutputType, Target, Task};
use crate::generate::Sampler;
use crate::hook::random;
use crate::{Error, Result};

use stats::Estimate;
pub(in crate::analysis) use stats::wilson;

pub use answer::{Grade, grade};
pub use harness::harness;
pub use perplexity::{Perplexities, Perplexity, TextNats, perplexities, perplexity};
pub use result::{Control, Sample, Score, Scored, TaskResult};
pub use subject::Subject;

/// How to run a task. None of it changes what is asked; lm-evaluation-harness writes greedily.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most rows of a forward call; fewer where the logits would take too much memory.
    pub batch: usize,
    /// Seed of the bootstrap and of the shuffled control.
    pub seed: u64,
    /// Draws of the bootstrap.
    pub draws: usize,
    /// How answers are written.
    pub sampler: Sampler,
    /// What stands before a plain text.
    pub start: Start,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch: 16, seed: 0, draws: 1000, sampler: Sampler::Greedy, start: Start::Always }
    }
}

/// What stands before a text that has no prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// What the tokenizer puts there, or else its BOS, or else its EOS, so that the first token is scored too: the rule of
    /// lm-evaluation-harness.
    Always,
    /// What the tokenizer puts there and nothing else: what recording and counting read. A network that never met BOS before
    /// text may need hundreds of tokens to recover from it.
    Tokenizer,
}

/// Asks every item of a task and scores the answers. `progress` hears (items done, items in all).
///
/// Items are run in batches of similar length; neither batches nor the order of the items change a score beyond the
/// rounding of the network. Samples come back in the order of `items`.
///
/// # Errors
/// No items, items of another kind than the task's, a text that the tokenizer cannot express, and whatever the network
/// and the edits refuse.
pub fn evaluate(
    subject: &Subject,
    task: &Task,
    items: &[Item],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<TaskResult> {
    task.check()?;
    check(task, items)?;
    let asked = match task.output_type {
        OutputType::GenerateUntil => written::ask(subject, task, items, options, progress)?,
        OutputType::MultipleChoice => choice::ask_choices(subject, task, items, options, progress)?,
        OutputType::Perplexity => choice::ask_texts(subject, task, items, options, progress)?,
    };
    let all: Vec<usize> = (0..items.len()).collect();
    let mut names: Vec<&str> = Vec::new();
    for group in items.iter().filter_map(|item| item.group.as_deref()) {
        if !names.contains(&group) {
            names.push(group);
        }
    }
    let of_group = |name: &&str| {
        let members = all.iter().copied().filter(|i| items[*i].group.as_deref() == Some(*name));
        asked.scored(name, &members.collect::<Vec<_>>(), options)
    };
    Ok(TaskResult {
        task: task.clone(),
        all: asked.scored(&task.name, &all, options),
        groups: names.iter().map(of_group).collect(),
        truncated: asked.cut,
        samples: asked.samples,
    })
}

fn check(task: &Task, items: &[Item]) -> Result<()> {
    if items.is_empty() {
        return Err(Error::invalid(format!("task `{}` has no items", task.name), "give at least one"));
    }
    let fits = |item: &Item| match &item.target {
        Target::Text(_) => task.output_type == OutputType::GenerateUntil,
        Target::Choice { choices, right } => {
            task.output_type == OutputType::MultipleChoice
                && *right < choices.len()
                && choices.iter().all(|c| !c.is_empty())
        }
        Target::Likelihood(_) => task.output_type == OutputType::Perplexity,
    };
    match items.iter().position(|item| !fits(item)) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(
            format!("item {at} (counted from 0) does not fit task `{}`, a {:?}", task.name, task.output_type),
            "make items with the task's own `load` or `items`, or of the kind of its output type",
        )),
    }
}

/// The key by which stochastic edits tell documents apart: the same in any batch and order.
fn document(item: &Item) -> u64 {
    match &item.group {
        None => item.id as u64,
        Some(group) => random::key(random::name(group), &[item.id as u64]),
    }
}

/// Answers before they are summed up.
struct Asked {
    samples: Vec<Sample>,
    /// One per filter and metric.
    measures: Vec<Measure>,
    /// Prompts that were cut.
    cut: usize,
}

/// One metric of one filter, item by item.
struct Measure {
    metric: Metric,
    filter: String,
    /// (amount, weight) of each item: a share is the sum of the first over the sum of the second.
    items: Vec<(f64, f64)>,
    /// What the control is, and its value item by item; NaN where an item has none.
    control: Option<(String, Vec<f64>)>,
}

impl Asked {
    fn scored(&self, name: &str, members: &[usize], options: &Options) -> Scored {
        let score = |measure: &Measure| {
            let pairs: Vec<(f64, f64)> = members.iter().map(|i| measure.items[*i]).collect();
            let Estimate { value, stderr, interval } = measure.estimate(&pairs, options);
            let control = measure.control.as_ref().and_then(|(name, values)| {
                let values: Vec<f64> = members.iter().map(|i| values[*i]).filter(|v| !v.is_nan()).collect();
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                (!values.is_empty()).then(|| Control { name: name.clone(), value: mean })
            });
            Score { metric: measure.metric, filter: measure.filter.clone(), value, stderr, interval, control }
        };
        Scored { name: name.to_string(), items: members.len(), scores: self.measures.iter().map(score).collect() }
    }
}

impl Measure {
    fn estimate(&self, pairs: &[(f64, f64)], options: &Options) -> Estimate {
        let (draws, seed) = (options.draws, options.seed);
        match self.metric {
            Metric::WordPerplexity | Metric::BytePerplexity => stats::bootstrap(pairs, f64::exp, draws, seed),
            Metric::BitsPerByte => stats::bootstrap(pairs, |x| x / std::f64::consts::LN_2, draws, seed),
            Metric::TokenNats => stats::bootstrap(pairs, |x| x, draws, seed),
            _ => {
                let values: Vec<f64> = pairs.iter().map(|(value, _)| *value).collect();
                stats::mean(&values, draws, seed)
            }
        }
    }

    /// The figure of one item alone.
    fn of_item(&self, item: usize, options: &Options) -> f64 {
        self.estimate(&self.items[item..=item], &Options { draws: 0, ..options.clone() }).value
    }
}
