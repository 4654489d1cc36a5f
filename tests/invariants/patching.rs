//! Values that travel between passes, rows, positions and heads.

use candle_core::{Device, Tensor};
use optrode::models::{Decoder, Network, Outcome, Side, Tokens};
use serde_json::{Value, json};

use crate::common::{AGREE, assert_close, batch, bits, edit, goldens, job, pass, relative, see, text};

fn patched(net: &Decoder, inputs: [Tokens; 2], edits: Value, records: Value) -> Outcome {
    let passes = json!([
        {"name": "source"},
        {"name": "patched", "edits": edits, "records": records},
    ]);
    job(net, passes, &inputs).unwrap()
}

fn logits<'a>(outcome: &'a Outcome, pass: &str) -> &'a Tensor {
    &outcome.pass(pass).unwrap().output
}

fn from_source(site: &str) -> Value {
    json!({"site": site, "op": "replace", "value": {"pass": "source", "site": site}})
}

#[test]
fn patching_any_site_from_the_same_run_changes_nothing() {
    let tokens = batch(&[text(1, 5), text(2, 3)], Side::Left);
    for (name, net) in goldens() {
        let on_demand = net.sites().iter().filter(|(_, s)| s.on_demand).map(|(_, s)| s.name.clone());
        let at_hand = net.sites().iter().filter(|(_, s)| !s.on_demand).map(|(_, s)| s.name.clone());
        for (sites, tolerance) in [(at_hand.collect::<Vec<_>>(), 1e-6), (on_demand.collect(), AGREE)] {
            for sites in sites.chunks(12) {
                let edits: Vec<Value> = sites.iter().map(|s| from_source(s)).collect();
                let inputs = [tokens.clone(), tokens.clone()];
                let outcome = patched(&net, inputs, edits.into(), json!([]));
                let error = relative(logits(&outcome, "patched"), logits(&outcome, "source"));
                assert!(error <= tolerance, "{name}: {error:.1e} from {sites:?}");
            }
        }
    }
}

#[test]
fn patching_a_whole_stream_gives_exactly_the_other_run() {
    let inputs = [batch(&[text(1, 6), text(2, 4)], Side::Left), batch(&[text(3, 6), text(4, 4)], Side::Left)];
    for (name, net) in goldens() {
        for l in 0..net.facts().layers.len() {
            let edits = json!([from_source(&format!("blocks.{l}.hook_resid_pre"))]);
            let outcome = patched(&net, inputs.clone(), edits, json!([]));
            assert_eq!(bits(logits(&outcome, "patched")), bits(logits(&outcome, "source")), "{name} {l}");
        }
    }
}

#[test]
fn patching_a_whole_stream_across_paddings_and_rows_gives_the_other_run() {
    let (a, b) = (text(1, 6), text(2, 4));
    let source = batch(&[a.clone(), b.clone(), text(9, 7)], Side::Right);
    let target = batch(&[text(5, 4), text(6, 6)], Side::Left);
    let expected = batch(&[b, a], Side::Left);
    for (name, net) in goldens() {
        let last = net.facts().layers.len() - 1;
        let site = format!("blocks.{last}.hook_resid_pre");
        let value = json!({"pass": "source", "site": site, "rows": [1, 0]});
        let edits = json!([{"site": site, "op": "replace", "value": value}]);
        let outcome = patched(&net, [source.clone(), target.clone()], edits, json!([]));
        let other = see(&net, &expected, &pass(&[], &[]));
        let real = |x: &Tensor, row, from| x.narrow(0, row, 1).unwrap().narrow(1, from, 6 - from).unwrap();
        for (row, from) in [(0, 2), (1, 0)] {
            let got = real(logits(&outcome, "patched"), row, from);
            assert_close(&got, &real(&other.logits, row, from), AGREE, &name);
        }
    }
}

#[test]
fn a_patched_position_carries_the_value_and_leaves_the_others() {
    let inputs = [batch(&[text(1, 6)], Side::Left), batch(&[text(3, 6)], Side::Left)];
    let site = "blocks.1.attn.hook_z";
    for (name, net) in goldens() {
        let edits = json!([{"site": format!("{site}[head=1]@3"), "op": "replace",
                            "value": {"pass": "source", "site": site}}]);
        let records = json!([{"site": site}, {"site": format!("{site}@raw")}]);
        let outcome = patched(&net, inputs.clone(), edits, records);
        let source = see(&net, &inputs[0], &pass(&[site], &[]));
        let records = &outcome.pass("patched").unwrap().records;
        let (now, before) = (records.get(site).unwrap(), records.get(&format!("{site}@raw")).unwrap());
        for position in 0..6 {
            for head in 0..net.facts().n_heads {
                let at = |x: &Tensor| bits(&x.narrow(1, position, 1).unwrap().narrow(2, head, 1).unwrap());
                let expected = if (position, head) == (3, 1) { source.at(site) } else { before };
                assert_eq!(at(now), at(expected), "{name}: position {position}, head {head}");
            }
        }
    }
}

#[test]
fn maps_of_rows_positions_and_heads_name_where_values_come_from() {
    let source = batch(&[text(1, 5), text(2, 4)], Side::Right);
    let target = batch(&[text(3, 3), text(4, 5)], Side::Left);
    let (rows, positions, heads) = ([1u32, 0], [2u32, 0, 1, 3, 3], [1u32, 0]);
    let site = "blocks.0.attn.hook_z";
    for (name, net) in goldens() {
        let value = json!({"pass": "source", "site": site, "rows": rows, "positions": positions, "heads": heads});
        let edits = json!([{"site": format!("{site}[head=0,1]"), "op": "replace", "value": value}]);
        let outcome = patched(&net, [source.clone(), target.clone()], edits, json!([{"site": site}]));
        let got = outcome.pass("patched").unwrap().records.get(site).unwrap().clone();
        let from = see(&net, &source, &pass(&[site], &[]));
        let vector = |x: &Tensor, row: usize, column: usize, head: usize| {
            let x = x.narrow(0, row, 1).unwrap().narrow(1, column, 1).unwrap();
            bits(&x.narrow(2, head, 1).unwrap())
        };
        for (row, length) in [(0usize, 3usize), (1, 5)] {
            for (position, origin) in positions.iter().take(length).enumerate() {
                for (head, source_head) in heads.iter().enumerate() {
                    let expected = vector(from.at(site), rows[row] as usize, *origin as usize, *source_head as usize);
                    let now = vector(&got, row, 5 - length + position, head);
                    assert_eq!(now, expected, "{name}: {row} {position} {head}");
                }
            }
        }
    }
}

#[test]
fn a_pattern_is_patched_head_by_head_where_layouts_agree() {
    let inputs = [batch(&[text(1, 4)], Side::Left), batch(&[text(3, 4)], Side::Left)];
    let site = "blocks.0.attn.hook_pattern";
    for (name, net) in goldens() {
        let value = json!({"pass": "source", "site": site, "heads": [1, 0]});
        let edits = json!([{"site": format!("{site}[head=0,1]"), "op": "replace", "value": value}]);
        let outcome = patched(&net, inputs.clone(), edits, json!([{"site": site}]));
        let got = outcome.pass("patched").unwrap().records.get(site).unwrap().clone();
        let source = see(&net, &inputs[0], &pass(&[site], &[]));
        let swapped = Tensor::new(&[1u32, 0], &Device::Cpu).unwrap();
        let expected = source.at(site).index_select(&swapped, 1).unwrap();
        assert_eq!(bits(&got.narrow(1, 0, 2).unwrap()), bits(&expected), "{name}");
    }
}

/// Four heads and four positions must not be mixed up.
#[test]
fn a_map_is_not_read_by_position() {
    let inputs = [batch(&[text(1, 4)], Side::Left), batch(&[text(3, 4)], Side::Left)];
    let site = "blocks.0.attn.hook_pattern";
    for (name, net) in goldens() {
        let value = json!({"pass": "source", "site": site, "positions": [0, 1, 2, 3]});
        let passes = json!([
            {"name": "source"},
            {"name": "patched", "edits": [{"site": site, "op": "replace", "value": value}]},
        ]);
        let refused = job(&net, passes, &inputs).unwrap_err().to_string();
        assert!(refused.contains("position"), "{name}: {refused}");
    }
}

#[test]
fn an_earlier_site_of_the_same_pass_can_replace_a_later_one() {
    let tokens = batch(&[text(1, 5), text(2, 3)], Side::Left);
    for (name, net) in goldens() {
        let value = json!({"site": "blocks.0.hook_resid_post"});
        let edits = [edit("blocks.1.hook_resid_post", json!({"op": "replace", "value": value}))];
        let skipped = see(&net, &tokens, &pass(&["blocks.{0,1}.hook_resid_post"], &edits));
        assert_eq!(bits(skipped.block(0, "hook_resid_post")), bits(skipped.block(1, "hook_resid_post")), "{name}");
    }
}
