//! Attention as one operation with its gradient, for training in f32 on a CPU.
//!
//! For a block of queries of one head and the keys that any of them sees, with c the scale:
//!
//! ```text
//! s = c q k^T,   p = softmax(s),   z = p v
//! dv += p^T dz,  dp = dz v^T,  ds = p (dp - sum(dp p)),  dq = c ds k,  dk += c ds^T q
//! ```
//!
//! Scores and patterns are as large as all other activations together. Here a block of them lives as long as it is
//! worked on, and the gradient computes it again; keys that a block does not see cost nothing.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::attention::{group, mismatch};
use super::heads;
use super::kernel::{self, View};
use super::learn::{self, softmax_row};
use super::product::{Matrix, product};
use super::{AttentionMask, Form, ScoreRule};
use crate::Result;

type Candle<T> = candle_core::Result<T>;

/// Queries of a block.
const BLOCK: usize = 64;

/// What attention gave, with what was asked for beside it.
#[derive(Clone, Debug)]
pub struct Attended {
    /// Mixed values `[B, Tq, H, d]`, linked to queries, keys and values.
    pub z: Tensor,
    /// The scores as the softmax saw them `[B, H, Tq, Tk]`, -inf where hidden; without a gradient.
    pub scores: Option<Tensor>,
    /// The pattern `[B, H, Tq, Tk]`; without a gradient.
    pub pattern: Option<Tensor>,
}

/// Attention of queries `[B, Tq, H, d]` to keys and values `[B, Tk, Hkv, d]`, or `None` where it must be composed:
/// another type or device, and in the differentiable form capped or biased scores.
///
/// What is asked for beside the mixed values changes none of their bits.
///
/// # Errors
/// Shapes that do not fit.
pub fn attend(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    scale: f64,
    rule: &ScoreRule<'_>,
    (want_scores, want_pattern): (bool, bool),
    form: Form,
) -> Result<Option<Attended>> {
    if form == Form::Inference {
        return heads::attend((q, k, v), scale, rule, (want_scores, want_pattern));
    }
    let plain = rule.cap.is_none() && rule.bias.is_none();
    if !plain || ![q, k, v].iter().all(|x| learn::applies(form, x)) || k.dims() != v.dims() {
        return Ok(None);
    }
    let sizes = Sizes::of(q, k, scale)?;
    let attention = Attention { sizes, blocks: blocks(rule.mask, &sizes)?, mask: rule.mask.clone() };
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let scores = want_scores.then(|| attention.seen(&q, &k, |_| {}, f32::NEG_INFINITY)).transpose()?;
    let pattern = want_pattern.then(|| attention.seen(&q, &k, kernel::softmax, 0.0)).transpose()?;
    Ok(Some(Attended { z: q.apply_op3(&k, &v, attention)?, scores, pattern }))
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    d: usize,
    scale: f32,
}

impl Sizes {
    fn of(q: &Tensor, k: &Tensor, scale: f64) -> Result<Self> {
        let ((batch, queries, heads, d), (kb, keys, kv_heads, kd)) = (q.dims4()?, k.dims4()?);
        group(heads, kv_heads)?;
        if kb != batch || kd != d {
            return Err(mismatch("queries", q, "keys", k));
        }
        Ok(Self { batch, queries, keys, heads, kv_heads, d, scale: scale as f32 })
    }

    /// Elements of a row of queries; of keys.
    fn row(&self) -> (usize, usize) {
        (self.queries * self.heads * self.d, self.keys * self.kv_heads * self.d)
    }

    /// Elements between neighbours in a head's queries; keys.
    fn step(&self) -> (usize, usize) {
        (self.heads * self.d, self.kv_heads * self.d)
    }
}

/// A block of queries with the keys that any of them sees, and whether all see all of these.
struct Block {
    queries: Range<usize>,
    keys: Range<usize>,
    full: bool,
}

/// The blocks of every row of the mask.
fn blocks(mask: &AttentionMask, sizes: &Sizes) -> Result<Vec<Vec<Block>>> {
    let visible = View::new(mask.visible());
    let visible = visible.u8()?;
    let size = sizes.queries * sizes.keys;
    let of_row = |row: &[u8]| -> Vec<Block> {
        let starts = (0..sizes.queries).step_by(BLOCK);
        let block = |start: usize| {
            let queries = start..(start + BLOCK).min(sizes.queries);
            let seen = || queries.clone().map(|i| &row[i * sizes.keys..(i + 1) * sizes.keys]);
            let first = seen().filter_map(|row| row.iter().position(|v| *v != 0)).min().unwrap_or(0);
            let last = seen().filter_map(|row| row.iter().rposition(|v| *v != 0)).max().unwrap_or(0);
            let full = seen().all(|row| row[first..=last].iter().all(|v| *v != 0));
            Block { queries, keys: first..last + 1, full }
        };
        starts.map(block).collect()
    };
    let rows = mask.visible().dims()[0];
    Ok(visible[..rows * size].chunks_exact(size.max(1)).map(of_row).collect())
}

struct Attention {
    sizes: Sizes,
    blocks: Vec<Vec<Block>>,
    mask: AttentionMask,
}

/// A row of the batch: its queries, keys, values and mask.
#[derive(Clone, Copy)]
struct Row<'a> {
    q: &'a [f32],
    k: &'a [f32],
    visible: &'a [u8],
    blocks: &'a [Block],
}

impl Attention {
    fn row<'a>(&'a self, b: usize, q: &'a [f32], k: &'a [f32], visible: &'a [u8]) -> Row<'a> {
        let (rq, rk) = self.sizes.row();
        let own = b % self.blocks.len();
        let size = self.sizes.queries * self.sizes.keys;
        Row {
            q: &q[b * rq..(b + 1) * rq],
            k: &k[b * rk..(b + 1) * rk],
            visible: &visible[own * size..(own + 1) * size],
            blocks: &self.blocks[own],
        }
    }

    /// The scores of a block in one head, each row finished by `finish`: `[queries, keys]` in `out`.
    fn scores(&self, row: &Row, block: &Block, head: usize, out: &mut [f32], finish: impl Fn(&mut [f32])) {
        let Sizes { keys, heads, kv_heads, d, scale, .. } = self.sizes;
        let (sq, sk) = self.sizes.step();
        let (n, m) = (block.queries.len(), block.keys.len());
        let q = Matrix::rows(&row.q[block.queries.start * sq + head * d..], sq);
        let k = Matrix::rows(&row.k[block.keys.start * sk + head / (heads / kv_heads) * d..], sk);
        product(out, m, (n, m, d), q, k.turned(), scale, false);
        for (i, s) in block.queries.clone().zip(out.chunks_exact_mut(m)) {
            if !block.full {
                kernel::hide(s, &row.visible[i * keys + block.keys.start..][..m]);
            }
            finish(s);
        }
    }

    /// All scores of a head, finished by `finish`, and `hidden` where no block sees: `[B, H, Tq, Tk]`.
    fn seen(&self, q: &Tensor, k: &Tensor, finish: fn(&mut [f32]), hidden: f32) -> Result<Tensor> {
        let Sizes { batch, queries, keys, heads, .. } = self.sizes;
        let (vq, vk, vm) = (View::new(q), View::new(k), View::new(self.mask.visible()));
        let (q, k, visible) = (vq.f32()?, vk.f32()?, vm.u8()?);
        let mut all = vec![hidden; batch * heads * queries * keys];
        all.par_chunks_mut(heads * queries * keys).enumerate().for_each(|(b, out)| {
            let row = self.row(b, q, k, visible);
            let mut s = vec![0f32; BLOCK * keys];
            for (head, out) in out.chunks_exact_mut(queries * keys).enumerate() {
                for block in row.blocks {
                    let m = block.keys.len();
                    let s = &mut s[..block.queries.len() * m];
                    self.scores(&row, block, head, s, finish);
                    for (i, s) in block.queries.clone().zip(s.chunks_exact(m)) {
                        out[i * keys + block.keys.start..][..m].copy_from_slice(s);
                    }
                }
            }
        });
        Ok(Tensor::from_vec(all, (batch, heads, queries, keys), &Device::Cpu)?)
    }

    /// `[B, Tq, H, d]`.
    fn mixed(&self, q: &[f32], k: &[f32], v: &[f32]) -> Result<Vec<f32>> {
        let Sizes { batch, keys, heads, kv_heads, d, .. } = self.sizes;
        let ((rq, rk), (sq, sk)) = (self.sizes.row(), self.sizes.step());
        let visible = View::new(self.mask.visible());
        let visible = visible.u8()?;
        let mut z = vec![0f32; batch * rq];
        z.par_chunks_mut(rq).enumerate().for_each(|(b, z)| {
            let row = self.row(b, q, k, visible);
            let v = &v[b * rk..(b + 1) * rk];
            let mut p = vec![0f32; BLOCK * keys];
            for head in 0..heads {
                let own = head / (heads / kv_heads) * d;
                for block in row.blocks {
                    let (n, m) = (block.queries.len(), block.keys.len());
                    let p = &mut p[..n * m];
                    self.scores(&row, block, head, p, kernel::softmax);
                    let values = Matrix::rows(&v[block.keys.start * sk + own..], sk);
                    let out = &mut z[block.queries.start * sq + head * d..];
                    product(out, sq, (n, d, m), Matrix::rows(p, m), values, 1.0, false);
                }
            }
        });
        Ok(z)
    }

    /// The gradients of queries, keys and values from that of the mixed values.
    fn backward(&self, [q, k, v, dz]: [&[f32]; 4]) -> Result<[Vec<f32>; 3]> {
        let Sizes { batch, keys, heads, kv_heads, d, scale, .. } = self.sizes;
        let ((rq, rk), (sq, sk)) = (self.sizes.row(), self.sizes.step());
        let visible = View::new(self.mask.visible());
        let visible = visible.u8()?;
        let [mut dq, mut dk, mut dv] = [vec![0f32; batch * rq], vec![0f32; batch * rk], vec![0f32; batch * rk]];
        let parts = dq.par_chunks_mut(rq).zip(dk.par_chunks_mut(rk)).zip(dv.par_chunks_mut(rk));
        parts.enumerate().for_each(|(b, ((dq, dk), dv))| {
            let row = self.row(b, q, k, visible);
            let (v, dz) = (&v[b * rk..(b + 1) * rk], &dz[b * rq..(b + 1) * rq]);
            let [mut p, mut dp, mut ds] = [(); 3].map(|()| vec![0f32; BLOCK * keys]);
            for head in 0..heads {
                let own = head / (heads / kv_heads) * d;
                for block in row.blocks {
                    let (n, m) = (block.queries.len(), block.keys.len());
                    let [p, dp, ds] = [&mut p, &mut dp, &mut ds].map(|x| &mut x[..n * m]);
                    let (at_q, at_k) = (block.queries.start * sq + head * d, block.keys.start * sk + own);
                    self.scores(&row, block, head, p, kernel::softmax);
                    let dz = Matrix::rows(&dz[at_q..], sq);
                    product(dp, m, (n, m, d), dz, Matrix::rows(&v[at_k..], sk).turned(), 1.0, false);
                    for ((ds, p), dp) in ds.chunks_exact_mut(m).zip(p.chunks_exact(m)).zip(dp.chunks_exact(m)) {
                        softmax_row(ds, p, dp);
                    }
                    let (p, ds) = (Matrix::rows(p, m), Matrix::rows(ds, m));
                    product(&mut dv[at_k..], sk, (m, d, n), p.turned(), dz, 1.0, true);
                    product(&mut dq[at_q..], sq, (n, d, m), ds, Matrix::rows(&row.k[at_k..], sk), scale, false);
                    let q = Matrix::rows(&row.q[at_q..], sq);
                    product(&mut dk[at_k..], sk, (m, d, n), ds.turned(), q, scale, true);
                }
            }
        });
        Ok([dq, dk, dv])
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Candle<(CpuStorage, Shape)> {
        let q = &q.as_slice::<f32>()?[lq.start_offset()..];
        let k = &k.as_slice::<f32>()?[lk.start_offset()..];
        let v = &v.as_slice::<f32>()?[lv.start_offset()..];
        let z = self.mixed(q, k, v).map_err(|e| candle_core::Error::Msg(e.to_string()))?;
        Ok((CpuStorage::F32(z), lq.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Candle<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let views = [q, k, v, &grad].map(View::new);
        let slices = || -> Result<[Vec<f32>; 3]> {
            self.backward([views[0].f32()?, views[1].f32()?, views[2].f32()?, views[3].f32()?])
        };
        let [dq, dk, dv] = slices().map_err(|e| candle_core::Error::Msg(e.to_string()))?;
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu).map(Some);
        Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
    }
}
