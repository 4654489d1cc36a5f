//! Items: what a task asks about one document.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A document: one row of a corpus, as a JSON object.
pub type Doc = Map<String, Value>;

/// One question of a task, with everything that the model sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Number of the document within its group.
    pub id: usize,
    /// The group (a language, a subject), if the task has groups.
    pub group: Option<String>,
    /// The document; may be empty.
    pub doc: Doc,
    /// Description, worked examples and the question.
    pub prompt: String,
    /// Between prompt and answer; part of what the model must produce only in a multiple choice and a perplexity.
    pub delimiter: String,
    /// What the answer should be.
    pub target: Target,
}

/// What the answer should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The text to be generated.
    Text(String),
    /// Choices, and the number of the right one.
    Choice {
        /// Their texts.
        choices: Vec<String>,
        /// Index of the right one.
        right: usize,
    },
    /// The text whose likelihood is taken, given the prompt (which may be empty).
    Likelihood(String),
}

impl Item {
    /// A question with a text to be generated.
    pub fn text(id: usize, prompt: impl Into<String>, target: impl Into<String>) -> Self {
        Self::new(id, prompt, Target::Text(target.into()))
    }

    /// A question with choices; `right` is the index of the right one.
    pub fn choice(id: usize, prompt: impl Into<String>, choices: Vec<String>, right: usize) -> Self {
        Self::new(id, prompt, Target::Choice { choices, right })
    }

    /// A text whose likelihood is taken.
    pub fn likelihood(id: usize, prompt: impl Into<String>, text: impl Into<String>) -> Self {
        Self { delimiter: String::new(), ..Self::new(id, prompt, Target::Likelihood(text.into())) }
    }

    /// The same item as part of a group.
    pub fn in_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// The right answer as text.
    pub fn answer(&self) -> &str {
        match &self.target {
            Target::Text(text) | Target::Likelihood(text) => text,
            Target::Choice { choices, right } => &choices[*right],
        }
    }

    fn new(id: usize, prompt: impl Into<String>, target: Target) -> Self {
        let delimiter = " ".to_string();
        Self { id, group: None, doc: Doc::new(), prompt: prompt.into(), delimiter, target }
    }
}
