//! The templates of a task over the fields of a document.

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use super::item::Doc;
use super::task::{Choices, Task};
use crate::store::jinja::{self, FUEL};
use crate::{Error, Result};

/// A task's templates, read once. A field that a document lacks is an error, never an empty text.
pub(super) struct Templates {
    env: Environment<'static>,
    task: String,
}

impl Templates {
    pub const TEXT: &'static str = "doc_to_text";
    pub const TARGET: &'static str = "doc_to_target";
    pub const DESCRIPTION: &'static str = "description";

    pub fn new(task: &Task) -> Result<Self> {
        let mut env = jinja::environment();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_keep_trailing_newline(true);
        let mut templates = Self { env, task: task.name.clone() };
        templates.add(Self::TEXT, &task.doc_to_text)?;
        templates.add(Self::TARGET, &task.doc_to_target)?;
        templates.add(Self::DESCRIPTION, &task.description)?;
        if let Some(Choices::Templates(list)) = &task.doc_to_choice {
            for (i, source) in list.iter().enumerate() {
                templates.add(&Self::choice(i), source)?;
            }
        }
        Ok(templates)
    }

    /// The name of a choice's template.
    pub fn choice(index: usize) -> String {
        format!("doc_to_choice[{index}]")
    }

    fn add(&mut self, name: &str, source: &str) -> Result<()> {
        let added = self.env.add_template_owned(name.to_string(), source.to_string());
        added.map_err(|e| {
            Error::invalid(
                format!("task `{}`: the template `{name}` cannot be read: {}", self.task, detail(&e)),
                "correct the template; it is Jinja",
            )
        })
    }

    /// The text for a document; `group` is the variable of that name where the document has none.
    pub fn render(&self, name: &str, doc: &Doc, group: Option<&str>) -> Result<String> {
        let template = self.env.get_template(name).map_err(|e| self.refused(name, doc, &e))?;
        let values = minijinja::context! { ..Value::from_serialize(doc), ..minijinja::context! { group } };
        jinja::render(&template, values).map_err(|e| self.refused(name, doc, &e))
    }

    fn refused(&self, name: &str, doc: &Doc, error: &minijinja::Error) -> Error {
        let has = doc.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (what, hint) = match error.kind() {
            ErrorKind::UndefinedError => {
                let used = self.env.get_template(name).map(|t| t.undeclared_variables(false)).unwrap_or_default();
                let mut missing: Vec<String> =
                    used.into_iter().filter(|v| v != "group" && !doc.contains_key(v)).collect();
                missing.sort_unstable();
                let what = match missing.is_empty() {
                    true => format!("uses a part of a field that is not there ({})", detail(error)),
                    false => format!("uses `{}`, which the document lacks", missing.join("`, `")),
                };
                (what, format!("the document has: {has}"))
            }
            ErrorKind::OutOfFuel => (format!("took more than {FUEL} steps"), "write a simpler template".to_string()),
            _ => (format!("fails: {}", detail(error)), format!("correct the template; the document has: {has}")),
        };
        Error::invalid(format!("task `{}`: the template `{name}` {what}", self.task), hint)
    }
}

fn detail(error: &minijinja::Error) -> String {
    let line = error.line().map_or(String::new(), |l| format!(" (line {l})"));
    format!("{}{line}", error.detail().map_or_else(|| error.kind().to_string(), str::to_string))
}
