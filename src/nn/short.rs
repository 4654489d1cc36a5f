//! The two products of attention for short texts, each one operation with its gradient, for training in f32 on a CPU.
//!
//! ```text
//! s = c q k^T:   dq = c ds k,    dk = c ds^T q
//! z = p v:       dp = dz v^T,    dv = p^T dz
//! ```
//!
//! A library's matrix product costs more to call than five tokens of a head cost to multiply, and Candle calls it once
//! for every head of every text, after copying each tensor into the order that it wants. Here plain loops read queries,
//! keys and values where they lie. Sums run over keys and queries in their order, by one thread.

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Shape, Tensor};

use super::kernel::View;
use super::{Form, learn};
use crate::Result;

type Candle<T> = candle_core::Result<T>;

/// Multiplications of a head up to which loops are faster than a matrix product (16 queries and keys of 8).
const SHORT: usize = 2048;

/// Whether loops take the products of two tensors, with so many multiplications a head.
pub(super) fn applies(form: Form, a: &Tensor, b: &Tensor, multiplications: usize) -> bool {
    multiplications <= SHORT && learn::applies(form, a) && learn::applies(form, b)
}

/// c q k^T for contiguous queries `[B, Tq, H, d]` and keys `[B, Tk, H / g, d]`: `[B, H, Tq, Tk]`.
pub(super) fn scores(q: &Tensor, k: &Tensor, scale: f32, g: usize) -> Result<Tensor> {
    let (b, tq, h, d) = q.dims4()?;
    let sizes = Sizes { b, tq, tk: k.dim(1)?, h, g, d };
    Ok(q.apply_op2(k, Scores { sizes, scale })?)
}

/// p v for a contiguous pattern `[B, H, Tq, Tk]` and values `[B, Tk, H / g, d]`: `[B, Tq, H, d]`.
pub(super) fn mix(pattern: &Tensor, v: &Tensor, g: usize) -> Result<Tensor> {
    let (b, h, tq, tk) = pattern.dims4()?;
    let sizes = Sizes { b, tq, tk, h, g, d: v.dim(3)? };
    Ok(pattern.apply_op2(v, Mix { sizes })?)
}

#[derive(Clone, Copy)]
struct Sizes {
    b: usize,
    tq: usize,
    tk: usize,
    h: usize,
    g: usize,
    d: usize,
}

impl Sizes {
    /// Calls `each` with the start of every pair's entry in the map, of its query's vector and of its key's.
    #[inline(always)]
    fn pairs(self, mut each: impl FnMut(usize, usize, usize)) {
        let Self { b, tq, tk, h, g, d } = self;
        for row in 0..b {
            for head in 0..h {
                for i in 0..tq {
                    let query = ((row * tq + i) * h + head) * d;
                    for j in 0..tk {
                        let key = ((row * tk + j) * (h / g) + head / g) * d;
                        each(((row * h + head) * tq + i) * tk + j, query, key);
                    }
                }
            }
        }
    }

    fn queries(self) -> usize {
        self.b * self.tq * self.h * self.d
    }

    fn keys(self) -> usize {
        self.b * self.tk * (self.h / self.g) * self.d
    }

    fn map(self) -> usize {
        self.b * self.h * self.tq * self.tk
    }

    /// map = sum over d of queries keys.
    fn inner(self, queries: &[f32], keys: &[f32], scale: f32) -> Vec<f32> {
        let mut map = vec![0f32; self.map()];
        let d = self.d;
        self.pairs(|at, query, key| {
            let products = queries[query..query + d].iter().zip(&keys[key..key + d]).map(|(a, b)| a * b);
            map[at] = scale * products.sum::<f32>();
        });
        map
    }

    /// queries += map keys.
    fn to_queries(self, map: &[f32], keys: &[f32], scale: f32) -> Vec<f32> {
        let mut queries = vec![0f32; self.queries()];
        let d = self.d;
        self.pairs(|at, query, key| {
            let weight = scale * map[at];
            for (out, x) in queries[query..query + d].iter_mut().zip(&keys[key..key + d]) {
                *out += weight * x;
            }
        });
        queries
    }

    /// keys += map^T queries.
    fn to_keys(self, map: &[f32], queries: &[f32], scale: f32) -> Vec<f32> {
        let mut keys = vec![0f32; self.keys()];
        let d = self.d;
        self.pairs(|at, query, key| {
            let weight = scale * map[at];
            for (out, x) in keys[key..key + d].iter_mut().zip(&queries[query..query + d]) {
                *out += weight * x;
            }
        });
        keys
    }
}

struct Scores {
    sizes: Sizes,
    scale: f32,
}

struct Mix {
    sizes: Sizes,
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Candle<&'a [f32]> {
    Ok(&storage.as_slice::<f32>()?[layout.start_offset()..])
}

/// The elements of three contiguous tensors.
fn opened<T>(tensors: [&Tensor; 3], of: impl FnOnce([&[f32]; 3]) -> T) -> Candle<T> {
    let views = tensors.map(View::new);
    let slices = || -> Result<[&[f32]; 3]> { Ok([views[0].f32()?, views[1].f32()?, views[2].f32()?]) };
    Ok(of(slices().map_err(|e| candle_core::Error::Msg(e.to_string()))?))
}

fn like(values: Vec<f32>, tensor: &Tensor) -> Candle<Option<Tensor>> {
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu).map(Some)
}

impl CustomOp2 for Scores {
    fn name(&self) -> &'static str {
        "short-scores"
    }

    fn cpu_fwd(&self, q: &CpuStorage, lq: &Layout, k: &CpuStorage, lk: &Layout) -> Candle<(CpuStorage, Shape)> {
        let Sizes { b, tq, tk, h, .. } = self.sizes;
        let map = self.sizes.inner(values(q, lq)?, values(k, lk)?, self.scale);
        Ok((CpuStorage::F32(map), (b, h, tq, tk).into()))
    }

    fn bwd(&self, q: &Tensor, k: &Tensor, _: &Tensor, grad: &Tensor) -> Candle<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (dq, dk) = opened([q, k, &grad], |[qs, ks, ds]| {
            (self.sizes.to_queries(ds, ks, self.scale), self.sizes.to_keys(ds, qs, self.scale))
        })?;
        Ok((like(dq, q)?, like(dk, k)?))
    }
}

impl CustomOp2 for Mix {
    fn name(&self) -> &'static str {
        "short-mix"
    }

    fn cpu_fwd(&self, p: &CpuStorage, lp: &Layout, v: &CpuStorage, lv: &Layout) -> Candle<(CpuStorage, Shape)> {
        let Sizes { b, tq, h, d, .. } = self.sizes;
        let z = self.sizes.to_queries(values(p, lp)?, values(v, lv)?, 1.0);
        Ok((CpuStorage::F32(z), (b, tq, h, d).into()))
    }

    fn bwd(&self, p: &Tensor, v: &Tensor, _: &Tensor, grad: &Tensor) -> Candle<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (dp, dv) =
            opened([p, v, &grad], |[ps, vs, dz]| (self.sizes.inner(dz, vs, 1.0), self.sizes.to_keys(ps, dz, 1.0)))?;
        Ok((like(dp, p)?, like(dv, v)?))
    }
}
