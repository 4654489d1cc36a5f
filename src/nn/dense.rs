//! Products with a weight matrix in the inference form: y = x W^T, block by block, with what follows done to each block
//! while it is in the cache.
//!
//! Weights stay as they are in memory, `[out, in]`, f32, bf16 or f16, and are read once for up to a few rows of input
//! (decoding) and once for each [`Weight::height`] rows otherwise. Long rows are summed up in pieces of at most
//! [`PIECE`] inputs. An output depends on its row of `x` and its row of W alone: not on the rows beside it, nor on
//! threads.

use std::cell::RefCell;
use std::ops::Range;

use candle_core::{DType, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::buffer::{Fresh, Sheet};
use super::kernel::{self, View};
use super::{Form, Layout, Linear};
use crate::Result;

/// Rows of input up to which inner products are the fastest way on any processor.
const FEW_ROWS: usize = 4;
/// Inputs that are summed up at once: six rows of them and four of weights fit the first-level cache.
const PIECE: usize = 768;
/// Rows of weights in a block: with a piece of inputs each, they fit the second-level cache.
const COLUMNS: usize = 96;
/// Multiply-adds from which a second thread is worth waking.
const PARALLEL: usize = 1 << 17;
/// Weights of a block where there are few rows: the time to read them is many times that to hand over a task.
const READ: usize = 1 << 16;

thread_local! {
    /// Blocks of weights that were widened, and of results that nobody keeps.
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Weights by their storage.
#[derive(Clone, Copy)]
enum Values<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    F16(&'a [f16]),
}

/// A weight matrix `[outputs, inputs]` where it lies.
#[derive(Clone, Copy)]
pub(super) struct Weight<'a> {
    values: Values<'a>,
    pub inputs: usize,
    pub outputs: usize,
}

/// Whether the vector kernels of this processor are at hand.
pub(super) fn vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    return avx512::supported();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether `linear` can be taken of `x` `[.., in]` here.
pub(super) fn applies(linear: &Linear, x: &Tensor, form: Form) -> bool {
    let weight = &linear.weight;
    let few = || x.elem_count() <= FEW_ROWS * x.dims().last().copied().unwrap_or(0);
    kernel::applies(form, x)
        && linear.layout == Layout::OutIn
        && matches!(weight.dtype(), DType::F32 | DType::BF16 | DType::F16)
        && weight.device().is_cpu()
        && weight.is_contiguous()
        && (vectors() || few())
}

impl<'a> Weight<'a> {
    /// The weights behind the view of a matrix `[outputs, inputs]`.
    pub fn new(view: &'a View, weight: &Tensor) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let n = outputs * inputs;
        let values = match weight.dtype() {
            DType::BF16 => Values::Bf16(&view.bf16()?[..n]),
            DType::F16 => Values::F16(&view.f16()?[..n]),
            _ => Values::F32(&view.f32()?[..n]),
        };
        Ok(Self { values, inputs, outputs })
    }

    /// Some of the rows.
    pub fn rows(self, rows: Range<usize>) -> Self {
        let span = rows.start * self.inputs..rows.end * self.inputs;
        let values = match self.values {
            Values::F32(v) => Values::F32(&v[span]),
            Values::Bf16(v) => Values::Bf16(&v[span]),
            Values::F16(v) => Values::F16(&v[span]),
        };
        Self { values, outputs: rows.len(), ..self }
    }

    /// Rows of input in a block. Widening halves pays off over many.
    fn height(&self) -> usize {
        if matches!(self.values, Values::F32(_)) { 192 } else { 384 }
    }
}

/// Calls `task(i, rows, columns)` for blocks that cover `rows` rows of input and the outputs of each of `weights`, `i`
/// being its place among them; a task reads `times` as many weights.
pub(super) fn grid(
    rows: usize,
    weights: &[&Weight],
    times: usize,
    task: impl Fn(usize, Range<usize>, Range<usize>) + Sync,
) {
    let sizes = |w: &Weight| {
        let width = COLUMNS.max(READ / (w.inputs * rows * times).max(1)).next_multiple_of(4);
        (w.height(), width, rows.div_ceil(w.height()) * w.outputs.div_ceil(width))
    };
    // Neighbouring tasks read the same weights.
    let one = |mut block: usize| {
        for (i, w) in weights.iter().enumerate() {
            let (height, width, blocks) = sizes(w);
            if block < blocks {
                let down = rows.div_ceil(height);
                let (r, c) = (block % down * height, block / down * width);
                return task(i, r..(r + height).min(rows), c..(c + width).min(w.outputs));
            }
            block -= blocks;
        }
    };
    let blocks: usize = weights.iter().map(|w| sizes(w).2).sum();
    let work: usize = weights.iter().map(|w| rows * w.outputs * w.inputs * times).sum();
    if work < PARALLEL {
        (0..blocks).for_each(one);
    } else {
        (0..blocks).into_par_iter().with_max_len(1).for_each(one);
    }
}

/// Writes x w^T for some rows of `x` `[.., w.inputs]` and some outputs to the same rows of `to`, from `column` on.
///
/// # Safety
/// The caller alone uses that part of `to`.
pub(super) unsafe fn block(
    x: &[f32],
    rows: Range<usize>,
    w: &Weight,
    columns: Range<usize>,
    (to, first, column): (&Sheet, usize, usize),
) {
    if rows.is_empty() || columns.is_empty() {
        return;
    }
    let k = w.inputs;
    assert!(rows.end * k <= x.len() && columns.end <= w.outputs, "a block lies outside its matrices");
    assert!(to.holds(first + rows.len(), column + columns.len()), "a block lies outside its results");
    #[cfg(target_arch = "x86_64")]
    if avx512::supported() {
        let pieces = k.div_ceil(PIECE).max(1);
        let piece = k.div_ceil(pieces).next_multiple_of(16);
        for start in (0..k.max(1)).step_by(piece.max(1)) {
            let span = start..(start + piece).min(k);
            // SAFETY: the processor has been asked; the assertions above keep all rows inside their matrices, and the
            // results are the caller's.
            unsafe { vector_block(x, rows.clone(), w, columns.clone(), span, (to.at(first, column), to.row_len())) };
        }
        return;
    }
    for (i, row) in rows.enumerate() {
        let x = &x[row * k..(row + 1) * k];
        for (j, c) in columns.clone().enumerate() {
            let span = c * k..(c + 1) * k;
            let y = match w.values {
                Values::F32(w) => kernel::dot(x, &w[span]),
                Values::Bf16(w) => kernel::dot_bf16(x, &w[span]),
                Values::F16(w) => kernel::dot_f16(x, &w[span]),
            };
            // SAFETY: inside the sheet (its corner has been looked up), and the caller's.
            unsafe { to.at(first + i, column + j).write(y) };
        }
    }
}

/// One piece of the inputs of [`block`]; the first one sets the results, the others add to them.
///
/// # Safety
/// The processor has AVX-512, all rows are inside their matrices, and the results are the caller's.
#[cfg(target_arch = "x86_64")]
unsafe fn vector_block(
    x: &[f32],
    rows: Range<usize>,
    w: &Weight,
    columns: Range<usize>,
    piece: Range<usize>,
    (to, to_row): (*mut f32, usize),
) {
    /// Rows of input up to which halves are widened as they are read.
    const DIRECT: usize = 12;
    let k = w.inputs;
    let x_start = x[rows.start * k + piece.start..].as_ptr();
    let at = columns.start * k + piece.start;
    macro_rules! whole {
        ($w:expr, $w_row:expr) => {
            avx512::Block {
                x: x_start,
                x_row: k,
                rows: rows.len(),
                w: $w,
                w_row: $w_row,
                columns: columns.len(),
                inputs: piece.len(),
                to,
                to_row,
                add: piece.start > 0,
            }
        };
    }
    macro_rules! halves {
        ($w:expr, $block:ident, $widen:ident) => {
            if rows.len() <= DIRECT {
                avx512::$block(whole!($w[at..].as_ptr(), k))
            } else {
                SCRATCH.with_borrow_mut(|[wide, _]| {
                    let width = piece.len();
                    wide.resize(wide.len().max(columns.len() * width), 0.0);
                    for (c, wide) in columns.clone().zip(wide.chunks_exact_mut(width)) {
                        avx512::$widen(wide, &$w[c * k + piece.start..][..width]);
                    }
                    avx512::block_f32(whole!(wide.as_ptr(), width));
                })
            }
        };
    }
    // SAFETY: as promised by the caller; the scratch has been made large enough.
    unsafe {
        match w.values {
            Values::F32(w) => avx512::block_f32(whole!(w[at..].as_ptr(), k)),
            Values::Bf16(w) => halves!(w, block_bf16, widen_bf16),
            Values::F16(w) => halves!(w, block_f16, widen_f16),
        }
    }
}

/// Lends `n` numbers of this thread's scratch memory.
pub(super) fn scratch<T>(n: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    // Taken out, so that products inside may use the rest of it.
    let mut own = SCRATCH.with_borrow_mut(|[_, own]| std::mem::take(own));
    own.resize(own.len().max(n), 0.0);
    let result = work(&mut own[..n]);
    SCRATCH.with_borrow_mut(|[_, place]| *place = own);
    result
}

/// x w^T for `rows` rows of `x` `[rows, inputs]` and each of `weights`: `[rows, outputs]` each. `finish(i, row, columns,
/// y)` changes each part of a row after it has been computed.
pub(super) fn products(
    x: &[f32],
    rows: usize,
    weights: &[&Weight],
    finish: impl Fn(usize, usize, Range<usize>, &mut [f32]) + Sync,
) -> Vec<Vec<f32>> {
    let mut outs: Vec<Fresh> = weights.iter().map(|w| Fresh::new(rows * w.outputs)).collect();
    let sheets: Vec<Sheet> = outs.iter_mut().zip(weights).map(|(out, w)| out.sheet(w.outputs)).collect();
    grid(rows, weights, 1, |i, rows, columns| {
        let sheet = &sheets[i];
        // SAFETY: blocks of a grid do not overlap, and each is written before it is finished.
        unsafe {
            block(x, rows.clone(), weights[i], columns.clone(), (sheet, rows.start, columns.start));
            for row in rows {
                finish(i, row, columns.clone(), sheet.part(row, columns.clone()));
            }
        }
    });
    // SAFETY: the grid covers all rows and outputs.
    outs.into_iter().map(|out| unsafe { out.filled() }).collect()
}

/// Vectors of one length at equal distances.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// From the first element on.
    pub values: &'a [f32],
    /// Elements between the beginnings of neighbours.
    pub step: usize,
    /// Elements of each.
    pub len: usize,
}

impl Rows<'_> {
    fn check(&self, rows: usize) {
        let end = rows.checked_sub(1).map_or(0, |last| last * self.step + self.len);
        assert!(end <= self.values.len(), "{rows} vectors do not fit into their slice");
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.step..][..self.len]
    }
}

/// The inner products of `rows` vectors of `x` with `columns` vectors of `w`: `[rows, columns]` in `out`.
///
/// # Panics
/// If the vectors or the results do not fit into their slices.
pub(super) fn inner(x: Rows, rows: usize, w: Rows, columns: usize, out: &mut [f32]) {
    x.check(rows);
    w.check(columns);
    assert!(x.len == w.len && rows * columns <= out.len(), "inner products do not fit");
    #[cfg(target_arch = "x86_64")]
    if avx512::supported() {
        let block = avx512::Block {
            x: x.values.as_ptr(),
            x_row: x.step,
            rows,
            w: w.values.as_ptr(),
            w_row: w.step,
            columns,
            inputs: x.len,
            to: out.as_mut_ptr(),
            to_row: columns,
            add: false,
        };
        // SAFETY: the processor has been asked, and all vectors and results lie inside their slices.
        return unsafe { avx512::block_f32(block) };
    }
    for (i, out) in out.chunks_exact_mut(columns.max(1)).take(rows).enumerate() {
        for (j, y) in out.iter_mut().enumerate() {
            *y = kernel::dot(x.row(i), w.row(j));
        }
    }
}

/// Sums of `keys` vectors of `v` weighted by each of the `rows` rows of `p` `[rows, keys]`, in the order of the keys;
/// that of row r goes to `to(r)`.
///
/// # Safety
/// Each `to(r)` has room for a vector, which nobody else uses.
///
/// # Panics
/// If the pattern or the vectors do not fit into their slices.
pub(super) unsafe fn mix(p: &[f32], rows: usize, keys: usize, v: Rows, to: impl Fn(usize) -> *mut f32) {
    v.check(keys);
    assert!(rows * keys <= p.len(), "a pattern does not fit");
    #[cfg(target_arch = "x86_64")]
    if avx512::supported() {
        // SAFETY: the processor has been asked, pattern and vectors lie inside their slices, and the results are the
        // caller's.
        unsafe { avx512::mix(p.as_ptr(), rows, keys, v.values.as_ptr(), (v.step, v.len), to) };
        return;
    }
    for r in 0..rows {
        // SAFETY: the caller's promise.
        let z = unsafe {
            to(r).write_bytes(0, v.len);
            std::slice::from_raw_parts_mut(to(r), v.len)
        };
        for (j, &weight) in p[r * keys..(r + 1) * keys].iter().enumerate() {
            kernel::add_scaled(z, weight, v.row(j));
        }
    }
}
