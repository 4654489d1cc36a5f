//! Documents: the rows of a file, each a JSON object, read one by one.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::item::Doc;
use crate::store::text::read_json;
use crate::store::{Lines, ParquetRows};
use crate::{Error, Result};

/// The rows of a file, with their numbers: lines of `.jsonl` and `.ndjson` (an object each), of `.tsv` (fields by name) and
/// of `.txt` (field `text`) count from 1 and leave out empty ones; entries of a `.json` list and rows of `.parquet` from 0.
pub struct Docs {
    path: PathBuf,
    rows: Rows,
}

enum Rows {
    Objects(Lines),
    Texts(Lines),
    /// With the names of the fields.
    Fields(Lines, Vec<String>),
    List(std::iter::Enumerate<std::vec::IntoIter<Value>>),
    Parquet(std::iter::Enumerate<ParquetRows>),
}

impl Docs {
    /// The endings of names that are read.
    pub const ENDINGS: [&'static str; 6] = [".txt", ".jsonl", ".ndjson", ".json", ".tsv", ".parquet"];

    /// Whether the ending of the name is one of [`Docs::ENDINGS`].
    pub fn reads(path: &Path) -> bool {
        let name = path.to_string_lossy();
        Self::ENDINGS.iter().any(|ending| name.ends_with(ending))
    }

    /// Opens a file by the ending of its name. `columns` are the fields of a `.tsv` without a head line; with none, its
    /// first line names them.
    ///
    /// # Errors
    /// A file that is missing, cannot be read or is of an unknown kind.
    pub fn open(path: impl AsRef<Path>, columns: &[String]) -> Result<Self> {
        Self::with(path.as_ref(), columns, None)
    }

    /// The same with only one field of parquet files, which spares unpacking the others.
    ///
    /// # Errors
    /// As [`Docs::open`]; a parquet file without that column.
    pub fn field(path: impl AsRef<Path>, field: &str) -> Result<Self> {
        Self::with(path.as_ref(), &[], Some(field))
    }

    fn with(path: &Path, columns: &[String], field: Option<&str>) -> Result<Self> {
        let rows = match path.extension().and_then(|e| e.to_str()) {
            Some("jsonl" | "ndjson") => Rows::Objects(Lines::open(path)?),
            Some("txt") => Rows::Texts(Lines::open(path)?),
            Some("tsv") => {
                let mut lines = Lines::open(path)?;
                let names = match columns {
                    [] => {
                        let head = lines.next().transpose()?.map_or(String::new(), |(_, line)| line);
                        head.split('\t').map(str::to_string).collect()
                    }
                    given => given.to_vec(),
                };
                Rows::Fields(lines, names)
            }
            Some("json") => match read_json(path)? {
                Value::Array(list) => Rows::List(list.into_iter().enumerate()),
                _ => {
                    return Err(Error::file(
                        path,
                        "the file holds no list of objects",
                        "give a list, or one object per line in a file that ends in .jsonl",
                    ));
                }
            },
            Some("parquet") => {
                let column = field.as_ref().map(std::slice::from_ref);
                Rows::Parquet(ParquetRows::open(path, column)?.enumerate())
            }
            _ => {
                return Err(Error::file(
                    path,
                    "documents are not read from files of this kind",
                    format!("expected a name that ends in {}", Self::ENDINGS.join(", ")),
                ));
            }
        };
        Ok(Self { path: path.to_path_buf(), rows })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the rows are called: `line`, `entry` or `row`.
    pub fn unit(&self) -> &'static str {
        match self.rows {
            Rows::Objects(_) | Rows::Texts(_) | Rows::Fields(..) => "line",
            Rows::List(_) => "entry",
            Rows::Parquet(_) => "row",
        }
    }
}

impl Iterator for Docs {
    type Item = Result<(usize, Doc)>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = &self.path;
        match &mut self.rows {
            Rows::Objects(lines) => {
                lines.next().map(|line| line.and_then(|(n, line)| Ok((n, object(path, n, &line)?))))
            }
            Rows::Texts(lines) => lines.next().map(|line| line.map(|(n, text)| (n, fields(["text"], [text])))),
            Rows::Fields(lines, names) => {
                lines.next().map(|line| line.and_then(|(n, line)| Ok((n, columns(path, n, &line, names)?))))
            }
            Rows::List(list) => list.next().map(|(n, value)| match value {
                Value::Object(doc) => Ok((n, doc)),
                other => Err(no_object(path, "entry", n, &other)),
            }),
            Rows::Parquet(rows) => rows.next().map(|(n, row)| Ok((n, row?))),
        }
    }
}

fn fields<'a>(names: impl IntoIterator<Item = &'a str>, values: impl IntoIterator<Item = String>) -> Doc {
    names.into_iter().zip(values).map(|(name, value)| (name.to_string(), Value::String(value))).collect()
}

fn object(path: &Path, number: usize, line: &str) -> Result<Doc> {
    match serde_json::from_str(line) {
        Ok(Value::Object(doc)) => Ok(doc),
        Ok(other) => Err(no_object(path, "line", number, &other)),
        // The parser counts within the line.
        Err(e) => Err(Error::file(
            path,
            format!("line {number} is no JSON at column {}", e.column()),
            "repair or remove the line",
        )),
    }
}

fn no_object(path: &Path, unit: &str, number: usize, value: &Value) -> Error {
    let shown: String = value.to_string().chars().take(40).collect();
    Error::file(path, format!("{unit} {number} is {shown}, expected a JSON object"), "repair or remove it")
}

fn columns(path: &Path, number: usize, line: &str, names: &[String]) -> Result<Doc> {
    let values: Vec<String> = line.split('\t').map(str::to_string).collect();
    if values.len() != names.len() {
        return Err(Error::file(
            path,
            format!("line {number} has {} columns, expected {} ({})", values.len(), names.len(), names.join(", ")),
            "columns are separated by one tab each; repair the line",
        ));
    }
    Ok(fields(names.iter().map(String::as_str), values))
}
