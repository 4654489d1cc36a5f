//! Configuration files that people write: TOML or JSON into a type, with errors that name the place and the nearest key.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::text::{nearest, read_text};
use crate::{Error, Result};

/// Reads a `.toml` or `.json` file into a type. `what` says what it should be ("a task").
///
/// # Errors
/// A file that cannot be read, is neither, or does not describe a value of the type: with line, key and the nearest key.
pub fn read<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T> {
    let text = read_text(path)?;
    let parsed = match path.extension().and_then(|e| e.to_str()) {
        Some("toml") => toml::from_str(&text).map_err(|e| toml_problem(&text, &e)),
        Some("json") => serde_json::from_str(&text).map_err(|e| json_problem(&e)),
        _ => Err(("the name ends neither in .toml nor in .json".to_string(), None)),
    };
    parsed.map_err(|(problem, hint)| Error::file(path, format!("this is not {what}: {problem}"), or_repair(hint)))
}

/// The same from the text of a TOML file.
///
/// # Errors
/// A text that does not describe a value of the type.
pub fn from_toml<T: DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    toml::from_str(text).map_err(|e| {
        let (problem, hint) = toml_problem(text, &e);
        Error::invalid(format!("this is not {what}: {problem}"), or_repair(hint))
    })
}

type Problem = (String, Option<String>);

fn or_repair(hint: Option<String>) -> String {
    hint.unwrap_or_else(|| "repair the file".to_string())
}

fn toml_problem(text: &str, error: &toml::de::Error) -> Problem {
    let place = error.span().map_or(String::new(), |span| {
        let line = text.get(..span.start).map_or(0, |before| before.matches('\n').count()) + 1;
        format!("line {line}: ")
    });
    (format!("{place}{}", error.message().replace('\n', ", ")), suggestion(error.message()))
}

fn json_problem(error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    (message.clone(), suggestion(&message))
}

/// From serde's words on an unknown key or word, the nearest of those it expected.
fn suggestion(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("unknown field").or_else(|| message.split_once("unknown variant"))?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let given = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    (!known.is_empty()).then(|| format!("did you mean `{}`?", nearest(given, known.into_iter(), 1)))
}
