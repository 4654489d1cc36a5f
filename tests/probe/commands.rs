//! `optrode audit` and `optrode run` through the binary.

use quick_junit::{NonSuccessKind, Report, TestCaseStatus};
use serde_json::{Value, json};

use super::{GATE, desk, ends, is_clean, json, names, refused, run, step};

#[test]
fn a_run_writes_its_report_and_says_what_it_found() {
    let desk = desk();
    let out = ends(&desk, &["run", "gate.toml", "--model", "m", "--out", "r"], 0);
    for words in
        ["Gate", "Model: m, sha256 ", "health", "2 of 2", "failed 0, passed 17", "2 passed, 0 failed", "Report: r"]
    {
        assert!(out.contains(words), "`{words}` is not in:\n{out}");
    }
    assert_eq!(names(&desk.path("r")), ["manifest.json", "report.html", "report.json"]);
    is_clean(&desk);
    let report = json(&desk.path("r/report.json"));
    assert_eq!((&report["version"], &report["outcome"], &report["seed"]), (&json!(1), &json!("passed"), &json!(3)));
    assert_eq!(step(&report, "facts")["figures"]["layers"], json!(2.0));
    assert_eq!(step(&report, "facts")["result"]["family"], json!("llama"));
    assert_eq!(step(&report, "health")["figures"]["failed"], json!(0.0));
    assert_eq!(step(&report, "health")["verdicts"][0]["verdict"], json!("passed"));
    let manifest = json(&desk.path("r/manifest.json"));
    assert_eq!(manifest["script"]["text"], json!(GATE));
    assert_eq!(manifest["script"]["sha256"], report["script"]);
    assert_eq!(manifest["model"]["sha256"], report["model"]["sha256"]);
    assert_eq!(step(&manifest, "health")["figures"], step(&report, "health")["figures"]);
    assert_eq!(step(&manifest, "health")["parameters"], json!({"tokens": 6, "texts": []}));
    assert!(manifest["environment"]["threads"].as_u64().unwrap() > 0);
    let started = manifest["started"].as_str().unwrap();
    assert!(started.len() == 20 && started.ends_with('Z'), "{started}");
}

#[test]
fn the_same_run_gives_the_same_report_and_json_is_the_report() {
    let desk = desk();
    let args = ["run", "gate.toml", "--model", "m", "--json", "--out"];
    let first = ends(&desk, &[&args[..], &["a"]].concat(), 0);
    let second = super::run_with(&desk, &[&args[..], &["b"]].concat(), &[("RAYON_NUM_THREADS", "1")]);
    assert_eq!(first, second.out);
    assert_eq!(std::fs::read_to_string(desk.path("a/report.json")).unwrap(), first);
    let other = ends(&desk, &[&args[..], &["c", "--seed", "4"]].concat(), 0);
    let other: Value = serde_json::from_str(&other).unwrap();
    assert_eq!(other["seed"], json!(4));
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_ne!(step(&first, "health")["result"], step(&other, "health")["result"]);
}

#[test]
fn an_impossible_expectation_fails_with_figure_and_miss() {
    let desk = desk();
    desk.write("gate.toml", GATE.replace("health.failed == 0", "health.passed >= 1000"));
    let out = ends(&desk, &["run", "gate.toml", "--model", "m", "--out", "r"], 1);
    assert!(out.contains("FAILED   health.passed >= 1000: missed by 983 (health.passed 17, bound 1000)"), "{out}");
    assert!(out.contains("1 of 2"), "{out}");
    let report = json(&desk.path("r/report.json"));
    assert_eq!(report["outcome"], json!("failed"));
    assert_eq!(step(&report, "health")["verdicts"][0]["reason"], json!("missed by 983"));
}

#[test]
fn audit_takes_a_model_a_script_or_nothing() {
    let desk = desk();
    let out = ends(&desk, &["audit"], 0);
    assert!(out.contains("the model organism") && out.contains("doctor"), "{out}");
    let report = json(&desk.path("optrode-report/report.json"));
    assert_eq!(report["model"]["reference"], Value::Null);
    assert!(step(&report, "doctor")["figures"]["passed"].as_f64().unwrap() > 10.0);
    // A second one replaces the first.
    let out = ends(&desk, &["audit", "m", "--script", "gate.toml"], 0);
    assert!(out.contains("Gate"), "{out}");
    assert_eq!(json(&desk.path("optrode-report/report.json"))["title"], json!("Gate"));
    is_clean(&desk);
}

#[test]
fn the_script_may_name_the_model_beside_it() {
    let desk = desk();
    std::fs::create_dir(desk.path("deep")).unwrap();
    desk.write("deep/gate.toml", format!("{GATE}\n[model]\npath = \"../m\"\ncontrol = \"../m\"\n"));
    ends(&desk, &["run", "deep/gate.toml", "--out", "r"], 0);
    let report = json(&desk.path("r/report.json"));
    assert_eq!(report["model"]["reference"], json!(desk.path("m").canonicalize().unwrap()));
    assert_eq!(report["model"]["control"]["sha256"], report["model"]["sha256"]);
}

/// A script that asks for no more parameters than the comparison has.
const SIZE: &str = "title = \"Size\"\n[[step]]\nstep = \"facts\"\nexpect = [\"facts.parameters <= base\", \
                    \"facts.layers <= base.facts.layers * 1.5 - 0\"]\n";

#[test]
fn a_run_compares_with_another_model_or_an_earlier_report() {
    let desk = desk();
    let smaller = crate::common::shared::golden("llama3");
    let smaller = smaller.to_str().unwrap();
    desk.write("size.toml", SIZE);
    ends(&desk, &["run", "size.toml", "--model", "m", "--against", "m", "--out", "same"], 0);
    let against_model =
        ends(&desk, &["run", "size.toml", "--model", "m", "--against", smaller, "--json", "--out", "model"], 1);
    ends(&desk, &["audit", smaller, "--out", "earlier"], 0);
    let against_report = ends(
        &desk,
        &["run", "size.toml", "--model", "m", "--against", "earlier/report.json", "--json", "--out", "report"],
        1,
    );
    let [model, report]: [Value; 2] = [&against_model, &against_report].map(|t| serde_json::from_str(t).unwrap());
    assert_eq!(step(&model, "facts")["verdicts"], step(&report, "facts")["verdicts"]);
    assert_eq!(model["against"]["model"], report["against"]["model"]);
    let here = step(&model, "facts")["figures"]["parameters"].as_f64().unwrap();
    let there = model["against"]["steps"][0]["figures"]["parameters"].as_f64().unwrap();
    assert!(here > there);
    let reason = step(&model, "facts")["verdicts"][0]["reason"].as_str().unwrap();
    assert_eq!(reason, format!("missed by {}", here - there));
    let manifest = json(&desk.path("report/manifest.json"));
    assert_eq!(manifest["against"]["report"]["path"], json!(desk.path("earlier/report.json").canonicalize().unwrap()));
}

#[test]
fn a_comparison_that_cannot_be_made_is_refused() {
    let desk = desk();
    desk.write("size.toml", SIZE);
    let run = ["run", "size.toml", "--model", "m", "--against"];
    refused(&desk, &["run", "size.toml", "--model", "m"], &["facts.parameters <= base", "--against"]);
    refused(&desk, &[&run[..], &["absent"]].concat(), &["absent"]);
    refused(&desk, &[&run[..], &["absent.json"]].concat(), &["absent.json", "no such file"]);
    desk.write("other.json", "{\"version\": 9}");
    refused(&desk, &[&run[..], &["other.json"]].concat(), &["version 9", "expected 1"]);
    desk.write("other.json", "{\"version\": 1}");
    refused(&desk, &[&run[..], &["other.json"]].concat(), &["no report of optrode"]);
    assert!(!desk.path("optrode-report").exists());

    // A report that the new one would replace, one without the figure, and one measured in another way.
    ends(&desk, &["run", "gate.toml", "--model", "m"], 0);
    refused(&desk, &[&run[..], &["optrode-report/report.json"]].concat(), &["the new one replaces", "--out"]);
    let other = ["--against", "optrode-report/report.json", "--out", "r", "--model", "m"];
    desk.write("d.toml", "title = \"D\"\n[[step]]\nstep = \"doctor\"\nexpect = \"doctor.passed >= base\"\n");
    refused(&desk, &[&["run", "d.toml"], &other[..]].concat(), &["no figure `doctor.passed`", "`health.passed`"]);
    desk.write(
        "d.toml",
        GATE.replace("tokens = 6", "tokens = 7").replace("health.failed == 0", "health.failed <= base"),
    );
    refused(&desk, &[&["run", "d.toml"], &other[..]].concat(), &["\"tokens\":6", "\"tokens\":7"]);
}

#[test]
fn junit_has_a_case_for_every_step_and_expectation() {
    let desk = desk();
    let text = GATE.replace("Gate", "<Gate> & \\\"co\\\" \\u0007").replace("health.failed == 0", "health.failed < 0");
    desk.write(
        "gate.toml",
        format!("{text}[[step]]\nstep = \"doctor\"\ntexts = [\"a\"]\nexpect = \"doctor.failed <= 0\""),
    );
    let ran = run(&desk, &["run", "gate.toml", "--model", "m", "--junit", "deep/gate.xml"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    let xml = std::fs::read_to_string(desk.path("deep/gate.xml")).unwrap();
    let report = Report::deserialize_from_str(&xml).unwrap();
    assert!(report.name.as_ref().unwrap().as_str().starts_with("<Gate> & \"co\""), "{xml}");
    assert_eq!((report.tests, report.failures, report.errors), (6, 1, 1));
    let cases: Vec<(&str, &str)> = report
        .test_suites
        .iter()
        .flat_map(|s| &s.test_cases)
        .map(|c| {
            let kind = match &c.status {
                TestCaseStatus::Success { .. } => "passed",
                TestCaseStatus::Skipped { .. } => "skipped",
                TestCaseStatus::NonSuccess { kind: NonSuccessKind::Failure, .. } => "failure",
                TestCaseStatus::NonSuccess { .. } => "error",
            };
            (c.name.as_str(), kind)
        })
        .collect();
    let expected = [
        ("step facts", "passed"),
        ("step doctor", "passed"),
        ("health.failed < 0", "failure"),
        ("health.passed >= facts.layers + 8", "passed"),
        ("step doctor", "error"),
        ("doctor.failed <= 0", "skipped"),
    ];
    assert_eq!(cases, expected);
    assert!(xml.contains("health.failed equals the bound (health.failed 0, bound 0)"), "{xml}");
}

#[test]
fn the_steps_are_listed_with_parameters_and_figures() {
    let desk = desk();
    let out = ends(&desk, &["run", "--steps"], 0);
    for word in ["doctor", "tokens", "12", "largest_error", "facts", "d_model"] {
        assert!(out.contains(word), "{word}\n{out}");
    }
    let listed: Value = serde_json::from_str(&ends(&desk, &["run", "--steps", "--json"], 0)).unwrap();
    let steps: Vec<&str> = listed.as_array().unwrap().iter().map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(steps, optrode::probe::steps::ALL.iter().map(|s| s.name()).collect::<Vec<_>>());
}

/// What the organism must have, on the organism itself (the rest of `probes/organism.toml` takes minutes in a debug build).
#[test]
fn the_embedded_organism_has_induction_and_previous_token_heads() {
    let desk = desk();
    let own = include_str!("../../probes/organism.toml");
    let heads = &own[own.find("[[step]]\nstep = \"heads\"").unwrap()..];
    let heads = heads[8..].find("[[step]]").map_or(heads, |end| &heads[..end + 8]);
    desk.write("heads.toml", format!("title = \"Heads\"\n{heads}"));
    let out = ends(&desk, &["run", "heads.toml", "--out", "heads"], 0);
    assert!(out.contains("2 of 2"), "{out}");
}
