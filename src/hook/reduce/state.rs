//! Saved reducer states: a small JSON header and named arrays of plain numbers.
//!
//! The arrays are safetensors views, so a file can hold the states of many sites; [`State::to_bytes`] makes a file of
//! one. Numbers are stored as their bits, little-endian: a round trip is exact.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};
use serde::{Deserialize, Serialize};

use super::ReducerSpec;
use crate::{Error, Result};

/// Version of the format of headers and arrays.
const VERSION: u32 = 2;

/// Key of the header in the metadata of a safetensors file.
const METADATA: &str = "optrode.reducer";

/// A count above this is damage; it also keeps sums of counts from overflowing.
const MOST: u64 = 1 << 53;

/// A whole reducer as plain data; see [`super::Reducer::to_state`].
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What the arrays belong to.
    pub header: Header,
    /// The numbers, by name.
    pub arrays: BTreeMap<String, Array>,
}

/// What a reducer state belongs to; to be stored as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format.
    pub version: u32,
    /// Parameters of the reducer.
    pub spec: ReducerSpec,
    /// Units per position.
    pub width: usize,
}

impl Header {
    pub(super) fn new(spec: ReducerSpec, width: usize) -> Self {
        Self { version: VERSION, spec, width }
    }

    /// Refuses other versions and impossible parameters.
    pub(super) fn check(&self) -> Result<()> {
        if self.version != VERSION {
            let (got, what) = (self.version, "this build reads");
            return Err(Error::invalid(
                format!("a reducer state has version {got}, {what} {VERSION}"),
                "read it with the version of optrode that wrote it",
            ));
        }
        self.spec.check(self.width)
    }
}

/// One named array of a state.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// The numbers, row-major.
    pub data: Data,
}

/// Numbers of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Activations.
    F32(Vec<f32>),
    /// Sums.
    F64(Vec<f64>),
    /// Positions and tokens.
    U32(Vec<u32>),
    /// Counts and documents.
    U64(Vec<u64>),
}

/// Ties a number type to its variant of [`Data`].
pub(super) trait Number: Sized {
    fn wrap(values: Vec<Self>) -> Data;
    fn unwrap_data(data: Data) -> Option<Vec<Self>>;
}

macro_rules! number {
    ($type:ty, $variant:ident) => {
        impl Number for $type {
            fn wrap(values: Vec<Self>) -> Data {
                Data::$variant(values)
            }
            fn unwrap_data(data: Data) -> Option<Vec<Self>> {
                match data {
                    Data::$variant(values) => Some(values),
                    _ => None,
                }
            }
        }
    };
}
number!(f32, F32);
number!(f64, F64);
number!(u32, U32);
number!(u64, U64);

impl View for &Array {
    fn dtype(&self) -> Dtype {
        match self.data {
            Data::F32(_) => Dtype::F32,
            Data::F64(_) => Dtype::F64,
            Data::U32(_) => Dtype::U32,
            Data::U64(_) => Dtype::U64,
        }
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match &self.data {
            Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::U32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::U64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        })
    }
    fn data_len(&self) -> usize {
        match &self.data {
            Data::F32(v) => v.len() * 4,
            Data::F64(v) => v.len() * 8,
            Data::U32(v) => v.len() * 4,
            Data::U64(v) => v.len() * 8,
        }
    }
}

impl Array {
    /// The array in a safetensors file.
    ///
    /// # Errors
    /// [`Error::Invalid`] for number types that no reducer writes.
    pub fn from_view(view: &TensorView) -> Result<Self> {
        fn read<const N: usize, T>(bytes: &[u8], make: fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks::<N>().0.iter().map(|b| make(*b)).collect()
        }
        let bytes = view.data();
        let data = match view.dtype() {
            Dtype::F32 => Data::F32(read(bytes, f32::from_le_bytes)),
            Dtype::F64 => Data::F64(read(bytes, f64::from_le_bytes)),
            Dtype::U32 => Data::U32(read(bytes, u32::from_le_bytes)),
            Dtype::U64 => Data::U64(read(bytes, u64::from_le_bytes)),
            other => {
                return Err(damaged(format!("an array has type {other:?}, expected F32, F64, U32 or U64")));
            }
        };
        Ok(Self { shape: view.shape().to_vec(), data })
    }
}

impl State {
    /// A safetensors file of this state alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an array was changed so that its shape no longer fits its numbers.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let header = serde_json::to_string(&self.header).map_err(|e| damaged(e.to_string()))?;
        let metadata = HashMap::from([(METADATA.to_string(), header)]);
        safetensors::serialize(&self.arrays, Some(metadata)).map_err(|e| damaged(e.to_string()))
    }

    /// The state in a file of [`State::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(e.to_string()))?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get(METADATA));
        let header = header.ok_or_else(|| damaged(format!("there is no `{METADATA}` in the metadata")))?;
        let header = serde_json::from_str(header).map_err(|e| damaged(format!("`{METADATA}`: {e}")))?;
        let arrays = file.iter().map(|(name, view)| Ok((name.to_string(), Array::from_view(&view)?)));
        Ok(Self { header, arrays: arrays.collect::<Result<_>>()? })
    }
}

/// The arrays of a state while they are written or read.
pub(super) struct Arrays(BTreeMap<String, Array>);

impl Arrays {
    pub fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub fn from_map(map: BTreeMap<String, Array>) -> Self {
        Self(map)
    }

    pub fn into_map(self) -> BTreeMap<String, Array> {
        self.0
    }

    /// Adds an array.
    pub fn put<T: Number>(&mut self, name: &str, shape: &[usize], values: Vec<T>) {
        let shape = shape.to_vec();
        self.0.insert(name.to_string(), Array { shape, data: T::wrap(values) });
    }

    /// Removes and returns an array of this type and shape; `None` in `shape` leaves a size free.
    pub fn take<T: Number>(&mut self, name: &str, shape: &[Option<usize>]) -> Result<Vec<T>> {
        let array = self.0.remove(name).ok_or_else(|| damaged(format!("the array `{name}` is missing")))?;
        let fits = array.shape.len() == shape.len()
            && array.shape.iter().zip(shape).all(|(got, want)| want.is_none_or(|n| n == *got));
        if !fits {
            let got = &array.shape;
            return Err(damaged(format!("the array `{name}` has shape {got:?}, expected {shape:?}")));
        }
        let size = array.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        match T::unwrap_data(array.data) {
            Some(values) if size == Some(values.len()) => Ok(values),
            Some(values) => Err(damaged(format!("the array `{name}` holds {} numbers, not its shape's", values.len()))),
            None => Err(damaged(format!("the array `{name}` has the wrong number type"))),
        }
    }

    /// An array of counts: values that can have been counted.
    pub fn take_counts(&mut self, name: &str, shape: &[Option<usize>]) -> Result<Vec<u64>> {
        let counts: Vec<u64> = self.take(name, shape)?;
        match counts.iter().find(|n| **n > MOST) {
            Some(n) => Err(damaged(format!("the array `{name}` holds the impossible count {n}"))),
            None => Ok(counts),
        }
    }

    /// A single count.
    pub fn take_count(&mut self, name: &str) -> Result<u64> {
        Ok(self.take_counts(name, &[Some(1)])?.first().copied().unwrap_or(0))
    }

    /// Refuses arrays that nobody took.
    pub fn finish(self) -> Result<()> {
        match self.0.into_keys().next() {
            Some(name) => Err(damaged(format!("nothing belongs to the array `{name}`"))),
            None => Ok(()),
        }
    }
}

/// The error for states that no reducer can have written.
pub(super) fn damaged(what: impl Into<String>) -> Error {
    Error::invalid(
        format!("damaged reducer state: {}", what.into()),
        "make it again, or restore it from where it was copied",
    )
}
