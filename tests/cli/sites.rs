use serde_json::Value;

use super::{Desk, refuses, succeeds};

#[test]
fn sites_are_listed_as_a_folded_table_and_in_full_as_json() {
    let desk = Desk::new("llama");
    let table = succeeds(desk.root(), &["sites", "m"]);
    assert!(table.lines().any(|l| l.starts_with("blocks.{0..2}.attn.hook_z ")), "{table}");
    let json: Value = serde_json::from_str(&succeeds(desk.root(), &["sites", "m", "--json"])).unwrap();
    let sites = json["sites"].as_array().unwrap();
    let z = sites.iter().find(|s| s["name"] == "blocks.1.attn.hook_z").unwrap();
    assert_eq!(z["axes"], serde_json::json!(["batch", "pos", "head", "d_head"]));
    assert_eq!(z["sizes"], serde_json::json!([null, null, 4, 10]));
    assert!(sites.iter().all(|s| !s["meaning"].as_str().unwrap().is_empty()));
}

#[test]
fn a_selector_lists_the_sites_that_it_means() {
    let desk = Desk::new("llama");
    let out = succeeds(desk.root(), &["sites", "m", "blocks.*.attn.hook_{q,k}"]);
    let names: Vec<&str> = out.lines().filter_map(|l| l.split(' ').next()).collect();
    let expected: Vec<String> = (0..2).flat_map(|l| ["q", "k"].map(|n| format!("blocks.{l}.attn.hook_{n}"))).collect();
    assert_eq!(names, expected);
    refuses(
        desk.root(),
        &["sites", "m", "blocks.0.atn.hook_q"],
        &["no site matches `blocks.0.atn.hook_q`", "blocks.0.attn.hook_q"],
    );
}

#[test]
fn sites_need_the_config_alone() {
    let desk = Desk::new("llama");
    std::fs::write(desk.path("m/model.safetensors"), b"cut").unwrap();
    assert!(succeeds(desk.root(), &["sites", "m", "logits"]).starts_with("logits"));
}
