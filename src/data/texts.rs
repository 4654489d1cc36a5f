//! Texts from files: one by one, or in named sets.

use std::path::Path;

use super::Docs;
use super::item::Doc;
use crate::store::text::{nearest, read_text};
use crate::store::{DataSet, HubOptions};
use crate::{Error, Result};

/// The field that is read where none is named.
pub(super) const FIELD: &str = "text";

/// Texts that belong together: those of a language, a book, a split.
#[derive(Clone, Debug, PartialEq)]
pub struct TextSet {
    /// Its name: the file's, without its ending.
    pub name: String,
    /// The documents.
    pub texts: Vec<String>,
}

/// Reads texts from `F.txt` (the whole file is one text), or one per row from `F.jsonl[:FIELD]`, `F.parquet[:COLUMN]`,
/// `F.tsv[:COLUMN]` or `F.json[:FIELD]` (field `text` unless another is named), here or on the Hub
/// (`hub:org/name/FILE[:FIELD]`), as the environment says how to reach it.
///
/// # Errors
/// As [`read_texts_from`].
pub fn read_texts(spec: &str) -> Result<Vec<String>> {
    read_texts_from(spec, &HubOptions::from_env())
}

/// [`read_texts`] with options for the Hub.
///
/// # Errors
/// A file that is missing, not UTF-8 or empty; a row that is broken or lacks the field (with its number).
pub fn read_texts_from(spec: &str, hub: &HubOptions) -> Result<Vec<String>> {
    let (place, field) = split_field(spec);
    let set = DataSet::open(place, hub)?;
    let Some(name) = set.single() else {
        return Err(Error::invalid(
            format!("`{place}` is a folder or a repository, expected one file of texts"),
            format!("name one of its {} files, such as {place}/{}", set.files().len(), set.files()[0]),
        ));
    };
    let path = set.file(name)?;
    let texts = match path.extension().is_some_and(|e| e == "txt") || !Docs::reads(&path) {
        true if field.is_none() => vec![read_text(&path)?.trim_end_matches('\n').to_string()],
        true => {
            return Err(Error::file(
                path,
                format!("the field `{}` is named, but a text file has no fields", field.unwrap_or_default()),
                "give FILE.jsonl:FIELD, or FILE.txt alone",
            ));
        }
        false => column(&path, field)?,
    };
    not_empty(&path, texts)
}

/// Reads named sets of texts: every readable file of a folder or a Hub repository is a set (`DIR/{lang}.txt`), or a
/// single file is one. Here each line of a `.txt` file is a document; other files are read as by [`read_texts`]. A
/// folder's `.json` files are left out: they describe the others.
///
/// # Errors
/// As [`read_texts_from`]; nothing that can be read.
pub fn read_text_sets(spec: &str, hub: &HubOptions) -> Result<Vec<TextSet>> {
    let (place, field) = split_field(spec);
    let set = DataSet::open(place, hub)?;
    let mut out = Vec::new();
    let wanted = |name: &&String| Docs::reads(Path::new(name)) && (set.single().is_some() || !name.ends_with(".json"));
    for name in set.files().iter().filter(wanted) {
        let path = set.file(name)?;
        let texts = not_empty(&path, column(&path, field)?)?;
        let (stem, _) = name.rsplit_once('.').unwrap_or((name, ""));
        out.push(TextSet { name: stem.to_string(), texts });
    }
    if out.is_empty() {
        return Err(Error::invalid(
            format!("`{place}` has no file of texts"),
            format!("expected files that end in {}", Docs::ENDINGS.join(", ")),
        ));
    }
    Ok(out)
}

/// One field of every row.
fn column(path: &Path, field: Option<&str>) -> Result<Vec<String>> {
    let name = field.unwrap_or(FIELD);
    let mut docs = Docs::field(path, name)?;
    let mut texts = Vec::new();
    while let Some(row) = docs.next() {
        let (number, mut doc) = row?;
        match doc.remove(name) {
            Some(serde_json::Value::String(text)) => texts.push(text),
            _ => return Err(lacks(path, docs.unit(), number, name, &doc)),
        }
    }
    Ok(texts)
}

/// A row without a text in the field.
pub(super) fn lacks(path: &Path, unit: &str, number: usize, field: &str, doc: &Doc) -> Error {
    let keys: Vec<&str> = doc.keys().map(String::as_str).collect();
    let near = nearest(field, keys.iter().copied(), 1);
    Error::file(
        path,
        format!("{unit} {number} has no text in a field `{field}`"),
        format!("name one with FILE:FIELD, such as {near}; the {unit} has: {}", keys.join(", ")),
    )
}

fn not_empty(path: &Path, texts: Vec<String>) -> Result<Vec<String>> {
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
pub(super) fn split_field(spec: &str) -> (&str, Option<&str>) {
    if Path::new(spec).exists() {
        return (spec, None);
    }
    match spec.rsplit_once(':') {
        Some((path, field)) if !field.is_empty() && path != "hub" && !field.contains(['/', '\\']) => {
            (path, Some(field))
        }
        _ => (spec, None),
    }
}
