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
    let texts = if lines {
        from_jsonl(path, &content, field.unwrap_or("text"))?
    } else {
        vec![content.trim_end_matches('\n').to_string()]
    };
    if texts.iter().all(String::is_empty) {
        return Err(Error::file(
            path,
            "the file holds no text",
            "give a file with at least one character",
        ));
    }
    Ok(texts)
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
                format!("line {number} is no JSON: {e}"),
                "repair or remove the line",
            )
        })?;
        match value.get(field).and_then(Value::as_str) {
            Some(text) => texts.push(text.to_string()),
            None => {
                let keys = value
                    .as_object()
                    .map(|o| o.keys().cloned().collect::<Vec<_>>().join(", "));
                return Err(Error::file(
                    path,
                    format!("line {number} has no text field `{field}`"),
                    format!(
                        "name one with FILE.jsonl:FIELD; the line has: {}",
                        keys.unwrap_or_default()
                    ),
                ));
            }
        }
    }
    Ok(texts)
}

/// Reads equally long rows of non-negative numbers from a JSON file: one row, or a list of rows.
///
/// # Errors
/// A file of another form, or with a number that is no token id.
pub fn read_id_rows(path: impl AsRef<Path>) -> Result<Vec<Vec<u32>>> {
    let path = path.as_ref();
    let wrong = |what: String| Error::file(path, what, "expected a list of equally long lists of token ids");
    let value = read_json(path)?;
    let list = value.as_array().ok_or_else(|| wrong("the file holds no list".into()))?;
    let nested = list.iter().any(Value::is_array);
    let rows: Vec<&Value> = if nested { list.iter().collect() } else { vec![&value] };
    let mut out = Vec::with_capacity(rows.len());
    for (r, row) in rows.into_iter().enumerate() {
        let row = row.as_array().ok_or_else(|| wrong(format!("row {r} is no list")))?;
        let ids = row.iter().enumerate().map(|(c, v)| {
            let id = v.as_u64().and_then(|n| u32::try_from(n).ok());
            id.ok_or_else(|| wrong(format!("row {r}, entry {c} is {v}")))
        });
        out.push(ids.collect::<Result<Vec<u32>>>()?);
    }
    if out.iter().any(|row| row.len() != out[0].len()) {
        let lengths: Vec<usize> = out.iter().map(Vec::len).collect();
        return Err(wrong(format!("the rows have the lengths {lengths:?}")));
    }
    Ok(out)
}
