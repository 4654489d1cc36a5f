//! What a file of either form holds: groups, texts, arrays; and the JSON form of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::super::npy::{Array, read_npz};
use super::super::text::read_json;
use crate::{Error, Result};

/// Largest JSON file: nested lists take far more memory than text, and large arrays belong into the archive.
const MAX_JSON: u64 = 32 << 20;

/// A part of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Group(Vec<(String, Tree)>),
    Text(String),
    /// Texts with the shape that they stand in.
    Texts(Vec<usize>, Vec<String>),
    Array(Array),
    Nothing,
}

impl Tree {
    /// A member of a group.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Group(members) => members.iter().find(|(name, _)| name == key).map(|(_, tree)| tree),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Group(_) => "a group",
            Self::Text(_) => "a text",
            Self::Texts(..) => "a list of texts",
            Self::Array(_) => "numbers",
            Self::Nothing => "nothing",
        }
    }
}

/// The graph of a JSON file, arrays from the archive put in their places.
pub(super) fn read(path: &Path) -> Result<Tree> {
    let hint = "the form is described in optrode's README, under bio-inspired networks";
    let length = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if length > MAX_JSON {
        let what = format!("the file has {length} bytes, expected at most {MAX_JSON}");
        return Err(Error::file(path, what, "keep large arrays in the .npz beside it"));
    }
    let Value::Object(mut file) = read_json(path)? else {
        return Err(Error::file(path, "no JSON object", hint));
    };
    let mut archive = BTreeMap::new();
    if let Some(name) = file.remove("arrays") {
        // A name alone: a path could lead anywhere.
        let plain = |name: &&str| !name.is_empty() && !name.contains(['/', '\\', ':']) && *name != "..";
        let Some(name) = name.as_str().filter(plain) else {
            return Err(Error::file(path, format!("`arrays` is {name}, expected the name of a file beside it"), hint));
        };
        archive.extend(read_npz(path.with_file_name(name))?);
    }
    let Some(node) = file.remove("node") else {
        return Err(Error::file(path, "there is no `node`, which would be the graph", hint));
    };
    if let Some(key) = file.keys().find(|key| *key != "version") {
        return Err(Error::file(path, format!("unknown key `{key}`, expected `node`, `arrays` and `version`"), hint));
    }
    of_json(&node, &archive).map_err(|what| Error::file(path, what, hint))
}

fn of_json(value: &Value, archive: &BTreeMap<String, Array>) -> std::result::Result<Tree, String> {
    Ok(match value {
        Value::Null => Tree::Nothing,
        Value::Bool(b) => Tree::Array(Array::scalar(f64::from(u8::from(*b)))),
        Value::Number(n) => Tree::Array(Array::scalar(n.as_f64().unwrap_or(f64::NAN))),
        Value::String(text) => Tree::Text(text.clone()),
        Value::Array(items) => list(items)?,
        Value::Object(members) => match members.get("npz") {
            Some(Value::String(name)) if members.len() == 1 => match archive.get(name) {
                Some(array) => Tree::Array(array.clone()),
                None => return Err(format!("there is no array `{name}` in the archive")),
            },
            _ => {
                let member = |(name, value): (&String, &Value)| Ok((name.clone(), of_json(value, archive)?));
                Tree::Group(members.iter().map(member).collect::<std::result::Result<_, String>>()?)
            }
        },
    })
}

/// Nested lists of numbers, or of texts.
fn list(items: &[Value]) -> std::result::Result<Tree, String> {
    let mut shape = vec![items.len()];
    let mut first = items.first();
    while let Some(Value::Array(inner)) = first {
        shape.push(inner.len());
        first = inner.first();
    }
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    gather(items, &shape, &mut numbers, &mut texts)?;
    match (numbers.is_empty(), texts.is_empty()) {
        (_, true) => Ok(Tree::Array(Array { shape, values: numbers })),
        (true, false) => Ok(Tree::Texts(shape, texts)),
        _ => Err("a list of both numbers and texts".to_string()),
    }
}

fn gather(
    items: &[Value],
    shape: &[usize],
    numbers: &mut Vec<f64>,
    texts: &mut Vec<String>,
) -> std::result::Result<(), String> {
    let deeper = &shape[1..];
    if items.len() != shape[0] {
        return Err(format!("nested lists of {} and of {} entries", shape[0], items.len()));
    }
    for item in items {
        match (item, deeper.is_empty()) {
            (Value::Array(inner), false) => gather(inner, deeper, numbers, texts)?,
            (Value::Number(n), true) => numbers.push(n.as_f64().unwrap_or(f64::NAN)),
            (Value::String(text), true) => texts.push(text.clone()),
            (other, _) => return Err(format!("{other} in a list of numbers or texts")),
        }
    }
    Ok(())
}
