//! The two products of attention: scores from queries and keys, and values mixed by a pattern.
//!
//! s = scale q k^T; z = p v. Query head h reads the key and value head h / (H / Hkv); keys and values are never
//! repeated in memory. With one query (decoding) the inference form walks the cache where it lies.

use super::Form;
use super::kernel::{self, View};
use crate::{Error, Result};
use candle_core::{Device, Tensor};

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
    if tq == 1 && kernel::applies(form, q) && kernel::applies(form, k) && k.stride()[3] == 1 {
        return decode_scores(q, k, scale as f32, g);
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
    if tq == 1 && kernel::applies(form, pattern) && kernel::applies(form, v) && v.stride()[3] == 1 {
        return decode_mix(pattern, v, g);
    }
    let p = pattern.contiguous()?.reshape((b, kv, g * tq, tk))?;
    let v = strided(v.transpose(1, 2)?, form)?; // [B, Hkv, Tk, d]
    let z = p.matmul(&v)?.reshape((b, h, tq, d))?;
    Ok(z.transpose(1, 2)?.contiguous()?) // [B, Tq, H, d]
}

/// The error of two tensors that do not belong together.
pub(super) fn mismatch(one: &str, a: &Tensor, other: &str, b: &Tensor) -> Error {
    Error::invalid(
        format!("{one} {:?} do not fit {other} {:?}", a.dims(), b.dims()),
        "batch, number of heads, number of keys and head size must agree",
    )
}

/// [`scores`] of one query for each row; keys may be strided but for their last axis.
fn decode_scores(q: &Tensor, k: &Tensor, scale: f32, g: usize) -> Result<Tensor> {
    let ((b, _, h, d), tk) = (q.dims4()?, k.dim(1)?);
    let q = q.contiguous()?;
    let (vq, vk) = (View::new(&q), View::new(k));
    let (queries, keys) = (vq.f32()?, vk.f32()?);
    let mut out = vec![0f32; b * h * tk];
    kernel::fill_rows(&mut out, tk, tk * d, |r, y| {
        let query = &queries[r * d..(r + 1) * d];
        let first = r / h * vk.stride[0] + r % h / g * vk.stride[2];
        for (j, y) in y.iter_mut().enumerate() {
            let at = first + j * vk.stride[1];
            *y = kernel::dot(query, &keys[at..at + d]) * scale;
        }
    });
    Ok(Tensor::from_vec(out, (b, h, 1, tk), &Device::Cpu)?)
}

/// [`mix`] for one query of each row; values may be strided but for their last axis.
fn decode_mix(pattern: &Tensor, v: &Tensor, g: usize) -> Result<Tensor> {
    let ((b, h, _, tk), d) = (pattern.dims4()?, v.dim(3)?);
    let pattern = pattern.contiguous()?;
    let (vp, vv) = (View::new(&pattern), View::new(v));
    let (weights, values) = (vp.f32()?, vv.f32()?);
    let mut out = vec![0f32; b * h * d];
    kernel::fill_rows(&mut out, d, tk * d, |r, z| {
        let first = r / h * vv.stride[0] + r % h / g * vv.stride[2];
        for (j, &p) in weights[r * tk..(r + 1) * tk].iter().enumerate() {
            let at = first + j * vv.stride[1];
            kernel::add_scaled(z, p, &values[at..at + d]);
        }
    });
    Ok(Tensor::from_vec(out, (b, 1, h, d), &Device::Cpu)?)
}
