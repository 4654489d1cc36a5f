//! Small helpers of this room: bounded reading of text and JSON, and near names for messages.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::{Error, Result};

/// Largest configuration file that is read: real ones have a few kilobytes, merged vocabularies tens of megabytes.
const MAX_TEXT: u64 = 256 << 20;

/// Reads a text file of bounded size.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    // Before it is opened: opening a pipe waits for its writer.
    if !std::fs::metadata(path).map_err(Error::io(path))?.is_file() {
        let kind = if path.is_dir() { "a folder" } else { "no regular file" };
        return Err(Error::file(path, format!("this is {kind}, expected a file"), "give a file on disk"));
    }
    let file = File::open(path).map_err(Error::io(path))?;
    let length = file.metadata().map_err(Error::io(path))?.len();
    if length > MAX_TEXT {
        return Err(Error::file(
            path,
            format!("the file has {length} bytes, expected at most {MAX_TEXT}"),
            "this is not a configuration or tokenizer file; download it again",
        ));
    }
    // The limit holds for what is read too: the length of a pipe or a growing file says nothing.
    let mut bytes = Vec::new();
    file.take(MAX_TEXT).read_to_end(&mut bytes).map_err(Error::io(path))?;
    String::from_utf8(bytes).map_err(|e| {
        Error::file(
            path,
            format!("byte {} is not UTF-8", e.utf8_error().valid_up_to()),
            "expected a UTF-8 text file; save it as UTF-8 or download it again",
        )
    })
}

/// Reads a JSON file; the error says line and column.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|e| {
        Error::file(
            path,
            format!("not valid JSON at line {} column {}: {e}", e.line(), e.column()),
            "repair the file or download it again",
        )
    })
}

/// Reads a JSON file of optrode's own whose `version` is this one, if it says any.
///
/// That comes first of all: a later version may have keys that this one does not know.
pub(crate) fn read_versioned(path: &Path, format: &str, version: u32, hint: &str) -> Result<Value> {
    let value = read_json(path)?;
    match value.get("version").filter(|v| **v != version) {
        Some(other) => {
            Err(Error::file(path, format!("version {other} of the {format} format, expected {version}"), hint))
        }
        None => Ok(value),
    }
}

/// A JSON file that need not be there.
pub(super) fn read_json_if(path: &Path) -> Result<Option<Value>> {
    if path.is_file() { read_json(path).map(Some) } else { Ok(None) }
}

/// Whether `name` is a bare file name: the only kind that a file of a stranger may make us open or write.
pub(super) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0']) && name.len() < 256
}

/// The `count` names nearest to `wanted`, joined for a message.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>, count: usize) -> String {
    let mut ranked: Vec<(usize, &str)> = names.map(|name| (distance(wanted, name), name)).collect();
    ranked.sort_unstable();
    let best: Vec<&str> = ranked.iter().take(count).map(|(_, name)| *name).collect();
    if best.is_empty() { "none".to_string() } else { best.join(", ") }
}

/// Levenshtein distance over bytes.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
