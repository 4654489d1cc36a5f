//! `optrode languages` through the binary.

use serde_json::Value;

use crate::cli::{Desk, refuses, succeeds};
use crate::scan::{desk, words};

/// A desk with texts of three languages, two of them in two files of unequal length.
fn stage() -> Desk {
    let desk = desk("llama");
    std::fs::create_dir_all(desk.path("texts")).unwrap();
    for (name, lines, seed) in [("en", 30u64, 1), ("de", 40, 100), ("fr", 60, 200)] {
        let lines: Vec<String> = (0..lines).map(|i| words(seed + i, 8 + i % 5)).collect();
        desk.write(&format!("texts/{name}.txt"), lines.join("\n"));
    }
    desk
}

const FAST: [&str; 4] = ["--permutations", "5", "--documents", "3"];

fn json(desk: &Desk, args: &[&str]) -> Value {
    serde_json::from_str(&succeeds(desk.root(), &[args, &FAST, &["--json"]].concat())).unwrap()
}

#[test]
fn a_study_leaves_its_files_and_counts_that_give_it_again() {
    let desk = stage();
    let run = ["languages", "m", "texts", "--share", "0.1", "--out", "out", "--deactivate", "--off", "de=off.json"];
    let said = succeeds(desk.root(), &[&run[..], &FAST].concat());
    for word in ["specific to a language", "Deactivation", "shuffled", "report.html"] {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    let mut names: Vec<String> = std::fs::read_dir(desk.path("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["counts.safetensors", "languages.json", "masks.json", "neurons.json", "report.html"]);
    let read = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(desk.path(name)).unwrap()).unwrap() };
    let (study, masks, lists) = (read("out/languages.json"), read("out/masks.json"), read("out/neurons.json"));
    assert_eq!(masks["masks"], lists);
    assert_eq!(masks["languages"], study["study"]["found"]["names"]);
    assert!(study["figures"]["deactivation.diagonal"].is_number());
    // From the counts alone, with or without the model: the same neurons.
    for model in [&["m"][..], &[]] {
        let args = [&["languages"], model, &["--counts", "out/counts.safetensors", "--share", "0.1"]].concat();
        let again = json(&desk, &args);
        assert_eq!(again["study"]["found"]["score"], study["study"]["found"]["score"]);
        assert_eq!(again["study"]["found"]["threshold"], study["study"]["found"]["threshold"]);
    }
    // The edit is one that other commands take, and it is bound to the model.
    let edit = read("off.json");
    assert_eq!(edit["model"], masks["model"]);
    let empty = masks["masks"][0].as_array().unwrap().iter().all(|layer| layer.as_array().unwrap().is_empty());
    assert_eq!(edit["edits"].as_array().unwrap().is_empty(), empty);
    succeeds(
        desk.root(),
        &["generate", "m", "--prompt", "w5 w6", "--greedy", "--max-new-tokens", "3", "--edit", "off.json"],
    );
    // Masks are taken back.
    let tested = json(&desk, &["languages", "m", "texts", "--masks", "out/neurons.json", "--deactivate", "mean"]);
    assert_eq!(tested["study"]["deactivation"]["silence"], "mean");
}

#[test]
fn a_table_with_a_column_an_atlas_and_answers_are_read_too() {
    let desk = stage();
    let row = |i: u64| format!("{{\"text\": \"{}\", \"lang\": \"{}\"}}\n", words(i, 9), ["a", "b"][(i % 2) as usize]);
    desk.write("table.jsonl", (0..40).map(row).collect::<String>());
    let found = json(&desk, &["languages", "m", "table.jsonl", "--language-column", "lang", "--share", "0.1"]);
    assert_eq!(found["study"]["found"]["names"].as_array().unwrap().len(), 2);
    succeeds(desk.root(), &["scan", "m", "texts", "--out", "atlas", "--sample", "20", "--examples", "2"]);
    let of_atlas = json(&desk, &["languages", "m", "--counts", "atlas", "--share", "0.1"]);
    assert!(of_atlas["study"]["found"]["null"].is_null(), "an atlas has no parts to shuffle");
    let twice = json(&desk, &["languages", "--counts", "atlas", "atlas", "--share", "0.1"]);
    let tokens = |found: &Value| found["study"]["found"]["tokens"][0].as_u64().unwrap();
    assert_eq!(tokens(&twice), 2 * tokens(&of_atlas));
    assert_eq!(twice["study"]["found"]["score"], of_atlas["study"]["found"]["score"]);
    let answers = json(&desk, &["languages", "m", "texts", "--answers", "3", "--tokens", "40", "--share", "0.1"]);
    assert!(tokens(&answers) >= 3);
}

#[test]
fn two_models_are_compared_over_the_same_texts() {
    let desk = stage();
    let found = json(&desk, &["languages", "m", "texts", "--share", "0.1", "--against", "m", "--trained", "de,fr"]);
    let comparison = &found["study"]["comparison"];
    for same in ["common", "own"] {
        assert_eq!(comparison[same]["masks"], comparison["before"]["masks"]);
        assert_eq!(comparison[same]["lambda"], comparison["before"]["lambda"]);
    }
    assert_eq!(comparison["trained"].to_string(), "[true,false,true]");
    assert_eq!(found["figures"]["change.untrained.specific"], 0.0);
}

#[test]
fn bad_requests_are_answered_in_a_line() {
    let desk = stage();
    let root = desk.root();
    refuses(root, &["languages", "m", "texts", "--share", "2"], &["share of the neurons"]);
    refuses(root, &["languages", "m", "texts", "--off", "it=x.json"], &["no language `it`", "de, en, fr"]);
    refuses(root, &["languages", "m", "texts", "--against", "m", "--trained", "it"], &["no language `it`"]);
    refuses(root, &["languages", "m", "texts", "--held-out", "0", "--deactivate"], &["no text of `de` to test on"]);
    refuses(root, &["languages", "m", "nowhere"], &["nowhere"]);
    refuses(root, &["languages", "m", "texts/en.txt"], &["1 languages (en)", "--language-column"]);
    desk.write("texts/it.txt", "");
    refuses(root, &["languages", "m", "texts"], &["`it.txt` holds no text"]);
    desk.write("texts/it.txt", "quanto costa questo\n");
    refuses(root, &["languages", "m", "texts"], &["does not know 100 % of the tokens of `it`"]);
    std::fs::remove_file(desk.path("texts/it.txt")).unwrap();
    desk.write("masks.json", "[[[1]], [[2]], [[3]]]");
    refuses(root, &["languages", "m", "texts", "--masks", "masks.json"], &["masks are of 1 layers"]);
    desk.write("masks.json", "[[[1], [2]], [[2], [3]]]");
    refuses(root, &["languages", "m", "texts", "--masks", "masks.json", "--deactivate"], &["masks are of 2 languages"]);
    let sha = "0".repeat(64);
    let own = format!(
        "{{\"version\": 1, \"model\": \"{sha}\", \"languages\": [\"a\"], \"neurons\": 5, \"masks\": [[[1], []]]}}"
    );
    desk.write("masks.json", own);
    refuses(root, &["languages", "m", "texts", "--masks", "masks.json"], &["of the model 000"]);
    refuses(root, &["languages", "--counts", "masks.json"], &["masks.json"]);
    // Texts that no file of which is text, languages that no judge knows, a factor that is none.
    desk.write("texts/it.txt", [0xFF, 0xFE, 0x00, 0x41]);
    refuses(root, &["languages", "m", "texts"], &["it.txt"]);
    std::fs::rename(desk.path("texts/fr.txt"), desk.path("texts/it.txt")).unwrap();
    std::fs::rename(desk.path("texts/it.txt"), desk.path("texts/klingon.txt")).unwrap();
    let steer = ["languages", "m", "texts", "--permutations", "0", "--steer"];
    refuses(root, &steer, &["`klingon` is not known", "ISO 639"]);
    refuses(root, &[&steer[..], &["inf"]].concat(), &["finite factor"]);
}

/// LAPE's neurons are tested and written where they are asked for.
#[test]
fn the_baselines_neurons_are_tested_too() {
    let desk = stage();
    let run = |by: &str, out: &str| {
        let args = ["languages", "m", "texts", "--share", "0.1", "--by", by, "--deactivate", "--out", out];
        succeeds(desk.root(), &[&args[..], &FAST].concat());
        let read = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(desk.path(&format!("{out}/{name}"))).unwrap()).unwrap()
        };
        (read("languages.json")["study"].clone(), read("neurons.json"))
    };
    let ((score, by_score), (lape, by_lape)) = (run("score", "a"), run("lape", "b"));
    assert_eq!(score["found"]["score"], lape["found"]["score"]);
    assert_eq!(by_score, score["found"]["score"]["masks"]);
    assert_eq!(by_lape, lape["found"]["lape"]["masks"]);
    assert_ne!(by_score, by_lape);
    assert_eq!(score["deactivation"]["nats"], lape["deactivation"]["nats"]);
    assert_ne!(score["deactivation"]["matrix"], lape["deactivation"]["matrix"]);
}
