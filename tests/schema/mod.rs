//! The committed JSON schemas: current, complete, and as strict as the parsers.

pub mod validate;

use std::path::{Path, PathBuf};

use optrode::hook::{Registry, Run};
use optrode::store::EditFile;
use serde_json::{Value, json};

use validate::validate;

fn schemas() -> [(&'static str, Value); 2] {
    let registry = optrode::analysis::registry();
    [("run.json", Run::schema(&registry)), ("edit.json", EditFile::schema(&registry))]
}

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schema").join(name)
}

#[test]
fn the_committed_schemas_are_current() {
    for (name, schema) in schemas() {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("OPTRODE_BLESS").is_some() {
            std::fs::write(committed(name), &text).unwrap();
        }
        let found = std::fs::read_to_string(committed(name)).unwrap_or_default();
        assert!(found == text, "{name} is not current: run the tests with OPTRODE_BLESS=1");
    }
}

#[test]
fn every_reference_of_a_schema_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|v| references(v, found));
            }
            Value::Array(list) => list.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    for (name, schema) in schemas() {
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() > 10);
        for reference in found {
            assert!(schema.pointer(&reference[1..]).is_some(), "{name}: {reference}");
        }
    }
}

#[test]
fn every_operation_stands_in_the_schema_with_its_parameters() {
    for (name, schema) in schemas() {
        let alternatives = schema.pointer("/$defs/Edit/oneOf").unwrap().as_array().unwrap();
        let tag = |a: &Value| a["properties"]["op"]["const"].as_str().unwrap().to_string();
        let tags: Vec<String> = alternatives.iter().map(tag).collect();
        let known: Vec<String> = optrode::analysis::registry().kinds().map(|k| k.tag.clone()).collect();
        assert_eq!(tags, known, "{name}");
        let add = alternatives.iter().find(|a| tag(a) == "add").unwrap();
        let parameters: Vec<&String> = add["properties"].as_object().unwrap().keys().collect();
        assert_eq!(parameters, ["site", "op", "value", "coefficient"], "{name}");
    }
}

fn edit_cases() -> (Vec<Value>, Vec<Value>) {
    let at = "blocks.0.hook_resid_pre@last";
    let good = vec![
        json!({"site": "blocks.3.attn.hook_z[head=6]@all", "op": "zero"}),
        json!({"site": at, "op": "set", "value": 1.5}),
        json!({"site": at, "op": "set", "value": [1, 2, 3]}),
        json!({"site": at, "op": "add", "value": {"tensor": "steer"}, "coefficient": -2}),
        json!({"site": at, "op": "replace", "value": {"pass": "clean", "site": "hook_embed", "positions": [1, 0]}}),
        json!({"site": at, "op": "replace", "value": {"site": "hook_embed", "detach": false}}),
        json!({"site": at, "op": "scale", "factor": 0}),
        json!({"site": at, "op": "clamp", "lower": -1}),
        json!({"site": at, "op": "clamp", "lower": null, "upper": 2}),
        json!({"site": at, "op": "mean", "reference": {"tensor": "set"}, "per": "position"}),
        json!({"site": at, "op": "resample", "reference": {"tensor": "set"}}),
        json!({"site": at, "op": "project_out", "direction": [0, 1], "component": 0.5}),
        json!({"site": at, "op": "noise", "std": 0.1}),
    ];
    let bad = vec![
        json!({"site": at, "op": "zeroo"}),
        json!({"site": at, "op": "zero", "value": 1}),
        json!({"site": at, "op": "add"}),
        json!({"op": "zero"}),
        json!({"site": at}),
        json!({"site": 3, "op": "zero"}),
        json!({"site": at, "op": "add", "value": "much"}),
        json!({"site": at, "op": "add", "value": {"tenser": "steer"}}),
        json!({"site": at, "op": "add", "value": 1, "coefficient": "2"}),
        json!({"site": at, "op": "mean", "reference": {"tensor": "set"}, "per": "row"}),
        json!({"site": at, "op": "clamp", "lower": "low"}),
        json!({"site": at, "op": "replace", "value": {"site": "hook_embed", "rows": [-1]}}),
    ];
    (good, bad)
}

/// What the program itself says of an edit.
fn accepted(edit: &Value) -> bool {
    let registry = Registry::elementary();
    serde_json::from_value(edit.clone()).is_ok_and(|edit| registry.build(&edit).is_ok())
}

#[test]
fn the_schema_and_the_program_agree_on_edits() {
    let (good, bad) = edit_cases();
    for (name, schema) in schemas() {
        let wrap = |edit: &Value| match name {
            "run.json" => json!({"passes": [{"name": "a", "edits": [edit]}]}),
            _ => json!({"version": 1, "edits": [edit]}),
        };
        for edit in &good {
            assert!(accepted(edit), "{edit}");
            validate(&wrap(edit), &schema, &schema).unwrap_or_else(|e| panic!("{name} {edit}: {e}"));
        }
        for edit in &bad {
            assert!(!accepted(edit), "{edit}");
            assert!(validate(&wrap(edit), &schema, &schema).is_err(), "{name} takes {edit}");
        }
    }
}

#[test]
fn the_schema_and_the_program_agree_on_runs() {
    let schema = Run::schema(&Registry::elementary());
    let good = [
        json!({"passes": []}),
        json!({"passes": [{"name": "clean"}, {"name": "patched", "seed": 3, "gradients": ["hook_embed"],
            "edits": [{"site": "blocks.2.hook_resid_pre@3", "op": "replace",
                       "value": {"pass": "clean", "site": "blocks.2.hook_resid_pre"}}],
            "records": [{"site": "blocks.*.hook_resid_post"}, {"site": "logits@last", "repeats": "stack"}]}]}),
    ];
    let bad = [
        json!({}),
        json!({"passes": [{"name": "a", "record": []}]}),
        json!({"passes": [{"name": 7}]}),
        json!({"passes": [{"seed": -1}]}),
        json!({"passes": [{"records": [{"site": "logits", "repeats": "twice"}]}]}),
        json!({"passes": [{"records": [{}]}]}),
        json!({"passes": {}}),
    ];
    for run in good {
        validate(&run, &schema, &schema).unwrap_or_else(|e| panic!("{run}: {e}"));
        serde_json::from_value::<Run>(run).unwrap();
    }
    for run in bad {
        assert!(validate(&run, &schema, &schema).is_err(), "{run}");
        assert!(serde_json::from_value::<Run>(run).is_err());
    }
}

#[test]
fn the_schema_and_the_program_agree_on_edit_files() {
    let schema = EditFile::schema(&Registry::elementary());
    let full = json!({"version": 1, "edits": [], "model": "0a", "note": "a line"});
    validate(&full, &schema, &schema).unwrap();
    for bad in [
        json!({"version": 2, "edits": []}),
        json!({"edits": []}),
        json!({"version": 1}),
        json!({"version": 1, "edits": [], "edit": []}),
    ] {
        assert!(validate(&bad, &schema, &schema).is_err(), "{bad}");
    }
}

#[test]
fn the_edits_that_are_shipped_fit_the_schema() {
    let schema = EditFile::schema(&Registry::elementary());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/edits");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let edit: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        validate(&edit, &schema, &schema).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        count += 1;
    }
    assert!(count > 0);
}
