//! `optrode label` and `optrode audit-labels`, and what they refuse.

use std::path::Path;

use optrode::analysis::label::audit::{Terms, audit, binomial_tail};
use optrode::analysis::label::{Evidence, Request, ablate, label, neurons, text};
use optrode::report::Progress;
use optrode::store::atlas::{DATABASE, Database, Labeller, NewLabel};
use serde_json::Value;

use crate::cli::Desk;
use crate::scan::{bytes, corpus, desk, run, scans};

/// A desk with a network, texts and their atlas.
fn scanned() -> Desk {
    let desk = desk("llama");
    corpus(&desk);
    scans(&desk, "atlas", &[]);
    desk
}

fn command(desk: &Desk, more: &[&str]) -> crate::cli::Ran {
    let args: Vec<&str> =
        ["label", "m", "atlas", "--least", "3", "--window", "16"].iter().chain(more).copied().collect();
    run(desk, &args)
}

fn rows(desk: &Desk) -> Vec<(String, String, String)> {
    let database = Database::open(&desk.path("atlas").join(DATABASE)).unwrap();
    let labels = database.labels(None).unwrap();
    labels.into_iter().map(|l| (format!("{}[{}]", l.site, l.number), l.explainer, l.text)).collect()
}

#[test]
fn labels_go_into_the_atlas_and_can_be_searched() {
    let desk = scanned();
    let ran = command(&desk, &["--json", "--report", "labels.html"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let units = found["result"]["units"].as_array().unwrap();
    let labels: usize = units.iter().map(|u| u["labels"].as_array().unwrap().len()).sum();
    let first = rows(&desk);
    assert!(labels > 0 && first.len() == labels);
    assert!(units.iter().all(|u| u["too_rare"] == (u["windows"].as_u64().unwrap() < 3)));
    assert!(std::fs::read_to_string(desk.path("labels.html")).unwrap().contains("permuted"));
    // Every label says how it was made.
    let database = Database::open(&desk.path("atlas").join(DATABASE)).unwrap();
    for row in database.labels(None).unwrap() {
        let provenance: Value = serde_json::from_str(&row.provenance).unwrap();
        assert!(["+", "-"].contains(&provenance["sign"].as_str().unwrap()));
        assert_eq!(row.score, provenance["held"]["auroc"].as_f64());
        assert!(provenance["rule"].is_object() && provenance["holds"].is_boolean());
        let of_unit = database.labels(Some(row.unit)).unwrap();
        assert!(of_unit.iter().any(|l| l.text == row.text));
    }
    // The unit's page shows them.
    let first_row = &database.labels(None).unwrap()[0];
    let unit = format!("{}[neuron={}]", first_row.site, first_row.number);
    let page = run(&desk, &["neuron", "m", &unit, "--atlas", "atlas"]);
    assert!(page.code == 0 && page.out.contains("score on held-out texts"), "{}", page.err);
    // Again: the same labels, once.
    assert_eq!(command(&desk, &["--json"]).code, 0);
    assert_eq!(rows(&desk), first);
    // Labels of others stay, beside them.
    let unit = database.labels(None).unwrap()[0].unit;
    drop(database);
    let theirs = NewLabel {
        unit,
        explainer: "a person".to_string(),
        text: "forbidden fruit".to_string(),
        score: None,
        coverage: None,
        provenance: "{}".to_string(),
    };
    let path = desk.path("atlas").join(DATABASE);
    Labeller::open(&path).unwrap().put(std::slice::from_ref(&theirs), &[]).unwrap();
    assert_eq!(command(&desk, &[]).code, 0);
    assert_eq!(rows(&desk).len(), first.len() + 1);
    let connection = rusqlite_rows(&path, "SELECT rowid FROM labels_text WHERE labels_text MATCH 'forbidden'");
    assert_eq!(connection, 1);
    let terms = Terms::of(["FORBIDDEN".to_string()]).unwrap();
    let hits = audit(&desk.path("atlas"), &terms).unwrap();
    assert_eq!((hits.hits.len(), hits.hits[0].labels[0].text.as_str()), (1, "forbidden fruit"));
    // A unit that is not there is an error, and nothing is written.
    let nobody = NewLabel { unit: 1 << 40, ..theirs };
    assert!(Labeller::open(&path).unwrap().put(&[nobody], &[]).is_err());
    assert_eq!(rows(&desk).len(), first.len() + 1);
}

fn rusqlite_rows(path: &Path, sql: &str) -> usize {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |_| Ok(())).unwrap().count()
}

#[test]
fn a_selector_limits_the_units() {
    let desk = scanned();
    let ran = command(&desk, &["--json", "--units", "blocks.0.mlp.hook_post[neuron=0,2]"]);
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let units = found["result"]["units"].as_array().unwrap();
    assert!(!units.is_empty() && units.iter().all(|u| [0, 2].contains(&u["number"].as_u64().unwrap())));
    for wrong in ["blocks.7.mlp.hook_post", "blocks.0.attn.hook_z", "logits"] {
        let ran = command(&desk, &["--units", wrong]);
        assert!(ran.code == 2 && ran.err.contains(wrong.split('.').next_back().unwrap()), "{wrong}: {}", ran.err);
    }
}

#[test]
fn units_that_are_active_in_too_few_windows_are_too_rare() {
    let desk = scanned();
    let ran = run(&desk, &["label", "m", "atlas", "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let units = found["result"]["units"].as_array().unwrap();
    assert!(units.iter().all(|u| u["too_rare"] == true && u["labels"].as_array().unwrap().is_empty()));
    assert!(rows(&desk).is_empty());
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let desk = scanned();
    let before = bytes(&desk, "atlas/atlas.db");
    let refuses = |args: &[&str], says: &str| {
        let ran = run(&desk, args);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}");
        assert!(ran.err.contains(says) && ran.err.lines().count() == 1, "{args:?}: {}", ran.err);
    };
    let other = self::desk("gpt2");
    std::os::unix::fs::symlink(other.path("m"), desk.path("other")).unwrap();
    refuses(&["label", "other", "atlas"], "another model");
    refuses(&["label", "m", "corpus"], "arrays.safetensors");
    std::fs::create_dir(desk.path("elsewhere")).unwrap();
    std::fs::rename(desk.path("corpus"), desk.path("elsewhere/corpus")).unwrap();
    refuses(&["label", "m", "atlas"], "--corpus");
    let moved = command(&desk, &["--corpus", "elsewhere/corpus"]);
    assert_eq!((moved.code, moved.err.as_str()), (0, ""));
    std::fs::write(desk.path("elsewhere/corpus/a/de.txt"), "w5 w6\nw7 w8").unwrap();
    refuses(&["label", "m", "atlas", "--corpus", "elsewhere/corpus"], "not the corpus that was scanned");
    assert_ne!(bytes(&desk, "atlas/atlas.db"), before, "the moved corpus was labelled");
    scans_shard(&desk);
    refuses(&["label", "m", "part"], "shard");
    std::fs::write(desk.path("empty.txt"), "# nothing\n\n").unwrap();
    refuses(&["audit-labels", "atlas", "--terms", "empty.txt"], "0 terms");
    refuses(&["audit-labels", "atlas", "--terms", "missing.txt"], "missing.txt");
    refuses(&["audit-labels", "m", "--terms", "empty.txt"], "empty.txt");
    std::fs::write(desk.path("terms.txt"), "w5\n").unwrap();
    refuses(&["audit-labels", "m", "--terms", "terms.txt"], "atlas.db");
}

fn scans_shard(desk: &Desk) {
    std::fs::rename(desk.path("elsewhere/corpus"), desk.path("corpus")).unwrap();
    let args = ["scan", "m", "corpus", "--out", "part", "--window", "16", "--chunk", "4", "--shard", "1/2"];
    assert_eq!(run(desk, &args).code, 0);
}

#[test]
fn terms_are_whole_words_whatever_their_case() {
    let terms = Terms::of(["Cat", "hot dog", "爱", "c++"].map(str::to_string)).unwrap();
    assert_eq!(terms.found("The CAT sat; concatenate."), ["cat"]);
    assert!(terms.found("concatenate a hotdog").is_empty());
    assert_eq!(terms.found("a Hot Dog in C++."), ["c++", "hot dog"]);
    assert_eq!(terms.found("我爱你"), ["爱"]);
    assert!(Terms::of([]).is_err() && Terms::of(["x".repeat(201)]).is_err());
}

#[test]
fn examples_with_a_term_count_against_random_contexts() {
    let desk = scanned();
    std::fs::write(desk.path("terms.txt"), "# a word of the corpus\nW7\n").unwrap();
    let ran = run(&desk, &["audit-labels", "atlas", "--terms", "terms.txt", "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let share = found["corpus"].as_f64().unwrap();
    assert!(share > 0.0 && share < 1.0);
    for hit in found["hits"].as_array().unwrap() {
        assert!(hit["p"].as_f64().unwrap() < 0.05 && hit["examples"].as_u64() <= hit["of"].as_u64());
    }
    // The tail of the binomial distribution, from its definition.
    let direct: f64 = [(3u32, 10.0), (4, 5.0), (5, 1.0)]
        .map(|(k, c)| c * 0.3f64.powi(k as i32) * 0.7f64.powi(5 - k as i32))
        .iter()
        .sum();
    assert!((binomial_tail(3, 5, 0.3) - direct).abs() < 1e-12);
    assert_eq!((binomial_tail(0, 5, 0.3), binomial_tail(1, 5, 0.0), binomial_tail(5, 5, 1.0)), (1.0, 0.0, 1.0));
}

#[test]
fn the_step_gives_figures_that_expectations_can_name() {
    let desk = desk("llama");
    let script = "title = \"few\"\n[[step]]\nstep = \"labels\"\nunits = \"blocks.0.mlp.hook_post[neuron=0..12]\"\n\
        least = 20\ndraws = 100\ndocuments = 40\nexpect = [\"labels.auroc > 0.6\", \"labels.permuted.auroc < 0.6\", \
        \"labels.share > 0\", \"labels.layer.0.share > 0\", \"labels.units == 24\"]\n";
    desk.write("few.toml", script);
    let ran = run(&desk, &["run", "few.toml", "--out", "report"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let unknown = script.replace("labels.share", "labels.shares");
    desk.write("few.toml", unknown);
    let ran = run(&desk, &["run", "few.toml", "--out", "report"]);
    assert!(ran.code == 2 && ran.err.contains("labels.shares"), "{}", ran.err);
}

#[test]
fn labelled_neurons_are_silenced_in_order() {
    let model = super::organism();
    let (texts, groups) = super::texts();
    let few: Vec<_> = texts.into_iter().step_by(6).collect();
    let mut request = Request::of("blocks.0.mlp.hook_post[neuron=0..40]".parse().unwrap());
    request.options = text::Options { least: 5, draws: 100, ..text::Options::default() };
    let watches = neurons(&model, &request.units).unwrap();
    let progress = Progress::hidden();
    let evidence = Evidence::of(&model, &few, &groups, watches, &request, &progress).unwrap();
    let labelled = label(&model, &evidence, &request.options).unwrap();
    let found = ablate(&model, &evidence, &labelled, 0, &progress).unwrap();
    assert!((1.0..6.0).contains(&found.base.value), "{:?}", found.base);
    let names: Vec<&str> = found.curves.iter().map(|c| c.property.as_str()).collect();
    assert!(names.contains(&"AUROC") && names.last() == Some(&"random"), "{names:?}");
    for curve in &found.curves {
        assert!(!curve.shares.is_empty() && curve.shares.len() == curve.losses.len());
        assert!(curve.losses.iter().all(|l| l.value.abs() < 1.0 && l.ends().0 <= l.value && l.value <= l.ends().1));
    }
}
