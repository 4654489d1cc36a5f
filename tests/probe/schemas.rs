//! The committed schemas of reports and manifests: current, and true of what is written.

use std::path::Path;

use optrode::probe::{AuditReport, Manifest};
use serde_json::{Value, json};

use super::{desk, json, run};
use crate::schema::validate::validate;

fn schemas() -> [(&'static str, Value); 2] {
    [("report.json", AuditReport::schema()), ("manifest.json", Manifest::schema())]
}

#[test]
fn the_committed_schemas_are_current() {
    for (name, schema) in schemas() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schema").join(name);
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("OPTRODE_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "{name} is not current: run the tests with OPTRODE_BLESS=1");
    }
}

#[test]
fn what_is_written_fits_the_schema_and_reads_back() {
    let desk = desk();
    let script = "title = \"All\"\n[[step]]\nstep = \"facts\"\nexpect = [\"facts.layers == base\", \"facts.heads < 0\"]\n\
                  [[step]]\nstep = \"doctor\"\n[[step]]\nname = \"broken\"\nstep = \"doctor\"\ntexts = [\"a\"]\n";
    desk.write("all.toml", script);
    run(&desk, &["run", "all.toml", "--model", "m", "--against", "m", "--out", "r"]);
    for (name, schema) in schemas() {
        let written = json(&desk.path("r").join(name));
        validate(&written, &schema, &schema).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (key, wrong) in [("version", json!(2)), ("steps", json!({})), ("more", json!(1)), ("model", json!("m"))] {
            let mut broken = written.clone();
            broken[key] = wrong;
            assert!(validate(&broken, &schema, &schema).is_err(), "{name} takes another {key}");
        }
    }
    let text = std::fs::read_to_string(desk.path("r/report.json")).unwrap();
    let report: AuditReport = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string_pretty(&report).unwrap() + "\n", text);
    let manifest = Manifest::open(desk.path("r/manifest.json")).unwrap();
    let text = std::fs::read_to_string(desk.path("r/manifest.json")).unwrap();
    assert_eq!(serde_json::to_string_pretty(&manifest).unwrap() + "\n", text);
}
