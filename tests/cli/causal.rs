//! `patch`, `attribute`, `ablate`, `lens` and `steer`: what they show, and what they refuse, through the binary.

use serde_json::{Value, json};

use super::{Desk, refuses, run, succeeds};
use crate::common::shared::shared;

const MODEL: &str = "stories260K";

/// A folder, and the path of a model with a tokenizer; `None` where that is absent.
fn desk() -> Option<(tempfile::TempDir, String)> {
    let model = shared(&format!("models/{MODEL}"))?;
    Some((tempfile::tempdir().unwrap(), model.to_str().unwrap().to_string()))
}

fn pair<'a>(command: &'a str, model: &'a str, texts: [&'a str; 4]) -> Vec<&'a str> {
    let [clean, corrupted, correct, wrong] = texts;
    vec![command, model, "--clean", clean, "--corrupted", corrupted, "--correct", correct, "--wrong", wrong]
}

#[test]
fn every_site_is_patched_and_shown() {
    let Some((here, model)) = desk() else { return };
    let args =
        [&pair("patch", &model, ["The dog", "The cat", " was", " and"])[..], &["--sites", "all", "--json"]].concat();
    let out: Value = serde_json::from_str(&succeeds(here.path(), &args)).unwrap();
    let maps = out["result"]["patching"]["maps"].as_array().unwrap();
    let shape = |map: &Value| (map["effect"].as_array().unwrap().len(), map["effect"][0].as_array().unwrap().len());
    let shapes: Vec<(&str, (usize, usize))> =
        maps.iter().map(|m| (m["component"].as_str().unwrap(), shape(m))).collect();
    let tokens = out["result"]["pairs"][0]["clean"].as_array().unwrap().len();
    for (component, shape) in shapes {
        let columns = match component {
            "q" | "pattern" | "z" => 8,
            "k" | "v" => 4,
            _ => tokens,
        };
        assert_eq!(shape, (5, columns), "{component}");
    }
    assert_eq!(maps.len(), 10);
    let noise = [&args[..args.len() - 1], &["--noise", "--report", "patch.html"]].concat();
    let shown = succeeds(here.path(), &noise);
    assert!(shown.contains("attn.hook_pattern") && shown.contains("key head") && shown.contains("`The`"), "{shown}");
    assert!(std::fs::read_to_string(here.path().join("patch.html")).unwrap().contains("hook_resid_mid"));
}

#[test]
fn prompts_and_answers_that_do_not_fit_are_refused() {
    let Some((here, model)) = desk() else { return };
    let longer = ["The dog", "The very big dog", " was", " and"];
    let several = ["The dog", "The cat", " extraordinarily", " and"];
    for command in ["patch", "attribute"] {
        refuses(
            here.path(),
            &pair(command, &model, several),
            &["the correct answer", "extraordinarily", "expected 1", "first token"],
        );
    }
    refuses(here.path(), &pair("patch", &model, longer), &["clean and", "corrupted tokens", "equal length"]);
    let through = |receiver: &'static str| [&pair("attribute", &model, longer)[..], &["--through", receiver]].concat();
    refuses(here.path(), &through("logits"), &["unequal length", "equal length"]);
    let patching = [&pair("attribute", &model, longer)[..], &["--patching"]].concat();
    refuses(here.path(), &patching, &["clean and", "equal length"]);
    let same = ["The dog", "The cat", " was", " was"];
    refuses(here.path(), &pair("patch", &model, same), &["do not tell the prompts apart", "answers that differ"]);
}

#[test]
fn heads_that_do_not_exist_are_refused() {
    let Some((here, model)) = desk() else { return };
    let refused = |args: &[&str], words: &[&str]| refuses(here.path(), args, words);
    refused(&["ablate", &model, "--heads", "1.8"], &["no head 1.8", "layers count from 0 to 4, heads from 0 to 7"]);
    refused(&["ablate", &model, "--heads", "5.0"], &["no head 5.0"]);
    refused(&["ablate", &model, "--heads", "1.2,1.2"], &["1.2 is named twice"]);
    refused(&["attribute", &model, "--count", "1", "--through", "9.0.k"], &["9.0", "layers count from 0 to 4"]);
    refused(&["attribute", &model, "--count", "1", "--through", "3.8.q"], &["3.8", "heads from 0 to 7"]);
    let steer = ["steer", &model, "--layer", "5", "--positive", "glad", "--negative", "sad", "--prompt", "She is"];
    refused(&[&steer[..], &["--answers", " a", " the"]].concat(), &["no layer 5", "0 to 4"]);
    // clap answers for what cannot be read.
    let ran = run(here.path(), &["ablate", &model, "--heads", "one"]);
    assert!(ran.code == 2 && ran.err.contains("LAYER.HEAD"), "{}", ran.err);
}

#[test]
fn an_edit_of_shared_keys_or_values_says_which_query_heads_it_touches() {
    let desk = Desk::new("llama");
    desk.edits("edit.json", json!([{"site": "blocks.0.attn.hook_v[kv_head=1]", "op": "zero"}]));
    let args = [
        "record",
        "m",
        "--token-ids",
        "ids.json",
        "--sites",
        "logits",
        "--out",
        "a.safetensors",
        "--edit",
        "edit.json",
    ];
    let ran = run(desk.root(), &args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("`blocks.0.attn.hook_v[kv_head=1]` touches query heads 2, 3"), "{}", ran.err);
    desk.edits("edit.json", json!([{"site": "blocks.0.attn.hook_k[head=1]", "op": "zero"}]));
    desk.refuses_record(&["--edit", "edit.json"], &["kv_head"]);
}

#[test]
fn ablations_are_shown_on_random_tokens_and_on_text() {
    let Some((here, model)) = desk() else { return };
    let few = ["--n", "12", "--rows", "3", "--draws", "2", "--json"];
    let args = [&["ablate", &model, "--heads", "3.6,1.3", "--op", "zero"][..], &few].concat();
    let out: Value = serde_json::from_str(&succeeds(here.path(), &args)).unwrap();
    let both = out["result"].as_array().unwrap();
    assert_eq!([&both[0]["on"], &both[1]["on"]], [&json!("random"), &json!("text")]);
    let rise = |at: usize| both[at]["target"]["effect"]["first_rise"]["value"].as_f64().unwrap();
    assert!(rise(1) > 0.0, "previous-token heads help to read a text: {}", rise(1));
}

#[test]
fn concepts_and_questions_are_read_from_files() {
    let Some((here, model)) = desk() else { return };
    let write = |name: &str, content: Value| std::fs::write(here.path().join(name), content.to_string()).unwrap();
    let item = |prompt: &str, concept: &str| json!({"name": prompt, "prompt": prompt, "intermediates": [concept]});
    write("lens-eval-a.json", json!({"items": [item("Lily was so", "happy"), item("Tim was her best", "friend")]}));
    let out = succeeds(here.path(), &["lens", &model, "--prompts", "lens-eval-a.json", "--json"]);
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&out["result"]["prompts"], &out["result"]["left_out"]), (&json!(2), &json!(0)));
    assert_eq!(out["result"]["layers"].as_array().unwrap().len(), 6);
    write("lens-eval-poetry.json", json!({"items": [item("one\ntwo", "happy"), item("three", "big")]}));
    let refused = |args: &[&str], words: &[&str]| refuses(here.path(), args, words);
    refused(&["lens", &model, "--prompts", "lens-eval-poetry.json"], &["`three`", "line break"]);
    write("lens-eval-b.json", json!({"items": [item("It was", "constitutional")]}));
    refused(&["lens", &model, "--prompts", "lens-eval-b.json"], &["0 of the 1 prompts", "one token"]);
    write("broken.json", json!({"item": []}));
    refused(&["lens", &model, "--prompts", "broken.json"], &["broken.json", "items"]);
    let func = |template: &str| {
        json!({"categories": [{"name": "people", "args": ["Lily", "Timmy"], "funcs": [
            {"name": "is", "template": template, "answers": {"Lily": "happy", "Timmy": "little"}}]}]})
    };
    write("questions.json", func("{arg} was so"));
    let out = succeeds(here.path(), &["patch", &model, "--questions", "questions.json", "--json"]);
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(out["result"]["pairs"].as_array().unwrap().len(), 2, "each way round");
    write("questions.json", func("It was so"));
    refused(&["patch", &model, "--questions", "questions.json"], &["questions.json", "`people/is`", "{arg}"]);
}
