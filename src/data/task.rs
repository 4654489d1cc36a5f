//! Tasks as data: what a model is asked, what the answer should be, and how answers are scored.
//!
//! A task is a TOML or JSON file. Its keys are those of lm-evaluation-harness where that has one for the thing; templates
//! are Jinja over the fields of a document.
//!
//! ```
//! let task: optrode::data::Task = optrode::data::Task::from_toml(r#"
//!     name = "sums"
//!     output_type = "generate_until"
//!     doc_to_text = "{{ a }} + {{ b }} ="
//!     doc_to_target = "{{ a + b }}"
//!     until = ["\n"]
//!     max_gen_toks = 4
//! "#)?;
//! assert_eq!(task.metrics()[0].name(), "exact_match");
//! # Ok::<(), optrode::Error>(())
//! ```

use std::path::Path;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::store::config;
use crate::{Error, Result};

/// A task. In a program it begins with [`Task::new`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Its name in results.
    pub name: String,
    /// Version of the task: scores of two versions do not compare.
    #[serde(default = "one")]
    pub version: u32,
    /// One line for people.
    #[serde(default)]
    pub about: String,
    /// What is asked of the model.
    pub output_type: OutputType,
    /// Where documents come from, relative to the path or Hub id that the caller gives.
    #[serde(default)]
    pub data: Files,
    /// Put before everything else; a template over the document.
    #[serde(default)]
    pub description: String,
    /// The prompt: a template.
    #[serde(default)]
    pub doc_to_text: String,
    /// The answer: a template. Of a multiple choice the text of the right choice or its number from 0; of a perplexity
    /// the text whose likelihood is taken, given the prompt.
    pub doc_to_target: String,
    /// The choices of a multiple choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc_to_choice: Option<Choices>,
    /// Between prompt and answer.
    #[serde(default = "space")]
    pub target_delimiter: String,
    /// Between one example and the next.
    #[serde(default = "blank_line")]
    pub fewshot_delimiter: String,
    /// Worked examples before the question.
    #[serde(default)]
    pub fewshot: FewShot,
    /// Texts that end an answer.
    #[serde(default)]
    pub until: Vec<String>,
    /// Most tokens of an answer.
    #[serde(default = "answer_tokens")]
    pub max_gen_toks: usize,
    /// What is compared with the target: parts of the answer, each under its name. Without any it is the whole answer,
    /// under the name `none`.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// How the two are compared.
    #[serde(default)]
    pub compare: Compare,
    /// The metrics; those of the output type unless named.
    #[serde(default)]
    pub metric_list: Vec<Metric>,
    /// Most documents per group, the first ones; all if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

fn one() -> u32 {
    1
}

fn space() -> String {
    " ".to_string()
}

fn blank_line() -> String {
    "\n\n".to_string()
}

fn answer_tokens() -> usize {
    64
}

/// What is asked of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputType {
    /// A text, made greedily until a stop text.
    GenerateUntil,
    /// The likeliest of some choices.
    MultipleChoice,
    /// The likelihood of a text.
    #[serde(alias = "loglikelihood_rolling")]
    Perplexity,
}

/// Where the documents are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Patterns of the files to score, tried in order: the first that matches a file is used. `*` is any part of a name,
    /// `{group}` is a part that names the group (a language, a subject).
    #[serde(default)]
    pub test: Vec<String>,
    /// Patterns of the files that worked examples come from; those of `test` if none is given.
    #[serde(default)]
    pub fewshot: Vec<String>,
    /// The fields of a file without names of its own (`.tsv`).
    #[serde(default)]
    pub columns: Vec<String>,
    /// Groups to leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_groups: Vec<String>,
    /// A field that may hold a line number of a file beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<LineField>,
}

/// A field whose whole number (from 0) stands for a line of another file; a field that holds a text stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineField {
    /// The field.
    pub field: String,
    /// Name of the file; `{group}` is the document's group.
    pub file: String,
}

/// Where the choices come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Choices {
    /// One template per choice.
    Templates(Vec<String>),
    /// The field that holds the list.
    Field(String),
}

/// Worked examples. The item itself is never among them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewShot {
    /// How many.
    #[serde(default)]
    pub count: usize,
    /// Which.
    #[serde(default)]
    pub sampler: Sampler,
    /// Seed of the draw.
    #[serde(default)]
    pub seed: u64,
}

/// Which documents become examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// A draw for each item, by (seed, group, item).
    #[default]
    Random,
    /// The first ones of the file, in its order.
    FirstN,
}

/// The part of an answer that is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Its name in results.
    pub name: String,
    /// What to look for: the first group that took part is the answer, or the whole match where there is no group.
    pub regex: String,
    /// Which match.
    #[serde(default)]
    pub select: Select,
}

/// One of several matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

/// How an answer is compared with the target. White space around both never counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// As decimal numbers: signs, thousands commas, currency signs and closing zeros do not tell them apart.
    #[serde(default)]
    pub number: bool,
    /// Letters compare without case.
    #[serde(default)]
    pub ignore_case: bool,
    /// Punctuation is left out.
    #[serde(default)]
    pub ignore_punctuation: bool,
    /// A part of the target is compared: the first group of the match, or the whole match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_regex: Option<String>,
}

/// A number per item, and how items combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Generation: the answer is the target.
    ExactMatch,
    /// Generation: the target occurs in the answer.
    Contains,
    /// Generation: overlap of words (of characters where a script writes no spaces), as SQuAD and MLQA take it.
    F1,
    /// Multiple choice: the likeliest choice is the right one.
    Acc,
    /// Multiple choice: by log-likelihood per character, as lm-evaluation-harness does under this name.
    AccNorm,
    /// Multiple choice: by log-likelihood per byte.
    AccBytes,
    /// Perplexity: exp of the mean nats per word.
    WordPerplexity,
    /// Perplexity: exp of the mean nats per byte.
    BytePerplexity,
    /// Perplexity: bits per byte.
    BitsPerByte,
    /// Perplexity: nats per token.
    TokenNats,
}

impl Metric {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactMatch => "exact_match",
            Self::Contains => "contains",
            Self::F1 => "f1",
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::AccBytes => "acc_bytes",
            Self::WordPerplexity => "word_perplexity",
            Self::BytePerplexity => "byte_perplexity",
            Self::BitsPerByte => "bits_per_byte",
            Self::TokenNats => "token_nats",
        }
    }

    /// The output type that it belongs to.
    pub fn of(self) -> OutputType {
        match self {
            Self::ExactMatch | Self::Contains | Self::F1 => OutputType::GenerateUntil,
            Self::Acc | Self::AccNorm | Self::AccBytes => OutputType::MultipleChoice,
            _ => OutputType::Perplexity,
        }
    }

    /// Whether large values are good.
    pub fn more_is_better(self) -> bool {
        self.of() != OutputType::Perplexity
    }
}

impl Task {
    /// A task with nothing but a name and a kind: for items that a program makes.
    pub fn new(name: impl Into<String>, output_type: OutputType) -> Self {
        Self {
            name: name.into(),
            version: one(),
            about: String::new(),
            output_type,
            data: Files::default(),
            description: String::new(),
            doc_to_text: String::new(),
            doc_to_target: String::new(),
            doc_to_choice: None,
            target_delimiter: space(),
            fewshot_delimiter: blank_line(),
            fewshot: FewShot::default(),
            until: Vec::new(),
            max_gen_toks: answer_tokens(),
            filters: Vec::new(),
            compare: Compare::default(),
            metric_list: Vec::new(),
            limit: None,
        }
    }

    /// A task from the text of a TOML file.
    ///
    /// # Errors
    /// A text that is no TOML, an unknown or missing key, and whatever [`Task::check`] refuses.
    pub fn from_toml(text: &str) -> Result<Self> {
        let task: Self = config::from_toml(text, "a task")?;
        task.check()?;
        Ok(task)
    }

    /// A task from a `.toml` or `.json` file.
    ///
    /// # Errors
    /// A file that cannot be read, and whatever [`Task::from_toml`] refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let task: Self = config::read(path.as_ref(), "a task")?;
        task.check()?;
        Ok(task)
    }

    /// The metrics: those named, or those of the output type.
    pub fn metrics(&self) -> Vec<Metric> {
        if !self.metric_list.is_empty() {
            return self.metric_list.clone();
        }
        match self.output_type {
            OutputType::GenerateUntil => vec![Metric::ExactMatch],
            OutputType::MultipleChoice => vec![Metric::Acc, Metric::AccNorm, Metric::AccBytes],
            OutputType::Perplexity => {
                vec![Metric::WordPerplexity, Metric::BytePerplexity, Metric::BitsPerByte, Metric::TokenNats]
            }
        }
    }

    /// Checks what the types leave open.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a task without a name, choices missing or out of place, a metric of another output type, a
    /// broken regular expression, or no room for an answer.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String, hint: &str| Err(Error::invalid(format!("task `{}`: {what}", self.name), hint));
        let fine = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(fine) {
            return wrong("the name is no word".into(), "use letters, digits and _ - .");
        }
        if self.doc_to_choice.is_some() && self.output_type != OutputType::MultipleChoice {
            return wrong(
                "`doc_to_choice` is given without a multiple choice".into(),
                "set output_type = \"multiple_choice\", or remove it",
            );
        }
        if let Some(metric) = self.metric_list.iter().find(|m| m.of() != self.output_type) {
            return wrong(
                format!("the metric `{}` does not belong to its output type", metric.name()),
                "name metrics of the task's own output type, or none",
            );
        }
        if self.output_type == OutputType::GenerateUntil && self.max_gen_toks == 0 {
            return wrong("`max_gen_toks` is 0".into(), "give at least 1");
        }
        if self.until.iter().any(String::is_empty) {
            return wrong("an empty text in `until` would end every answer at once".into(), "remove it");
        }
        for (i, filter) in self.filters.iter().enumerate() {
            if self.filters[..i].iter().any(|f| f.name == filter.name) {
                return wrong(format!("two filters are named `{}`", filter.name), "give each its own name");
            }
            self.regex(&filter.regex)?;
        }
        self.compare.target_regex.as_ref().map_or(Ok(()), |r| self.regex(r).map(|_| ()))
    }

    /// A regular expression of this task, compiled within bounds.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that cannot be read or is too large.
    pub fn regex(&self, text: &str) -> Result<Regex> {
        regex::RegexBuilder::new(text).size_limit(1 << 20).build().map_err(|e| {
            Error::invalid(
                format!("task `{}`: the regular expression `{text}` cannot be used: {e}", self.name),
                "it is in the syntax of Rust's `regex`, without look-around and back-references",
            )
        })
    }
}
