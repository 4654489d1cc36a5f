//! All heads of attention in the inference form, a block of queries at a time; scores live as long as their block.
//!
//! Keys that no query of a block sees cost nothing. A query's scores are summed up and normalised over the span of keys
//! that it sees, so that padding before and after changes no bit.

use std::ops::Range;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::attention::{group, mismatch};
use super::buffer::{Fresh, Sheet};
use super::dense::{self, Rows, scratch};
use super::kernel::{self, View};
use super::mask::Span;
use super::{Attended, Form, ScoreRule};
use crate::Result;

/// Most scores of a block: they stay in the second-level cache.
const SCORES: usize = 1 << 16;
/// Most queries of a block: a causal query sees all but half as many of the keys that its block reads.
const QUERIES: usize = 32;
/// Multiply-adds from which a second thread is worth waking.
const PARALLEL: usize = 1 << 17;

/// Attention of queries `[B, Tq, H, d]` to keys and values `[B, Tk, Hkv, d]`, all of which may be strided but for their
/// last axis, or `None` where it must be composed.
///
/// The mixed values have the same bits whatever else is asked for.
///
/// # Errors
/// Shapes that do not fit.
pub(super) fn attend(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    scale: f64,
    rule: &ScoreRule<'_>,
    (want_scores, want_pattern): (bool, bool),
) -> Result<Option<Attended>> {
    let fits = |x: &Tensor| kernel::applies(Form::Inference, x) && x.stride().last() == Some(&1);
    if ![q, k, v].into_iter().all(fits) || !(dense::vectors() || q.dim(1)? == 1) {
        return Ok(None);
    }
    let ((b, tq, h, d), (kb, tk, kv, kd)) = (q.dims4()?, k.dims4()?);
    let g = group(h, kv)?;
    if kb != b || kd != d {
        return Err(mismatch("queries", q, "keys", k));
    }
    if k.dims() != v.dims() {
        return Err(mismatch("values", v, "keys", k));
    }
    rule.check((b, h, tq, tk))?;
    let visible = View::new(rule.mask.visible());
    let bias = rule.bias.map(View::new);
    let views = [View::new(q), View::new(k), View::new(v)];
    let heads = Heads {
        q: Vectors::new(&views[0], d)?,
        k: Vectors::new(&views[1], d)?,
        v: Vectors::new(&views[2], d)?,
        sizes: (b, tq, tk, h),
        g,
        scale: scale as f32,
        cap: rule.cap.map(|cap| cap as f32),
        visible: visible.u8()?,
        spans: rule.mask.spans(),
        bias: match (&bias, rule.bias) {
            (Some(view), Some(bias)) => Some((view.f32()?, bias.dims()[0])),
            _ => None,
        },
    };
    let maps = b * h * tq * tk;
    let (mut z, mut scores, mut pattern) =
        (Fresh::new(b * tq * h * d), want_scores.then(|| Fresh::new(maps)), want_pattern.then(|| Fresh::new(maps)));
    heads.run(z.sheet(d), scores.as_mut().map(|s| s.sheet(tk)), pattern.as_mut().map(|p| p.sheet(tk)));
    // SAFETY: every query of every head has been written.
    let tensor = |values: Fresh, shape: [usize; 4]| Tensor::from_vec(unsafe { values.filled() }, &shape, &Device::Cpu);
    Ok(Some(Attended {
        z: tensor(z, [b, tq, h, d])?,
        scores: scores.map(|s| tensor(s, [b, h, tq, tk])).transpose()?,
        pattern: pattern.map(|p| tensor(p, [b, h, tq, tk])).transpose()?,
    }))
}

/// Vectors `[B, T, H, d]`, contiguous along d.
#[derive(Clone, Copy)]
pub(super) struct Vectors<'a> {
    values: &'a [f32],
    stride: [usize; 3],
    d: usize,
}

impl<'a> Vectors<'a> {
    /// The vectors of length `d` behind the view of a tensor of four axes.
    pub fn new(view: &'a View, d: usize) -> Result<Self> {
        let stride = [view.stride[0], view.stride[1], view.stride[2]];
        Ok(Self { values: view.f32()?, stride, d })
    }

    /// The vectors of one head from position `t` on.
    pub fn head(&self, b: usize, t: usize, h: usize) -> Rows<'a> {
        let at = b * self.stride[0] + t * self.stride[1] + h * self.stride[2];
        Rows { values: &self.values[at..], step: self.stride[1], len: self.d }
    }

    /// The vectors of one position from head `h` on.
    fn position(&self, b: usize, t: usize, h: usize) -> Rows<'a> {
        Rows { step: self.stride[2], ..self.head(b, t, h) }
    }
}

struct Heads<'a> {
    q: Vectors<'a>,
    k: Vectors<'a>,
    v: Vectors<'a>,
    /// Rows of the batch, queries, keys, query heads.
    sizes: (usize, usize, usize, usize),
    /// Query heads that share a key head.
    g: usize,
    scale: f32,
    cap: Option<f32>,
    visible: &'a [u8],
    spans: &'a [Span],
    bias: Option<(&'a [f32], usize)>,
}

impl Heads<'_> {
    fn run(&self, z: Sheet, scores: Option<Sheet>, pattern: Option<Sheet>) {
        let (b, tq, tk, h) = self.sizes;
        let size = (SCORES / (self.g * tk).max(1)).clamp(1, QUERIES);
        let (blocks, kv) = (tq.div_ceil(size), h / self.g);
        // The longest blocks, the last ones, are handed out first.
        let task = |i: usize| {
            let start = (blocks - 1 - i / (b * kv)) * size;
            let queries = start..(start + size).min(tq);
            self.block(i / kv % b, i % kv, queries, &z, scores.as_ref(), pattern.as_ref());
        };
        if 2 * b * h * tq * tk * self.q.d < PARALLEL {
            (0..b * kv * blocks).for_each(task);
        } else {
            (0..b * kv * blocks).into_par_iter().with_max_len(1).for_each(task);
        }
    }

    fn span(&self, b: usize, query: usize) -> &Span {
        let tq = self.sizes.1;
        &self.spans[(b * tq + query) % self.spans.len()]
    }

    /// Some queries of the heads that share key head `kv` of row `b`.
    fn block(
        &self,
        b: usize,
        kv: usize,
        queries: Range<usize>,
        z: &Sheet,
        scores: Option<&Sheet>,
        pattern: Option<&Sheet>,
    ) {
        let (_, tq, tk, h) = self.sizes;
        let (n, g) = (queries.len(), self.g);
        let spans = || queries.clone().map(|i| &self.span(b, i).keys).filter(|keys| !keys.is_empty());
        let first = spans().map(|keys| keys.start).min().unwrap_or(0);
        let end = spans().map(|keys| keys.end).max().unwrap_or(first);
        let m = end - first;
        scratch(g * n * m, |s| {
            let keys = self.k.head(b, first, kv);
            match n {
                1 => dense::inner(self.q.position(b, queries.start, kv * g), g, keys, m, s),
                _ => {
                    for (j, s) in s.chunks_exact_mut((n * m).max(1)).enumerate() {
                        dense::inner(self.q.head(b, queries.start, kv * g + j), n, keys, m, s);
                    }
                }
            }
            for r in 0..g * n {
                let s = &mut s[r * m..(r + 1) * m];
                let (head, query) = (kv * g + r / n, queries.start + r % n);
                // The row of the maps [B, H, Tq].
                let row = (b * h + head) * tq + query;
                let span = self.span(b, query);
                let (before, after) = match span.keys.is_empty() {
                    true => (0, 0),
                    false => (span.keys.start - first, span.keys.end - first),
                };
                let seen = &mut s[before..after];
                self.finish(seen, row, b * tq + query, span);
                if let Some(scores) = scores {
                    keep(scores, row, tk, span, seen, f32::NEG_INFINITY);
                }
                kernel::softmax(seen);
                if let Some(pattern) = pattern {
                    keep(pattern, row, tk, span, seen, 0.0);
                }
                s[..before].fill(0.0);
                s[after..].fill(0.0);
            }
            let values = self.v.head(b, first, kv);
            // SAFETY: queries of a block belong to one task, and each vector is written once.
            let to = |r: usize| z.at((b * tq + queries.start + r % n) * h + kv * g + r / n, 0);
            unsafe { dense::mix(s, g * n, m, values, to) };
        });
    }

    /// Scale, cap, bias and mask of the scores of one query over its span.
    fn finish(&self, s: &mut [f32], row: usize, query: usize, span: &Span) {
        let (_, tq, tk, h) = self.sizes;
        kernel::scale(s, self.scale);
        if let Some(cap) = self.cap {
            kernel::cap(s, cap);
        }
        if let Some((bias, rows)) = self.bias {
            let at = row % (rows * h * tq) * tk;
            kernel::add(s, &bias[at + span.keys.start..][..s.len()]);
        }
        if !span.full {
            let at = query % self.spans.len() * tk;
            kernel::hide(s, &self.visible[at + span.keys.start..][..s.len()]);
        }
    }
}

/// Writes one row of a map of all keys.
fn keep(map: &Sheet, row: usize, keys: usize, span: &Span, seen: &[f32], hidden: f32) {
    for column in (0..span.keys.start).chain(span.keys.start + seen.len()..keys) {
        // SAFETY: a row of the map belongs to one task.
        unsafe { map.at(row, column).write(hidden) };
    }
    for (column, s) in (span.keys.start..).zip(seen) {
        // SAFETY: as above.
        unsafe { map.at(row, column).write(*s) };
    }
}
