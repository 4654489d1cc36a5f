use std::path::PathBuf;

use serde_json::{Value, json};

use super::{program, succeeds};
use crate::common::shared::shared;

/// A folder to work in and the name of stories260K.
fn stories() -> Option<(tempfile::TempDir, String)> {
    let model: PathBuf = shared("models/stories260K")?;
    Some((tempfile::tempdir().unwrap(), model.to_str().unwrap().to_string()))
}

fn reference(model: &str) -> Value {
    serde_json::from_slice(&std::fs::read(PathBuf::from(model).join("reference.json")).unwrap()).unwrap()
}

#[test]
fn greedy_text_is_the_reference_text() {
    let Some((here, model)) = stories() else { return };
    let expected = reference(&model);
    let expected = expected["greedy_from_bos_200_text"].as_str().unwrap();
    let args = ["generate", &model, "--prompt", "", "--greedy", "--max-new-tokens", "200"];
    assert_eq!(succeeds(here.path(), &args).trim_end(), expected.trim_end());
    let json = succeeds(here.path(), &[&args[..], &["--json", "--no-cache"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["results"][0]["text"].as_str().unwrap().trim_end(), expected.trim_end());
    assert_eq!(json["results"][0]["finish"], "length");
}

#[test]
fn prompts_of_one_call_get_the_texts_that_they_get_alone() {
    let Some((here, model)) = stories() else { return };
    let prompts = ["Once upon a time, there was a little girl named Lily.", "Tom had a", ""];
    let draw = ["--temperature", "0.9", "--top-p", "0.95", "--seed", "5"];
    for more in [&["--greedy"][..], &draw] {
        let mut args = vec!["generate", &model, "--max-new-tokens", "40", "--json"];
        args.extend(more);
        let alone = succeeds(here.path(), &[&args[..], &["--prompt", prompts[0]]].concat());
        args.extend(prompts.iter().flat_map(|p| ["--prompt", p]));
        let together: Value = serde_json::from_str(&succeeds(here.path(), &args)).unwrap();
        let alone: Value = serde_json::from_str(&alone).unwrap();
        assert_eq!(together["results"].as_array().unwrap().len(), 3);
        assert_eq!(together["results"][0], alone["results"][0]);
    }
}

#[test]
fn a_full_context_ends_the_text_without_an_error() {
    let Some((here, model)) = stories() else { return };
    let args = ["generate", &model, "--prompt", "Once", "--greedy", "--max-new-tokens", "1000000", "--json"];
    let json: Value = serde_json::from_str(&succeeds(here.path(), &args)).unwrap();
    let result = &json["results"][0];
    let count = result["prompt_ids"].as_array().unwrap().len() + result["ids"].as_array().unwrap().len();
    // The network takes 512 tokens and says what comes after the last of them.
    assert_eq!((result["finish"].as_str(), count), (Some("context"), 513));
}

#[test]
fn an_edit_changes_the_text_and_no_new_tokens_are_no_error() {
    let Some((here, model)) = stories() else { return };
    let edit = json!({"version": 1, "edits": [{"site": "blocks.*.hook_mlp_out", "op": "zero"}]});
    std::fs::write(here.path().join("edit.json"), edit.to_string()).unwrap();
    let args = ["generate", &model, "--prompt", "Once upon", "--greedy", "--max-new-tokens", "20"];
    let plain = succeeds(here.path(), &args);
    let edited = succeeds(here.path(), &[&args[..], &["--edit", "edit.json"]].concat());
    assert!(plain != edited && edited.starts_with("Once upon"), "{edited}");
    let none = succeeds(here.path(), &["generate", &model, "--prompt", "Once upon", "--max-new-tokens", "0"]);
    assert_eq!(none, "Once upon\n");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let Some((here, model)) = stories() else { return };
    let bin = assert_cmd::cargo::cargo_bin("optrode");
    let line = format!("{} generate {model} --prompt Once --max-new-tokens 200 | head -c 3", bin.display());
    let output = std::process::Command::new("sh").args(["-c", &line]).current_dir(here.path()).output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"Onc"[..], &b""[..]));
}

#[test]
fn half_precision_differs_from_f32_by_rounding_only() {
    let Some((here, model)) = stories() else { return };
    let logits = |dtype: &str| {
        let mut args = vec!["record", &model, "--text", "Once upon a time, there was a little girl", "--sites"];
        args.extend(["logits", "--dtype", dtype, "--out", "acts.safetensors"]);
        succeeds(here.path(), &args);
        let file = here.path().join("acts.safetensors");
        let tensors = candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap();
        tensors["logits"].flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let exact = logits("f32");
    let scale = exact.iter().fold(0f32, |m, x| m.max(x.abs()));
    for (dtype, unit) in [("bf16", 1.0 / 256.0), ("f16", 1.0 / 2048.0)] {
        let rounded = logits(dtype);
        let worst = exact.iter().zip(&rounded).fold(0f32, |m, (x, y)| m.max((x - y).abs()));
        println!("{dtype}: largest difference of the logits {worst:.2e}, largest logit {scale:.1}");
        assert!(worst > 0.0 && worst < 8.0 * unit * scale, "{dtype}: {worst:e}");
    }
    let args = ["generate", &model, "--prompt", "Once upon a time", "--greedy", "--max-new-tokens", "12"];
    let text = succeeds(here.path(), &[&args[..], &["--dtype", "f16"]].concat());
    assert_eq!(text, succeeds(here.path(), &args));
}

#[test]
fn only_results_reach_stdout() {
    let Some((here, model)) = stories() else { return };
    let args = ["generate", &model, "--prompt", "Once", "--max-new-tokens", "3"];
    let output = program(here.path()).env("OPTRODE_LOG", "trace").args(args).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), out.lines().count()), (Some(0), 1), "{out}");
}
