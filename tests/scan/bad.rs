//! Requests, corpora and atlases that must be refused, in words.

use std::fs;

use rusqlite::Connection;

use super::{Desk, bytes, corpus, desk, run, scan_args, scans, words};

#[track_caller]
fn refuses(desk: &Desk, args: &[&str], words: &[&str]) {
    let ran = run(desk, args);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {}", ran.err);
    let line = ran.err.trim_end();
    assert!(!line.contains('\n') && line.starts_with("error: ") && line.contains("; "), "{line}");
    for word in words {
        assert!(line.contains(word), "`{word}` is not in: {line}");
    }
}

#[track_caller]
fn refuses_scan(desk: &Desk, more: &[&str], words: &[&str]) {
    let args = scan_args("out", more);
    refuses(desk, &args.iter().map(String::as_str).collect::<Vec<_>>(), words);
    assert!(!desk.path("out/atlas.db").exists());
}

#[track_caller]
fn refuses_corpus(desk: &Desk, spec: &str, words: &[&str]) {
    refuses(desk, &["scan", "m", spec, "--out", "out"], words);
    assert!(!desk.path("out").exists(), "nothing may be left of {spec}");
}

#[test]
fn a_corpus_that_cannot_be_read_is_refused_before_any_work() {
    let desk = desk("llama");
    refuses_corpus(&desk, "absent", &["absent", "no such file"]);
    fs::create_dir(desk.path("empty")).unwrap();
    refuses_corpus(&desk, "empty", &["no files"]);
    desk.write("blank.txt", "\n  \n");
    refuses_corpus(&desk, "blank.txt", &["holds no text"]);
    desk.write("broken.jsonl", "{\"text\": \"w3 w4\"}\n{\"text\": \"w5\n");
    refuses_corpus(&desk, "broken.jsonl", &["line 2", "no JSON"]);
    desk.write("other.jsonl", "{\"story\": \"w3 w4\"}\n");
    refuses_corpus(&desk, "other.jsonl", &["line 1", "`text`", "story"]);
    desk.write("latin.txt", b"w3 \xe9\n");
    refuses_corpus(&desk, "latin.txt", &["not UTF-8"]);
    desk.write("not.parquet", "PAR1");
    refuses_corpus(&desk, "not.parquet", &["no parquet file"]);
    desk.write("rows.jsonl", "{\"text\": \"w3\", \"kind\": \"a\"}\n{\"text\": \"w3\"}\n");
    refuses(&desk, &["scan", "m", "rows.jsonl", "--group-by", "kind", "--out", "out"], &["line 2", "`kind`"]);
    let rows: Vec<String> = (0..1100).map(|i| format!("{{\"text\": \"w3\", \"id\": {i}}}")).collect();
    desk.write("many.jsonl", rows.join("\n"));
    refuses(&desk, &["scan", "m", "many.jsonl", "--group-by", "id", "--out", "out"], &["more than 1000 values"]);
}

#[test]
fn a_request_that_cannot_be_met_is_refused() {
    let desk = desk("llama");
    corpus(&desk);
    refuses_scan(&desk, &["--shard", "4/3"], &["4/3", "I/N"]);
    refuses_scan(&desk, &["--shard", "900/1000"], &["no chunk"]);
    refuses_scan(&desk, &["--batch", "4000000000"], &["memory", "are free", "--batch"]);
    desk.write("file", "");
    refuses(&desk, &["scan", "m", "corpus", "--out", "file"], &["file"]);
    fs::create_dir(desk.path("mine")).unwrap();
    desk.write("mine/notes.txt", "mine");
    refuses(&desk, &["scan", "m", "corpus", "--out", "mine"], &["notes.txt"]);
    assert_eq!(bytes(&desk, "mine/notes.txt"), b"mine");
    fs::remove_file(desk.path("m/tokenizer.json")).unwrap();
    refuses_scan(&desk, &[], &["tokenizer"]);
}

#[test]
fn another_scan_in_the_folder_is_never_continued() {
    let desk = desk("llama");
    corpus(&desk);
    scans(&desk, "out2", &[]);
    let args = scan_args("out2", &["--seed", "5"]);
    refuses(
        &desk,
        &args.iter().map(String::as_str).collect::<Vec<_>>(),
        &["another scan", "seed", "5 here and 0 there"],
    );
    // A document more is another corpus.
    desk.write("corpus/a/de.txt", words(1, 5));
    let args = scan_args("out2", &[]);
    refuses(&desk, &args.iter().map(String::as_str).collect::<Vec<_>>(), &["another scan", "corpus"]);
}

#[test]
fn shards_that_do_not_belong_together_are_refused() {
    let desk = desk("llama");
    corpus(&desk);
    for shard in ["1/3", "2/3", "3/3"] {
        scans(&desk, &format!("s{}", &shard[..1]), &["--shard", shard]);
    }
    scans(&desk, "whole", &[]);
    scans(&desk, "seeded", &["--shard", "2/3", "--seed", "1"]);
    scans(&desk, "halves", &["--shard", "2/2"]);
    refuses(&desk, &["merge", "s1", "s3", "--out", "o"], &["no shard 2/3"]);
    refuses(&desk, &["merge", "s1", "s1", "s2", "s3", "--out", "o"], &["both shard 1/3"]);
    refuses(&desk, &["merge", "s1", "whole", "--out", "o"], &["whole corpus"]);
    refuses(&desk, &["merge", "s1", "seeded", "s3", "--out", "o"], &["another scan", "seed"]);
    refuses(&desk, &["merge", "s1", "halves", "s3", "--out", "o"], &["2/2"]);
    refuses(&desk, &["merge", "s1", "s2", "absent", "--out", "o"], &["absent"]);
    refuses(&desk, &["merge", "s1", "s2", "s3", "--out", "whole"], &["an atlas already"]);
    // Another model: the same network with one weight changed.
    let mut weights = bytes(&desk, "m/model.safetensors");
    *weights.last_mut().unwrap() ^= 1;
    desk.write("m/model.safetensors", weights);
    scans(&desk, "other", &["--shard", "2/3"]);
    refuses(&desk, &["merge", "s1", "other", "s3", "--out", "o"], &["another scan", "`model`"]);
    assert!(!desk.path("o").exists());
}

#[test]
fn a_damaged_atlas_is_refused() {
    let desk = desk("llama");
    corpus(&desk);
    let neuron = |atlas: &str, words: &[&str]| {
        refuses(&desk, &["neuron", "m", "blocks.0.mlp.hook_post[neuron=1]", "--atlas", atlas], words);
    };
    let damaged = |name: &str, file: &str, change: &dyn Fn(&std::path::Path)| {
        scans(&desk, name, &[]);
        change(&desk.path(name).join(file));
    };
    neuron("absent", &["no such file"]);
    damaged("nodb", "atlas.db", &|p| fs::remove_file(p).unwrap());
    neuron("nodb", &["atlas.db", "no such file"]);
    damaged("text", "atlas.db", &|p| fs::write(p, "this is no database at all, but long enough to look at").unwrap());
    neuron("text", &["no atlas"]);
    damaged("cut", "atlas.db", &|p| {
        let bytes = fs::read(p).unwrap();
        fs::write(p, &bytes[..bytes.len() / 2]).unwrap();
    });
    neuron("cut", &["atlas.db"]);
    damaged("noise", "atlas.db", &|p| {
        let mut bytes = fs::read(p).unwrap();
        bytes[4096..].fill(0x5a);
        fs::write(p, bytes).unwrap();
    });
    neuron("noise", &["atlas.db", "damaged"]);
    let sql = |name: &str, text: &str| {
        damaged(name, "atlas.db", &|p| Connection::open(p).unwrap().execute_batch(text).unwrap());
    };
    sql("later", "PRAGMA user_version = 2");
    neuron("later", &["version 2", "expected 1"]);
    sql("foreign", "PRAGMA application_id = 7");
    neuron("foreign", &["another program"]);
    sql("trigger", "CREATE TRIGGER t AFTER UPDATE ON units BEGIN DELETE FROM labels; END");
    neuron("trigger", &["not those of an atlas"]);
    sql("view", "DROP VIEW neurons; CREATE VIEW neurons AS SELECT load_extension('x')");
    neuron("view", &["not those of an atlas"]);
    sql("lists", "UPDATE contexts SET words = '[1'");
    neuron("lists", &["impossible"]);
    sql("model", "UPDATE runs SET model_sha256 = 'ab'");
    neuron("model", &["another model"]);
    damaged("short", "arrays.safetensors", &|p| {
        let bytes = fs::read(p).unwrap();
        fs::write(p, &bytes[..bytes.len() - 9]).unwrap();
    });
    neuron("short", &["arrays.safetensors"]);
    refuses(&desk, &["merge", "short", "--out", "o"], &["arrays.safetensors"]);
    damaged("older", "arrays.safetensors", &|p| {
        replace(p, "{\\\"version\\\":1,\\\"about\\\"", "{\\\"version\\\":9,\\\"about\\\"")
    });
    neuron("older", &["version 9", "expected 1"]);
    damaged("nostate", "arrays.safetensors", &|p| replace(p, "hook_post/histogram\\\":{", "hook_past/histogram\\\":{"));
    neuron("nostate", &["hook_post/histogram"]);
}

/// Replaces a part of a file by one of the same length.
fn replace(path: &std::path::Path, from: &str, to: &str) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("no {from}"));
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_refused_and_says_what_to_do() {
    let desk = desk("llama");
    corpus(&desk);
    scans(&desk, "done", &[]);
    fs::create_dir(desk.path("out")).unwrap();
    let whole = bytes(&desk, "done/arrays.safetensors");
    desk.write("out/checkpoint.safetensors", &whole[..whole.len() / 3]);
    refuses_scan(&desk, &[], &["checkpoint.safetensors", "fetch it again"]);
    // What a writer that was killed leaves behind is in nobody's way.
    desk.write("out/checkpoint.safetensors", &whole);
    desk.write("out/.optrode-abc", "half");
    let found = scans(&desk, "out", &[]);
    assert!(found.contains("resumed after"), "{found}");
    assert!(!desk.path("out/.optrode-abc").exists());
}
