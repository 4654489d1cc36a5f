//! Reading weights from safetensors files without reading whole files.
//!
//! ```text
//! u64 little endian N | N bytes of JSON {name: {dtype, shape, data_offsets: [from, to]}, "__metadata__": {..}} | data
//! ```
//!
//! The header is checked before any memory is taken for it, and every tensor is checked against the header
//! before any memory is taken for the tensor. A tensor is read in chunks, side by side, straight into the one buffer that
//! it will live in, converted on the way; NaN and infinity are refused with the place of the first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::text::nearest;
use crate::{Error, Result};

mod header;
mod shards;

pub use header::{ElementType, TensorInfo};
pub use shards::Weights;
pub(super) use shards::shard_map;

/// Bytes read at a time. A multiple of every element size.
const CHUNK: usize = 1 << 20;

/// What floating-point weights are kept as in memory, whatever the file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// 32-bit floats: exact for bf16, f16 and f32 files.
    #[default]
    F32,
    /// bfloat16: half the memory, 8 bits of precision.
    BF16,
    /// IEEE half precision; values beyond 65504 are an error.
    F16,
}

impl Storage {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::BF16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The Candle element type of this storage.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::BF16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }
}

/// One open safetensors file: its header in memory, its tensors on disk.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    // One handle for the life of the value, so that a file replaced meanwhile is not mixed with this header.
    file: File,
    header: header::Header,
}

impl WeightFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// When the file cannot be read, is shorter than it says, or its header breaks a rule of the format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let mut file = File::open(&path).map_err(Error::io(&path))?;
        let header = header::read(&path, &mut file)?;
        Ok(Self { path, file, header })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The `__metadata__` map; empty when the file has none.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// Tensor names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// What the header says about a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.tensors.get(name)
    }

    fn expect(&self, name: &str) -> Result<&TensorInfo> {
        self.info(name).ok_or_else(|| {
            Error::file(
                &self.path,
                format!("no tensor `{name}`"),
                format!("nearest: {}", nearest(name, self.names(), 3)),
            )
        })
    }

    /// Reads one tensor. Floats become `storage`; integers and booleans keep their type (booleans as u8).
    ///
    /// # Errors
    /// When there is no such tensor, its element type has no arithmetic here, the file ends early, or a float
    /// is NaN, infinite, or too large for `storage`.
    pub fn tensor(&self, name: &str, device: &Device, storage: Storage) -> Result<Tensor> {
        let info = self.expect(name)?;
        let shape = info.shape.as_slice();
        Ok(match (info.element, storage) {
            (ElementType::I64, _) => {
                Tensor::from_vec(self.fixed(info, |b: [u8; 8]| i64::from_le_bytes(b))?, shape, device)?
            }
            (ElementType::I32, _) => {
                Tensor::from_vec(self.fixed(info, |b: [u8; 4]| i32::from_le_bytes(b))?, shape, device)?
            }
            (ElementType::U32, _) => {
                Tensor::from_vec(self.fixed(info, |b: [u8; 4]| u32::from_le_bytes(b))?, shape, device)?
            }
            (ElementType::U8 | ElementType::Bool, _) => {
                Tensor::from_vec(self.fixed(info, |b: [u8; 1]| b[0])?, shape, device)?
            }
            (element, _) if !element.is_float() => {
                return Err(Error::file(
                    &self.path,
                    format!("tensor `{name}` has element type {element:?}, expected F32, F16, BF16 or F64"),
                    "quantised and 8-bit weights are not read; convert the model to bf16 or f32 first",
                ));
            }
            (_, Storage::F32) => Tensor::from_vec(self.floats(name, info, |v| v, |v: f32| v)?, shape, device)?,
            (_, Storage::BF16) => {
                Tensor::from_vec(self.floats(name, info, bf16::from_f32, bf16::to_f32)?, shape, device)?
            }
            (_, Storage::F16) => Tensor::from_vec(self.floats(name, info, f16::from_f32, f16::to_f32)?, shape, device)?,
        })
    }

    /// Reads a recorded tensor: as [`WeightFile::tensor`], but f32 values may be -inf (masked scores) or NaN (positions
    /// that a row lacks), which weights may not.
    ///
    /// # Errors
    /// As [`WeightFile::tensor`].
    pub fn activation(&self, name: &str, device: &Device) -> Result<Tensor> {
        let Some(info) = self.info(name).filter(|info| info.element == ElementType::F32) else {
            return self.tensor(name, device, Storage::F32);
        };
        let mut values: Vec<f32> = Vec::with_capacity(info.elements());
        self.bytes(name, |bytes| {
            values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
            Ok(())
        })?;
        Ok(Tensor::from_vec(values, info.shape.as_slice(), device)?)
    }

    /// The bytes of a tensor as they are in the file, handed to `sink` in chunks. What is copied unread may well
    /// be of a type that nothing here computes with.
    ///
    /// # Errors
    /// When there is no such tensor, the file ends early, or `sink` fails.
    pub fn bytes(&self, name: &str, sink: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let info = self.expect(name)?;
        self.chunks(info, sink)
    }

    /// The bytes of some elements of a tensor, counted along all its axes: a row of a table, without the table.
    ///
    /// # Errors
    /// When there is no such tensor, it has no such elements, or the file ends early.
    pub fn part(&self, name: &str, elements: std::ops::Range<usize>) -> Result<Vec<u8>> {
        let info = self.expect(name)?;
        if elements.start > elements.end || elements.end > info.elements() {
            return Err(Error::file(
                &self.path,
                format!("elements {elements:?} of tensor `{name}`, which has {}", info.elements()),
                "the file belongs to something else",
            ));
        }
        let size = info.element.size();
        let mut bytes = vec![0; elements.len() * size];
        self.read(info.start + (elements.start * size) as u64, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `bytes` from a place of the data.
    fn read(&self, place: u64, bytes: &mut [u8]) -> Result<()> {
        read_at(&self.file, self.header.data_start + place, bytes).map_err(Error::io(&self.path))
    }

    /// Walks the bytes of a tensor, at most [`CHUNK`] at a time and always whole elements.
    fn chunks(&self, info: &TensorInfo, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0u8; (info.end - info.start).min(CHUNK as u64) as usize];
        let mut place = info.start;
        while place < info.end {
            let piece = &mut buffer[..(info.end - place).min(CHUNK as u64) as usize];
            self.read(place, piece)?;
            place += piece.len() as u64;
            each(piece)?;
        }
        Ok(())
    }

    /// Values of a fixed width that need no checks.
    fn fixed<const W: usize, T>(&self, info: &TensorInfo, decode: impl Fn([u8; W]) -> T) -> Result<Vec<T>> {
        let mut out = Vec::with_capacity(info.elements());
        self.chunks(info, |bytes| {
            out.extend(bytes.as_chunks::<W>().0.iter().map(|b| decode(*b)));
            Ok(())
        })?;
        Ok(out)
    }

    /// Floats, converted through f32 (exact for every float type but F64) and checked to be finite.
    fn floats<T: Copy + Send>(
        &self,
        name: &str,
        info: &TensorInfo,
        encode: impl Fn(f32) -> T + Sync,
        value: impl Fn(T) -> f32 + Sync,
    ) -> Result<Vec<T>> {
        let n = info.elements();
        let mut out: Vec<T> = Vec::with_capacity(n);
        let size = CHUNK / info.element.size();
        let pieces = out.spare_capacity_mut()[..n].par_chunks_mut(size).enumerate();
        let read: Vec<Result<()>> =
            pieces.map(|(i, piece)| self.piece(name, info, i * size, piece, &encode, &value)).collect();
        // The first of all errors, whichever came first.
        read.into_iter().collect::<Result<()>>()?;
        // SAFETY: every piece has been read, and they cover all `n` values.
        unsafe { out.set_len(n) };
        Ok(out)
    }

    /// Reads, converts and checks the floats from element `first` on; all of `piece` is written.
    fn piece<T: Copy>(
        &self,
        name: &str,
        info: &TensorInfo,
        first: usize,
        piece: &mut [MaybeUninit<T>],
        encode: &impl Fn(f32) -> T,
        value: &impl Fn(T) -> f32,
    ) -> Result<()> {
        let size = info.element.size();
        let mut bytes = vec![0u8; piece.len() * size];
        self.read(info.start + (first * size) as u64, &mut bytes)?;
        let fill = Fill { encode, value };
        let bad = match info.element {
            ElementType::F64 => fill.from(&bytes, piece, |b: [u8; 8]| f64::from_le_bytes(b) as f32),
            ElementType::F32 => fill.from(&bytes, piece, |b: [u8; 4]| f32::from_le_bytes(b)),
            ElementType::BF16 => fill.from(&bytes, piece, |b: [u8; 2]| bf16::from_le_bytes(b).to_f32()),
            _ => {
                // The slice form uses the processor's own conversion, many times the speed of single ones.
                let halves: Vec<f16> = bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b)).collect();
                let mut wide = vec![0.0; halves.len()];
                halves.convert_to_f32_slice(&mut wide);
                fill.with(wide.into_iter(), piece)
            }
        };
        match bad {
            None => Ok(()),
            Some((at, wide)) => Err(self.not_finite(name, info, first + at, wide, &bytes[at * size..])),
        }
    }

    fn not_finite(&self, name: &str, info: &TensorInfo, at: usize, wide: f32, bytes: &[u8]) -> Error {
        let mut index = vec![0; info.shape.len()];
        let mut rest = at;
        for (place, size) in index.iter_mut().zip(&info.shape).rev() {
            *place = rest % size;
            rest /= size;
        }
        let stored = match (info.element, bytes.first_chunk::<8>()) {
            (ElementType::F64, Some(b)) => f64::from_le_bytes(*b),
            _ => f64::from(wide),
        };
        if stored.is_finite() {
            Error::file(
                &self.path,
                format!("tensor `{name}` has {stored:e} at index {index:?}, beyond the range of the storage type"),
                "keep the weights as f32 or bf16",
            )
        } else {
            Error::file(
                &self.path,
                format!("tensor `{name}` has {stored} at index {index:?}, expected finite numbers"),
                "the checkpoint is damaged or its training diverged; download or export it again",
            )
        }
    }
}

/// How a float becomes an element, and what that element is worth.
struct Fill<'a, E, V> {
    encode: &'a E,
    value: &'a V,
}

impl<E, V> Fill<'_, E, V> {
    /// Writes `piece` from stored elements of `W` bytes; the first that is not finite, if there is one.
    fn from<const W: usize, T: Copy>(
        &self,
        bytes: &[u8],
        piece: &mut [MaybeUninit<T>],
        decode: impl Fn([u8; W]) -> f32,
    ) -> Option<(usize, f32)>
    where
        E: Fn(f32) -> T,
        V: Fn(T) -> f32,
    {
        self.with(bytes.as_chunks::<W>().0.iter().map(|b| decode(*b)), piece)
    }

    /// The same from floats.
    fn with<T: Copy>(
        &self,
        floats: impl Iterator<Item = f32> + Clone,
        piece: &mut [MaybeUninit<T>],
    ) -> Option<(usize, f32)>
    where
        E: Fn(f32) -> T,
        V: Fn(T) -> f32,
    {
        // Without an early exit the scan runs as vector code; the place is looked for only when needed.
        let mut bad = false;
        for (place, float) in piece.iter_mut().zip(floats.clone()) {
            let element = (self.encode)(float);
            bad |= !(self.value)(element).is_finite();
            place.write(element);
        }
        if !bad {
            return None;
        }
        floats.enumerate().find(|(_, float)| !(self.value)((self.encode)(*float)).is_finite())
    }
}

/// Fills `bytes` from a place of a file, wherever its cursor stands.
#[cfg(unix)]
fn read_at(file: &File, place: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, place)
}

/// Fills `bytes` from a place of a file, wherever its cursor stands.
#[cfg(windows)]
fn read_at(file: &File, mut place: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, bytes, place)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (place, bytes) = (place + n as u64, &mut bytes[n..]);
    }
    Ok(())
}
