use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use optrode::store::{Source, WeightFile, write_safetensors};
use serde_json::{Value, json};

use super::{Desk, refuses, succeeds};
use crate::common::folders;
use crate::common::shared::shared;

/// Largest absolute difference that a recorded value may have.
const TOLERANCE: f32 = 5e-5;

fn load(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    a.dims() == b.dims() && flat(a).iter().zip(flat(b)).all(|(x, y)| x.to_bits() == y.to_bits())
}

/// Over the positions whose mask is 1; equal infinities do not differ.
fn largest_difference(ours: &Tensor, theirs: &Tensor, mask: &[f32], query_axis: usize) -> f32 {
    let dims = ours.dims();
    let inner: usize = dims[query_axis + 1..].iter().product();
    let outer: usize = dims[1..].iter().product();
    let pos = dims[query_axis];
    let pairs = flat(ours).into_iter().zip(flat(theirs)).enumerate();
    let real = pairs.filter(|(i, _)| mask[i / outer * pos + i / inner % pos] == 1.0);
    real.map(|(_, (x, y))| if x == y { 0.0 } else { (x - y).abs() })
        .fold(0.0, |worst, d| if d.is_nan() { f32::INFINITY } else { worst.max(d) })
}

#[test]
fn every_recorded_file_equals_the_activations_of_hugging_face() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut compared = 0;
    for golden in folders() {
        for case in ["plain", "left_padded"] {
            let reference = load(&golden.join(format!("{case}.safetensors")));
            for (file, name) in [("ids.json", "input_ids"), ("mask.json", "attention_mask")] {
                let rows = reference[name].to_dtype(DType::I64).unwrap().to_vec2::<i64>().unwrap();
                std::fs::write(path(file), json!(rows).to_string()).unwrap();
            }
            let model = golden.to_str().unwrap();
            let mut args = vec!["record", model, "--token-ids", "ids.json", "--sites", "**"];
            args.extend(["--attention-mask", "mask.json", "--out", "acts.safetensors"]);
            succeeds(folder.path(), &args);
            let ours = load(&path("acts.safetensors"));
            let opened = WeightFile::open(path("acts.safetensors")).unwrap();
            let axes: BTreeMap<String, Vec<String>> = serde_json::from_str(&opened.metadata()["axes"]).unwrap();
            let mask = flat(&reference["attention_mask"]);
            for (name, theirs) in &reference {
                let mine = &ours[name];
                assert_eq!(mine.dims(), theirs.dims(), "{model} {case} {name}");
                if ["input_ids", "attention_mask"].contains(&name.as_str()) {
                    assert!(same(mine, theirs), "{model} {case} {name}");
                    continue;
                }
                assert_eq!((mine.dtype(), axes[name].len()), (DType::F32, mine.rank()), "{name}");
                let query_axis = axes[name].iter().position(|a| a == "pos" || a == "query").unwrap();
                let error = largest_difference(mine, theirs, &mask, query_axis);
                assert!(error <= TOLERANCE, "{model} {case} {name}: {error:e}");
                compared += 1;
            }
        }
    }
    assert!(compared > 2000, "only {compared} tensors were compared");
}

#[test]
fn masked_scores_are_minus_infinity() {
    let desk = Desk::new("gpt2");
    let mut args = vec!["record", "m", "--token-ids", "ids.json", "--sites", "blocks.0.attn.hook_attn_scores"];
    args.extend(["--out", "acts.safetensors"]);
    succeeds(desk.root(), &args);
    let scores = &load(&desk.path("acts.safetensors"))["blocks.0.attn.hook_attn_scores"];
    let (rows, heads, t) = (scores.dim(0).unwrap(), scores.dim(1).unwrap(), scores.dim(2).unwrap());
    for (i, x) in flat(scores).into_iter().enumerate() {
        let (query, key) = (i / t % t, i % t);
        assert_eq!(x == f32::NEG_INFINITY, key > query, "query {query}, key {key}: {x}");
    }
    assert_eq!((rows, heads > 1, t), (2, true, 5));
}

#[test]
fn an_edit_file_changes_what_it_names_and_nothing_before_it() {
    let desk = Desk::new("llama");
    let record = |more: &[&str]| {
        let mut args = vec!["record", "m", "--token-ids", "ids.json", "--sites", "blocks.*.attn.hook_z"];
        args.extend(["--out", "acts.safetensors"]);
        args.extend(more);
        succeeds(desk.root(), &args);
        load(&desk.path("acts.safetensors"))
    };
    let plain = record(&[]);
    desk.edits("edit.json", json!([{"site": "blocks.1.attn.hook_z[head=2]@all", "op": "zero"}]));
    let edited = record(&["--edit", "edit.json"]);
    let head = |acts: &HashMap<String, Tensor>, h| acts["blocks.1.attn.hook_z"].narrow(2, h, 1).unwrap();
    assert!(flat(&head(&edited, 2)).iter().all(|x| *x == 0.0));
    assert!(flat(&head(&plain, 2)).iter().any(|x| *x != 0.0));
    assert!(same(&head(&plain, 1), &head(&edited, 1)));
    assert!(same(&plain["blocks.0.attn.hook_z"], &edited["blocks.0.attn.hook_z"]));
    assert!(!same(&plain["logits"], &edited["logits"]));
    let uncached = record(&["--edit", "edit.json", "--no-cache"]);
    assert!(edited.iter().all(|(name, x)| same(x, &uncached[name])));
}

#[test]
fn a_bundle_folder_brings_its_tensors() {
    let desk = Desk::new("llama");
    let value: Vec<f32> = (0..24).map(|i| i as f32 / 10.0).collect();
    let vector = Tensor::from_vec(value.clone(), 24, &Device::Cpu).unwrap();
    std::fs::create_dir(desk.path("bundle")).unwrap();
    let stored = [("steer".to_string(), Source::Tensor(vector))];
    write_safetensors(desk.path("bundle/tensors.safetensors"), &stored, &BTreeMap::new()).unwrap();
    let edit = json!([{"site": "blocks.1.hook_resid_pre@last", "op": "replace", "value": {"tensor": "steer"}}]);
    desk.edits("bundle/edit.json", edit);
    let mut args = vec!["record", "m", "--token-ids", "ids.json", "--edit", "bundle"];
    args.extend(["--sites", "blocks.1.hook_resid_pre", "--out", "acts.safetensors"]);
    succeeds(desk.root(), &args);
    let stream = &load(&desk.path("acts.safetensors"))["blocks.1.hook_resid_pre"];
    for row in 0..2 {
        assert_eq!(flat(&stream.get(row).unwrap().get(4).unwrap()), value);
        assert_ne!(flat(&stream.get(row).unwrap().get(3).unwrap()), value);
    }
}

#[test]
fn raw_and_edited_values_have_their_own_names() {
    let desk = Desk::new("gpt2");
    desk.edits("edit.json", json!([{"site": "blocks.0.hook_resid_pre", "op": "scale", "factor": 2}]));
    let mut args = vec!["record", "m", "--token-ids", "ids.json", "--edit", "edit.json", "--out", "acts.safetensors"];
    args.extend(["--sites", "blocks.0.hook_resid_pre", "blocks.0.hook_resid_pre@raw"]);
    succeeds(desk.root(), &args);
    let acts = load(&desk.path("acts.safetensors"));
    let (raw, edited) = (&acts["blocks.0.hook_resid_pre@raw"], &acts["blocks.0.hook_resid_pre"]);
    assert!(same(&(raw * 2.0).unwrap(), edited));
}

#[test]
fn npz_holds_the_same_tensors() {
    let desk = Desk::new("gpt2");
    for out in ["acts.safetensors", "acts.npz"] {
        let args = ["record", "m", "--token-ids", "ids.json", "--sites", "blocks.*.mlp.hook_post", "--out", out];
        succeeds(desk.root(), &args);
    }
    let one = load(&desk.path("acts.safetensors"));
    let other = Tensor::read_npz(desk.path("acts.npz")).unwrap();
    assert_eq!(one.len(), other.len());
    for (name, x) in other {
        assert!(same(&x, &one[&name]), "{name}");
    }
}

#[test]
fn json_says_what_was_written() {
    let desk = Desk::new("llama");
    let mut args = vec!["record", "m", "--token-ids", "ids.json", "--sites", "ln_final.hook_normalized@last"];
    args.extend(["--out", "acts.safetensors", "--json"]);
    let json: Value = serde_json::from_str(&succeeds(desk.root(), &args)).unwrap();
    assert_eq!(json["out"], "acts.safetensors");
    let expected = json!({
        "attention_mask": [2, 5],
        "input_ids": [2, 5],
        "ln_final.hook_normalized": [2, 1, 24],
        "logits": [2, 5, 61],
    });
    assert_eq!(json["tensors"], expected);
}

#[test]
fn texts_are_padded_on_the_right_and_do_not_disturb_each_other() {
    let Some(model) = shared("models/stories260K") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (long, short) = ("Once upon a time, there was a dog.", "Tom had");
    std::fs::write(path("t.jsonl"), format!("{}\n\n{}\n", json!({"q": long}), json!({"q": short}))).unwrap();
    std::fs::write(path("t.txt"), format!("{short}\n")).unwrap();
    let record = |source: &[&str]| {
        let mut args = vec!["record", model.to_str().unwrap(), "--sites", "blocks.4.hook_resid_post"];
        args.extend(["--out", "acts.safetensors"]);
        args.extend(source);
        succeeds(folder.path(), &args);
        load(&path("acts.safetensors"))
    };
    let both = record(&["--text", long, "--text", short]);
    let alone = record(&["--text", short]);
    let count = alone["input_ids"].dim(1).unwrap();
    let width = both["input_ids"].dim(1).unwrap();
    let mask: Vec<i64> = (0..width).map(|i| i64::from(i < count)).collect();
    assert!(count < width);
    assert_eq!(both["attention_mask"].get(1).unwrap().to_vec1::<i64>().unwrap(), mask);
    let row = both["logits"].get(1).unwrap().narrow(0, 0, count).unwrap();
    let difference = flat(&row).iter().zip(flat(&alone["logits"])).fold(0f32, |worst, (x, y)| worst.max((x - y).abs()));
    assert!(difference < 1e-4, "{difference:e}");
    let lines = record(&["--file", "t.jsonl:q"]);
    assert!(both.iter().all(|(name, x)| same(x, &lines[name])));
    let whole = record(&["--file", "t.txt"]);
    assert!(alone.iter().all(|(name, x)| same(x, &whole[name])));
}

#[test]
fn a_refusal_leaves_an_older_file_as_it_was() {
    let desk = Desk::new("gpt2");
    desk.write("old.safetensors", b"precious");
    desk.edits("edit.json", json!([{"site": "blocks.0.hook_resid_pre", "op": "set", "value": [1, 2, 3]}]));
    let mut args = vec!["record", "m", "--token-ids", "ids.json", "--sites", "logits", "--edit", "edit.json"];
    args.extend(["--out", "old.safetensors"]);
    refuses(desk.root(), &args, &["blocks.0.hook_resid_pre", "[3]"]);
    assert_eq!(std::fs::read(desk.path("old.safetensors")).unwrap(), b"precious");
}
