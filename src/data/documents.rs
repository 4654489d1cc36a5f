//! Documents of a corpus one by one, with the group that each belongs to: what a scan streams, whatever its size.
//!
//! A corpus is a file, a folder or a repository on the Hub (see [`DataSet`]). Lines of a `.txt` file, and rows of
//! `.jsonl`, `.ndjson`, `.tsv`, `.json` and `.parquet` files, are documents. A group is the value of a column, or else the
//! file's name without folders and ending (`alice/en.txt` and `gatsby/en.txt` are the group `en`).

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Docs;
use super::texts::{FIELD, lacks, split_field};
use crate::store::{DataSet, HubOptions, sha256_files};
use crate::{Error, Result};

/// Most groups: a column with more values is no label.
const MAX_GROUPS: usize = 1000;

/// Which documents of a corpus are read, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentOptions {
    /// The column that names each document's group; the file does if there is none.
    pub group_by: Option<String>,
    /// At most so many documents of every file; all if `None`.
    pub per_file: Option<u64>,
    /// Documents of a chunk, 1 at least: what is held at a time, and what shards share out.
    pub chunk: u64,
}

impl Default for DocumentOptions {
    fn default() -> Self {
        Self { group_by: None, per_file: None, chunk: 256 }
    }
}

/// A corpus whose files are known, and counted.
pub struct Documents {
    files: Vec<PathBuf>,
    field: Option<String>,
    options: DocumentOptions,
    /// What it consists of.
    pub survey: Survey,
    /// The documents and bytes of every chunk.
    pub chunks: Vec<(u64, u64)>,
}

/// What a corpus consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Survey {
    /// Its files, in the order in which they are read.
    pub files: Vec<SurveyedFile>,
    /// The names of its groups, in the order in which they first occur.
    pub groups: Vec<String>,
    /// Documents.
    pub documents: u64,
    /// Bytes of their texts.
    pub bytes: u64,
}

/// A file of a corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SurveyedFile {
    /// Its path within the corpus.
    pub name: String,
    /// Its sha256.
    pub sha256: String,
    /// Documents that are read of it.
    pub documents: u64,
}

/// Documents that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number, from 0.
    pub number: u64,
    /// Its documents, in order.
    pub documents: Vec<Document>,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its number in the corpus, from 0.
    pub number: u64,
    /// Its group: an index into [`Survey::groups`].
    pub group: usize,
    /// Its text.
    pub text: String,
}

impl Documents {
    /// Finds the files of `spec` (`PATH[:FIELD]` or `hub:org/name[/FILE][:FIELD]`; field `text` unless another is named)
    /// and reads them once: what is broken comes to light before any work, and how long the work is.
    ///
    /// # Errors
    /// Files that are missing or cannot be read, a row that is broken or lacks a text or a group (with its number), more
    /// groups than a label has, no text at all.
    pub fn open(spec: &str, options: DocumentOptions, hub: &HubOptions) -> Result<Self> {
        let (place, field) = split_field(spec);
        let set = DataSet::open(place, hub)?;
        let single = set.single().is_some();
        // A folder's .json files describe the others.
        let wanted = |name: &&String| Docs::reads(Path::new(name)) && (single || !name.ends_with(".json"));
        let names: Vec<String> = set.files().iter().filter(wanted).cloned().collect();
        if names.is_empty() {
            return Err(Error::invalid(
                format!("`{place}` has no file of texts"),
                format!("expected files that end in {}", Docs::ENDINGS.join(", ")),
            ));
        }
        let files: Vec<PathBuf> = names.iter().map(|name| set.file(name)).collect::<Result<_>>()?;
        let hashes = sha256_files(&files)?;
        let described = names.into_iter().zip(hashes);
        let described = described.map(|(name, sha256)| SurveyedFile { name, sha256, documents: 0 });
        let survey = Survey { files: described.collect(), ..Survey::default() };
        let field = field.map(str::to_string);
        let options = DocumentOptions { chunk: options.chunk.max(1), ..options };
        let mut documents = Self { files, field, options, survey, chunks: Vec::new() };
        documents.count()?;
        if documents.survey.bytes == 0 {
            return Err(Error::invalid(
                format!("the corpus `{spec}` holds no text"),
                "give at least one document with a character",
            ));
        }
        Ok(documents)
    }

    fn count(&mut self) -> Result<()> {
        let mut survey = self.survey.clone();
        let mut chunks: Vec<(u64, u64)> = Vec::new();
        for (file, path) in self.files.iter().enumerate() {
            for row in self.rows(path, &survey.files[file].name)? {
                let (group, text) = row?;
                if !survey.groups.contains(&group) {
                    survey.groups.push(group);
                }
                if survey.groups.len() > MAX_GROUPS {
                    let column = self.options.group_by.as_deref();
                    return Err(Error::file(
                        path,
                        match column {
                            Some(column) => format!("the column `{column}` has more than {MAX_GROUPS} values"),
                            None => format!("it is the file of more than {MAX_GROUPS} groups, one per name of a file"),
                        },
                        "group by a column with few values",
                    ));
                }
                survey.files[file].documents += 1;
                if survey.documents.is_multiple_of(self.options.chunk) {
                    chunks.push((0, 0));
                }
                if let Some(chunk) = chunks.last_mut() {
                    *chunk = (chunk.0 + 1, chunk.1 + text.len() as u64);
                }
                survey.documents += 1;
                survey.bytes += text.len() as u64;
            }
        }
        (self.survey, self.chunks) = (survey, chunks);
        Ok(())
    }

    /// How documents are read.
    pub fn options(&self) -> &DocumentOptions {
        &self.options
    }

    /// The field that holds the texts, if one was named.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// The chunks that are wanted, in order. Memory holds one chunk.
    pub fn chunks_of<'a>(&'a self, wanted: impl Fn(u64) -> bool + 'a) -> impl Iterator<Item = Result<Chunk>> + 'a {
        let size = self.options.chunk;
        let mut rows = self.read().filter(move |d| d.as_ref().map_or(true, |d| wanted(d.number / size))).peekable();
        std::iter::from_fn(move || {
            let first = match rows.next()? {
                Ok(first) => first,
                Err(error) => return Some(Err(error)),
            };
            let mut chunk = Chunk { number: first.number / size, documents: vec![first] };
            while let Some(row) = rows.next_if(|d| d.as_ref().map_or(true, |d| d.number / size == chunk.number)) {
                match row {
                    Ok(document) => chunk.documents.push(document),
                    Err(error) => return Some(Err(error)),
                }
            }
            Some(Ok(chunk))
        })
    }

    /// The documents in order, from the first one on.
    fn read(&self) -> impl Iterator<Item = Result<Document>> + '_ {
        let files = self.files.iter().zip(&self.survey.files);
        let rows = files.flat_map(|(path, file)| match self.rows(path, &file.name) {
            Ok(rows) => rows,
            Err(error) => Box::new(std::iter::once(Err(error))),
        });
        rows.enumerate().map(|(number, row)| {
            let (name, text) = row?;
            let group = self.survey.groups.iter().position(|g| *g == name);
            let group = group.ok_or_else(|| {
                Error::invalid(
                    format!("document {number} changed while it was read"),
                    "leave the corpus alone meanwhile",
                )
            })?;
            Ok(Document { number: number as u64, group, text })
        })
    }

    /// Group and text of every document of a file.
    fn rows(&self, path: &Path, name: &str) -> Result<Rows<'_>> {
        let field = self.field.as_deref().unwrap_or(FIELD);
        let by = self.options.group_by.as_deref();
        let mut docs = match by {
            // One column of a parquet file is cheaper than all.
            None => Docs::field(path, field)?,
            Some(_) => Docs::open(path, &[])?,
        };
        let unit = docs.unit();
        let own = Path::new(name).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let limit = self.options.per_file.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let path = path.to_path_buf();
        let mut failed = false;
        let rows = std::iter::from_fn(move || {
            if failed {
                return None;
            }
            let row = docs.next()?.and_then(|(number, mut doc)| {
                let group = match by {
                    None => own.clone(),
                    Some(by) => match doc.get(by) {
                        Some(Value::String(label)) => label.clone(),
                        Some(label @ (Value::Number(_) | Value::Bool(_))) => label.to_string(),
                        _ => return Err(lacks(&path, unit, number, by, &doc)),
                    },
                };
                match doc.remove(field) {
                    Some(Value::String(text)) => Ok((group, text)),
                    _ => Err(lacks(&path, unit, number, field, &doc)),
                }
            });
            failed = row.is_err();
            Some(row)
        });
        Ok(Box::new(rows.take(limit)))
    }
}

/// Group and text, row by row.
type Rows<'a> = Box<dyn Iterator<Item = Result<(String, String)>> + 'a>;
