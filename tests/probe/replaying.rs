//! `optrode replay`: the same numbers, or a clear word on why not.

use optrode::probe::Manifest;
use optrode::probe::replay::{Recorded, compare};
use serde_json::{Value, json};

use super::{GATE, desk, ends, json, refused, run_with};
use crate::cli::Desk;

/// A desk with a finished run in `r`.
fn replayable() -> Desk {
    let desk = desk();
    desk.write("text.txt", "once");
    desk.write("gate.toml", format!("{GATE}\n[texts]\nstory = \"text.txt\"\n"));
    desk.write("m/tokenizer_config.json", "{}");
    ends(&desk, &["run", "gate.toml", "--model", "m", "--out", "r"], 0);
    desk
}

/// Changes the manifest in `r`.
fn tamper(desk: &Desk, change: impl FnOnce(&mut Value)) {
    let mut manifest = json(&desk.path("r/manifest.json"));
    change(&mut manifest);
    desk.write("r/manifest.json", manifest.to_string());
}

#[test]
fn a_replay_gives_the_same_numbers_at_any_thread_count_and_from_anywhere() {
    let desk = replayable();
    for threads in ["1", "2", "5"] {
        let ran = run_with(&desk, &["replay", "r/manifest.json"], &[("RAYON_NUM_THREADS", threads)]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
        assert!(ran.out.contains("13 figures compared to the last bit: all equal."), "{}", ran.out);
    }
    std::fs::create_dir(desk.path("elsewhere")).unwrap();
    std::fs::rename(desk.path("r"), desk.path("elsewhere/r")).unwrap();
    std::fs::remove_file(desk.path("gate.toml")).unwrap();
    let out = ends(&desk, &["replay", "elsewhere/r/manifest.json", "--json"], 0);
    let replay: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(replay, json!({"equal": true, "exact": true, "compared": 13, "differences": []}));
}

#[test]
fn a_replay_of_the_embedded_model_and_of_comparisons() {
    let desk = desk();
    ends(&desk, &["run", "gate.toml", "--out", "r", "--seed", "5"], 0);
    assert_eq!(json(&desk.path("r/report.json"))["model"]["reference"], Value::Null);
    ends(&desk, &["replay", "r/manifest.json"], 0);
    let text = GATE.replace("health.failed == 0", "health.failed <= base");
    desk.write("gate.toml", &text);
    ends(&desk, &["run", "gate.toml", "--model", "m", "--against", "m", "--out", "by-model"], 0);
    let out = ends(&desk, &["replay", "by-model/manifest.json"], 0);
    assert!(out.contains("26 figures"), "{out}");
    ends(&desk, &["run", "gate.toml", "--model", "m", "--against", "by-model/report.json", "--out", "by-report"], 0);
    ends(&desk, &["replay", "by-report/manifest.json"], 0);
    ends(&desk, &["run", "gate.toml", "--model", "m", "--against", "m", "--out", "by-model", "--seed", "9"], 0);
    refused(
        &desk,
        &["replay", "by-report/manifest.json"],
        &["the earlier report", "by-model", "expected sha256", "got"],
    );
}

#[test]
fn numbers_that_differ_are_listed_and_fail() {
    let desk = replayable();
    tamper(&desk, |m| m["steps"][1]["figures"]["largest_error"] = json!(1e-7));
    tamper(&desk, |m| m["steps"][0]["digest"] = json!("00"));
    let out = ends(&desk, &["replay", "r/manifest.json"], 1);
    assert!(out.contains("2 differ"), "{out}");
    assert!(out.contains("health.largest_error") && out.contains("0.0000001"), "{out}");
    assert!(out.contains("facts (digest of the result)"), "{out}");
}

#[test]
fn a_changed_input_is_refused_with_both_hashes() {
    for (file, content, words) in [
        ("m/config.json", None, ["the model m", "sha256"]),
        ("m/tokenizer_config.json", Some("{ }"), ["the tokenizer of the model", "sha256"]),
        ("text.txt", Some("twice"), ["the data file", "text.txt"]),
    ] {
        let desk = replayable();
        let old = std::fs::read_to_string(desk.path(file)).unwrap();
        desk.write(file, content.map_or_else(|| format!("{old}\n"), str::to_string));
        let line = refused(&desk, &["replay", "r/manifest.json"], &words);
        let hashes = line.split(|c: char| !c.is_ascii_hexdigit()).filter(|w| w.len() == 64).count();
        assert_eq!(hashes, 2, "{line}");
    }
    let desk = replayable();
    tamper(&desk, |m| m["script"]["text"] = json!(GATE.replace("tokens = 6", "tokens = 5")));
    refused(&desk, &["replay", "r/manifest.json"], &["the script's text", "expected sha256", "got"]);
}

#[test]
fn a_model_that_moved_is_named_anew() {
    let desk = replayable();
    std::fs::rename(desk.path("m"), desk.path("moved")).unwrap();
    refused(&desk, &["replay", "r/manifest.json"], &["neither an existing folder"]);
    ends(&desk, &["replay", "r/manifest.json", "--model", "moved"], 0);
    let other = crate::common::shared::golden("llama3");
    refused(&desk, &["replay", "r/manifest.json", "--model", other.to_str().unwrap()], &["expected sha256", "got"]);
}

#[test]
fn what_is_no_manifest_is_refused() {
    let desk = replayable();
    refused(&desk, &["replay", "r/report.json"], &["no manifest of optrode"]);
    tamper(&desk, |m| m["version"] = json!(2));
    refused(&desk, &["replay", "r/manifest.json"], &["version 2", "expected 1"]);
    tamper(&desk, |m| {
        m["version"] = json!(1);
        m["model"]["device"] = json!("abacus");
    });
    refused(&desk, &["replay", "r/manifest.json"], &["abacus", "cpu"]);
    refused(&desk, &["replay", "r"], &["folder"]);
}

#[test]
fn another_processor_is_held_to_rounding() {
    let desk = replayable();
    let recorded = Manifest::open(desk.path("r/manifest.json")).unwrap();
    let mut other = recorded.clone();
    other.environment.cpu.push("none such".to_string());
    other.steps[0].digest = Some("another".to_string());
    let figure = &mut other.steps[1].figures.0;
    let at = figure.iter().position(|(name, _)| name == "passed").unwrap();
    figure[at].1 *= 1.0 + 1e-6;
    let replay = compare(&recorded, &other);
    assert!(replay.equal && !replay.exact, "{replay:?}");
    other.steps[1].figures.0[at].1 *= 1.0 + 1e-4;
    let replay = compare(&recorded, &other);
    assert_eq!(replay.differences.len(), 1);
    assert_eq!(replay.differences[0].name, "health.passed");
    assert!(matches!(replay.differences[0].recorded, Some(Recorded::Number(17.0))));
    other.environment = recorded.environment.clone();
    assert_eq!(compare(&recorded, &other).differences.len(), 2);
}

#[test]
fn a_run_under_edits_measures_the_edited_model_and_is_repeated_under_them() {
    let desk = crate::scan::desk("llama");
    let script = "title = \"Gate\"\n[[step]]\nstep = \"perplexity\"\nexpect = \"perplexity.story.nats != base\"\n";
    desk.write("text.txt", crate::scan::words(1, 40));
    desk.write(
        "gate.toml",
        format!("{script}[[step]]\nstep = \"doctor\"\ntokens = 6\n[texts]\nstory = \"text.txt\"\n"),
    );
    desk.edits("e.json", json!([{"site": "blocks.0.hook_mlp_out", "op": "zero"}]));
    let args = ["run", "gate.toml", "--model", "m", "--edit", "e.json", "--against", "m", "--out", "r"];
    let ran = crate::probe::run(&desk, &args);
    assert!(ran.code < 2, "{} {}", ran.out, ran.err);
    let report = json(&desk.path("r/report.json"));
    let nats = |side: &Value| side["steps"][0]["figures"].to_string();
    assert_ne!(nats(&report), nats(&report["against"]));
    // The doctor looks at the model as it is.
    assert_eq!(report["steps"][1]["figures"].to_string(), report["against"]["steps"][1]["figures"].to_string());
    assert!(report["model"]["edits"][0]["path"].as_str().unwrap().ends_with("e.json"));
    let page = std::fs::read_to_string(desk.path("r/report.html")).unwrap();
    assert!(page.contains("edited by") && page.contains("e.json"));
    ends(&desk, &["replay", "r/manifest.json"], 0);
    desk.edits("e.json", json!([{"site": "blocks.1.hook_mlp_out", "op": "zero"}]));
    refused(&desk, &["replay", "r/manifest.json"], &["the edit", "e.json", "expected sha256"]);
}
