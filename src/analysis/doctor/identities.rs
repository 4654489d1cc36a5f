//! Relations between the sites of one run, layer by layer: each recomputes a site from others and compares.

use candle_core::{D, DType, Tensor};

use super::compare::{Equality, compare, magnitude, values};
use super::invariants::{Scene, Tally};
use super::runs::Way;
use crate::Result;
use crate::models::transformer::facts::{Placement, QkNorm};
use crate::nn::{Form, Layout, Linear, NormKind};

/// Compares `got`, the tensors of `site`, with what they should be; the error is relative to the largest value of
/// both and of the `terms` that made them, whose rounding a small sum carries.
fn close(
    scene: &Scene,
    tally: &mut Tally,
    site: &str,
    got: &[Tensor],
    expected: &[Tensor],
    terms: &[&[Tensor]],
) -> Result<()> {
    let found = compare(got, expected, scene.positions(site), Equality::Close)?;
    let mut scale = found.magnitude;
    for term in terms {
        scale = scale.max(magnitude(term)?);
    }
    tally.take(scene, site, &found, scale);
    Ok(())
}

/// `f` of the tensors of each text.
fn each<const N: usize>(sites: [&[Tensor]; N], f: impl Fn([&Tensor; N]) -> Result<Tensor>) -> Result<Vec<Tensor>> {
    let texts = sites.iter().map(|s| s.len()).min().unwrap_or(0);
    (0..texts).map(|text| f(sites.map(|s| &s[text]))).collect()
}

fn sum(a: &[Tensor], b: &[Tensor]) -> Result<Vec<Tensor>> {
    each([a, b], |[a, b]| Ok((a + b)?))
}

pub(super) fn pattern_rows(scene: &Scene, tally: &mut Tally) -> Result<()> {
    for layer in scene.group.layers.clone() {
        let site = format!("blocks.{layer}.attn.hook_pattern");
        let window = scene.net.facts().layers[layer].window;
        let Some([patterns]) = scene.seen.all([&site]) else {
            continue;
        };
        for (text, pattern) in patterns.iter().enumerate() {
            let (_, _, queries, keys) = pattern.dims4()?;
            let values = values(pattern)?;
            tally.compared += values.len() as u64;
            for (i, row) in values.chunks(keys).enumerate() {
                let place = || scene.place(&site, text, i % queries);
                let found = row_error(row, i % queries, window);
                tally.error(found.total, found.total, (found.total > 0.0).then(place));
                if found.hidden > 0.0 {
                    let what = format!("{site}: weight {:.1e} on a key that the query may not see", found.hidden);
                    tally.problem(place(), what);
                }
            }
        }
    }
    Ok(())
}

/// How far a row of attention is from a distribution over the keys that its query may see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowError {
    /// Distance of the visible keys' sum from 1; infinite if a weight is negative or not a number.
    pub total: f64,
    /// Largest weight on a hidden key, which is wrong however small.
    pub hidden: f64,
}

/// A query sees the keys up to itself, or the last `window` of them.
pub fn row_error(row: &[f32], query: usize, window: Option<usize>) -> RowError {
    let visible = |key: usize| key <= query && window.is_none_or(|w| query - key < w);
    let (mut total, mut hidden) = (0f64, 0f64);
    for (key, weight) in row.iter().enumerate() {
        if visible(key) {
            total += f64::from(*weight);
        } else {
            hidden = hidden.max(f64::from(weight.abs()));
        }
    }
    let broken = row.iter().any(|w| w.is_nan() || *w < 0.0);
    RowError { total: if broken { f64::INFINITY } else { (total - 1.0).abs() }, hidden }
}

pub(super) fn softmax_of_scores(scene: &Scene, tally: &mut Tally) -> Result<()> {
    for layer in scene.group.layers.clone() {
        let names = ["hook_attn_scores", "hook_pattern"].map(|n| format!("blocks.{layer}.attn.{n}"));
        let Some([scores, pattern]) = scene.seen.all([&names[0], &names[1]]) else {
            continue;
        };
        let expected = each([scores], |[s]| {
            let exp = s.broadcast_sub(&s.max_keepdim(D::Minus1)?)?.exp()?;
            Ok(exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?)
        })?;
        close(scene, tally, &names[1], pattern, &expected, &[])?;
    }
    Ok(())
}

pub(super) fn mixed_values(scene: &Scene, tally: &mut Tally) -> Result<()> {
    for layer in scene.group.layers.clone() {
        let names = ["hook_pattern", "hook_v", "hook_z"].map(|n| format!("blocks.{layer}.attn.{n}"));
        let Some([pattern, v, z]) = scene.seen.all([&names[0], &names[1], &names[2]]) else {
            continue;
        };
        let expected = each([pattern, v], |[pattern, v]| {
            let (_, heads, _, _) = pattern.dims4()?;
            let (_, _, kv_heads, _) = v.dims4()?;
            let mixed = (0..heads).map(|head| -> Result<Tensor> {
                let weights = pattern.get(0)?.get(head)?; // [query, key]
                let values = v.get(0)?.narrow(1, head / (heads / kv_heads), 1)?.squeeze(1)?; // [key, d_head]
                Ok(weights.contiguous()?.matmul(&values.contiguous()?)?)
            });
            Ok(Tensor::stack(&mixed.collect::<Result<Vec<_>>>()?, 1)?.unsqueeze(0)?) // [1, query, head, d_head]
        })?;
        close(scene, tally, &names[2], z, &expected, &[v])?;
    }
    Ok(())
}

pub(super) fn heads_sum(scene: &Scene, tally: &mut Tally) -> Result<()> {
    for layer in scene.group.layers.clone() {
        let names = ["hook_result", "hook_out"].map(|n| format!("blocks.{layer}.attn.{n}"));
        let Some([result, out]) = scene.seen.all([&names[0], &names[1]]) else {
            continue;
        };
        let bias = scene.net.attention_output(layer).and_then(|linear| linear.bias.as_ref());
        let expected = each([result], |[result]| plus(result.sum(2)?, bias))?;
        close(scene, tally, &names[1], out, &expected, &[result])?;
    }
    Ok(())
}

pub(super) fn neurons_project(scene: &Scene, tally: &mut Tally) -> Result<()> {
    for layer in scene.group.layers.clone() {
        let names = ["hook_post", "hook_out"].map(|n| format!("blocks.{layer}.mlp.{n}"));
        let Some([post, out]) = scene.seen.all([&names[0], &names[1]]) else {
            continue;
        };
        let Some(down) = scene.net.mlp_output(layer) else {
            continue;
        };
        let weight = inputs_first(down)?;
        let expected = each([post], |[post]| {
            plus(post.squeeze(0)?.matmul(&weight)?.unsqueeze(0)?, down.bias.as_ref()) // [1, t, d_model]
        })?;
        close(scene, tally, &names[1], out, &expected, &[])?;
    }
    Ok(())
}

/// The weight as `[in, out]`, f32.
fn inputs_first(linear: &Linear) -> Result<Tensor> {
    let weight = linear.weight.to_dtype(DType::F32)?;
    Ok(match linear.layout {
        Layout::OutIn => weight.t()?.contiguous()?,
        Layout::InOut => weight,
    })
}

fn plus(x: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    Ok(match bias {
        Some(bias) => x.broadcast_add(&bias.to_dtype(DType::F32)?)?,
        None => x,
    })
}

pub(super) fn contributions(scene: &Scene, tally: &mut Tally) -> Result<()> {
    let multiplier = scene.net.facts().residual_multiplier;
    for layer in scene.group.layers.clone() {
        for (out, post_norm, raw) in [
            ("hook_attn_out", "ln1_post.hook_out", "attn.hook_out"),
            ("hook_mlp_out", "ln2_post.hook_out", "mlp.hook_out"),
        ] {
            let [out, post_norm, raw] = [out, post_norm, raw].map(|n| format!("blocks.{layer}.{n}"));
            let source = if scene.net.facts().placement.norms_contributions() { &post_norm } else { &raw };
            let Some([got, source]) = scene.seen.all([&out, source]) else {
                continue;
            };
            let expected = each([source], |[x]| Ok((x * multiplier)?))?;
            close(scene, tally, &out, got, &expected, &[])?;
        }
    }
    Ok(())
}

pub(super) fn residual_sums(scene: &Scene, tally: &mut Tally) -> Result<()> {
    let facts = scene.net.facts();
    for layer in scene.group.layers.clone() {
        let name = |part: &str| format!("blocks.{layer}.{part}");
        let [pre, mid, post, read] =
            ["resid_pre", "resid_mid", "resid_post", "mlp_in"].map(|p| name(&format!("hook_{p}")));
        let [attn, mlp] = [name("hook_attn_out"), name("hook_mlp_out")];
        if layer == 0 {
            stream_begins(scene, tally, &pre)?;
        } else {
            same_stream(scene, tally, &pre, &format!("blocks.{}.hook_resid_post", layer - 1))?;
        }
        match facts.placement {
            Placement::ParallelOneNorm | Placement::ParallelTwoNorms => {
                same_stream(scene, tally, &read, &pre)?;
                let Some([x, a, m, y]) = scene.seen.all([&pre, &attn, &mlp, &post]) else {
                    continue;
                };
                close(scene, tally, &post, y, &sum(&sum(x, a)?, m)?, &[x, a, m])?;
            }
            Placement::AfterAdd => {
                same_stream(scene, tally, &mid, &name("ln1.hook_out"))?;
                same_stream(scene, tally, &read, &mid)?;
                same_stream(scene, tally, &post, &name("ln2.hook_out"))?;
            }
            Placement::Pre | Placement::Post | Placement::PrePost => {
                same_stream(scene, tally, &read, &mid)?;
                for (before, out, after) in [(&pre, &attn, &mid), (&mid, &mlp, &post)] {
                    let Some([x, out, y]) = scene.seen.all([before, out, after]) else {
                        continue;
                    };
                    close(scene, tally, after, y, &sum(x, out)?, &[x, out])?;
                }
            }
        }
    }
    Ok(())
}

/// The first stream is the sum of the embeddings.
fn stream_begins(scene: &Scene, tally: &mut Tally, pre: &str) -> Result<()> {
    let Some([tokens, got]) = scene.seen.all(["hook_embed", pre]) else {
        return Ok(());
    };
    match (scene.net.facts().embed.positions, scene.seen.all(["hook_pos_embed"])) {
        (None, _) => close(scene, tally, pre, got, tokens, &[]),
        (Some(_), Some([positions])) => close(scene, tally, pre, got, &sum(tokens, positions)?, &[tokens, positions]),
        (Some(_), None) => Ok(()),
    }
}

/// Two names of one tensor; a pair that the architecture lacks says nothing.
fn same_stream(scene: &Scene, tally: &mut Tally, site: &str, other: &str) -> Result<()> {
    let Some([got, expected]) = scene.seen.all([site, other]) else {
        return Ok(());
    };
    close(scene, tally, site, got, expected, &[])
}

pub(super) fn norms(scene: &Scene, tally: &mut Tally) -> Result<()> {
    let facts = scene.net.facts();
    let stream = Statistics { kind: facts.norm.kind, eps: facts.norm.eps, flat: false };
    for layer in scene.group.layers.clone() {
        let site = |part: &str| format!("blocks.{layer}.{part}");
        let input = |part: &str| scene.seen.all([&site(part)]).map(|[x]| x.to_vec());
        let added = |stream: &str, out: &str| match scene.seen.all([&site(stream), &site(out)]) {
            Some([x, out]) => sum(x, out).map(Some),
            None => Ok(None),
        };
        let (ln1, ln2) = if facts.placement == Placement::AfterAdd {
            (added("hook_resid_pre", "hook_attn_out")?, added("hook_resid_mid", "hook_mlp_out")?)
        } else {
            (input("hook_resid_pre"), input("hook_mlp_in"))
        };
        norm(scene, tally, &site("ln1"), ln1, &stream)?;
        norm(scene, tally, &site("ln2"), ln2, &stream)?;
        norm(scene, tally, &site("ln1_post"), input("attn.hook_out"), &stream)?;
        norm(scene, tally, &site("ln2_post"), input("mlp.hook_out"), &stream)?;
        if let Some((kind, norm_facts)) = &facts.attn.qk_norm {
            let heads = Statistics { kind: norm_facts.kind, eps: norm_facts.eps, flat: *kind == QkNorm::Flat };
            norm(scene, tally, &site("attn.q_norm"), input("attn.hook_q"), &heads)?;
            norm(scene, tally, &site("attn.k_norm"), input("attn.hook_k"), &heads)?;
        }
        if layer + 1 == facts.layers.len() {
            norm(scene, tally, "ln_final", input("hook_resid_post"), &stream)?;
        }
    }
    Ok(())
}

/// What a norm removes from its input.
struct Statistics {
    kind: NormKind,
    eps: f64,
    /// Over all heads together.
    flat: bool,
}

/// One norm, where the architecture has it.
fn norm(scene: &Scene, tally: &mut Tally, at: &str, input: Option<Vec<Tensor>>, rule: &Statistics) -> Result<()> {
    let names = ["hook_scale", "hook_normalized"].map(|n| format!("{at}.{n}"));
    let (Some(input), Some([scale, normalized])) = (input, scene.seen.all([&names[0], &names[1]])) else {
        return Ok(());
    };
    let joined = |x: &Tensor| -> Result<Tensor> { Ok(if rule.flat { x.flatten_from(2)? } else { x.clone() }) };
    let centred = each([&input], |[x]| {
        let x = joined(x)?;
        Ok(match rule.kind {
            NormKind::Layer => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            NormKind::Rms => x,
        })
    })?;
    let root = each([&centred], |[c]| Ok((c.sqr()?.mean_keepdim(D::Minus1)? + rule.eps)?.sqrt()?))?;
    close(scene, tally, &names[0], scale, &root, &[])?;
    let back = each([normalized, scale], |[n, s]| Ok(joined(n)?.broadcast_mul(s)?))?;
    close(scene, tally, &names[1], &back, &centred, &[&input])
}

pub(super) fn last_lens(scene: &Scene, tally: &mut Tally) -> Result<()> {
    if !scene.group.last {
        return Ok(());
    }
    let last = format!("blocks.{}.hook_resid_post", scene.net.facts().layers.len() - 1);
    let Some([stream]) = scene.seen.all([&last]) else {
        return Ok(());
    };
    let form = if scene.seen.way == Way::Differentiable { Form::Differentiable } else { Form::Inference };
    let expected = each([stream], |[x]| scene.net.lens(x, form))?;
    close(scene, tally, "logits", &scene.seen.output, &expected, &[])?;
    let Some([recorded]) = scene.seen.all(["logits"]) else {
        return Ok(());
    };
    close(scene, tally, "logits", recorded, &expected, &[])
}
