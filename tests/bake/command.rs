use serde_json::{Value, json};

use crate::cli::{Desk, refuses, run, succeeds};

fn desk() -> Desk {
    let desk = Desk::new("llama");
    desk.edits("zero.json", json!([{"site": "blocks.0.mlp.hook_post[neuron=0,1]", "op": "zero"}]));
    desk.edits("other.json", json!([{"site": "blocks.0.mlp.hook_post[neuron=2]", "op": "zero"}]));
    desk.edits("last.json", json!([{"site": "blocks.0.mlp.hook_post@last", "op": "zero"}]));
    desk
}

#[test]
fn an_export_appears_whole_and_verifies() {
    let desk = desk();
    let text = succeeds(desk.root(), &["edit", "export", "m", "--edit", "zero.json", "--out", "e", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["verified"]["holds"], true);
    assert_eq!(value["changes"][0]["tensor"], "model.layers.0.mlp.down_proj.weight");
    let card = std::fs::read_to_string(desk.path("e/README.md")).unwrap();
    assert!(card.contains("`zero` at `blocks.0.mlp.hook_post[neuron=0,1]`") && card.contains("Measured"), "{card}");
    let table = succeeds(desk.root(), &["edit", "verify", "m", "--edit", "zero.json", "--edited", "e"]);
    assert!(table.contains("passed"), "{table}");
    let other = run(desk.root(), &["edit", "verify", "m", "--edit", "other.json", "--edited", "e"]);
    assert!(other.code == 1 && other.out.contains("FAILED"), "{}", other.out);
}

#[test]
fn nothing_is_written_over_and_nothing_half() {
    let desk = desk();
    refuses(desk.root(), &["edit", "export", "m", "--edit", "zero.json", "--out", "m"], &["exists already"]);
    refuses(desk.root(), &["edit", "export", "m", "--edit", "last.json", "--out", "e"], &["cannot be baked"]);
    refuses(desk.root(), &["edit", "export", "m", "--out", "e"], &["no edit was given"]);
    refuses(desk.root(), &["edit", "verify", "m", "--edit", "zero.json", "--edited", "m"], &["same weights"]);
    assert!(!desk.path("e").exists());
    desk.is_clean();
}

#[test]
fn a_bundle_of_another_model_is_refused() {
    let desk = desk();
    let edits = json!([{"site": "blocks.0.mlp.hook_post", "op": "zero"}]);
    desk.write("strange.json", json!({"version": 1, "model": "00", "edits": edits}).to_string());
    let command = ["edit", "export", "m", "--edit", "strange.json", "--out", "e"];
    refuses(desk.root(), &command, &["fitted on the model", "remove `model`"]);
    refuses(desk.root(), &["edit", "show", "strange.json", "--model", "m"], &["fitted on the model"]);
}

#[test]
fn files_are_listed_and_shown() {
    let desk = desk();
    desk.write("notes.json", "{}");
    let list: Value = serde_json::from_str(&succeeds(desk.root(), &["edit", "list", "--json"])).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
    assert_eq!(names, ["./last.json", "./other.json", "./zero.json"]);
    let shown: Value =
        serde_json::from_str(&succeeds(desk.root(), &["edit", "show", "last.json", "--model", "m", "--json"])).unwrap();
    assert_eq!(shown["edits"][0]["sites"], json!(["blocks.0.mlp.hook_post"]));
    assert!(shown["edits"][0]["not_in_weights"].as_str().unwrap().contains("positions"));
    assert!(succeeds(desk.root(), &["edit", "show", "zero.json", "--model", "m"]).contains("yes"));
}
