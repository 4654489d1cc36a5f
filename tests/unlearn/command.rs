//! `optrode unlearn` through the binary.

use std::fmt::Write;

use crate::cli::Desk;
use crate::common::shared::shared;
use crate::probe::{names, refused, run};

fn stories(word: &str, n: usize) -> String {
    (0..n).fold(String::new(), |mut all, i| {
        writeln!(all, "{{\"story\": \"Once there was a {word} {i}. The {word} was happy.\"}}").unwrap();
        all
    })
}

fn desk() -> Option<Desk> {
    let model = shared("models/stories260K")?;
    let desk = Desk::new("llama");
    std::os::unix::fs::symlink(model, desk.path("stories260K")).unwrap();
    desk.write("a.jsonl", stories("cat", 12));
    desk.write("b.jsonl", stories("tree", 12));
    Some(desk)
}

#[test]
fn two_text_groups_give_a_report() {
    let Some(desk) = desk() else { return };
    let args = ["unlearn", "./stories260K", "--forget", "a.jsonl:story", "--retain", "b.jsonl:story", "--out", "r"];
    let ran = run(&desk, &[&args[..], &["--method", "sp", "--method", "ksd", "--percent", "2", "--json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let forgotten = &report["result"]["forgotten"][0];
    assert_eq!((&forgotten["group"], &report["result"]["before"][1]["group"]), (&"a".into(), &"b".into()));
    assert_eq!(names(&desk.path("r")), ["report.html", "report.json"]);
}

#[test]
fn texts_in_both_groups_are_said_and_nothing_is_lost() {
    let Some(desk) = desk() else { return };
    desk.write("c.jsonl", stories("cat", 12));
    let args = ["unlearn", "./stories260K", "--forget", "a.jsonl:story", "--retain", "c.jsonl:story", "--out", "r"];
    let ran = run(&desk, &[&args[..], &["--method", "sp", "--percent", "2"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("a and c share") && ran.err.contains("also to be kept"), "{}", ran.err);
}

#[test]
fn wrong_requests_are_refused_before_any_work() {
    let Some(desk) = desk() else { return };
    fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["unlearn", "./stories260K", "--out", "r"][..], more].concat()
    }
    let both = ["--forget", "a.jsonl:story", "--retain", "b.jsonl:story"];
    desk.write("one.jsonl", stories("cat", 1));
    refused(&desk, &with(&["--forget", "one.jsonl:story", "--retain", "b.jsonl:story"]), &["1 different items"]);
    refused(&desk, &with(&["--forget", "a.jsonl:story", "--retain", "a.jsonl:story"]), &["two groups are named `a`"]);
    refused(&desk, &with(&["--forget", "none.jsonl:story", "--retain", "b.jsonl:story"]), &["none.jsonl"]);
    refused(&desk, &with(&[&both[..], &["--tolerance", "2"]].concat()), &["tolerance of 2"]);
    refused(&desk, &with(&[&both[..], &["--key-layer", "99"]].concat()), &["no layer 99"]);
    refused(&desk, &with(&[&both[..], &["--percent", "0", "--method", "sp"]].concat()), &["0 % of the neurons"]);
    assert!(!names(desk.root()).contains(&"r".to_string()));
}

#[test]
fn chosen_edits_are_saved_as_bundles_that_other_commands_take() {
    let Some(desk) = desk() else { return };
    let args = ["unlearn", "./stories260K", "--forget", "a.jsonl:story", "--retain", "b.jsonl:story", "--out", "r"];
    let more = ["--method", "sp", "--method", "na", "--percent", "3", "--save", "bundles"];
    let ran = run(&desk, &[&args[..], &more].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    // Controls are not saved.
    assert_eq!(names(&desk.path("bundles")), ["a-na", "a-sp"]);
    for bundle in ["bundles/a-na", "bundles/a-sp"] {
        let prompt =
            ["generate", "./stories260K", "--prompt", "Once there was a cat", "--max-new-tokens", "8", "--greedy"];
        let plain = run(&desk, &prompt);
        let edited = run(&desk, &[&prompt[..], &["--edit", bundle]].concat());
        assert_eq!((plain.code, edited.code), (0, 0), "{}", edited.err);
        let shown = run(&desk, &["edit", "show", bundle]);
        assert!(shown.code == 0 && shown.out.contains("forgets a"), "{} {}", shown.out, shown.err);
    }
    let atlas = ["scan", "./stories260K", "a.jsonl:story", "--edit", "bundles/a-sp", "--out", "edited"];
    assert_eq!(run(&desk, &atlas).code, 0);
    let manifest = std::fs::read_to_string(desk.path("edited/manifest.json")).unwrap();
    assert!(manifest.contains("a-sp"), "{manifest}");
    let again = run(&desk, &["replay", "edited/manifest.json"]);
    assert_eq!(again.code, 0, "{} {}", again.out, again.err);
    // Another model's edits are refused.
    desk.write("other.json", r#"{"version": 1, "model": "00", "edits": []}"#);
    refused(
        &desk,
        &["scan", "./stories260K", "a.jsonl:story", "--edit", "other.json", "--out", "x"],
        &["fitted on the model with the sha256 00"],
    );
}
