//! Inner products on AVX-512: a tile of up to six rows of activations with four rows of weights.
//!
//! Both lie as they are in memory, inputs running fastest; nothing is packed. Sixteen sums run along the inputs (lane l
//! takes inputs l, l + 16, ...) and are added up in a fixed tree, so that a result depends on its two rows alone: not on
//! the tile that it is computed in, on other rows, or on threads.

use std::arch::x86_64::*;

use half::{bf16, f16};

/// Rows of weights in a tile.
const COLUMNS: usize = 4;
/// Most rows of activations in a tile: with four rows of weights, 24 sums stay in registers.
const ROWS: usize = 6;

/// Whether this processor has what the functions here are compiled for.
pub fn supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
}

/// Where a tile's results go.
#[derive(Clone, Copy)]
struct Target {
    start: *mut f32,
    row: usize,
    /// How many of the four columns there are.
    columns: usize,
    add: bool,
}

/// Joins the halves of two groups of sums; by 8, 4, 2 and 1 lanes.
macro_rules! join {
    ($a:expr, $b:expr, lanes $low:literal $high:literal) => {
        _mm512_add_ps(_mm512_shuffle_f32x4::<$low>($a, $b), _mm512_shuffle_f32x4::<$high>($a, $b))
    };
    ($a:expr, $b:expr, elements $low:literal $high:literal) => {
        _mm512_add_ps(_mm512_shuffle_ps::<$low>($a, $b), _mm512_shuffle_ps::<$high>($a, $b))
    };
}

/// The sums over the lanes of sixteen vectors: that of `v[r + 4 c]` in lane `4 r + c`.
///
/// Each is ((l0 + l8) + (l4 + l12)) + ..., as `tree` of the portable kernels adds them.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn sums(v: &[__m512; 16]) -> __m512 {
    let mut eight = [_mm512_setzero_ps(); 8];
    for (i, e) in eight.iter_mut().enumerate() {
        *e = join!(v[2 * i], v[2 * i + 1], lanes 0b01_00_01_00 0b11_10_11_10);
    }
    let mut four = [_mm512_setzero_ps(); 4];
    for (i, f) in four.iter_mut().enumerate() {
        *f = join!(eight[2 * i], eight[2 * i + 1], lanes 0b10_00_10_00 0b11_01_11_01);
    }
    let left = join!(four[0], four[1], elements 0b01_00_01_00 0b11_10_11_10);
    let right = join!(four[2], four[3], elements 0b01_00_01_00 0b11_10_11_10);
    join!(left, right, elements 0b10_00_10_00 0b11_01_11_01)
}

/// Writes the results of up to four rows.
///
/// # Safety
/// As for the tiles.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
unsafe fn store(sums: __m512, rows: usize, to: Target) {
    let parts = [
        _mm512_extractf32x4_ps::<0>(sums),
        _mm512_extractf32x4_ps::<1>(sums),
        _mm512_extractf32x4_ps::<2>(sums),
        _mm512_extractf32x4_ps::<3>(sums),
    ];
    let mask = (1u8 << to.columns) - 1;
    for (r, part) in parts.into_iter().enumerate().take(rows) {
        // SAFETY: the caller promises that the rows and columns of the target are its own.
        unsafe {
            let at = to.start.add(r * to.row);
            let sum = if to.add { _mm_add_ps(_mm_maskz_loadu_ps(mask, at), part) } else { part };
            _mm_mask_storeu_ps(at, mask, sum);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_f32(at: *const f32) -> __m512 {
    // SAFETY: the caller promises sixteen elements.
    unsafe { _mm512_loadu_ps(at) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_f32_part(at: *const f32, mask: u16) -> __m512 {
    // SAFETY: the caller promises the elements of the mask.
    unsafe { _mm512_maskz_loadu_ps(mask, at) }
}

/// The bits of a bf16 are the upper half of those of a float.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_bf16(at: *const bf16) -> __m512 {
    // SAFETY: the caller promises sixteen elements.
    let bits = unsafe { _mm256_loadu_si256(at.cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_bf16_part(at: *const bf16, mask: u16) -> __m512 {
    // SAFETY: the caller promises the elements of the mask.
    let bits = unsafe { _mm256_maskz_loadu_epi16(mask, at.cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_f16(at: *const f16) -> __m512 {
    // SAFETY: the caller promises sixteen elements.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(at.cast()) })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_f16_part(at: *const f16, mask: u16) -> __m512 {
    // SAFETY: the caller promises the elements of the mask.
    _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(mask, at.cast()) })
}

/// Inner products of rows of activations with rows of weights: where all of them lie.
#[derive(Clone, Copy)]
pub struct Block<W> {
    /// The first row of activations.
    pub x: *const f32,
    /// Elements between rows of activations.
    pub x_row: usize,
    /// Rows of activations.
    pub rows: usize,
    /// The first row of weights.
    pub w: *const W,
    /// Elements between rows of weights.
    pub w_row: usize,
    /// Rows of weights.
    pub columns: usize,
    /// Elements of a row that take part.
    pub inputs: usize,
    /// The first result.
    pub to: *mut f32,
    /// Elements between the results of neighbouring rows of activations.
    pub to_row: usize,
    /// Add to what is there.
    pub add: bool,
}

/// Rows of activations up to which each row of weights is read once, however many rows there are.
const FEW: usize = 2 * ROWS;

/// A block and a tile for each kind of storage.
macro_rules! stored {
    ($block:ident, $tile:ident, $kind:ty, $load:ident, $load_part:ident) => {
        /// All inner products of a block.
        ///
        /// # Safety
        /// The processor is [`supported`]; all rows have as many elements as the block says, and nobody else uses the
        /// results meanwhile.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        pub unsafe fn $block(b: Block<$kind>) {
            let one = |i: usize, j: usize| {
                let columns = COLUMNS.min(b.columns - j);
                // SAFETY: rows `i..` and columns `j..` are those of the block; missing columns repeat the last one.
                unsafe {
                    let w = [0, 1, 2, 3].map(|c: usize| b.w.add((j + c.min(columns - 1)) * b.w_row));
                    let x = b.x.add(i * b.x_row);
                    let to = Target { start: b.to.add(i * b.to_row + j), row: b.to_row, columns, add: b.add };
                    match b.rows - i {
                        1 => $tile::<1>(x, b.x_row, w, b.inputs, to),
                        2 => $tile::<2>(x, b.x_row, w, b.inputs, to),
                        3 => $tile::<3>(x, b.x_row, w, b.inputs, to),
                        4 => $tile::<4>(x, b.x_row, w, b.inputs, to),
                        5 => $tile::<5>(x, b.x_row, w, b.inputs, to),
                        _ => $tile::<ROWS>(x, b.x_row, w, b.inputs, to),
                    }
                }
            };
            if b.rows <= FEW {
                for j in (0..b.columns).step_by(COLUMNS) {
                    for i in (0..b.rows).step_by(ROWS) {
                        one(i, j);
                    }
                }
            } else {
                for i in (0..b.rows).step_by(ROWS) {
                    for j in (0..b.columns).step_by(COLUMNS) {
                        one(i, j);
                    }
                }
            }
        }

        /// Inner products over `k` inputs of `M` rows of activations, `x_row` elements apart from `x` on, with four
        /// rows of weights.
        ///
        /// # Safety
        /// The processor is [`supported`]; every row of `x` and `w` has `k` elements, every row of the target as many
        /// elements as it has columns, and nobody else uses the target meanwhile.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        unsafe fn $tile<const M: usize>(x: *const f32, x_row: usize, w: [*const $kind; COLUMNS], k: usize, to: Target) {
            let mut acc = [[_mm512_setzero_ps(); COLUMNS]; M];
            let whole = k - k % 16;
            // SAFETY: all loads stay within the `k` elements of their rows; the rows of the target are the caller's.
            unsafe {
                let mut p = 0;
                while p < whole {
                    let w = [$load(w[0].add(p)), $load(w[1].add(p)), $load(w[2].add(p)), $load(w[3].add(p))];
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let x = load_f32(x.add(i * x_row + p));
                        for (acc, w) in acc.iter_mut().zip(w) {
                            *acc = _mm512_fmadd_ps(x, w, *acc);
                        }
                    }
                    p += 16;
                }
                if whole < k {
                    let mask = (1u16 << (k - whole)) - 1;
                    let w = [
                        $load_part(w[0].add(p), mask),
                        $load_part(w[1].add(p), mask),
                        $load_part(w[2].add(p), mask),
                        $load_part(w[3].add(p), mask),
                    ];
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let x = load_f32_part(x.add(i * x_row + p), mask);
                        for (acc, w) in acc.iter_mut().zip(w) {
                            *acc = _mm512_fmadd_ps(x, w, *acc);
                        }
                    }
                }
                for (group, rows) in acc.chunks(4).enumerate() {
                    let mut v = [_mm512_setzero_ps(); 16];
                    for (r, row) in rows.iter().enumerate() {
                        for (c, acc) in row.iter().enumerate() {
                            v[r + 4 * c] = *acc;
                        }
                    }
                    let start = to.start.add(group * 4 * to.row);
                    store(sums(&v), rows.len(), Target { start, ..to });
                }
            }
        }
    };
}

stored!(block_f32, tile_f32, f32, load_f32, load_f32_part);
stored!(block_bf16, tile_bf16, bf16, load_bf16, load_bf16_part);
stored!(block_f16, tile_f16, f16, load_f16, load_f16_part);

/// The widening of a row of halves.
macro_rules! widened {
    ($widen:ident, $kind:ty, $load:ident, $load_part:ident) => {
        /// Widens `from` to f32.
        ///
        /// # Safety
        /// The processor is [`supported`].
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub unsafe fn $widen(to: &mut [f32], from: &[$kind]) {
            let n = to.len().min(from.len());
            let whole = n - n % 16;
            // SAFETY: loads and stores stay within the first `n` elements of both slices.
            unsafe {
                for p in (0..whole).step_by(16) {
                    _mm512_storeu_ps(to.as_mut_ptr().add(p), $load(from.as_ptr().add(p)));
                }
                if whole < n {
                    let mask = (1u16 << (n - whole)) - 1;
                    let rest = $load_part(from.as_ptr().add(whole), mask);
                    _mm512_mask_storeu_ps(to.as_mut_ptr().add(whole), mask, rest);
                }
            }
        }
    };
}

widened!(widen_bf16, bf16, load_bf16, load_bf16_part);
widened!(widen_f16, f16, load_f16, load_f16_part);

/// Sums of `keys` vectors `v`, of (elements between neighbours, elements of each) `size`, weighted by each of the `rows`
/// rows of `p`, in the order of the keys; that of row r goes to `to(r)`.
///
/// # Safety
/// The processor is [`supported`], rows and vectors are as long as said, and each `to(r)` has room for a vector, which
/// nobody else uses.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub unsafe fn mix(
    p: *const f32,
    rows: usize,
    keys: usize,
    v: *const f32,
    size: (usize, usize),
    to: impl Fn(usize) -> *mut f32,
) {
    for start in (0..size.1).step_by(WIDTH) {
        let columns = WIDTH.min(size.1 - start);
        for r in (0..rows).step_by(ROWS) {
            // SAFETY: rows from `r` on and columns from `start` on are the caller's.
            unsafe {
                let (p, v) = (p.add(r * keys), v.add(start));
                let to = |i: usize| to(r + i).add(start);
                match rows - r {
                    1 => mix_tile::<1>(p, keys, v, (size.0, columns), [0].map(to)),
                    2 => mix_tile::<2>(p, keys, v, (size.0, columns), [0, 1].map(to)),
                    3 => mix_tile::<3>(p, keys, v, (size.0, columns), [0, 1, 2].map(to)),
                    4 => mix_tile::<4>(p, keys, v, (size.0, columns), [0, 1, 2, 3].map(to)),
                    5 => mix_tile::<5>(p, keys, v, (size.0, columns), [0, 1, 2, 3, 4].map(to)),
                    _ => mix_tile::<ROWS>(p, keys, v, (size.0, columns), [0, 1, 2, 3, 4, 5].map(to)),
                }
            }
        }
    }
}

/// Elements of a vector that [`mix_tile`] takes at once.
const WIDTH: usize = 64;

/// [`mix`] for `M` rows and up to [`WIDTH`] columns.
///
/// # Safety
/// As for [`mix`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn mix_tile<const M: usize>(
    p: *const f32,
    keys: usize,
    v: *const f32,
    (v_row, columns): (usize, usize),
    to: [*mut f32; M],
) {
    let masks = [0, 1, 2, 3].map(|part: usize| match columns.saturating_sub(16 * part) {
        left @ 0..16 => (1u16 << left) - 1,
        _ => u16::MAX,
    });
    let mut acc = [[_mm512_setzero_ps(); 4]; M];
    // SAFETY: the masks keep loads and stores within the rows; lanes that are masked out touch no memory.
    unsafe {
        for j in 0..keys {
            let row = v.add(j * v_row);
            let mut values = [_mm512_setzero_ps(); 4];
            for (part, value) in values.iter_mut().enumerate() {
                *value = _mm512_maskz_loadu_ps(masks[part], row.wrapping_add(16 * part));
            }
            for (i, acc) in acc.iter_mut().enumerate() {
                let weight = _mm512_set1_ps(*p.add(i * keys + j));
                for (acc, value) in acc.iter_mut().zip(values) {
                    *acc = _mm512_fmadd_ps(weight, value, *acc);
                }
            }
        }
        for (to, acc) in to.into_iter().zip(acc) {
            for (part, acc) in acc.into_iter().enumerate() {
                _mm512_mask_storeu_ps(to.wrapping_add(16 * part), masks[part], acc);
            }
        }
    }
}
