//! The HDF5 form, as Python's `nir` package writes it: groups, numbers (gzip), texts of variable length.

use std::path::Path;

use half::f16;
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Datatype, Hdf5File, OpenOptions};

use super::super::npy::Array;
use super::tree::Tree;
use crate::{Error, Result};

/// Largest file.
const MAX_FILE: u64 = 1 << 30;
/// Bytes of all arrays, unpacked: gzip can claim a thousand times the bytes of the file.
const MAX_BYTES: usize = 1 << 30;
/// Groups and arrays of a file; a damaged file may name itself as its own member.
const MAX_OBJECTS: usize = 100_000;
/// Groups inside groups.
const MAX_DEPTH: usize = 32;

/// What is left of the bounds.
struct Left {
    bytes: usize,
    objects: usize,
}

/// The group `node` of a file.
pub(super) fn read(path: &Path) -> Result<Tree> {
    let hint = "expected an HDF5 file as Python's `nir.write` makes it";
    let meta = std::fs::metadata(path).map_err(Error::io(path))?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        let what = format!("expected a file of at most {MAX_FILE} bytes, got {}", meta.len());
        return Err(Error::file(path, what, hint));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let options = OpenOptions::default().with_max_chunk_bytes(MAX_BYTES).with_max_read_bytes(MAX_BYTES);
    let wrong = |e: hdf5_reader::error::Error| Error::file(path, format!("unreadable: {e}"), hint);
    let file = Hdf5File::from_vec_with_options(bytes, options).map_err(wrong)?;
    let node = file.group("/node").map_err(wrong)?;
    let mut left = Left { bytes: MAX_BYTES, objects: MAX_OBJECTS };
    group(&node, 0, &mut left).map_err(|what| Error::file(path, what, hint))
}

fn group(of: &Group, depth: usize, left: &mut Left) -> std::result::Result<Tree, String> {
    let (groups, datasets) = of.members().map_err(|e| format!("group `{}`: {e}", of.name()))?;
    left.objects = left.objects.saturating_sub(1 + groups.len() + datasets.len());
    if left.objects == 0 || depth == MAX_DEPTH {
        return Err(format!("more than {MAX_OBJECTS} parts, or groups nested deeper than {MAX_DEPTH}"));
    }
    let mut members = Vec::with_capacity(groups.len() + datasets.len());
    for data in &datasets {
        let tree = dataset(data, left).map_err(|what| format!("`{}` of `{}`: {what}", data.name(), of.name()))?;
        members.push((data.name().to_string(), tree));
    }
    // What it is for means nothing, and it may hold anything.
    for inner in groups.iter().filter(|g| g.name() != "metadata") {
        members.push((inner.name().to_string(), group(inner, depth + 1, left)?));
    }
    // By name: so h5py shows them, whatever order the file has them in.
    members.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Tree::Group(members))
}

fn dataset(of: &Dataset, left: &mut Left) -> std::result::Result<Tree, String> {
    let words = |e: hdf5_reader::error::Error| e.to_string();
    let count = of.num_elements().map_err(words)?;
    if count == 0 {
        return Ok(Tree::Nothing);
    }
    let needed = usize::try_from(count).ok().and_then(|n| n.checked_mul(8)).filter(|n| *n <= left.bytes);
    left.bytes -= needed.ok_or_else(|| format!("{count} elements: the arrays take more than {MAX_BYTES} bytes"))?;
    let shape: Vec<usize> = of.shape().iter().map(|d| *d as usize).collect();
    let number = match of.dtype() {
        Datatype::FixedPoint { size, signed, .. } => integer(*size, *signed),
        Datatype::FloatingPoint { size, .. } => float(*size),
        _ => {
            let mut texts = of.read_strings().map_err(words)?;
            return Ok(match (shape.is_empty(), texts.len()) {
                (true, 1) => Tree::Text(texts.swap_remove(0)),
                _ => Tree::Texts(shape, texts),
            });
        }
    };
    let (size, number) = number.ok_or_else(|| format!("elements of type {:?}", of.dtype()))?;
    let bytes = of.read_native_bytes().map_err(words)?;
    let values: Vec<f64> = bytes.chunks_exact(size).map(number).collect();
    if values.len() as u64 != count {
        return Err(format!("{} elements, expected {count}", values.len()));
    }
    Ok(Tree::Array(Array { shape, values }))
}

type Number = fn(&[u8]) -> f64;

fn take<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

fn float(size: u8) -> Option<(usize, Number)> {
    Some(match size {
        2 => (2, |b| f64::from(f16::from_ne_bytes(take(b)))),
        4 => (4, |b| f64::from(f32::from_ne_bytes(take(b)))),
        8 => (8, |b| f64::from_ne_bytes(take(b))),
        _ => return None,
    })
}

fn integer(size: u8, signed: bool) -> Option<(usize, Number)> {
    Some(match (size, signed) {
        (1, true) => (1, |b| f64::from(b[0] as i8)),
        (1, false) => (1, |b| f64::from(b[0])),
        (2, true) => (2, |b| f64::from(i16::from_ne_bytes(take(b)))),
        (2, false) => (2, |b| f64::from(u16::from_ne_bytes(take(b)))),
        (4, true) => (4, |b| f64::from(i32::from_ne_bytes(take(b)))),
        (4, false) => (4, |b| f64::from(u32::from_ne_bytes(take(b)))),
        (8, true) => (8, |b| i64::from_ne_bytes(take(b)) as f64),
        (8, false) => (8, |b| u64::from_ne_bytes(take(b)) as f64),
        _ => return None,
    })
}
