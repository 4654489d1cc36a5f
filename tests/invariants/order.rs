//! Record before, edit in order, record after; and every edit does what arithmetic says.

use std::collections::BTreeMap;

use candle_core::{D, Tensor};
use optrode::models::transformer::facts::Placement;
use optrode::models::{Decoder, Network, Side, Tokens};
use serde_json::json;

use crate::common::{
    AGREE, Seen, assert_close, batch, bits, edit, floats, goldens, pass, plan, relative, see, see_all, see_with, text,
};

fn tokens() -> Tokens {
    batch(&[text(1, 6), text(2, 4)], Side::Left)
}

#[test]
fn raw_records_show_the_value_before_all_edits_and_plain_ones_after_them_in_order() {
    for (name, net) in goldens() {
        let site = "blocks.1.mlp.hook_post";
        let raw = format!("{site}@raw");
        let plain = see(&net, &tokens(), &pass(&[site], &[]));
        let scale = edit(site, json!({"op": "scale", "factor": 2.0}));
        let add = edit(site, json!({"op": "add", "value": 1.0}));
        let clamp = edit(site, json!({"op": "clamp", "upper": 1.5}));
        let x = plain.at(site);
        for (edits, expected) in [
            ([&scale, &add, &clamp], ((x * 2.0).unwrap() + 1.0).unwrap().minimum(1.5).unwrap()),
            ([&clamp, &add, &scale], ((x.minimum(1.5).unwrap() + 1.0).unwrap() * 2.0).unwrap()),
        ] {
            let edits = edits.map(Clone::clone);
            let seen = see(&net, &tokens(), &pass(&[site, &raw], &edits));
            assert_eq!(bits(seen.at(&raw)), bits(x), "{name}");
            assert_eq!(bits(seen.at(site)), bits(&expected), "{name}");
        }
    }
}

#[test]
fn identity_edits_at_any_site_leave_the_logits_alone() {
    let (mut largest, mut on_demand) = (0f32, 0f32);
    for (name, net) in goldens() {
        let plain = see(&net, &tokens(), &pass(&[], &[]));
        for (_, site) in net.sites().iter() {
            let same = edit(&site.name, json!({"op": "scale", "factor": 1.0}));
            let error = relative(&see(&net, &tokens(), &pass(&[], &[same])).logits, &plain.logits);
            let (tolerance, worst) = if site.on_demand { (AGREE, &mut on_demand) } else { (1e-6, &mut largest) };
            assert!(error <= tolerance, "{name}: scaling {} by 1 changes the logits by {error:.1e}", site.name);
            *worst = worst.max(error);
        }
    }
    eprintln!("identity edits: {largest:.1e}, at sites made on demand {on_demand:.1e}");
}

#[test]
fn opening_every_site_at_once_leaves_the_logits_alone() {
    for (name, net) in goldens() {
        let plain = see(&net, &tokens(), &pass(&[], &[]));
        let opened = see(&net, &tokens(), &pass(&[], &[edit("**", json!({"op": "scale", "factor": 1.0}))]));
        assert_close(&opened.logits, &plain.logits, AGREE, &name);
    }
}

/// The site's values after an edit, and everything that follows.
fn edited(net: &Decoder, site: &str, op: serde_json::Value) -> Seen {
    see_all(net, &tokens(), &[edit(site, op)])
}

fn has(net: &Decoder, site: &str) -> bool {
    net.sites().find(site).is_some()
}

#[test]
fn a_scale_divides_what_it_normalises() {
    for (name, net) in goldens() {
        let plain = see_all(&net, &tokens(), &[]);
        for (_, site) in net.sites().iter().filter(|(_, s)| s.name.ends_with("hook_scale")) {
            let normalized = site.name.replace("hook_scale", "hook_normalized");
            let seen = edited(&net, &site.name, json!({"op": "scale", "factor": 2.0}));
            let halved = (plain.at(&normalized) / 2.0).unwrap();
            assert_close(seen.at(&normalized), &halved, AGREE, &format!("{name}: {}", site.name));
        }
    }
}

#[test]
fn a_zeroed_normalised_stream_leaves_the_bias_of_the_norm() {
    for (name, net) in goldens() {
        for (_, site) in net.sites().iter().filter(|(_, s)| s.name.ends_with("hook_normalized")) {
            let out = site.name.replace("hook_normalized", "hook_out");
            if !has(&net, &out) {
                continue;
            }
            let seen = edited(&net, &site.name, json!({"op": "zero"}));
            let width = *seen.at(&out).dims().last().unwrap();
            let all = floats(seen.at(&out));
            let bias = |row: &[f32]| {
                let equals = |p: &Tensor| p.elem_count() == width && floats(p) == row;
                row.iter().all(|x| *x == 0.0) || net.parameters().iter().any(|(_, p)| equals(p))
            };
            let by_head = site.name.contains("attn.");
            assert!(by_head || all.chunks(width).all(bias), "{name}: {}", site.name);
        }
    }
}

#[test]
fn edited_scores_are_what_the_softmax_sees() {
    for (name, net) in goldens() {
        let plain = see_all(&net, &tokens(), &[]);
        let seen = edited(&net, "blocks.0.attn.hook_attn_scores[key=0]", json!({"op": "add", "value": 2.0}));
        let (before, after) = (plain.block(0, "attn.hook_pattern"), seen.block(0, "attn.hook_pattern"));
        // p0' / (1 - p0') = e^2 p0 / (1 - p0) for the last query, whose row is real in both texts.
        let (row, head, query) = (0, 0, 5);
        let p = |x: &Tensor| f64::from(floats(x)[((row * net.facts().n_heads + head) * 6 + query) * 6]);
        let odds = |p: f64| p / (1.0 - p);
        if p(before) == 0.0 {
            assert_eq!(p(after), 0.0, "{name}: hidden by the window");
            continue;
        }
        let ratio = odds(p(after)) / odds(p(before));
        assert!((ratio / 2f64.exp() - 1.0).abs() < 1e-4, "{name}: {ratio}");
    }
}

#[test]
fn an_edited_pattern_mixes_the_values_that_it_says() {
    for (name, net) in goldens() {
        let op = json!({"op": "scale", "factor": 0.25});
        let seen = edited(&net, "blocks.0.attn.hook_pattern[head=1]", op);
        let plain = see_all(&net, &tokens(), &[]);
        let z = |seen: &Seen, head| seen.block(0, "attn.hook_z").narrow(2, head, 1).unwrap().narrow(0, 0, 1).unwrap();
        assert_close(&z(&seen, 1), &(z(&plain, 1) * 0.25).unwrap(), AGREE, &name);
        assert_eq!(bits(&z(&seen, 0)), bits(&z(&plain, 0)), "{name}");
    }
}

#[test]
fn a_silenced_head_result_is_missing_from_the_output() {
    for (name, net) in goldens() {
        let plain = see_all(&net, &tokens(), &[]);
        let seen = edited(&net, "blocks.0.attn.hook_result[head=1]", json!({"op": "zero"}));
        let share = plain.block(0, "attn.hook_result").narrow(2, 1, 1).unwrap().squeeze(2).unwrap();
        let expected = (plain.block(0, "attn.hook_out") - share).unwrap();
        assert_close(seen.block(0, "attn.hook_out"), &expected, AGREE, &name);
        let z = edited(&net, "blocks.0.attn.hook_z[head=1]", json!({"op": "zero"}));
        assert_close(&seen.logits, &z.logits, AGREE, &name);
    }
}

#[test]
fn an_input_of_one_head_reaches_that_head_alone() {
    for (name, net) in goldens() {
        let plain = see_all(&net, &tokens(), &[]);
        for (role, heads) in [("q", net.facts().n_heads), ("k", net.facts().n_kv_heads), ("v", net.facts().n_kv_heads)]
        {
            let axis = if role == "q" { "head" } else { "kv_head" };
            let site = format!("blocks.1.hook_{role}_input");
            let last = heads - 1;
            let noise = edited(&net, &format!("{site}[{axis}={last}]"), json!({"op": "noise", "std": 1.0}));
            for h in 0..heads {
                let head = |seen: &Seen| {
                    let all = seen.block(1, &format!("attn.hook_{role}")).narrow(2, h, 1).unwrap();
                    all.contiguous().unwrap()
                };
                let error = relative(&head(&noise), &head(&plain));
                assert_eq!(error > 1e-3, h == last, "{name}: {site} head {h} changed by {error:.1e}");
            }
            // Inputs read the whole stream: replacing all of them is replacing the stream for this role.
            let stream = edited(&net, "blocks.1.hook_resid_pre", json!({"op": "scale", "factor": -0.5}));
            let inputs = edited(&net, &site, json!({"op": "scale", "factor": -0.5}));
            let part = format!("attn.hook_{role}");
            assert_close(inputs.block(1, &part), stream.block(1, &part), AGREE, &format!("{name}: {site}"));
        }
    }
}

/// Reading through an input of one's own must not undo what was done to the norm.
#[test]
fn an_edited_input_leaves_edits_of_the_norm_in_force() {
    for (name, net) in goldens().filter(|(_, net)| has(net, "blocks.0.ln1.hook_scale")) {
        let scale = edit("blocks.0.ln1.hook_scale", json!({"op": "scale", "factor": 2.0}));
        let same = edit("blocks.0.hook_{q,k,v}_input", json!({"op": "scale", "factor": 1.0}));
        let one = see(&net, &tokens(), &pass(&[], std::slice::from_ref(&scale)));
        let both = see(&net, &tokens(), &pass(&[], &[scale, same]));
        assert_eq!(bits(&one.logits), bits(&both.logits), "{name}");
    }
}

#[test]
fn an_edited_mlp_input_changes_the_mlp_and_not_the_stream_it_is_added_to() {
    for (name, net) in goldens().filter(|(_, net)| has(net, "blocks.0.hook_mlp_in")) {
        let plain = see_all(&net, &tokens(), &[]);
        let seen = edited(&net, "blocks.0.hook_mlp_in", json!({"op": "zero"}));
        for part in ["hook_resid_pre", "hook_attn_out"] {
            assert_eq!(bits(seen.block(0, part)), bits(plain.block(0, part)), "{name}: {part}");
        }
        if net.facts().placement != Placement::AfterAdd {
            let rest = |s: &Seen| (s.block(0, "hook_resid_post") - s.block(0, "hook_mlp_out")).unwrap();
            assert_close(&rest(&seen), &rest(&plain), AGREE, &name);
        }
        // With nothing to read the MLP gives every token the same.
        let out = seen.block(0, "mlp.hook_out");
        let first = out.narrow(0, 0, 1).unwrap().narrow(1, 0, 1).unwrap();
        assert_close(out, &first.broadcast_as(out.shape()).unwrap(), AGREE, &name);
        assert!(relative(&seen.logits, &plain.logits) > 1e-4, "{name}");
    }
}

#[test]
fn resampling_gives_each_document_one_example_of_the_set_and_not_all_the_same() {
    for (name, net) in goldens() {
        let facts = net.facts();
        let example = |e: usize| Tensor::full(e as f32, (1, 8, facts.n_heads, facts.d_head), &candle_core::Device::Cpu);
        let examples: Vec<Tensor> = (0..5).map(|e| example(e).unwrap()).collect();
        let stored = BTreeMap::from([("set".to_string(), Tensor::cat(&examples, 0).unwrap())]);
        let site = "blocks.0.attn.hook_z";
        let op = json!({"op": "resample", "reference": {"tensor": "set"}});
        let rows: Vec<Vec<u32>> = (0..12).map(|seed| text(seed, 2)).collect();
        let pass = pass(&[site], &[edit(site, op)]);
        let seen = see_with(&net, &batch(&rows, Side::Left), plan(&net, &pass, &stored));
        let all = floats(seen.at(site));
        let drawn: Vec<f32> = all.chunks(all.len() / rows.len()).map(|row| row[0]).collect();
        for (row, drawn) in all.chunks(all.len() / rows.len()).zip(&drawn) {
            assert!(row.iter().all(|x| x == drawn), "{name}");
        }
        assert!(drawn.iter().any(|d| *d != drawn[0]), "{name}: {drawn:?}");
    }
}

#[test]
fn a_projected_out_direction_is_gone() {
    for (name, net) in goldens() {
        let direction: Vec<f32> = (0..net.facts().d_model).map(|i| (i as f32).cos()).collect();
        let r = Tensor::new(direction.as_slice(), &candle_core::Device::Cpu).unwrap();
        let op = json!({"op": "project_out", "direction": direction, "component": 0.5});
        let seen = edited(&net, "blocks.0.hook_resid_post", op);
        let length = r.sqr().unwrap().sum_all().unwrap().sqrt().unwrap();
        let x = seen.block(0, "hook_resid_post");
        let along = x.broadcast_mul(&r.broadcast_div(&length).unwrap()).unwrap().sum(D::Minus1).unwrap();
        let most = floats(x).iter().fold(0f32, |m, v| m.max(v.abs()));
        for component in floats(&along) {
            assert!((component - 0.5).abs() <= AGREE * most.max(1.0), "{name}: {component}");
        }
    }
}
