//! Texts, token ids and masks that cannot be run.

use serde_json::json;

use super::{Desk, refuses};
use crate::common::shared::shared;

/// A desk whose model is stories260K, with a tokenizer.
fn stories() -> Option<Desk> {
    let model = shared("models/stories260K")?;
    let desk = Desk::new("gpt2");
    std::fs::remove_dir_all(desk.path("m")).unwrap();
    std::os::unix::fs::symlink(model, desk.path("m")).unwrap();
    Some(desk)
}

fn ids(content: &str, words: &[&str]) {
    let desk = Desk::new("llama");
    desk.write("bad.json", content);
    desk.refuses_record(&["--token-ids", "bad.json"], words);
}

fn mask(content: &str, words: &[&str]) {
    let desk = Desk::new("llama");
    desk.write("mask.json", content);
    desk.refuses_record(&["--token-ids", "ids.json", "--attention-mask", "mask.json"], words);
}

#[test]
fn token_ids_of_another_form() {
    ids("[[1, 2], [3]]", &["bad.json", "row 1 has 1 entries, row 0 has 2"]);
    ids("[[1, -2]]", &["bad.json", "row 0, entry 1 is -2"]);
    ids("[[1, 2.5]]", &["entry 1 is 2.5"]);
    ids("[[1, 4294967296]]", &["entry 1 is 4294967296"]);
    ids("[[1, \"a\"]]", &["entry 1 is \"a\""]);
    ids("[1, [2]]", &["row 0 is no list"]);
    ids("{\"ids\": [1]}", &["the file holds no list"]);
    ids("[]", &["row 0 is empty"]);
    ids("[[1], []]", &["row 1 is empty"]);
    ids("[[1, 2", &["bad.json", "line 1 column 6"]);
}

#[test]
fn token_ids_beyond_the_vocabulary() {
    ids("[[1, 2], [3, 61]]", &["token id 61", "row 1, column 1", "vocabulary of 61"]);
}

#[test]
fn texts_longer_than_the_context() {
    ids(&json!([vec![1; 65]]).to_string(), &["65 tokens", "context of 64"]);
    let Some(desk) = stories() else { return };
    let long = "once ".repeat(600);
    desk.refuses_record(&["--text", &long], &["context of 512"]);
    refuses(desk.root(), &["generate", "m", "--prompt", &long], &["context of 512"]);
}

#[test]
fn attention_masks_that_do_not_fit() {
    mask("[[1, 1, 0, 1, 1], [1, 1, 1, 1, 1]]", &["row 0", "padding between real tokens"]);
    mask("[[1, 1, 1, 1, 1]]", &["[2, 5]"]);
    mask("[[1, 1], [1, 1]]", &["[2, 5]"]);
    mask("[[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]", &["row 1", "all 0"]);
    mask("[[1, 1, 1, 1, 2], [1, 1, 1, 1, 1]]", &["mask.json", "entry 4 is 2", "0 (padding) or 1"]);
    mask("[[1, 1, 1, 1, true], [1, 1, 1, 1, 1]]", &["entry 4 is true"]);
    let desk = Desk::new("llama");
    desk.refuses_record(&["--text", "a", "--attention-mask", "ids.json"], &["--token-ids"]);
}

#[test]
fn files_that_are_missing() {
    let desk = Desk::new("llama");
    desk.refuses_record(&["--token-ids", "none.json"], &["none.json", "no such file"]);
    desk.refuses_record(&["--token-ids", "m"], &["m: ", "folder"]);
    desk.refuses_record(&["--edit", "none.json"], &["none.json", "no such file"]);
    let Some(desk) = stories() else { return };
    desk.refuses_record(&["--file", "none.jsonl:question"], &["none.jsonl: ", "no such file"]);
    desk.refuses_record(&["--file", "none.txt"], &["none.txt: ", "no such file"]);
}

#[test]
fn text_files_that_hold_no_text() {
    let Some(desk) = stories() else { return };
    let file = |name: &str, content: &[u8], spec: &str, words: &[&str]| {
        desk.write(name, content);
        desk.refuses_record(&["--file", spec], words);
    };
    file("latin.txt", b"caf\xe9", "latin.txt", &["latin.txt", "byte 3 is not UTF-8"]);
    file("empty.txt", b"", "empty.txt", &["empty.txt", "holds no text"]);
    file("blank.txt", b"\n\n", "blank.txt", &["holds no text"]);
    file("empty.jsonl", b"\n", "empty.jsonl", &["empty.jsonl", "holds no text"]);
    file("some.txt", b"Once", "some.txt:question", &["some.txt", "`question`", "no fields"]);
}

#[test]
fn json_lines_that_are_broken() {
    let Some(desk) = stories() else { return };
    let lines = |content: &str, spec: &str, words: &[&str]| {
        desk.write("t.jsonl", content);
        desk.refuses_record(&["--file", spec], words);
    };
    let good = "{\"text\": \"Once\"}\n";
    lines(&format!("{good}\n{{\"text\": \"Once\n"), "t.jsonl", &["t.jsonl", "line 3 is no JSON"]);
    lines(&format!("{good}{{\"story\": \"a\"}}\n"), "t.jsonl", &["line 2", "`text`", "has: story"]);
    lines(good, "t.jsonl:question", &["line 1", "`question`", "has: text"]);
    lines("{\"text\": 7}\n", "t.jsonl", &["line 1", "`text`"]);
    lines("[1]\n", "t.jsonl", &["line 1", "JSON object"]);
    lines(&format!("{good}{{\"text\": \"\"}}\n"), "t.jsonl", &["text 1 (counted from 0) is empty"]);
}

#[test]
fn an_empty_text() {
    let Some(desk) = stories() else { return };
    desk.refuses_record(&["--text", ""], &["text 0 (counted from 0) is empty"]);
    desk.refuses_record(&["--text", "Once", "--text", ""], &["text 1"]);
}

#[test]
fn no_source_of_tokens_or_two() {
    let desk = Desk::new("llama");
    let args = ["record", "m", "--sites", "logits", "--out", "acts.npz"];
    refuses(desk.root(), &args, &["--text", "--file", "--token-ids"]);
    desk.refuses_record(&["--token-ids", "ids.json", "--text", "a"], &["cannot be used with"]);
}
