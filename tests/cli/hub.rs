use std::path::PathBuf;

use serde_json::Value;

use super::{Desk, refuses, succeeds};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A model in the cache below `hf`, complete but for a tokenizer, which its repository is marked not to have.
fn cached(desk: &Desk) -> PathBuf {
    let root = desk.path("hf/hub/models--org--tiny");
    let snapshot = root.join("snapshots").join(COMMIT);
    for folder in [root.join("refs"), snapshot.clone(), root.join(".no_exist").join(COMMIT)] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(root.join("refs/main"), COMMIT).unwrap();
    std::fs::write(root.join(".no_exist").join(COMMIT).join("tokenizer.json"), "").unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(desk.path("m").join(file), snapshot.join(file)).unwrap();
    }
    snapshot
}

#[test]
fn an_empty_cache_is_said_to_be_empty() {
    let desk = Desk::new("gpt2");
    assert!(succeeds(desk.root(), &["hub", "list"]).starts_with("no models in "));
    let json: Value = serde_json::from_str(&succeeds(desk.root(), &["hub", "list", "--json"])).unwrap();
    assert_eq!(json["models"], serde_json::json!([]));
}

#[test]
fn a_cached_model_is_listed_resolved_and_usable_offline() {
    let desk = Desk::new("gpt2");
    let snapshot = cached(&desk);
    let list = succeeds(desk.root(), &["hub", "list"]);
    assert!(list.starts_with("org/tiny") && list.contains("01234567"), "{list}");
    let json: Value = serde_json::from_str(&succeeds(desk.root(), &["hub", "list", "--json"])).unwrap();
    assert_eq!(json["models"][0]["revisions"][0]["commit"], COMMIT);

    let json = succeeds(desk.root(), &["hub", "resolve", "org/tiny", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["path"], snapshot.to_str().unwrap());
    assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
    let names: Vec<&str> = (json["files"].as_array().unwrap().iter()).map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["config.json", "model.safetensors"]);
    let text = succeeds(desk.root(), &["hub", "resolve", "org/tiny"]);
    assert!(text.contains(json["sha256"].as_str().unwrap()), "{text}");

    let local: Value = serde_json::from_str(&succeeds(desk.root(), &["hub", "resolve", "m", "--json"])).unwrap();
    assert_eq!(local["sha256"], json["sha256"], "a copy has the same identity");
    assert!(succeeds(desk.root(), &["sites", "org/tiny", "logits"]).starts_with("logits"));
}

#[test]
fn what_is_not_in_the_cache_is_refused_offline() {
    let desk = Desk::new("gpt2");
    refuses(desk.root(), &["hub", "resolve", "org/other"], &["org/other", "HF_HUB_OFFLINE is set", "not in the cache"]);
    refuses(desk.root(), &["sites", "no such"], &["`no such` is neither an existing folder nor a Hub name"]);
    refuses(desk.root(), &["hub", "find"], &["find", "see --help"]);
}
