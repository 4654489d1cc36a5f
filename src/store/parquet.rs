//! Rows of parquet files as JSON objects, row group by row group.
//!
//! Texts, numbers, booleans, lists and groups are read; what else a file holds (bytes, dates, decimals) is left out of the
//! rows, and asking for it by name is an error.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::basic::{ConvertedType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Number, Value};

use super::text::nearest;
use crate::{Error, Result};

/// Most bytes of a row group, unpacked: writers make groups of some hundred megabytes at most.
const MAX_GROUP: i64 = 4 << 30;
/// Most rows of a row group; writers make groups of some millions at most.
const MAX_ROWS: i64 = 1 << 27;

/// The rows of a file in order, each an object of its columns. After an error there are no more.
pub struct ParquetRows {
    path: PathBuf,
    rows: RowIter<'static>,
    number: usize,
    done: bool,
}

impl ParquetRows {
    /// Opens a file; with `columns`, only these top-level columns are read.
    ///
    /// # Errors
    /// A file that is missing, is no parquet file or lacks one of the columns.
    pub fn open(path: impl AsRef<Path>, columns: Option<&[&str]>) -> Result<Self> {
        let path = path.as_ref();
        // Before it is opened: opening a pipe waits for its writer.
        if !std::fs::metadata(path).map_err(Error::io(path))?.is_file() {
            return Err(Error::file(path, "this is no regular file", "give a file on disk"));
        }
        let file = File::open(path).map_err(Error::io(path))?;
        let reader = guarded(path, || SerializedFileReader::new(file))?;
        for (i, group) in reader.metadata().row_groups().iter().enumerate() {
            let bytes = group.total_byte_size();
            let rows = group.num_rows();
            if !(0..=MAX_GROUP).contains(&bytes) || !(0..=MAX_ROWS).contains(&rows) {
                return Err(broken(path, &format!("row group {i} claims {rows} rows of {bytes} bytes")));
            }
        }
        let wanted = projected(path, reader.metadata().file_metadata().schema(), columns)?;
        let rows = guarded(path, || RowIter::from_file_into(Box::new(reader)).project(Some(wanted)))?;
        Ok(Self { path: path.to_path_buf(), rows, number: 0, done: false })
    }
}

impl Iterator for ParquetRows {
    type Item = Result<Map<String, Value>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let row = guarded(&self.path, || self.rows.next().transpose()).map_err(|e| match e {
            Error::File { path, what, hint } => {
                Error::File { path, what: format!("row {}: {what}", self.number), hint }
            }
            other => other,
        });
        self.number += 1;
        self.done = !matches!(row, Ok(Some(_)));
        row.map(|row| row.map(object)).transpose()
    }
}

/// The schema with the columns that are wanted and can be read.
fn projected(path: &Path, schema: &Type, columns: Option<&[&str]>) -> Result<Type> {
    let names: Vec<&str> = schema.get_fields().iter().map(|f| f.name()).collect();
    for column in columns.unwrap_or(&[]) {
        match schema.get_fields().iter().find(|f| f.name() == *column) {
            Some(field) if readable(field) => {}
            Some(_) => {
                return Err(Error::file(
                    path,
                    format!("the column `{column}` holds neither texts nor numbers nor lists of them"),
                    "name another column, or convert the file",
                ));
            }
            None => {
                let near = nearest(column, names.iter().copied(), 1);
                return Err(Error::file(
                    path,
                    format!("there is no column `{column}`; did you mean `{near}`?"),
                    format!("name one of: {}", names.join(", ")),
                ));
            }
        }
    }
    let wanted = |f: &&std::sync::Arc<Type>| readable(f) && columns.is_none_or(|c| c.contains(&f.name()));
    let fields: Vec<_> = schema.get_fields().iter().filter(wanted).cloned().collect();
    if fields.is_empty() {
        return Err(Error::file(path, "no column holds texts or numbers", "convert the file"));
    }
    let build = || Type::group_type_builder(schema.name()).with_fields(fields).build();
    guarded(path, build)
}

/// Whether every part of a column becomes a JSON value.
fn readable(field: &Type) -> bool {
    if !field.is_primitive() {
        return field.get_fields().iter().all(|f| readable(f));
    }
    use ConvertedType::*;
    let kind = field.get_basic_info().converted_type();
    match field.get_physical_type() {
        Physical::INT96 | Physical::FIXED_LEN_BYTE_ARRAY => false,
        Physical::BYTE_ARRAY => matches!(kind, UTF8 | ENUM | JSON),
        _ => matches!(kind, NONE | INT_8 | INT_16 | INT_32 | INT_64 | UINT_8 | UINT_16 | UINT_32 | UINT_64),
    }
}

fn object(row: Row) -> Map<String, Value> {
    row.into_columns().into_iter().map(|(name, field)| (name, value(field))).collect()
}

fn value(field: Field) -> Value {
    let float = |x: f64| Number::from_f64(x).map_or(Value::Null, Value::Number);
    match field {
        Field::Bool(b) => b.into(),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float16(x) => float(x.to_f64()),
        Field::Float(x) => float(f64::from(x)),
        Field::Double(x) => float(x),
        Field::Str(text) => text.into(),
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        Field::MapInternal(map) => {
            let pairs = map.entries().iter().map(|(k, v)| (text(k), value(v.clone())));
            Value::Object(pairs.collect())
        }
        // Columns with these are not selected.
        _ => Value::Null,
    }
}

/// The key of a map as text.
fn text(key: &Field) -> String {
    match value(key.clone()) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Runs a step of the parquet reader, which panics at some damaged files.
fn guarded<T>(path: &Path, step: impl FnOnce() -> std::result::Result<T, ParquetError>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(broken(path, &error.to_string())),
        Err(_) => Err(broken(path, "its parts contradict each other")),
    }
}

fn broken(path: &Path, what: &str) -> Error {
    Error::file(path, format!("this is no parquet file that can be read: {what}"), "download or write it again")
}
