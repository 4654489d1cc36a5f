//! Writing safetensors files: atomically, byte for byte the same for the same content, and with the
//! `{"format": "pt"}` metadata that transformers asks for.
//!
//! Tensors are ordered by element size (largest first, so that each is aligned) and then by name. A tensor that
//! is only passed on is copied from its file in chunks, whatever its type.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::{DType, Tensor, WithDType};
use serde_json::{Map, Value, json};

use super::atomic::write_atomic;
use super::safetensors::{ElementType, WeightFile};
use crate::hook::reduce::{Array, Data};
use crate::{Error, Result};

/// Where the content of a written tensor comes from.
#[derive(Debug, Clone)]
pub enum Source<'a> {
    /// A tensor in memory, written in its own type.
    Tensor(Tensor),
    /// A tensor of an open file, copied byte for byte.
    Copy(&'a WeightFile, &'a str),
    /// An array of a reducer's state.
    Array(&'a Array),
}

/// Writes named tensors to a safetensors file, whole or not at all. `metadata` always gets `format = pt`.
///
/// # Errors
/// When a name occurs twice, a tensor has a type that the format lacks, or the file cannot be written.
pub fn write_safetensors(
    path: impl AsRef<Path>,
    tensors: &[(String, Source)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, source) in tensors {
        let (element, shape) = describe(name, source)?;
        entries.push((name, source, element, shape));
    }
    entries.sort_by(|a, b| b.2.size().cmp(&a.2.size()).then_with(|| a.0.cmp(b.0)));
    let mut fields = Map::new();
    let mut metadata = metadata.clone();
    metadata.insert("format".to_string(), "pt".to_string());
    fields.insert("__metadata__".to_string(), json!(metadata));
    let mut at = 0usize;
    for (name, _, element, shape) in &entries {
        let end = at + shape.iter().product::<usize>() * element.size();
        let field = json!({"dtype": element, "shape": shape, "data_offsets": [at, end]});
        if fields.insert((*name).clone(), field).is_some() {
            return Err(Error::invalid(
                format!("two tensors to be written to {} are named `{name}`", path.display()),
                "give each tensor its own name (`__metadata__` is taken)",
            ));
        }
        at = end;
    }
    let mut header = Value::Object(fields).to_string().into_bytes();
    // Spaces up to a multiple of 8 keep the data aligned for readers that map the file.
    header.resize(header.len().next_multiple_of(8), b' ');
    write_atomic(path, |file| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(Error::io(path));
        put(&(header.len() as u64).to_le_bytes())?;
        put(&header)?;
        for (_, source, _, _) in &entries {
            match source {
                Source::Tensor(tensor) => tensor_bytes(tensor, &mut put)?,
                Source::Copy(from, name) => from.bytes(name, &mut put)?,
                Source::Array(array) => array_bytes(array, &mut put)?,
            }
        }
        finish(path, out)
    })
}

fn finish(path: &Path, mut out: BufWriter<&mut File>) -> Result<()> {
    out.flush().map_err(Error::io(path))
}

fn describe(name: &str, source: &Source) -> Result<(ElementType, Vec<usize>)> {
    match source {
        Source::Tensor(tensor) => {
            let element = match tensor.dtype() {
                DType::F64 => ElementType::F64,
                DType::F32 => ElementType::F32,
                DType::F16 => ElementType::F16,
                DType::BF16 => ElementType::BF16,
                DType::I64 => ElementType::I64,
                DType::I32 => ElementType::I32,
                DType::I16 => ElementType::I16,
                DType::U32 => ElementType::U32,
                DType::U8 => ElementType::U8,
                other => {
                    return Err(Error::invalid(
                        format!("tensor `{name}` has element type {other:?}, which is not written"),
                        "convert it to f32, bf16 or f16 first",
                    ));
                }
            };
            Ok((element, tensor.dims().to_vec()))
        }
        Source::Copy(file, from) => {
            let info = file.info(from).ok_or_else(|| {
                Error::file(file.path(), format!("no tensor `{from}` to copy"), "name a tensor of that file")
            })?;
            Ok((info.element, info.shape.clone()))
        }
        Source::Array(array) => {
            let element = match array.data {
                Data::F32(_) => ElementType::F32,
                Data::F64(_) => ElementType::F64,
                Data::U32(_) => ElementType::U32,
                Data::U64(_) => ElementType::U64,
            };
            Ok((element, array.shape.clone()))
        }
    }
}

/// The elements of a tensor in little-endian order, a few at a time so that no second copy is held.
pub(super) fn tensor_bytes(tensor: &Tensor, put: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    match tensor.dtype() {
        DType::F64 => emit(tensor, put, f64::to_le_bytes),
        DType::F32 => emit(tensor, put, f32::to_le_bytes),
        DType::F16 => emit(tensor, put, half::f16::to_le_bytes),
        DType::BF16 => emit(tensor, put, half::bf16::to_le_bytes),
        DType::I64 => emit(tensor, put, i64::to_le_bytes),
        DType::I32 => emit(tensor, put, i32::to_le_bytes),
        DType::I16 => emit(tensor, put, i16::to_le_bytes),
        DType::U32 => emit(tensor, put, u32::to_le_bytes),
        DType::U8 => emit(tensor, put, |v: u8| [v]),
        other => {
            Err(Error::invalid(format!("element type {other:?} cannot be written"), "convert the tensor to f32 first"))
        }
    }
}

fn emit<T: WithDType, const W: usize>(
    tensor: &Tensor,
    put: &mut impl FnMut(&[u8]) -> Result<()>,
    encode: impl Fn(T) -> [u8; W],
) -> Result<()> {
    put_values(&tensor.flatten_all()?.to_vec1::<T>()?, put, encode)
}

fn put_values<T: Copy, const W: usize>(
    values: &[T],
    put: &mut impl FnMut(&[u8]) -> Result<()>,
    encode: impl Fn(T) -> [u8; W],
) -> Result<()> {
    let mut bytes = Vec::with_capacity(W * values.len().min(1 << 16));
    for piece in values.chunks(1 << 16) {
        bytes.clear();
        bytes.extend(piece.iter().flat_map(|v| encode(*v)));
        put(&bytes)?;
    }
    Ok(())
}

fn array_bytes(array: &Array, put: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    match &array.data {
        Data::F32(values) => put_values(values, put, f32::to_le_bytes),
        Data::F64(values) => put_values(values, put, f64::to_le_bytes),
        Data::U32(values) => put_values(values, put, u32::to_le_bytes),
        Data::U64(values) => put_values(values, put, u64::to_le_bytes),
    }
}
