//! Prompts for reading intermediate layers: the files of the "lens prompts" collection.
//!
//! - Evaluations (`lens-eval-*.json`): `{"items": [{"name", "prompt", "target", "intermediates"}]}`. An intermediate is a
//!   concept that an inner layer should hold at the end of the prompt, or in couplets at the end of the first line.
//! - Templates (`flexible-generalization.json`): `{"categories": [{"name", "args", "funcs": [{"name", "template",
//!   "answers"}]}]}`. Two arguments in one template are two prompts that differ in one thing, with two answers.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A prompt and what inner layers should hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LensItem {
    /// Its name.
    pub name: String,
    /// The prompt.
    pub prompt: String,
    /// What should follow; not scored.
    #[serde(default)]
    pub target: Option<String>,
    /// The concepts, as words.
    pub intermediates: Vec<String>,
}

/// Where an evaluation is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadAt {
    /// At the prompt's last token.
    End,
    /// At the last token with a line break: the end of a couplet's first line.
    LineBreak,
}

/// An evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LensPrompts {
    /// Its name: that of the file.
    pub name: String,
    /// Where it is read.
    pub at: ReadAt,
    /// Its prompts.
    pub items: Vec<LensItem>,
}

#[derive(Deserialize)]
struct Evaluation {
    items: Vec<LensItem>,
}

impl LensPrompts {
    /// Reads a `lens-eval-*.json`. Couplets (`lens-eval-poetry`) are read at their line break, all others at their end.
    ///
    /// # Errors
    /// A file that cannot be read or has another form, and items without a prompt or a concept.
    pub fn read(path: &Path) -> Result<Self> {
        let evaluation: Evaluation = json(path, "a list `items` of prompts with their `intermediates`")?;
        let wrong = |item: &&LensItem| item.prompt.trim().is_empty() || item.intermediates.is_empty();
        if let Some(item) = evaluation.items.iter().find(wrong) {
            let what = format!("the item `{}` has no prompt or no intermediates", item.name);
            return Err(Error::file(path, what, "give each item both"));
        }
        if evaluation.items.is_empty() {
            return Err(Error::file(path, "there is no item", "give at least one"));
        }
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let at = if name.ends_with("poetry") { ReadAt::LineBreak } else { ReadAt::End };
        Ok(Self { name, at, items: evaluation.items })
    }
}

/// A template with the answers to its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What it asks, such as `countries/capital`.
    pub name: String,
    /// The text, with `{arg}` where the argument goes.
    pub template: String,
    /// The answer to each argument.
    pub answers: BTreeMap<String, String>,
}

impl Question {
    /// The prompt with an argument.
    pub fn prompt(&self, argument: &str) -> String {
        self.template.replace("{arg}", argument)
    }
}

#[derive(Deserialize)]
struct Categories {
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Category {
    name: String,
    args: Vec<String>,
    funcs: Vec<Func>,
}

#[derive(Deserialize)]
struct Func {
    name: String,
    template: String,
    answers: BTreeMap<String, String>,
}

/// Reads the templates of a file like `flexible-generalization.json`.
///
/// # Errors
/// A file that cannot be read or has another form, a template without `{arg}`, an argument without an answer.
pub fn read_questions(path: &Path) -> Result<Vec<Question>> {
    let all: Categories = json(path, "a list `categories` with `args` and `funcs`")?;
    let mut questions = Vec::new();
    for category in all.categories {
        for func in category.funcs {
            let name = format!("{}/{}", category.name, func.name);
            if !func.template.contains("{arg}") {
                let what = format!("the template of `{name}` has no `{{arg}}`");
                return Err(Error::file(path, what, "say where the argument goes"));
            }
            if let Some(missing) = category.args.iter().find(|arg| !func.answers.contains_key(*arg)) {
                let what = format!("`{name}` has no answer for `{missing}`");
                return Err(Error::file(path, what, "answer every argument of the category"));
            }
            questions.push(Question { name, template: func.template, answers: func.answers });
        }
    }
    if questions.is_empty() {
        return Err(Error::file(path, "there is no template", "give at least one category with one function"));
    }
    Ok(questions)
}

fn json<T: serde::de::DeserializeOwned>(path: &Path, expected: &str) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text)
        .map_err(|e| Error::file(path, format!("not prompts of this kind: {e}"), format!("expected {expected}")))
}
