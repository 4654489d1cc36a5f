//! The two products of attention: scores from queries and keys, and values mixed by a pattern.
//!
//! s = scale q k^T; z = p v. Query head h reads the key and value head h / (H / Hkv); keys and values are never
//! repeated in memory. The inference form walks a cache where it lies.

use super::Form;
use super::buffer::Fresh;
use super::dense;
use super::heads::Vectors;
use super::kernel::{self, View};
use super::short;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// How many query heads share a key head.
pub(super) fn group(heads: usize, kv_heads: usize) -> Result<usize> {
    match heads.checked_div(kv_heads) {
        Some(g) if g * kv_heads == heads && g > 0 => Ok(g),
        _ => Err(Error::invalid(
            format!("{heads} query heads cannot share {kv_heads} key heads evenly"),
            "the number of query heads must be a multiple of the number of key heads",
        )),
    }
}

/// `x` unless Candle's matrix product could not take its strides (a batch of more than one, heads inside).
fn strided(x: Tensor, form: Form) -> Result<Tensor> {
    Ok(if form == Form::Inference && x.dim(0)? == 1 { x } else { x.contiguous()? })
}

/// Scaled inner products of queries `[B, Tq, H, d]` and keys `[B, Tk, Hkv, d]`: `[B, H, Tq, Tk]`.
pub fn scores(q: &Tensor, k: &Tensor, scale: f64, form: Form) -> Result<Tensor> {
    let ((b, tq, h, d), (kb, tk, kv, kd)) = (q.dims4()?, k.dims4()?);
    let g = group(h, kv)?;
    if kb != b || kd != d {
        return Err(mismatch("queries", q, "keys", k));
    }
    if kernels(form, tq, q, k) {
        return kernel_scores(q, k, scale as f32, g);
    }
    if short::applies(form, q, k, tq * tk * d) {
        return short::scores(&q.contiguous()?, &k.contiguous()?, scale as f32, g);
    }
    let q = (q.reshape((b, tq, kv, g, d))?.permute((0, 2, 3, 1, 4))? * scale)?;
    let q = q.contiguous()?.reshape((b, kv, g * tq, d))?;
    let k = strided(k.permute((0, 2, 3, 1))?, form)?; // [B, Hkv, d, Tk]
    Ok(q.matmul(&k)?.reshape((b, h, tq, tk))?)
}

/// Sums of values `[B, Tk, Hkv, d]` weighted by a pattern `[B, H, Tq, Tk]`: `[B, Tq, H, d]`.
pub fn mix(pattern: &Tensor, v: &Tensor, form: Form) -> Result<Tensor> {
    let ((b, h, tq, tk), (vb, vk, kv, d)) = (pattern.dims4()?, v.dims4()?);
    let g = group(h, kv)?;
    if vb != b || vk != tk {
        return Err(mismatch("pattern", pattern, "values", v));
    }
    if kernels(form, tq, pattern, v) {
        return kernel_mix(pattern, v, g);
    }
    if short::applies(form, pattern, v, tq * tk * d) {
        return short::mix(&pattern.contiguous()?, &v.contiguous()?, g);
    }
    let p = pattern.contiguous()?.reshape((b, kv, g * tq, tk))?;
    let v = strided(v.transpose(1, 2)?, form)?; // [B, Hkv, Tk, d]
    let z = p.matmul(&v)?.reshape((b, h, tq, d))?;
    Ok(z.transpose(1, 2)?.contiguous()?) // [B, Tq, H, d]
}

/// The error of two tensors that do not belong together.
pub(super) fn mismatch(one: &str, a: &Tensor, other: &str, b: &Tensor) -> Error {
    misfit(one, a.dims(), other, b.dims())
}

/// The same by their shapes.
pub(super) fn misfit(one: &str, a: &[usize], other: &str, b: &[usize]) -> Error {
    Error::invalid(
        format!("{one} {a:?} do not fit {other} {b:?}"),
        "batch, number of heads, number of keys and head size must agree",
    )
}

/// Whether the products of heads may be taken by kernels: of the tensors, `shared` may be strided but for its last axis.
fn kernels(form: Form, queries: usize, own: &Tensor, shared: &Tensor) -> bool {
    let here = kernel::applies(form, own) && kernel::applies(form, shared);
    here && shared.stride().last() == Some(&1) && (dense::vectors() || queries == 1)
}

/// [`scores`] head by head.
fn kernel_scores(q: &Tensor, k: &Tensor, scale: f32, g: usize) -> Result<Tensor> {
    let ((b, tq, h, d), tk) = (q.dims4()?, k.dim(1)?);
    let q = q.contiguous()?;
    let (vq, vk) = (View::new(&q), View::new(k));
    let (queries, keys) = (Vectors::new(&vq, d)?, Vectors::new(&vk, d)?);
    let mut out = vec![0f32; b * h * tq * tk];
    kernel::fill_rows(&mut out, tq * tk, tq * tk * d, |r, y| {
        dense::inner(queries.head(r / h, 0, r % h), tq, keys.head(r / h, 0, r % h / g), tk, y);
        kernel::scale(y, scale);
    });
    Ok(Tensor::from_vec(out, (b, h, tq, tk), &Device::Cpu)?)
}

/// [`mix`] head by head.
fn kernel_mix(pattern: &Tensor, v: &Tensor, g: usize) -> Result<Tensor> {
    let ((b, h, tq, tk), d) = (pattern.dims4()?, v.dim(3)?);
    let pattern = pattern.contiguous()?;
    let (vp, vv) = (View::new(&pattern), View::new(v));
    let (weights, values) = (vp.f32()?, Vectors::new(&vv, d)?);
    let mut z = Fresh::new(b * tq * h * d);
    let sheet = z.sheet(d);
    (0..b * h).into_par_iter().for_each(|r| {
        let weights = &weights[r * tq * tk..(r + 1) * tq * tk];
        let to = |query: usize| sheet.at((r / h * tq + query) * h + r % h, 0);
        // SAFETY: each vector of each head is written by one task, once.
        unsafe { dense::mix(weights, tq, tk, values.head(r / h, 0, r % h / g), to) };
    });
    // SAFETY: all queries of all heads have been written.
    Ok(Tensor::from_vec(unsafe { z.filled() }, (b, tq, h, d), &Device::Cpu)?)
}
