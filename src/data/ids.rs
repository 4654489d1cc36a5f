//! Token ids and masks from JSON.

use std::path::Path;

use serde_json::Value;

use crate::store::text::read_json;
use crate::{Error, Result};

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
