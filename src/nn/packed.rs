//! Attention of packed rows: the tokens of many texts in one flat list, without padding. Each text goes on from an
//! earlier one, whose keys and values up to there are at hand and are read where they lie.
//!
//! A query at position i sees the earlier keys of the positions before its row's first own token, then the row's own
//! keys up to itself: in the order of positions, so that masks and biases of the earlier text hold for it.

use super::attention::{mismatch, mix, scores};
use super::kernel::{self, View};
use super::{AttentionMask, Form, ScoreRule, softmax};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// Where the tokens of one text stand. They follow those of the row before it in the flat list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedRow {
    /// The row of the earlier keys that it goes on from.
    pub row: usize,
    /// Columns of padding before that row's first token.
    pub pad: usize,
    /// Position of its first own token; keys of the positions before are the earlier ones.
    pub start: usize,
    /// Its own tokens: as many keys and values.
    pub keys: usize,
    /// How many of its last tokens are queries.
    pub queries: usize,
}

impl PackedRow {
    /// The position of its first query.
    fn first_query(&self) -> usize {
        self.start + self.keys - self.queries
    }
}

/// Keys and values of a packed attention, `[.., heads, d]`.
#[derive(Clone, Copy, Debug)]
pub struct PackedKeys<'a> {
    /// The rows' own keys, one after the other: `[keys, 1, Hkv, d]`.
    pub keys: &'a Tensor,
    /// Their values, shaped alike.
    pub values: &'a Tensor,
    /// The keys of the earlier texts, `[B, T, Hkv, d]`.
    pub earlier_keys: &'a Tensor,
    /// Their values, shaped alike.
    pub earlier_values: &'a Tensor,
}

/// The mixed values `[queries, 1, H, d]` of the queries `[queries, 1, H, d]` of `rows`, one row after the other.
///
/// `rule` is that of the earlier texts: masks and biases `[B or 1, .., T, T]`.
///
/// # Errors
/// [`Error::Invalid`] where rows, queries, keys, mask and bias do not fit each other.
pub fn packed_attention(
    q: &Tensor,
    all: &PackedKeys<'_>,
    rows: &[PackedRow],
    scale: f64,
    rule: &ScoreRule<'_>,
    form: Form,
) -> Result<Tensor> {
    let group = check(q, all, rows, rule)?;
    let tensors = [q, all.keys, all.values, all.earlier_keys, all.earlier_values];
    if tensors.iter().all(|x| kernel::applies(form, x)) {
        return walk(q, all, rows, scale as f32, rule, group);
    }
    compose(q, all, rows, scale, rule, form)
}

/// How many query heads share a key head, once all sizes fit.
fn check(q: &Tensor, all: &PackedKeys<'_>, rows: &[PackedRow], rule: &ScoreRule<'_>) -> Result<usize> {
    let ((nq, one, h, d), (nk, _, kv, kd)) = (q.dims4()?, all.keys.dims4()?);
    let (b, t, ekv, ed) = all.earlier_keys.dims4()?;
    let alike = all.values.dims() == all.keys.dims() && all.earlier_values.dims() == all.earlier_keys.dims();
    if !alike || (one, kd, ed, ekv) != (1, d, d, kv) || kv == 0 || h % kv != 0 {
        return Err(mismatch("packed queries", q, "keys", all.keys));
    }
    let within = |r: &PackedRow| r.row < b && r.pad + r.start + r.keys <= t && r.queries <= r.keys;
    let (keys, queries) = rows.iter().fold((0, 0), |(k, n), r| (k + r.keys, n + r.queries));
    if !rows.iter().all(within) || (keys, queries) != (nk, nq) {
        return Err(Error::invalid(
            format!(
                "{} packed rows with {keys} keys and {queries} queries got {nk} keys, {nq} queries and earlier keys \
                 [{b}, {t}]",
                rows.len()
            ),
            "give every row a place in the earlier texts, and one key for each of its tokens",
        ));
    }
    let square = |x: &Tensor, heads: usize| matches!(*x.dims(), [r, n, tq, tk] if (r == 1 || r == b) && (n, tq, tk) == (heads, t, t));
    if !rule.mask.all_visible() && !square(rule.mask.visible(), 1) {
        return Err(mismatch("mask", rule.mask.visible(), "earlier keys", all.earlier_keys));
    }
    match rule.bias {
        Some(bias) if !square(bias, h) => Err(mismatch("bias", bias, "earlier keys", all.earlier_keys)),
        _ => Ok(h / kv),
    }
}

/// Row by row in parallel, each query along the keys where they lie; no scores are kept.
fn walk(
    q: &Tensor,
    all: &PackedKeys<'_>,
    rows: &[PackedRow],
    scale: f32,
    rule: &ScoreRule<'_>,
    group: usize,
) -> Result<Tensor> {
    let (_, _, h, d) = q.dims4()?;
    let (_, t, kv, _) = all.earlier_keys.dims4()?;
    let tensors = [q, all.keys, all.values, all.earlier_keys, all.earlier_values].map(|x| x.contiguous());
    let [q, own_k, own_v, old_k, old_v] = tensors;
    let (q, own_k, own_v, old_k, old_v) = (q?, own_k?, own_v?, old_k?, old_v?);
    let views = [&q, &own_k, &own_v, &old_k, &old_v].map(View::new);
    let [queries, own_k, own_v, old_k, old_v] =
        [views[0].f32()?, views[1].f32()?, views[2].f32()?, views[3].f32()?, views[4].f32()?];
    let visible = (!rule.mask.all_visible()).then(|| rule.mask.visible().contiguous()).transpose()?;
    let bias = rule.bias.map(Tensor::contiguous).transpose()?;
    let (mask_view, bias_view) = (visible.as_ref().map(View::new), bias.as_ref().map(View::new));
    let mask = mask_view.as_ref().map(View::u8).transpose()?;
    let biases = bias_view.as_ref().map(View::f32).transpose()?;
    let several = |x: &Option<Tensor>| x.as_ref().is_some_and(|x| x.dims()[0] > 1);
    let (masks_differ, biases_differ) = (several(&visible), several(&bias));

    let mut out = vec![0f32; q.elem_count()];
    let mut tasks = Vec::with_capacity(rows.len());
    let (mut rest, mut key, mut query) = (out.as_mut_slice(), 0, 0);
    for row in rows {
        let (part, after) = rest.split_at_mut(row.queries * h * d);
        tasks.push((row, key, query, part));
        (rest, key, query) = (after, key + row.keys, query + row.queries);
    }
    tasks.into_par_iter().for_each(|(row, first_key, first_query, out)| {
        let mut s = vec![0f32; row.start + row.keys];
        for (i, out) in out.chunks_exact_mut(h * d).enumerate() {
            let position = row.first_query() + i;
            let column = row.pad + position;
            let s = &mut s[..=position];
            for (head, z) in out.chunks_exact_mut(d).enumerate() {
                let kv_head = head / group;
                let query = &queries[((first_query + i) * h + head) * d..][..d];
                let old = |j: usize| ((row.row * t + row.pad + j) * kv + kv_head) * d;
                let own = |j: usize| ((first_key + j - row.start) * kv + kv_head) * d;
                for (j, s) in s.iter_mut().enumerate() {
                    let key = if j < row.start { &old_k[old(j)..][..d] } else { &own_k[own(j)..][..d] };
                    *s = kernel::dot(query, key) * scale;
                }
                if let Some(cap) = rule.cap {
                    kernel::cap(s, cap as f32);
                }
                if let Some(biases) = biases {
                    let text = if biases_differ { row.row } else { 0 };
                    kernel::add(s, &biases[((text * h + head) * t + column) * t + row.pad..][..=position]);
                }
                if let Some(mask) = mask {
                    let text = if masks_differ { row.row } else { 0 };
                    kernel::hide(s, &mask[(text * t + column) * t + row.pad..][..=position]);
                }
                kernel::softmax(s);
                for (j, &p) in s.iter().enumerate() {
                    let value = if j < row.start { &old_v[old(j)..][..d] } else { &own_v[own(j)..][..d] };
                    kernel::add_scaled(z, p, value);
                }
            }
        }
    });
    Ok(Tensor::from_vec(out, q.shape(), &Device::Cpu)?)
}

/// Row by row, of operations that work anywhere.
fn compose(
    q: &Tensor,
    all: &PackedKeys<'_>,
    rows: &[PackedRow],
    scale: f64,
    rule: &ScoreRule<'_>,
    form: Form,
) -> Result<Tensor> {
    let mut mixed = Vec::with_capacity(rows.len());
    let (mut key, mut query) = (0, 0);
    for row in rows {
        let join = |old: &Tensor, own: &Tensor| -> Result<Tensor> {
            let old = old.narrow(0, row.row, 1)?.narrow(1, row.pad, row.start)?;
            let own = own.narrow(0, key, row.keys)?.transpose(0, 1)?; // [1, keys, Hkv, d]
            Ok(Tensor::cat(&[&old, &own], 1)?)
        };
        let (k, v) = (join(all.earlier_keys, all.keys)?, join(all.earlier_values, all.values)?);
        let q = q.narrow(0, query, row.queries)?.transpose(0, 1)?; // [1, queries, H, d]
        let part = |x: &Tensor| -> Result<Tensor> {
            let x = if x.dim(0)? > 1 { x.narrow(0, row.row, 1)? } else { x.clone() };
            let x = x.narrow(2, row.pad + row.first_query(), row.queries)?;
            Ok(x.narrow(3, row.pad, row.start + row.keys)?.contiguous()?) // [1, .., queries, start + keys]
        };
        let size = (1, row.queries, row.start + row.keys);
        let mask = match rule.mask.all_visible() {
            true => vec![1; size.1 * size.2],
            false => part(rule.mask.visible())?.flatten_all()?.to_vec1::<u8>()?,
        };
        let mask = AttentionMask::from_visible(mask, size, q.device())?;
        let bias = rule.bias.map(part).transpose()?;
        let rule = ScoreRule { cap: rule.cap, bias: bias.as_ref(), mask: &mask };
        let pattern = softmax(&rule.apply(&scores(&q, &k, scale, form)?, form)?, form)?;
        mixed.push(mix(&pattern, &v, form)?.transpose(0, 1)?); // [queries, 1, H, d]
        (key, query) = (key + row.keys, query + row.queries);
    }
    Ok(Tensor::cat(&mixed, 0)?.contiguous()?)
}
