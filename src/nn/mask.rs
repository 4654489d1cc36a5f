//! Which keys a query may see.
//!
//! visible(i, j) = real(j) and pos(j) <= pos(i) and (no window, or pos(i) - pos(j) < window), where positions count
//! real tokens, so that padding on either side changes nothing. Queries are the last Tq of the Tk keys: query i is
//! key Tk - Tq + i. A query that is itself padding sees only itself, which keeps its row finite.

use std::ops::Range;

use crate::{Error, Result};
use candle_core::{Device, Tensor};

/// What a causal mask is built from; all are given row after row.
#[derive(Clone, Copy, Debug)]
pub struct CausalMask<'a> {
    /// Rows of the batch.
    pub batch: usize,
    /// Whether a key is a real token, `[B, Tk]`.
    pub real: &'a [bool],
    /// Position of each key, `[B, Tk]`; of a pad, any.
    pub key: &'a [u32],
    /// Position of each query, `[B, Tq]`.
    pub query: &'a [u32],
    /// How many keys a query sees at most, itself included.
    pub window: Option<usize>,
}

/// Which keys each query sees.
#[derive(Clone, Debug)]
pub struct AttentionMask {
    visible: Tensor,
    spans: Vec<Span>,
    all: bool,
}

/// From the first key that a query sees to the last one.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// Empty for a query that sees none.
    pub keys: Range<usize>,
    /// Whether it sees all of them.
    pub full: bool,
}

impl Span {
    fn of(visible: &[u8]) -> Self {
        let first = visible.iter().position(|&v| v != 0).unwrap_or(0);
        let end = visible.iter().rposition(|&v| v != 0).map_or(first, |last| last + 1);
        Self { keys: first..end, full: visible[first..end].iter().all(|&v| v != 0) }
    }
}

impl AttentionMask {
    /// The mask of a decoder.
    pub fn causal(spec: &CausalMask<'_>, device: &Device) -> Result<Self> {
        let b = spec.batch;
        let (tq, tk) = (spec.query.len() / b.max(1), spec.key.len() / b.max(1));
        let fits = tq * b == spec.query.len() && tk * b == spec.key.len() && spec.real.len() == spec.key.len();
        if !fits || tq == 0 || tq > tk {
            return Err(Error::invalid(
                format!(
                    "a mask for {b} rows got {} queries, {} keys and {} key flags",
                    spec.query.len(),
                    spec.key.len(),
                    spec.real.len()
                ),
                "give every row as many queries, and at least as many keys",
            ));
        }
        let mut visible = vec![0u8; b * tq * tk];
        for row in 0..b {
            let (real, key) = (&spec.real[row * tk..][..tk], &spec.key[row * tk..][..tk]);
            for i in 0..tq {
                let (own, pos) = (tk - tq + i, spec.query[row * tq + i]);
                let out = &mut visible[(row * tq + i) * tk..][..tk];
                if !real[own] {
                    out[own] = 1;
                    continue;
                }
                for ((out, &real), &key) in out.iter_mut().zip(real).zip(key) {
                    let near = |w: usize| ((pos - key) as usize) < w;
                    *out = u8::from(real && key <= pos && spec.window.is_none_or(near));
                }
                if out.iter().all(|&v| v == 0) {
                    out[own] = 1;
                }
            }
        }
        Self::from_visible(visible, (b, tq, tk), device)
    }

    /// A mask of any other kind: `visible` `[B, Tq, Tk]`, row after row, 1 where a query sees a key.
    pub fn from_visible(mut visible: Vec<u8>, (b, tq, tk): (usize, usize, usize), device: &Device) -> Result<Self> {
        if visible.len() != b * tq * tk {
            return Err(Error::invalid(
                format!("a mask [{b}, {tq}, {tk}] got {} flags", visible.len()),
                "give one flag for each pair of query and key",
            ));
        }
        let size = (tq * tk).max(1);
        let same = visible.chunks_exact(size).all(|row| row == &visible[..size]);
        let rows = if same { b.min(1) } else { b };
        visible.truncate(rows * tq * tk);
        let all = visible.iter().all(|&v| v != 0);
        let spans = visible.chunks_exact(tk.max(1)).map(Span::of).collect();
        let visible = Tensor::from_vec(visible, (rows, 1, tq, tk), device)?;
        Ok(Self { visible, spans, all })
    }

    /// The span of each query, `[B or 1, Tq]`.
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// 1 where a query sees a key, u8 `[B or 1, 1, Tq, Tk]`; one row where all rows are alike.
    pub fn visible(&self) -> &Tensor {
        &self.visible
    }

    /// Whether every query sees every key, so that there is nothing to mask.
    pub fn all_visible(&self) -> bool {
        self.all
    }
}
