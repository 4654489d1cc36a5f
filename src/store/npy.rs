//! Reading `.npy` and `.npz`: arrays of numbers as numpy writes them, uncompressed.
//!
//! Candle's reader takes memory for whatever shape a header claims; here a shape that the file has no bytes for is refused
//! first.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use half::f16;

use crate::{Error, Result};

/// Largest file that is read, and largest sum of its arrays.
const MAX_BYTES: u64 = 2 << 30;
/// Most arrays of an archive.
const MAX_ARRAYS: usize = 100_000;
/// Most axes of an array; numpy itself allows 64.
const MAX_AXES: usize = 32;

/// Numbers with their shape, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Size of every axis; none for a single number.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Vec<f64>,
}

impl Array {
    /// A single number.
    pub fn scalar(value: f64) -> Self {
        Self { shape: Vec::new(), values: vec![value] }
    }

    /// A vector.
    pub fn vector(values: Vec<f64>) -> Self {
        Self { shape: vec![values.len()], values }
    }
}

/// The array of a `.npy`, or the only one (or the one named `input`) of a `.npz`.
///
/// # Errors
/// A file that is missing, damaged, compressed or of another kind, and one with several arrays.
pub fn read_array(path: impl AsRef<Path>) -> Result<Array> {
    let path = path.as_ref();
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => {
            let mut bytes = Vec::new();
            open(path)?.take(MAX_BYTES).read_to_end(&mut bytes).map_err(Error::io(path))?;
            parse(&bytes).map_err(|what| Error::file(path, what, "write it with numpy.save"))
        }
        Some("npz") => {
            let mut arrays = read_npz(path)?;
            let at = arrays.iter().position(|(name, _)| name == "input").unwrap_or(0);
            if arrays.is_empty() || (arrays.len() > 1 && arrays[at].0 != "input") {
                let names: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).take(8).collect();
                let what =
                    format!("{} arrays ({}), expected one, or one named `input`", arrays.len(), names.join(", "));
                return Err(Error::file(path, what, "write it with numpy.savez(path, input=array)"));
            }
            Ok(arrays.swap_remove(at).1)
        }
        _ => Err(Error::file(path, "the extension is not .npy or .npz", "write the array with numpy.save")),
    }
}

/// Every array of a `.npz` by name, in the order of the archive.
///
/// # Errors
/// An archive that is missing, damaged, compressed or too large.
pub fn read_npz(path: impl AsRef<Path>) -> Result<Vec<(String, Array)>> {
    let path = path.as_ref();
    let wrong = |what: String| Error::file(path, what, "write it with numpy.savez (uncompressed)");
    let mut archive = zip::ZipArchive::new(open(path)?).map_err(|e| wrong(format!("no .npz archive: {e}")))?;
    if archive.len() > MAX_ARRAYS {
        return Err(wrong(format!("{} arrays, expected at most {MAX_ARRAYS}", archive.len())));
    }
    let (mut arrays, mut left) = (Vec::new(), MAX_BYTES);
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(|e| wrong(format!("entry {i} cannot be read: {e}")))?;
        let name = entry.name().map_err(|e| wrong(format!("entry {i} has no name: {e}")))?;
        let name = name.trim_end_matches(".npy").to_string();
        let mut bytes = Vec::new();
        entry.take(left).read_to_end(&mut bytes).map_err(Error::io(path))?;
        left = left.saturating_sub(bytes.len() as u64);
        let array = parse(&bytes).map_err(|what| wrong(format!("array `{name}`: {what}")))?;
        arrays.push((name, array));
    }
    Ok(arrays)
}

fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(Error::io(path))?;
    let meta = file.metadata().map_err(Error::io(path))?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        let what = format!("expected a file of at most {MAX_BYTES} bytes, got {}", meta.len());
        return Err(Error::file(path, what, "name a file of arrays"));
    }
    Ok(file)
}

/// One `.npy`; what is wrong with it in words.
fn parse(bytes: &[u8]) -> std::result::Result<Array, String> {
    let short = || "the file ends in its header".to_string();
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err("no numpy array".to_string());
    }
    let (length, begin): (Option<usize>, usize) = match bytes.get(6).ok_or_else(short)? {
        1 => (bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))), 10),
        _ => (bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize), 12),
    };
    let end = begin.checked_add(length.ok_or_else(short)?).ok_or_else(short)?;
    let header = std::str::from_utf8(bytes.get(begin..end).ok_or_else(short)?).map_err(|e| e.to_string())?;
    let (descr, fortran, shape) = header_of(header).ok_or_else(|| format!("unreadable header `{}`", header.trim()))?;
    let (size, number) = reader(&descr)?;
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).and_then(|n| Some((n, n.checked_mul(size)?)));
    let data = &bytes[end..];
    let Some((count, _)) = count.filter(|(_, needed)| *needed == data.len()) else {
        return Err(format!("shape {shape:?} of `{descr}` does not fit {} bytes of data", data.len()));
    };
    let values: Vec<f64> = data.chunks_exact(size).map(number).collect();
    let values = if fortran && shape.len() > 1 { row_major(&shape, &values, count) } else { values };
    Ok(Array { shape, values })
}

/// Type, order and shape out of the dictionary.
fn header_of(header: &str) -> Option<(String, bool, Vec<usize>)> {
    let after = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    let descr = after("descr")?.strip_prefix('\'')?.split_once('\'')?.0.to_string();
    let fortran = after("fortran_order")?.starts_with("True");
    let inside = after("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let sizes = inside.split(',').map(str::trim).filter(|s| !s.is_empty());
    let shape = sizes.map(|s| s.parse().ok()).collect::<Option<Vec<usize>>>()?;
    (shape.len() <= MAX_AXES).then_some((descr, fortran, shape))
}

type Number = fn(&[u8]) -> f64;

/// Bytes of an element, and how they are read.
fn reader(descr: &str) -> std::result::Result<(usize, Number), String> {
    fn take<const N: usize>(bytes: &[u8]) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&bytes[..N]);
        out
    }
    let pair: (usize, Number) = match descr {
        "<f8" => (8, |b| f64::from_le_bytes(take(b))),
        "<f4" => (4, |b| f64::from(f32::from_le_bytes(take(b)))),
        "<f2" => (2, |b| f64::from(f16::from_le_bytes(take(b)))),
        "<i8" => (8, |b| i64::from_le_bytes(take(b)) as f64),
        "<i4" => (4, |b| f64::from(i32::from_le_bytes(take(b)))),
        "<i2" => (2, |b| f64::from(i16::from_le_bytes(take(b)))),
        "<u8" => (8, |b| u64::from_le_bytes(take(b)) as f64),
        "<u4" => (4, |b| f64::from(u32::from_le_bytes(take(b)))),
        "<u2" => (2, |b| f64::from(u16::from_le_bytes(take(b)))),
        "|i1" => (1, |b| f64::from(b[0] as i8)),
        "|u1" | "|b1" => (1, |b| f64::from(b[0])),
        other => return Err(format!("elements of type `{other}`, expected little-endian numbers")),
    };
    Ok(pair)
}

/// Column-major values in row-major order.
fn row_major(shape: &[usize], values: &[f64], count: usize) -> Vec<f64> {
    let place = |mut at: usize| {
        let mut strides: Vec<usize> = Vec::with_capacity(shape.len());
        shape.iter().fold(1, |stride, d| {
            strides.push(stride);
            stride * d
        });
        let mut from = 0;
        for (d, stride) in shape.iter().zip(&strides).rev() {
            from += at % d * stride;
            at /= d;
        }
        from
    };
    (0..count).map(|at| values[place(at)]).collect()
}
