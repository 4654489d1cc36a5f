//! What the arithmetic of a decoder says about its sites.

use candle_core::{D, Tensor};
use optrode::hook::Axis;
use optrode::models::transformer::facts::Placement;
use optrode::models::{Decoder, Network, Side};
use serde_json::json;

use crate::common::{AGREE, Seen, assert_close, batch, bits, edit, floats, goldens, relative, see_all, text};

fn seen(net: &Decoder) -> Seen {
    see_all(net, &batch(&[text(1, 8), text(2, 8)], Side::Left), &[])
}

fn layers(net: &Decoder) -> std::ops::Range<usize> {
    0..net.facts().layers.len()
}

fn sum(a: &Tensor, b: &Tensor) -> Tensor {
    a.broadcast_add(b).unwrap()
}

#[test]
fn heads_sum_to_the_output_of_attention_without_its_bias() {
    let mut largest = 0f32;
    for (name, net) in goldens() {
        let tokens = batch(&[text(1, 8)], Side::Left);
        let silenced = see_all(&net, &tokens, &[edit("blocks.*.attn.hook_z", json!({"op": "zero"}))]);
        let plain = see_all(&net, &tokens, &[]);
        for l in layers(&net) {
            let bias = silenced.block(l, "attn.hook_out").narrow(1, 0, 1).unwrap();
            let values = floats(&bias);
            let is_a_weight = net.parameters().iter().any(|(_, p)| floats(p) == values);
            assert!(is_a_weight || values.iter().all(|x| *x == 0.0), "{name}: no such bias");
            assert!(net.facts().attn.out_bias == is_a_weight, "{name}");
            let total = sum(&plain.block(l, "attn.hook_result").sum(2).unwrap(), &bias);
            largest = largest.max(relative(&total, plain.block(l, "attn.hook_out")));
            assert_close(&total, plain.block(l, "attn.hook_out"), AGREE, &name);
            let everywhere = silenced.block(l, "attn.hook_out").broadcast_sub(&bias).unwrap();
            assert!(floats(&everywhere).iter().all(|x| *x == 0.0), "{name}: more than the bias is left");
            let shares = silenced.block(l, "attn.hook_result");
            assert!(floats(shares).iter().all(|x| *x == 0.0), "{name}");
        }
    }
    eprintln!("sum of heads: {largest:.1e}");
}

#[test]
fn rows_of_a_pattern_sum_to_one_and_mix_the_values() {
    let mut largest = 0f32;
    for (name, net) in goldens() {
        let seen = seen(&net);
        let group = net.facts().n_heads / net.facts().n_kv_heads;
        for l in layers(&net) {
            let pattern = seen.block(l, "attn.hook_pattern");
            let ones = pattern.sum(D::Minus1).unwrap();
            assert_close(&ones, &ones.ones_like().unwrap(), 1e-6, &name);
            let heads: Vec<Tensor> = (0..net.facts().n_heads)
                .map(|h| {
                    let v = seen.block(l, "attn.hook_v").narrow(2, h / group, 1).unwrap();
                    let p = pattern.narrow(1, h, 1).unwrap().squeeze(1).unwrap();
                    p.contiguous().unwrap().matmul(&v.squeeze(2).unwrap().contiguous().unwrap()).unwrap()
                })
                .collect();
            let z = Tensor::stack(&heads, 2).unwrap();
            largest = largest.max(relative(&z, seen.block(l, "attn.hook_z")));
            assert_close(&z, seen.block(l, "attn.hook_z"), AGREE, &name);
        }
    }
    eprintln!("pattern x values: {largest:.1e}");
}

#[test]
fn patterns_are_the_softmax_of_the_scores() {
    for (name, net) in goldens() {
        let seen = seen(&net);
        for l in layers(&net) {
            let scores = seen.block(l, "attn.hook_attn_scores");
            let top = scores.max_keepdim(D::Minus1).unwrap();
            let e = scores.broadcast_sub(&top).unwrap().exp().unwrap();
            let softmax = e.broadcast_div(&e.sum_keepdim(D::Minus1).unwrap()).unwrap();
            assert_close(&softmax, seen.block(l, "attn.hook_pattern"), AGREE, &name);
        }
    }
}

#[test]
fn contributions_add_up_along_the_stream() {
    let mut largest = 0f32;
    for (name, net) in goldens() {
        let seen = seen(&net);
        let mut check = |got: &Tensor, expected: &Tensor| {
            largest = largest.max(relative(got, expected));
            assert_close(got, expected, AGREE, &name);
        };
        let embedded = match net.sites().find("hook_pos_embed") {
            Some(_) => sum(seen.at("hook_embed"), seen.at("hook_pos_embed")),
            None => seen.at("hook_embed").clone(),
        };
        check(&embedded, seen.block(0, "hook_resid_pre"));
        for l in layers(&net) {
            let at = |part: &str| seen.block(l, part);
            let attended = sum(at("hook_resid_pre"), at("hook_attn_out"));
            match net.facts().placement {
                Placement::ParallelOneNorm | Placement::ParallelTwoNorms => {
                    check(&sum(&attended, at("hook_mlp_out")), at("hook_resid_post"));
                }
                Placement::AfterAdd => {
                    let centered = attended.broadcast_sub(&attended.mean_keepdim(D::Minus1).unwrap()).unwrap();
                    check(&centered.broadcast_div(at("ln1.hook_scale")).unwrap(), at("ln1.hook_normalized"));
                    check(at("ln1.hook_out"), at("hook_resid_mid"));
                    check(at("ln2.hook_out"), at("hook_resid_post"));
                }
                Placement::Pre | Placement::Post | Placement::PrePost => {
                    check(&attended, at("hook_resid_mid"));
                    check(&sum(at("hook_resid_mid"), at("hook_mlp_out")), at("hook_resid_post"));
                }
            }
            if l > 0 {
                let before = seen.block(l - 1, "hook_resid_post");
                assert_eq!(bits(before), bits(at("hook_resid_pre")), "{name}");
            }
        }
        let head = &net.facts().head;
        let logits = (seen.at("unembed.hook_out") / head.divisor).unwrap();
        let logits = match head.softcap {
            Some(cap) => ((logits / cap).unwrap().tanh().unwrap() * cap).unwrap(),
            None => logits,
        };
        check(&logits, seen.at("logits"));
        assert_eq!(bits(seen.at("logits")), bits(&seen.logits), "{name}");
    }
    eprintln!("residual sums: {largest:.1e}");
}

#[test]
fn the_lens_of_the_last_stream_is_the_logits() {
    for (name, net) in goldens() {
        let seen = seen(&net);
        let last = seen.block(layers(&net).end - 1, "hook_resid_post");
        let lens = net.lens(last, optrode::hook::Form::Inference).unwrap();
        assert_close(&lens, &seen.logits, AGREE, &name);
    }
}

#[test]
fn norms_divide_by_their_scale() {
    for (name, net) in goldens() {
        let seen = seen(&net);
        for (_, site) in net.sites().iter().filter(|(_, s)| s.name.ends_with("hook_normalized")) {
            let scale = seen.at(&site.name.replace("hook_normalized", "hook_scale"));
            let mut normalized = seen.at(&site.name).clone();
            if scale.rank() < normalized.rank() {
                normalized = normalized.flatten_from(2).unwrap(); // one norm over all heads
            }
            let square = normalized.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
            let s2 = scale.sqr().unwrap();
            let eps = if site.name.contains("attn.") {
                net.facts().attn.qk_norm.as_ref().unwrap().1.eps
            } else {
                net.facts().norm.eps
            };
            let expected = ((&s2 - eps).unwrap() / s2).unwrap(); // mean(c^2) / (mean(c^2) + eps)
            assert_close(&square, &expected, AGREE, &format!("{name}: {}", site.name));
        }
    }
}

#[test]
fn a_key_or_value_head_reaches_all_query_heads_of_its_group_and_no_other() {
    let tokens = batch(&[text(1, 8)], Side::Left);
    for (name, net) in goldens() {
        let plain = see_all(&net, &tokens, &[]);
        let group = net.facts().n_heads / net.facts().n_kv_heads;
        let last = net.facts().n_kv_heads - 1;
        let value = edit(format!("blocks.0.attn.hook_v[kv_head={last}]"), json!({"op": "zero"}));
        let key = edit(format!("blocks.0.attn.hook_k[kv_head={last}]"), json!({"op": "noise", "std": 2.0}));
        let without_value = see_all(&net, &tokens, &[value]);
        let other_key = see_all(&net, &tokens, &[key]);
        // A norm over all heads lets a head change the others.
        let apart = net
            .sites()
            .find("blocks.0.attn.k_norm.hook_scale")
            .is_none_or(|id| net.sites().get(id).axes.contains(&Axis::KvHead));
        for h in 0..net.facts().n_heads {
            let served = h / group == last;
            let z = |seen: &Seen| bits(&seen.block(0, "attn.hook_z").narrow(2, h, 1).unwrap());
            let map = |seen: &Seen| bits(&seen.block(0, "attn.hook_pattern").narrow(1, h, 1).unwrap());
            assert_eq!(z(&without_value).iter().all(|b| b & 0x7fff_ffff == 0), served, "{name} head {h}");
            assert_eq!(z(&without_value) == z(&plain), !served, "{name} head {h}");
            assert_eq!(map(&other_key) != map(&plain), served || !apart, "{name} head {h}");
        }
    }
}
