//! The safetensors header: parsed and checked as a whole before any tensor is read.
//!
//! Rules checked: the length fits the file and the 100 MB bound; known element types; the size of each tensor is
//! shape x element size without overflow; the tensors tile the data from its first byte to its last with no gap
//! and no overlap; no name occurs twice (a JSON map would keep the last one silently).

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{Error, Result};

/// Bound of the format on the header, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// Element types of safetensors files that have a whole number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
#[serde(rename_all = "UPPERCASE")]
pub enum ElementType {
    F64,
    F32,
    F16,
    BF16,
    #[serde(rename = "F8_E4M3")]
    F8E4M3,
    #[serde(rename = "F8_E5M2")]
    F8E5M2,
    #[serde(rename = "F8_E8M0")]
    F8E8M0,
    C64,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl ElementType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 | Self::C64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::F8E8M0 | Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether it is a float that weights can be read from.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }
}

/// What the header says about one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type in the file.
    pub element: ElementType,
    /// Shape, outermost axis first.
    pub shape: Vec<usize>,
    /// First byte, counted from the start of the data.
    pub(super) start: u64,
    /// One past the last byte.
    pub(super) end: u64,
}

impl TensorInfo {
    /// How many elements the tensor has.
    pub fn elements(&self) -> usize {
        // The product was checked against the file's length when the header was read.
        self.shape.iter().product()
    }
}

#[derive(Debug)]
pub(super) struct Header {
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) data_start: u64,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: ElementType,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// The header's JSON object with the order and the repetitions that a map would lose.
struct RawHeader {
    tensors: Vec<(String, RawTensor)>,
    metadata: BTreeMap<String, String>,
    repeated: Option<String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RawHeader, A::Error> {
                let mut out = RawHeader { tensors: Vec::new(), metadata: BTreeMap::new(), repeated: None };
                let mut seen = std::collections::HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        out.repeated = Some(name);
                        map.next_value::<IgnoredAny>()?;
                    } else if name == "__metadata__" {
                        out.metadata = map.next_value()?;
                    } else {
                        out.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(out)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Reads and checks the header of an open file.
pub(super) fn read(path: &Path, file: &mut File) -> Result<Header> {
    let again = "the file is damaged or was not downloaded whole; fetch it again";
    let length = file.metadata().map_err(Error::io(path))?.len();
    if length < 8 {
        return Err(Error::file(path, format!("the file has {length} bytes, expected at least 8"), again));
    }
    let mut prefix = [0u8; 8];
    file.read_exact(&mut prefix).map_err(Error::io(path))?;
    let size = u64::from_le_bytes(prefix);
    if size > MAX_HEADER {
        return Err(Error::file(
            path,
            format!("the header claims {size} bytes, expected at most {MAX_HEADER}"),
            "this is not a safetensors file",
        ));
    }
    if size > length - 8 {
        return Err(Error::file(
            path,
            format!("the header claims {size} bytes, but the file has only {} after its length", length - 8),
            again,
        ));
    }
    let mut bytes = vec![0u8; size as usize];
    file.read_exact(&mut bytes).map_err(Error::io(path))?;
    let raw: RawHeader = serde_json::from_slice(&bytes).map_err(|e| {
        let what = format!("the header cannot be read at byte {}: {e}", 8 + e.column());
        Error::file(path, what, "this is not a safetensors file, or one of a newer format")
    })?;
    if let Some(name) = raw.repeated {
        return Err(Error::file(path, format!("the header has `{name}` twice, expected once"), again));
    }
    let data = length - 8 - size;
    let mut ordered = Vec::with_capacity(raw.tensors.len());
    for (name, tensor) in raw.tensors {
        ordered.push((check(path, &name, &tensor, data)?, name));
    }
    // By place; an empty tensor goes before the one that starts at the same byte.
    ordered.sort_by_key(|(info, _)| (info.start, info.end));
    let mut next = 0;
    for (info, name) in &ordered {
        if info.start != next {
            let kind = if info.start < next { "overlaps the tensor before it" } else { "leaves a gap before it" };
            return Err(Error::file(
                path,
                format!("tensor `{name}` {kind}: it starts at byte {}, expected {next}", info.start),
                again,
            ));
        }
        next = info.end;
    }
    if next != data {
        return Err(Error::file(
            path,
            format!("the tensors take {next} bytes, but the file has {data} bytes of data"),
            again,
        ));
    }
    Ok(Header {
        tensors: ordered.into_iter().map(|(info, name)| (name, info)).collect(),
        metadata: raw.metadata,
        data_start: 8 + size,
    })
}

/// Checks one entry against the size of the data.
fn check(path: &Path, name: &str, raw: &RawTensor, data: u64) -> Result<TensorInfo> {
    let (start, end) = raw.data_offsets;
    let again = "the file is damaged or was not downloaded whole; fetch it again";
    if start > end || end > data {
        return Err(Error::file(
            path,
            format!("tensor `{name}` lies at bytes {start}..{end}, but the file has {data} bytes of data"),
            again,
        ));
    }
    // A product with a zero in it must not overflow on the way there either: later sums rely on plain products.
    let elements = raw.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let bytes = elements.and_then(|n| n.checked_mul(raw.dtype.size()));
    if bytes.map(|b| b as u64) != Some(end - start) {
        return Err(Error::file(
            path,
            format!(
                "tensor `{name}` of type {:?} and shape {:?} needs {} bytes, but the header gives it {}",
                raw.dtype,
                raw.shape,
                bytes.map_or("too many".to_string(), |b| b.to_string()),
                end - start
            ),
            again,
        ));
    }
    Ok(TensorInfo { element: raw.dtype, shape: raw.shape.clone(), start, end })
}
