//! The states of many reducers in one safetensors file.
//!
//! State `KEY` of a reducer has its arrays under `KEY/NAME`. The metadata `optrode.atlas` is a JSON object: `version`,
//! `about` (whatever the writer wants to know again) and `states`, which has the header of every state by its key.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::VERSION;
use crate::hook::reduce::{Array, Data, Header, Reducer, State};
use crate::store::safetensors::{ElementType, WeightFile};
use crate::store::write::{Source, write_safetensors};
use crate::{Error, Result};

/// Key of the description in the metadata.
const METADATA: &str = "optrode.atlas";

/// What stands in the metadata.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    about: Value,
    states: BTreeMap<String, Header>,
}

/// Writes reducers to a file, whole or not at all; equal reducers give equal bytes.
///
/// # Errors
/// When the file cannot be written.
pub fn write_arrays(path: &Path, about: &Value, reducers: &BTreeMap<String, Reducer>) -> Result<()> {
    let states: BTreeMap<&String, State> = reducers.iter().map(|(key, r)| (key, r.to_state())).collect();
    let headers = states.iter().map(|(key, state)| ((*key).clone(), state.header.clone()));
    let head = Head { version: VERSION, about: about.clone(), states: headers.collect() };
    let head = serde_json::to_string(&head).map_err(|e| Error::file(path, e.to_string(), "report this defect"))?;
    let arrays = states.iter().flat_map(|(key, state)| state.arrays.iter().map(move |(name, a)| (key, name, a)));
    let arrays: Vec<(String, Source)> =
        arrays.map(|(key, name, array)| (format!("{key}/{name}"), Source::Array(array))).collect();
    write_safetensors(path, &arrays, &BTreeMap::from([(METADATA.to_string(), head)]))
}

/// An open file of reducers.
#[derive(Debug)]
pub struct Arrays {
    file: WeightFile,
    head: Head,
}

impl Arrays {
    /// Opens a file.
    ///
    /// # Errors
    /// A file that is missing, damaged, none of this kind or of another version.
    pub fn open(path: &Path) -> Result<Self> {
        let file = WeightFile::open(path)?;
        let none = |what: String| Error::file(path, what, "name a folder that `optrode scan` wrote");
        let text = file.metadata().get(METADATA);
        let text = text.ok_or_else(|| none(format!("these are no arrays of an atlas: there is no `{METADATA}`")))?;
        let value: Value = serde_json::from_str(text).map_err(|e| none(format!("`{METADATA}` is no JSON: {e}")))?;
        // First of all: another version may have other keys.
        match value.get("version") {
            Some(version) if *version != VERSION => {
                return Err(Error::file(
                    path,
                    format!("version {version} of the atlas format, expected {VERSION}"),
                    "scan again, or read it with the version of optrode that wrote it",
                ));
            }
            _ => {}
        }
        let head = serde_json::from_value(value).map_err(|e| none(format!("`{METADATA}`: {e}")))?;
        Ok(Self { file, head })
    }

    /// What the writer wanted to know again.
    pub fn about(&self) -> &Value {
        &self.head.about
    }

    /// All reducers by key.
    ///
    /// # Errors
    /// States that no reducer can have written, and arrays that belong to none.
    pub fn reducers(&self) -> Result<BTreeMap<String, Reducer>> {
        let owned = |name: &str| name.rsplit_once('/').is_some_and(|(key, _)| self.head.states.contains_key(key));
        if let Some(stray) = self.file.names().find(|name| !owned(name)) {
            let what = format!("nothing belongs to the array `{stray}`");
            return Err(Error::file(self.file.path(), what, "the file is damaged: scan again"));
        }
        self.head.states.keys().map(|key| Ok((key.clone(), self.reducer(key)?))).collect()
    }

    /// One reducer.
    ///
    /// # Errors
    /// When there is no such state, or no reducer can have written it.
    pub fn reducer(&self, key: &str) -> Result<Reducer> {
        let header = self.header(key)?.clone();
        self.build(key, header, |name, _| {
            let mut bytes = Vec::new();
            self.file.bytes(name, |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            let info = self.file.info(name);
            Ok((bytes, info.map(|i| i.shape.clone()).unwrap_or_default()))
        })
    }

    /// The reducer of a single unit, read without those of the others: of kinds whose arrays have one row per unit.
    ///
    /// # Errors
    /// As [`Arrays::reducer`]; a unit that there is not.
    pub fn unit(&self, key: &str, unit: usize) -> Result<Reducer> {
        let header = self.header(key)?;
        let width = header.width;
        if unit >= width {
            return Err(Error::file(
                self.file.path(),
                format!("there is no unit {unit} in `{key}`"),
                format!("it has the units 0 to {}", width.max(1) - 1),
            ));
        }
        self.build(key, Header { width: 1, ..header.clone() }, |name, shape| {
            let mut shape = shape.to_vec();
            match shape.first_mut() {
                Some(rows) if *rows == width => *rows = 1,
                _ => return Err(self.damaged(&format!("`{name}` does not have one row per unit"))),
            }
            let row: usize = shape.iter().product();
            Ok((self.file.part(name, unit * row..(unit + 1) * row)?, shape))
        })
    }

    fn header(&self, key: &str) -> Result<&Header> {
        self.head.states.get(key).ok_or_else(|| self.damaged(&format!("there is no state `{key}`")))
    }

    /// The reducer of the arrays that `read` gives, as bytes and shapes.
    fn build(
        &self,
        key: &str,
        header: Header,
        read: impl Fn(&str, &[usize]) -> Result<(Vec<u8>, Vec<usize>)>,
    ) -> Result<Reducer> {
        let prefix = format!("{key}/");
        let mut arrays = BTreeMap::new();
        for name in self.file.names().filter(|name| name.starts_with(&prefix)) {
            // Keys may begin alike: this array may belong to a longer one.
            let own = &name[prefix.len()..];
            let Some(info) = self.file.info(name).filter(|_| !own.contains('/')) else { continue };
            let (bytes, shape) = read(name, &info.shape)?;
            let data = data(info.element, &bytes);
            let data = data.ok_or_else(|| self.damaged(&format!("`{name}` has type {:?}", info.element)))?;
            arrays.insert(own.to_string(), Array { shape, data });
        }
        Reducer::from_state(State { header, arrays }).map_err(|e| self.damaged(&format!("`{key}`: {e}")))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::file(self.file.path(), what, "the file is damaged: restore it, or scan again")
    }
}

fn data(element: ElementType, bytes: &[u8]) -> Option<Data> {
    fn read<const N: usize, T>(bytes: &[u8], make: fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|b| make(*b)).collect()
    }
    match element {
        ElementType::F32 => Some(Data::F32(read(bytes, f32::from_le_bytes))),
        ElementType::F64 => Some(Data::F64(read(bytes, f64::from_le_bytes))),
        ElementType::U32 => Some(Data::U32(read(bytes, u32::from_le_bytes))),
        ElementType::U64 => Some(Data::U64(read(bytes, u64::from_le_bytes))),
        _ => None,
    }
}
