//! What makes a scan the same scan again: the model, the corpus, the parameters.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::analysis::EditRecord;
use crate::data::{DocumentOptions, Documents, Survey};
use crate::models::Model;
use crate::store::{Storage, tokenizer_identity};
use crate::{Error, Result};

/// What is kept, and how the corpus is cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Attention heads too.
    pub heads: bool,
    /// Coordinates of the residual stream too.
    pub residual: bool,
    /// Examples per unit and side.
    pub examples: usize,
    /// Tokens kept before and after an example.
    pub context: [usize; 2],
    /// Tokens of the sample that shows units together and gives the bands of quantiles.
    pub sample: usize,
    /// Longest piece of a document that the network reads at once, in tokens.
    pub window: usize,
    /// Most tokens of a batch, padding included; a single window may be longer.
    pub batch: usize,
    /// Seed of the sample.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heads: false,
            residual: false,
            examples: 10,
            context: [16, 8],
            sample: 1024,
            window: 256,
            batch: 4096,
            seed: 0,
        }
    }
}

/// One of several parts of a scan: every `of`-th chunk, from the `index`-th on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Which one, from 1.
    pub index: u64,
    /// How many there are.
    pub of: u64,
}

impl Shard {
    /// Whether it has the chunk of this number.
    pub fn owns(self, chunk: u64) -> bool {
        chunk % self.of == self.index - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, of)) if 1 <= index && index <= of => Ok(Self { index, of }),
            _ => Err(Error::invalid(
                format!("`{text}` is no shard"),
                "give I/N with I from 1 to N, such as 2/4 for the second of four",
            )),
        }
    }
}

/// A scan: two of the same job give the same atlas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// sha256 over the model's files.
    pub model: String,
    /// sha256 over the files of its tokenizer.
    pub tokenizer: String,
    /// What the weights are kept as.
    pub dtype: String,
    /// Where it runs.
    pub device: String,
    /// The corpus.
    pub corpus: Survey,
    /// The field that holds the texts, where it is not `text`.
    pub field: Option<String>,
    /// How documents are read.
    pub documents: DocumentOptions,
    /// What is kept.
    pub options: Options,
    /// The part of the corpus, if it is not all of it.
    pub shard: Option<Shard>,
    /// Edits that act on the model throughout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<EditRecord>,
}

impl Job {
    /// The job of scanning `documents` with `model`.
    ///
    /// # Errors
    /// Options out of range, a model without a tokenizer, files that cannot be read.
    pub fn of(
        model: &Model,
        storage: Storage,
        documents: &Documents,
        options: &Options,
        shard: Option<Shard>,
    ) -> Result<Self> {
        let too_small = [("batch", options.batch), ("window", options.window), ("sample", options.sample)];
        if let Some((name, _)) = too_small.iter().find(|(_, n)| *n == 0) {
            return Err(Error::invalid(format!("`{name}` is 0"), "give at least 1"));
        }
        model.tokenizer()?;
        let identity = model.folder.identity()?;
        Ok(Self {
            tokenizer: tokenizer_identity(&identity).map(|t| t.sha256).unwrap_or_default(),
            model: identity.sha256,
            dtype: storage.name().to_string(),
            device: model.device_name(),
            corpus: documents.survey.clone(),
            field: documents.field().map(str::to_string),
            documents: documents.options().clone(),
            options: options.clone(),
            shard,
            edits: Vec::new(),
        })
    }

    /// Whether a chunk is part of it.
    pub fn owns(&self, chunk: u64) -> bool {
        self.shard.is_none_or(|shard| shard.owns(chunk))
    }

    /// The whole that it is a part of.
    pub fn whole(&self) -> Self {
        Self { shard: None, ..self.clone() }
    }

    /// Where another job differs first, in words; `None` where it does not.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let [a, b] = [self, other].map(|job| serde_json::to_value(job).unwrap_or_default());
        difference("", &a, &b)
    }
}

fn difference(path: &str, a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        _ if a == b => None,
        (Value::Object(a), Value::Object(b)) => {
            a.iter().find_map(|(key, a)| difference(&format!("{path}.{key}"), a, b.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b))
        }
        (Value::Array(a), Value::Array(b)) => {
            Some(format!("`{}` has {} entries here and {} there", path.trim_start_matches('.'), a.len(), b.len()))
        }
        _ => Some(format!("`{}` is {a} here and {b} there", path.trim_start_matches('.'))),
    }
}
