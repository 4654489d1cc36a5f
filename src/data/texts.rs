//! Texts from a plain file or a JSONL column, and token ids from JSON.

use std::path::Path;

use serde_json::Value;

use crate::store::text::{read_json, read_text};
use crate::{Error, Result};

/// Reads texts from `F.txt` (the whole file is one text) or `F.jsonl[:field]` (one text per line; field `text` unless
/// another is named).
///
/// # Errors
/// A file that is missing, not UTF-8 or empty; a line that is no JSON object or lacks the field (with its number).
pub fn read_texts(spec: &str) -> Result<Vec<String>> {
    let (path, field) = split_field(spec);
    let path = Path::new(path);
    let content = read_text(path)?;
    let lines = path.extension().is_some_and(|e| e == "jsonl" || e == "ndjson");
    let texts = match field {
        _ if lines => from_jsonl(path, &content, field.unwrap_or("text"))?,
        None => vec![content.trim_end_matches('\n').to_string()],
        Some(field) => {
            return Err(Error::file(
                path,
                format!("the field `{field}` is named, but a text file has no fields"),
                "give FILE.jsonl:FIELD, or FILE.txt alone",
            ));
        }
    };
    if texts.iter().all(String::is_empty) {
        return Err(Error::file(path, "the file holds no text", "give a file with at least one character"));
    }
    Ok(texts)
}

/// The file that [`read_texts`] reads.
pub fn text_file(spec: &str) -> &Path {
    Path::new(split_field(spec).0)
}

/// `path:field`, unless the whole is the name of a file.
fn split_field(spec: &str) -> (&str, Option<&str>) {
    if Path::new(spec).exists() {
        return (spec, None);
    }
    match spec.rsplit_once(':') {
        Some((path, field)) if !field.is_empty() && !field.contains(['/', '\\']) => (path, Some(field)),
        _ => (spec, None),
    }
}

fn from_jsonl(path: &Path, content: &str, field: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for (i, line) in content.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let number = i + 1;
        let value: Value = serde_json::from_str(line).map_err(|e| {
            Error::file(
                path,
                // The parser counts within the line.
                format!("line {number} is no JSON at column {}", e.column()),
                "repair or remove the line",
            )
        })?;
        match value.get(field).and_then(Value::as_str) {
            Some(text) => texts.push(text.to_string()),
            None => {
                let keys = value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>());
                return Err(Error::file(
                    path,
                    format!("line {number} has no text in a field `{field}`"),
                    match keys {
                        Some(keys) => format!("name one with FILE.jsonl:FIELD; the line has: {}", keys.join(", ")),
                        None => "every line must be a JSON object".to_string(),
                    },
                ));
            }
        }
    }
    Ok(texts)
}

/// Reads equally long rows of token ids from a JSON file: a list of lists, or one list for a single row.
///
/// # Errors
/// A file of another form, or with a number that is no token id.
pub fn read_id_rows(path: impl AsRef<Path>) -> Result<Vec<Vec<u32>>> {
    let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    read_rows(path.as_ref(), "a token id (a whole number from 0)", id)
}

/// Reads an attention mask from a JSON file: rows like those of [`read_id_rows`], of 0 and 1.
///
/// # Errors
/// A file of another form, or with an entry that is neither.
pub fn read_mask(path: impl AsRef<Path>) -> Result<Vec<Vec<u32>>> {
    let bit = |v: &Value| match v.as_u64() {
        Some(0) => Some(0),
        Some(1) => Some(1),
        _ => None,
    };
    read_rows(path.as_ref(), "0 (padding) or 1", bit)
}

fn read_rows(path: &Path, entry: &str, read: impl Fn(&Value) -> Option<u32>) -> Result<Vec<Vec<u32>>> {
    let wrong = |what: String| {
        let hint = format!("expected a list of equally long lists, each entry {entry}");
        Error::file(path, what, hint)
    };
    let value = read_json(path)?;
    let list = value.as_array().ok_or_else(|| wrong("the file holds no list".into()))?;
    let nested = list.iter().any(Value::is_array);
    let rows: Vec<&Value> = if nested { list.iter().collect() } else { vec![&value] };
    let mut out = Vec::with_capacity(rows.len());
    for (r, row) in rows.into_iter().enumerate() {
        let row = row.as_array().ok_or_else(|| wrong(format!("row {r} is no list")))?;
        if row.is_empty() {
            return Err(wrong(format!("row {r} is empty")));
        }
        let entries = row.iter().enumerate().map(|(c, v)| {
            let shown: String = v.to_string().chars().take(40).collect();
            read(v).ok_or_else(|| wrong(format!("row {r}, entry {c} is {shown}")))
        });
        out.push(entries.collect::<Result<Vec<u32>>>()?);
    }
    if let Some(r) = out.iter().position(|row| row.len() != out[0].len()) {
        let (len, first) = (out[r].len(), out[0].len());
        return Err(wrong(format!("row {r} has {len} entries, row 0 has {first}")));
    }
    Ok(out)
}
