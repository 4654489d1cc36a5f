//! Writing `.npz` archives: named arrays that numpy, Julia and MATLAB open as they are.
//!
//! Candle's own `write_npz` neither reports a failure to finish the archive nor writes atomically, stamps no
//! fixed date and stops at 4 GiB, so the few lines of the format are here. Entries are stored uncompressed, in
//! the order given, and the same arrays give the same bytes. `blocks.0.attn.hook_q` becomes the entry
//! `blocks.0.attn.hook_q.npy`, which numpy shows without its ending.

use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::{DType, Tensor};
use zip::write::SimpleFileOptions;

use super::atomic::write_atomic;
use super::write::tensor_bytes;
use crate::{Error, Result};

/// Writes named tensors as a `.npz` archive, whole or not at all. bf16, which numpy lacks, is written as f32.
///
/// # Errors
/// When a name is empty, occurs twice or would leave the folder that the archive is unpacked to, when a tensor
/// has a type that numpy lacks, or when the file cannot be written.
pub fn write_npz<S: AsRef<str>>(path: impl AsRef<Path>, tensors: &[(S, Tensor)]) -> Result<()> {
    let path = path.as_ref();
    let mut seen = HashSet::new();
    for (name, _) in tensors {
        let name = name.as_ref();
        if name.is_empty() || name.starts_with('/') || name.contains(['\\', '\0']) || name.contains("..") {
            return Err(Error::invalid(
                format!("`{name}` cannot name an array in {}", path.display()),
                "use letters, digits, dots and underscores",
            ));
        }
        if !seen.insert(name) {
            return Err(Error::invalid(
                format!("two arrays to be written to {} are named `{name}`", path.display()),
                "give each array its own name",
            ));
        }
    }
    write_atomic(path, |file| {
        let failed = |e: zip::result::ZipError| Error::io(path)(e.into());
        let mut archive = zip::ZipWriter::new(BufWriter::with_capacity(1 << 20, file));
        for (name, tensor) in tensors {
            let tensor = match tensor.dtype() {
                DType::BF16 => tensor.to_dtype(DType::F32)?,
                _ => tensor.clone(),
            };
            let header = npy_header(name.as_ref(), &tensor)?;
            let bytes = header.len() + tensor.elem_count() * tensor.dtype().size_in_bytes();
            let options = SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored)
                .last_modified_time(zip::DateTime::default())
                .large_file(bytes as u64 >= u64::from(u32::MAX));
            archive.start_file(format!("{}.npy", name.as_ref()), options).map_err(failed)?;
            archive.write_all(&header).map_err(Error::io(path))?;
            tensor_bytes(&tensor, &mut |bytes| archive.write_all(bytes).map_err(Error::io(path)))?;
        }
        let mut out = archive.finish().map_err(failed)?;
        out.flush().map_err(Error::io(path))
    })
}

/// The header of a version 1.0 `.npy`: a Python dictionary, padded so that the data starts at a multiple of 64.
fn npy_header(name: &str, tensor: &Tensor) -> Result<Vec<u8>> {
    let descr = match tensor.dtype() {
        DType::F64 => "<f8",
        DType::F32 => "<f4",
        DType::F16 => "<f2",
        DType::I64 => "<i8",
        DType::I32 => "<i4",
        DType::I16 => "<i2",
        DType::U32 => "<u4",
        DType::U8 => "|u1",
        other => {
            return Err(Error::invalid(
                format!("array `{name}` has element type {other:?}, which numpy lacks"),
                "convert it to f32 first",
            ));
        }
    };
    let sizes: Vec<String> = tensor.dims().iter().map(|d| d.to_string()).collect();
    // Python writes a tuple of one as `(5,)`.
    let comma = if sizes.len() == 1 { "," } else { "" };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", sizes.join(", "));
    let fixed = 10; // magic, version and length
    let padding = (text.len() + fixed + 1).next_multiple_of(64) - (text.len() + fixed + 1);
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    // At most 8 axes of 20 digits each: far below the 65535 of version 1.0.
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.into_bytes());
    Ok(out)
}
