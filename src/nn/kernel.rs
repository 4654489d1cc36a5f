//! What the inference kernels are made of: read access to tensors, rows in parallel, and row arithmetic.
//!
//! A row is always computed by one thread, with sixteen accumulators that are added up in a fixed tree. Row functions
//! are compiled a second time for AVX2. No product is fused with a sum, so both versions give the same bits.

use super::Form;
use super::buffer::Fresh;
use crate::{Error, Result};
use candle_core::{CpuStorage, DType, Storage, StorageRef, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

/// Multiply-adds from which a kernel is worth a second thread.
const PARALLEL: usize = 1 << 16;
/// Multiply-adds in one parallel task.
const TASK: usize = 1 << 14;
/// Accumulators of a reduction.
const LANES: usize = 16;

/// Compiles each row function twice, plainly and for AVX2, and picks the right one at run time.
macro_rules! wide {
    ($($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $out:ty)? $body:block)*) => {$(
        $(#[$doc])*
        pub fn $name($($arg: $kind),*) $(-> $out)? {
            #[inline(always)]
            fn plain($($arg: $kind),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $kind),*) $(-> $out)? {
                    plain($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2, and `avx2` is otherwise a safe function.
                    return unsafe { avx2($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    )*};
}
pub(super) use wide;

/// 2^112, between the exponents of f16 and f32.
const TWO_TO_112: f32 = f32::from_bits(0x7780_0000);

/// Whether the kernels may work on `x` in this form.
pub fn applies(form: Form, x: &Tensor) -> bool {
    form == Form::Inference && x.device().is_cpu() && x.dtype() == DType::F32
}

/// Whether a float type is for storage only: arithmetic then happens in f32.
pub fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::BF16 | DType::F16)
}

/// Read access to the elements of a CPU tensor, from its first element on.
pub struct View<'a> {
    storage: StorageRef<'a>,
    start: usize,
    /// Elements between neighbours along each axis.
    pub stride: &'a [usize],
}

impl<'a> View<'a> {
    /// Opens a tensor; its memory may be strided.
    pub fn new(x: &'a Tensor) -> Self {
        let (storage, layout) = x.storage_and_layout();
        Self { storage, start: layout.start_offset(), stride: layout.stride() }
    }

    /// The elements as f32.
    pub fn f32(&self) -> Result<&[f32]> {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(v)) => Ok(&v[self.start..]),
            other => Err(wrong("f32", other)),
        }
    }

    /// The elements as bf16.
    pub fn bf16(&self) -> Result<&[bf16]> {
        match &*self.storage {
            Storage::Cpu(CpuStorage::BF16(v)) => Ok(&v[self.start..]),
            other => Err(wrong("bf16", other)),
        }
    }

    /// The elements as f16.
    pub fn f16(&self) -> Result<&[f16]> {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F16(v)) => Ok(&v[self.start..]),
            other => Err(wrong("f16", other)),
        }
    }

    /// The elements as u8.
    pub fn u8(&self) -> Result<&[u8]> {
        match &*self.storage {
            Storage::Cpu(CpuStorage::U8(v)) => Ok(&v[self.start..]),
            other => Err(wrong("u8", other)),
        }
    }
}

fn wrong(expected: &str, got: &Storage) -> Error {
    let at = format!("{:?} on {:?}", got.dtype(), got.device().location());
    Error::invalid(
        format!("a kernel expected a {expected} tensor on the CPU and got {at}"),
        "give all tensors of a network one device and one float type",
    )
}

/// Calls `row(r, out_r)` for every row of `out`; `cost` is the work of one row in multiply-adds.
pub fn fill_rows(out: &mut [f32], width: usize, cost: usize, row: impl Fn(usize, &mut [f32]) + Sync) {
    if width == 0 || out.is_empty() {
        return;
    }
    let rows = out.len() / width;
    if rows.saturating_mul(cost) < PARALLEL {
        out.chunks_exact_mut(width).enumerate().for_each(|(r, o)| row(r, o));
        return;
    }
    let per_task = (TASK / cost.max(1)).max(1);
    out.par_chunks_mut(per_task * width).enumerate().for_each(|(task, chunk)| {
        for (i, o) in chunk.chunks_exact_mut(width).enumerate() {
            row(task * per_task + i, o);
        }
    });
}

/// A copy of `x` in which `row(r, out_r)` changed every row of `width`; `cost` is as for [`fill_rows`].
pub fn changed_rows(x: &[f32], width: usize, cost: usize, row: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    if width == 0 || x.is_empty() {
        return x.to_vec();
    }
    let mut out = Fresh::new(x.len());
    let sheet = out.sheet(width);
    let rows = x.len() / width;
    let one = |r: usize| {
        // SAFETY: each row is copied and changed by one task alone.
        unsafe {
            sheet.at(r, 0).copy_from_nonoverlapping(x[r * width..].as_ptr(), width);
            row(r, sheet.part(r, 0..width));
        }
    };
    if rows.saturating_mul(cost) < PARALLEL {
        (0..rows).for_each(one);
    } else {
        (0..rows).into_par_iter().with_min_len((TASK / cost.max(1)).max(1)).for_each(one);
    }
    // SAFETY: all rows have been written.
    unsafe { out.filled() }
}

/// e^x to 2e-7 relative; exactly 0 below -87.3 (so for -inf), infinite above 88.3, NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer kept in the low bits
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4; // ln 2 in two parts
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let y = (p * r * r + r + 1.0) * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    let y = if x < -87.3 { 0.0 } else { y };
    if x > 88.3 { f32::INFINITY } else { y }
}

/// tanh to 2e-7 relative.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let s = x * x;
    let mut p = -5.704_988_7e-3;
    for c in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
        p = p * s + c;
    }
    let small = p * s * x + x;
    let large = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { small } else { large }
}

/// The error function to 2e-7 relative.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let mut p = -5.967_617e-4;
    for c in [4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1] {
        p = p * s + c;
    }
    let small = p * x + x;
    let mut q = -1.728_534_7e-5;
    for c in [3.831_971_3e-4, -3.883_964_4e-3, 2.425_462_2e-2, -1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1] {
        q = q * t + c;
    }
    let large = (1.0 - exp(q * t - t)).copysign(x);
    if t < 0.927_734_4 { small } else { large }
}

/// The matrix `[rows, columns]` with rows and columns exchanged.
pub fn transposed<T: Copy>(matrix: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|c| matrix.iter().skip(c).step_by(columns).copied()).collect()
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn tree(mut acc: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            acc[i] = join(acc[i], acc[i + width]);
        }
        width /= 2;
    }
    acc[0]
}

/// Folds `a[i], b[i]` into sixteen accumulators that start at 0, and those into their sum.
#[inline(always)]
fn fold2<T: Copy>(a: &[f32], b: &[T], step: impl Fn(f32, f32, T) -> f32) -> f32 {
    let mut acc = [0f32; LANES];
    let (ca, cb) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (ra, rb) = (ca.remainder(), cb.remainder());
    for (x, y) in ca.zip(cb) {
        for i in 0..LANES {
            acc[i] = step(acc[i], x[i], y[i]);
        }
    }
    for (acc, (&x, &y)) in acc.iter_mut().zip(ra.iter().zip(rb)) {
        *acc = step(*acc, x, y);
    }
    tree(acc, |x, y| x + y)
}

wide! {
    /// The sum of a row.
    pub fn sum(x: &[f32]) -> f32 {
        fold2(x, x, |acc, x, _| acc + x)
    }

    /// The sum of (x - mean)^2 over a row.
    pub fn sum_squares(x: &[f32], mean: f32) -> f32 {
        fold2(x, x, |acc, x, _| acc + (x - mean) * (x - mean))
    }

    /// The inner product of two rows of one length.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        fold2(a, b, |acc, a, b| acc + a * b)
    }

    /// The inner product with a row stored as bf16.
    pub fn dot_bf16(a: &[f32], b: &[bf16]) -> f32 {
        fold2(a, b, |acc, a, b| acc + a * f32::from_bits(u32::from(b.to_bits()) << 16))
    }

    /// The inner product with a row stored as f16.
    ///
    /// The bits of a half, shifted into those of a float, are the number times 2^-112; so too for its smallest numbers.
    pub fn dot_f16(a: &[f32], b: &[f16]) -> f32 {
        fold2(a, b, |acc, a, b| {
            let bits = u32::from(b.to_bits());
            let magnitude = f32::from_bits((bits & 0x7fff) << 13) * TWO_TO_112;
            acc + a * f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
        })
    }

    /// out += weight * x.
    pub fn add_scaled(out: &mut [f32], weight: f32, x: &[f32]) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o += weight * x;
        }
    }

    /// x = (x - mean) * inverse, where inverse is 1 / scale.
    pub fn normalize(x: &mut [f32], mean: f32, inverse: f32) {
        for x in x {
            *x = (*x - mean) * inverse;
        }
    }

    /// x = x * factor.
    pub fn scale(x: &mut [f32], factor: f32) {
        for x in x {
            *x *= factor;
        }
    }

    /// x = x * weight.
    pub fn multiply(x: &mut [f32], weight: &[f32]) {
        for (x, &w) in x.iter_mut().zip(weight) {
            *x *= w;
        }
    }

    /// x = x + bias.
    pub fn add(x: &mut [f32], bias: &[f32]) {
        for (x, &b) in x.iter_mut().zip(bias) {
            *x += b;
        }
    }

    /// x = cap * tanh(x / cap).
    pub fn cap(x: &mut [f32], cap: f32) {
        let inverse = 1.0 / cap;
        for x in x {
            *x = tanh(*x * inverse) * cap;
        }
    }

    /// x = -inf where `visible` is 0.
    pub fn hide(x: &mut [f32], visible: &[u8]) {
        for (x, &v) in x.iter_mut().zip(visible) {
            *x = if v == 0 { f32::NEG_INFINITY } else { *x };
        }
    }

    /// The softmax of a row in place: exact zeros for -inf, and a row of nothing but -inf becomes zeros.
    pub fn softmax(x: &mut [f32]) {
        let larger = |a: f32, b: f32| if b > a { b } else { a };
        let mut acc = [f32::NEG_INFINITY; LANES];
        let chunks = x.chunks_exact(LANES);
        let rest = chunks.remainder();
        for c in chunks {
            for i in 0..LANES {
                acc[i] = larger(acc[i], c[i]);
            }
        }
        for (acc, &x) in acc.iter_mut().zip(rest) {
            *acc = larger(*acc, x);
        }
        let max = larger(tree(acc, larger), -1e30);
        for x in x.iter_mut() {
            *x = exp(*x - max);
        }
        let total = fold2(x, x, |acc, x, _| acc + x);
        let total = if total < 0.5 { 0.5 } else { total };
        for x in x {
            *x /= total;
        }
    }
}
