//! The files of an atlas: their schemas, what can be asked of them, and what other programs may add.

use optrode::analysis::scan::Manifest;
use optrode::store::atlas::{SCHEMA, VERSION};
use rusqlite::Connection;
use serde_json::Value;

use super::laws::rows;
use super::{bytes, corpus, desk, run, scans};
use crate::schema::validate::validate;

#[test]
fn the_committed_schema_of_manifests_is_current_and_true() {
    let schema = Manifest::schema();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schema/scan.json");
    if std::env::var_os("OPTRODE_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "scan.json is not current: run the tests with OPTRODE_BLESS=1");

    let desk = desk("llama");
    corpus(&desk);
    scans(&desk, "atlas", &["--documents", "3"]);
    let written: Value = serde_json::from_slice(&bytes(&desk, "atlas/manifest.json")).unwrap();
    validate(&written, &schema, &schema).unwrap();
    let manifest = Manifest::open(desk.path("atlas/manifest.json")).unwrap();
    assert_eq!((manifest.documents, manifest.version), (12, VERSION));
    assert_eq!(manifest.arrays, optrode::store::sha256_file(desk.path("atlas/arrays.safetensors")).unwrap());
}

/// The schema says what every column means: the tables of the program are those of the file.
#[test]
fn the_schema_is_the_one_that_is_documented() {
    assert!(SCHEMA.contains(&format!("version {VERSION}.")));
    let desk = desk("llama");
    corpus(&desk);
    scans(&desk, "atlas", &[]);
    let named = |connection: &Connection| {
        let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        let rows = statement.query_map([], |r| Ok((r.get(0).unwrap(), r.get(1).unwrap()))).unwrap();
        rows.map(Result::unwrap).collect::<Vec<(String, Option<String>)>>()
    };
    let own = Connection::open_in_memory().unwrap();
    own.execute_batch(SCHEMA).unwrap();
    assert_eq!(named(&own), named(&Connection::open(desk.path("atlas/atlas.db")).unwrap()));
    for table in ["runs", "sites", "units", "neurons", "groups", "profiles", "contexts", "examples", "labels"] {
        assert!(SCHEMA.contains(&format!("TABLE {table} (")) || SCHEMA.contains(&format!("VIEW {table} ")), "{table}");
    }
}

#[test]
fn people_can_query_and_search_and_label() {
    let desk = desk("llama");
    corpus(&desk);
    scans(&desk, "atlas", &[]);
    let sorted = rows(&desk, "atlas", "SELECT layer, neuron, kurtosis FROM neurons ORDER BY kurtosis DESC LIMIT 3");
    assert_eq!(sorted.len(), 3);
    let all =
        rows(&desk, "atlas", "SELECT (SELECT count(*) FROM units), sum(groups.tokens) - runs.tokens FROM groups, runs");
    assert_eq!(all, ["Integer(60)|Integer(0)"], "2 layers of 30 neurons");
    let found = "SELECT DISTINCT unit FROM contexts_text JOIN examples ON examples.context = contexts_text.rowid \
                 WHERE contexts_text MATCH 'w7' ORDER BY unit";
    let expected = "SELECT DISTINCT unit FROM contexts JOIN examples ON examples.context = contexts.id \
                    WHERE ' ' || text || ' ' LIKE '% w7 %' ORDER BY unit";
    let found = rows(&desk, "atlas", found);
    assert!(!found.is_empty());
    assert_eq!(found, rows(&desk, "atlas", expected));

    let connection = Connection::open(desk.path("atlas/atlas.db")).unwrap();
    let label = "INSERT INTO labels (unit, explainer, text, score, coverage, provenance) \
                 VALUES (3, 'me', 'white rabbits', 0.8, 0.5, '{}')";
    connection.execute_batch(label).unwrap();
    let hits =
        "SELECT unit FROM labels JOIN labels_text ON labels_text.rowid = labels.id WHERE labels_text MATCH 'rabbits'";
    assert_eq!(rows(&desk, "atlas", hits), ["Integer(3)"]);
    connection.execute_batch("UPDATE labels SET text = 'black cats'").unwrap();
    assert_eq!(rows(&desk, "atlas", hits), [""; 0]);
    // A label does not make it another atlas.
    let ran = run(&desk, &["neuron", "m", "blocks.0.mlp.hook_post[neuron=3]", "--atlas", "atlas"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn rows_with_fields_and_columns_of_labels_are_scanned() {
    let desk = desk("llama");
    let row = |i: u64| {
        let (story, kind) = (super::words(i, 6), ["sad", "merry"][usize::from(i.is_multiple_of(3))]);
        serde_json::json!({ "story": story, "kind": kind, "n": i }).to_string()
    };
    desk.write("rows.jsonl", (0..20).map(row).collect::<Vec<_>>().join("\n"));
    for (by, names) in [("kind", vec!["merry", "sad"]), ("n", (0..20).map(|_| "").collect())] {
        let args = ["scan", "m", "rows.jsonl:story", "--group-by", by, "--out", by, "--json", "--chunk", "8"];
        let ran = run(&desk, &args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        let result: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(result["scan"]["documents"], 20);
        assert_eq!(result["scan"]["chunks"], 3);
        let groups = result["scan"]["groups"].as_array().unwrap();
        assert_eq!(groups.len(), names.len());
        assert!(result["needs"]["parts"].as_array().unwrap().len() > 3);
        if by == "kind" {
            assert_eq!(groups[0], serde_json::json!(["merry", 7, 42]));
        }
    }
}
