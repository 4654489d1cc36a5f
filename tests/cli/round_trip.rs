//! What `record` writes can be put back, and is not written where it would do harm.

use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::json;

use super::{refuses, succeeds};
use crate::common::shared::golden;

fn here() -> tempfile::TempDir {
    let here = tempfile::tempdir().unwrap();
    let model = here.path().join("m");
    std::fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("llama").join(file), model.join(file)).unwrap();
    }
    std::fs::write(here.path().join("ids.json"), "[[0,0,0,5,6,7],[9,8,7,6,5,4]]").unwrap();
    std::fs::write(here.path().join("mask.json"), "[[0,0,0,1,1,1],[1,1,1,1,1,1]]").unwrap();
    here
}

fn read(folder: &Path, file: &str, name: &str) -> Tensor {
    candle_core::safetensors::load(folder.join(file), &Device::Cpu).unwrap()[name].clone()
}

const INPUT: [&str; 6] = ["record", "m", "--token-ids", "ids.json", "--attention-mask", "mask.json"];

fn record(folder: &Path, more: &[&str]) {
    succeeds(folder, &[&INPUT[..], more].concat());
}

#[test]
fn a_left_padded_recording_put_back_changes_nothing() {
    let here = here();
    let folder = here.path();
    let site = "blocks.1.hook_resid_pre";
    std::fs::create_dir(folder.join("bundle")).unwrap();
    record(folder, &["--sites", "**", "--out", "bundle/tensors.safetensors"]);
    let edit = json!({"version": 1, "edits": [{"site": site, "op": "replace", "value": {"tensor": site}}]});
    std::fs::write(folder.join("bundle/edit.json"), edit.to_string()).unwrap();
    record(folder, &["--sites", "logits", "--edit", "bundle", "--out", "again.safetensors"]);
    let real = |file: &str| {
        let logits = read(folder, file, "logits");
        let rows = [logits.get(0).unwrap().narrow(0, 3, 3).unwrap(), logits.get(1).unwrap()];
        Tensor::cat(&rows, 0).unwrap()
    };
    let difference = (real("bundle/tensors.safetensors") - real("again.safetensors")).unwrap();
    let largest = difference.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(largest < 1e-6, "{largest}");
}

#[test]
fn the_file_says_how_it_came_about() {
    let here = here();
    let edit = json!({"version": 1, "edits": [{"site": "blocks.0.attn.hook_z[head=1]", "op": "zero"}]});
    std::fs::write(here.path().join("edit.json"), edit.to_string()).unwrap();
    let more =
        ["--sites", "blocks.0.hook_mlp_out@last", "--edit", "edit.json", "--seed", "5", "--out", "a.safetensors"];
    record(here.path(), &more);
    let bytes = std::fs::read(here.path().join("a.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(metadata["sites"], r#"["blocks.0.hook_mlp_out@last"]"#);
    assert!(metadata["edits"].contains("blocks.0.attn.hook_z[head=1]"));
    assert_eq!((metadata["seed"].as_str(), metadata["model_sha256"].len()), ("5", 64));
}

#[test]
fn what_would_mislead_or_destroy_is_refused() {
    let here = here();
    let folder = here.path();
    let weights = std::fs::read(folder.join("m/model.safetensors")).unwrap();
    let with = |more: &[&'static str]| [&INPUT[..], more].concat();
    refuses(folder, &with(&["--sites", "logits", "--out", "m/model.safetensors"]), &["model's own folder"]);
    assert_eq!(std::fs::read(folder.join("m/model.safetensors")).unwrap(), weights);

    let text = ["record", "m", "--text", "hi", "--attention-mask", "mask.json", "--sites", "logits", "--out", "a.npz"];
    refuses(folder, &text, &["--attention-mask"]);

    let edits = |edits: serde_json::Value| {
        let file = json!({"version": 1, "edits": edits}).to_string();
        std::fs::write(folder.join("edit.json"), file).unwrap();
    };
    let edited = with(&["--sites", "logits", "--edit", "edit.json", "--out", "a.safetensors"]);
    edits(json!([{"site": "blocks.0.hook_mlp_out@generated", "op": "zero"}]));
    refuses(folder, &edited, &["acted nowhere"]);
    let huge = json!({"site": "blocks.0.hook_resid_pre", "op": "scale", "factor": 1e38});
    edits(json!([huge, huge]));
    refuses(folder, &edited, &["not finite"]);
    assert!(!folder.join("a.safetensors").exists());
}
