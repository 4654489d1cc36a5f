//! Selecting keys of an attention map by their position, whatever the padding.

use optrode::models::Side;
use serde_json::json;

use crate::common::{AGREE, assert_close, batch, edit, goldens, pass, see, text};

#[test]
fn selected_keys_are_positions_of_the_row_under_either_padding() {
    let rows = [text(1, 7), text(2, 4), text(3, 3)];
    let record = ["blocks.*.attn.hook_pattern[head=1][key=0,2]@last", "blocks.*.attn.hook_attn_scores[key=1]@2"];
    for (name, net) in goldens() {
        for side in [Side::Left, Side::Right] {
            let seen = see(&net, &batch(&rows, side), &pass(&record, &[]));
            for (r, row) in rows.iter().enumerate() {
                let single = see(&net, &batch(std::slice::from_ref(row), side), &pass(&record, &[]));
                for (site, recorded) in &single.records.tensors {
                    let got = seen.at(site).narrow(0, r, 1).unwrap();
                    assert_close(&got, &recorded.tensor, AGREE, &format!("{name} {side:?} row {r} {site}"));
                }
            }
        }
    }
}

#[test]
fn selected_keys_are_columns_of_the_whole_map() {
    let row = [text(1, 6)];
    for (name, net) in goldens() {
        let map = "blocks.0.attn.hook_pattern";
        let whole = see(&net, &batch(&row, Side::Left), &pass(&[map], &[]));
        let part = see(&net, &batch(&row, Side::Left), &pass(&[&format!("{map}[key=1,4]@5")], &[]));
        let index = candle_core::Tensor::new(&[1u32, 4], &candle_core::Device::Cpu).unwrap();
        let expected = whole.at(map).narrow(2, 5, 1).unwrap().contiguous().unwrap();
        assert_close(part.at(map), &expected.index_select(&index, 3).unwrap(), 0.0, &name);
    }
}

#[test]
fn an_edit_of_a_map_reaches_neither_padding_nor_later_keys() {
    let rows = [text(1, 6), text(2, 3)];
    let map = "blocks.0.attn.hook_pattern";
    for (name, net) in goldens() {
        for side in [Side::Left, Side::Right] {
            let edits = [edit(map, json!({"op": "set", "value": 0.25}))];
            let seen = see(&net, &batch(&rows, side), &pass(&[map], &edits));
            let rows: Vec<Vec<Vec<f32>>> = seen.at(map).narrow(1, 0, 1).unwrap().squeeze(1).unwrap().to_vec3().unwrap();
            let start = if side == Side::Left { 3 } else { 0 };
            for (query, keys) in rows[1][start..start + 3].iter().enumerate() {
                for (key, value) in keys.iter().enumerate() {
                    let earlier = (start..=start + query).contains(&key);
                    let expected = if earlier { 0.25 } else { 0.0 };
                    assert_eq!(*value, expected, "{name} {side:?}: query {query}, column {key}");
                }
            }
        }
    }
}
