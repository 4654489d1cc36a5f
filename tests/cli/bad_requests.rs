//! Selectors, edits and options that ask for what cannot be done.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use optrode::store::{Source, write_safetensors};
use serde_json::{Value, json};

use super::{Desk, refuses, succeeds};
use crate::common::shared::shared;

fn site(selector: &str, words: &[&str]) {
    Desk::new("llama").refuses_record(&["--sites", selector], words);
}

fn edit(edit: Value, words: &[&str]) {
    let desk = Desk::new("llama");
    desk.edits("edit.json", json!([edit]));
    desk.refuses_record(&["--edit", "edit.json"], words);
}

fn edit_file(content: &str, words: &[&str]) {
    let desk = Desk::new("llama");
    desk.write("edit.json", content);
    desk.refuses_record(&["--edit", "edit.json"], &[&["edit.json"], words].concat());
}

#[test]
fn sites_that_do_not_exist() {
    site("blocks.0.attn.hook_zz", &["no site matches `blocks.0.attn.hook_zz`", "blocks.0.attn.hook_z,"]);
    site("blocks.7.attn.hook_z", &["blocks.7.attn.hook_z", "nearest"]);
    site("blocks.{0..7}.attn.hook_z", &["blocks.{0..7}", "0..2"]);
    site("**.hook_spikes", &["no site matches"]);
}

#[test]
fn selectors_that_cannot_be_read() {
    site("blocks.0.attn.hook_z[head=", &["blocks.0.attn.hook_z[head=", "character 26"]);
    site("blocks.{0.attn.hook_z", &["character"]);
    site("logits@later", &["character 7", "`last`"]);
    site("logits[heads=1]", &["character 7", "heads"]);
    site("logits\nhook_embed", &["character 6"]);
    site("", &["a site name"]);
}

#[test]
fn indices_that_the_site_lacks() {
    site("blocks.0.attn.hook_z[head=4]", &["blocks.0.attn.hook_z", "`4` is not within 0..4"]);
    site("blocks.0.attn.hook_k[head=1]", &["`head`", "[kv_head=...]"]);
    site("blocks.0.attn.hook_z[kv_head=1]", &["`kv_head`", "[head=...]"]);
    site("blocks.0.mlp.hook_post[neuron=30]", &["`30` is not within 0..30"]);
    site("logits[neuron=0]", &["logits", "has no axis `neuron`"]);
    site("logits@7", &["logits@7", "selected no position"]);
    site("blocks.0.attn.hook_pattern[key=9]", &["9"]);
}

#[test]
fn edits_with_an_unknown_operation_or_wrong_parameters() {
    let at = "blocks.0.hook_resid_pre";
    edit(json!({"site": at, "op": "zeroo"}), &["`zeroo`", at, "the operations are zero,"]);
    edit(json!({"site": at, "op": "zero", "value": 1}), &["`zero`", at, "`value`", "no parameters"]);
    edit(json!({"site": at, "op": "add"}), &["`add`", "missing field `value`", "`coefficient` (optional)"]);
    edit(json!({"site": at, "op": "add", "value": "much"}), &["`add`", "a number, a list of numbers"]);
    edit(json!({"site": at, "op": "add", "valeu": 1, "value": 1}), &["`valeu`"]);
    edit(json!({"site": at, "op": "set", "value": 1e39}), &["beyond the range of f32"]);
    edit(json!({"site": at, "op": "set", "value": []}), &["empty list"]);
    edit(json!({"site": at, "op": "clamp", "lower": 2, "upper": 1}), &["lower end 2", "upper end 1"]);
    edit(json!({"site": at, "op": "replace", "value": {"tensor": "a", "site": "b"}}), &["both a tensor and a site"]);
    edit(json!({"site": at, "op": "replace", "value": {"site": "hook_embedd"}}), &["hook_embed"]);
    edit(json!({"site": at, "op": "replace", "value": {"site": "logits"}}), &["does not come before it"]);
    edit(json!({"site": "hook_embedd", "op": "zero"}), &["no site matches `hook_embedd`", "hook_embed"]);
    edit(json!({"site": "blocks.0.attn.hook_v[head=0]", "op": "zero"}), &["kv_head"]);
}

#[test]
fn edits_whose_values_do_not_fit() {
    let at = "blocks.0.attn.hook_z[head=1]";
    edit(json!({"site": at, "op": "set", "value": [1, 2, 3]}), &["blocks.0.attn.hook_z", "[2, 5, 1, 10]", "[3]"]);
    edit(json!({"site": at, "op": "project_out", "direction": [1, 2]}), &["a direction of 10 values", "[2]"]);
    let zero = vec![0; 10];
    edit(json!({"site": at, "op": "project_out", "direction": zero}), &["a direction of length 0"]);
}

#[test]
fn edit_files_of_another_form() {
    edit_file("{\"version\": 2, \"edits\": [], \"passes\": []}", &["version 2", "expected 1"]);
    edit_file("{\"version\": \"1\", \"edits\": []}", &["version \"1\"", "expected 1"]);
    edit_file("{\"edits\": []}", &["missing field `version`"]);
    edit_file("{\"version\": 1, \"edits\": [], \"edit\": []}", &["unknown field `edit`"]);
    edit_file("{\"version\": 1, \"edits\": [{\"op\": \"zero\"}]}", &["missing field `site`"]);
    edit_file("{\"version\": 1, \"edits\": [{\"site\": \"a[\", \"op\": \"zero\"}]}", &["cannot read `a[`"]);
    edit_file("{\"version\": 1", &["line 1"]);
    edit_file("[]", &["no edit file"]);
}

#[test]
fn bundles_that_lack_a_tensor_or_belong_to_another_model() {
    let desk = Desk::new("llama");
    std::fs::create_dir(desk.path("bundle")).unwrap();
    desk.refuses_record(&["--edit", "bundle"], &["bundle/edit.json", "no such file"]);
    let replace = json!([{"site": "hook_embed", "op": "replace", "value": {"tensor": "steer"}}]);
    desk.edits("bundle/edit.json", replace);
    desk.refuses_record(&["--edit", "bundle"], &["hook_embed", "`steer`", "nothing"]);
    let other = Tensor::zeros(7, DType::F32, &Device::Cpu).unwrap();
    for (name, words) in [("other", &["`steer`", "the bundle holds: other"][..]), ("steer", &["hook_embed", "[7]"])] {
        let tensors = [(name.to_string(), Source::Tensor(other.clone()))];
        write_safetensors(desk.path("bundle/tensors.safetensors"), &tensors, &BTreeMap::new()).unwrap();
        desk.refuses_record(&["--edit", "bundle"], words);
    }
    desk.write("bundle/tensors.safetensors", b"cut");
    desk.refuses_record(&["--edit", "bundle"], &["bundle/tensors.safetensors"]);

    let resolved: Value = serde_json::from_str(&succeeds(desk.root(), &["hub", "resolve", "m", "--json"])).unwrap();
    let fitted = |model: &str| json!({"version": 1, "model": model, "edits": [{"site": "hook_embed", "op": "zero"}]});
    desk.write("foreign.json", fitted(&"0".repeat(64)).to_string());
    desk.refuses_record(&["--edit", "foreign.json"], &["foreign.json", "fitted on the model with the sha256 0000"]);
    desk.write("own.json", fitted(resolved["sha256"].as_str().unwrap()).to_string());
    let args = ["record", "m", "--token-ids", "ids.json", "--sites", "logits", "--edit", "own.json"];
    succeeds(desk.root(), &[&args[..], &["--out", "a.npz"]].concat());
}

#[test]
fn places_that_cannot_be_written_to() {
    let desk = Desk::new("llama");
    let args = ["record", "m", "--token-ids", "ids.json", "--sites", "logits", "--out"];
    let out = |out: &str, words: &[&str]| refuses(desk.root(), &[&args[..], &[out]].concat(), words);
    out("none/acts.safetensors", &["none/acts.safetensors", "folder does not exist"]);
    assert!(!desk.path("none").exists());
    out("acts.bin", &["acts.bin", ".safetensors nor .npz"]);
    out("acts", &["acts", ".safetensors nor .npz"]);
    std::fs::create_dir(desk.path("f.safetensors")).unwrap();
    out("f.safetensors", &["f.safetensors", "this is a folder"]);
    desk.is_clean();
}

#[test]
fn devices_that_this_build_lacks() {
    let desk = Desk::new("llama");
    desk.refuses_record(&["--device", "cuda"], &["cuda:0", "--device cpu"]);
    desk.refuses_record(&["--device", "cuda:x"], &["`x` is no device number"]);
    desk.refuses_record(&["--device", "tpu"], &["cpu, cuda:N or metal"]);
    desk.refuses_record(&["--dtype", "int8"], &["int8", "bf16"]);
}

#[test]
fn a_site_that_two_selectors_record() {
    let desk = Desk::new("llama");
    desk.refuses_record(&["--sites", "hook_embed", "hook_embed@last"], &["`hook_embed` is recorded twice"]);
}

#[test]
fn ways_of_sampling_that_mean_nothing() {
    let Some(model) = shared("models/stories260K") else {
        return;
    };
    let here = tempfile::tempdir().unwrap();
    let model = model.to_str().unwrap();
    for (option, value, word) in [
        ("--temperature", "0", "temperature of 0"),
        ("--temperature", "-1", "temperature of -1"),
        ("--temperature", "NaN", "temperature of NaN"),
        ("--temperature", "warm", "warm"),
        ("--top-p", "2", "top-p of 2"),
        ("--top-p", "-0.5", "top-p of -0.5"),
        ("--top-k", "0", "top-k of 0"),
        ("--max-new-tokens", "-1", "-1"),
        ("--max-new-tokens", "many", "many"),
        ("--seed", "1.5", "1.5"),
    ] {
        refuses(here.path(), &["generate", model, "--prompt", "Once", option, value], &[word]);
    }
    refuses(here.path(), &["generate", model, "--prompt", "a", "--greedy", "--top-k", "3"], &["--greedy"]);
    refuses(here.path(), &["generate", model, "--prompt", "a", "--chat"], &["no chat template"]);
}

#[test]
fn an_unknown_command_or_option_names_the_nearest() {
    let desk = Desk::new("llama");
    refuses(desk.root(), &["recrod", "m"], &["recrod", "record"]);
    refuses(desk.root(), &["sites", "m", "--jsn"], &["--jsn", "--json"]);
    refuses(desk.root(), &["record", "m"], &["--sites", "--out", "see --help"]);
}
