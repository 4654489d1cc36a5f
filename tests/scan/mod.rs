//! Scans, their atlases and the pages of units.

mod atlas;
mod bad;
mod laws;
mod naive;
mod page;

use std::path::{Path, PathBuf};

use optrode::analysis::scan::{self, Job, Options, Origin, Scanned, Unwatched};
use optrode::data::{DocumentOptions, Documents};
use optrode::hook::random;
use optrode::models::Model;
use optrode::store::{HubOptions, Storage};
use serde_json::{Value, json};

use crate::cli::{Desk, Ran, program};
use crate::common::shared::open;

/// A desk with the golden network `name` and a tokenizer of words in `m`.
pub fn desk(name: &str) -> Desk {
    let desk = Desk::new(name);
    let config: Value = serde_json::from_slice(&std::fs::read(desk.path("m/config.json")).unwrap()).unwrap();
    let size = config["vocab_size"].as_u64().unwrap();
    let mut vocab = serde_json::Map::new();
    for id in 0..size {
        let word = match id {
            0 => "<unk>".to_string(),
            1 => "<s>".to_string(),
            id => format!("w{id}"),
        };
        vocab.insert(word, id.into());
    }
    let bos = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 1, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing", "single": [bos, text("A")], "pair": [bos, text("A"), text("B")],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": null, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
    });
    desk.write("m/tokenizer.json", tokenizer.to_string());
    desk
}

/// A text of words that the tokenizer of [`desk`] knows.
pub fn words(seed: u64, length: u64) -> String {
    let word = |i| format!("w{}", 3 + random::key(seed, &[i]) % 50);
    (0..length).map(word).collect::<Vec<_>>().join(" ")
}

/// A folder of three groups: `en` and `fr` in two folders, `de` in one; some documents are longer than a window of 16.
pub fn corpus(desk: &Desk) -> PathBuf {
    let root = desk.path("corpus");
    for (file, documents) in [("a/de", 13u64), ("a/en", 17), ("b/en", 5), ("b/fr", 9)] {
        let path = root.join(format!("{file}.txt"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let seed = random::name(file);
        let line = |i: u64| words(seed ^ i, 1 + random::key(seed, &[i]) % 40);
        let lines: Vec<String> = (0..documents).map(line).collect();
        std::fs::write(path, lines.join("\n")).unwrap();
    }
    root
}

/// Small windows and chunks, so that everything happens.
pub fn options() -> (DocumentOptions, Options) {
    let read = DocumentOptions { chunk: 4, ..DocumentOptions::default() };
    let options = Options {
        heads: true,
        residual: true,
        examples: 3,
        context: [4, 2],
        sample: 50,
        window: 16,
        batch: 64,
        seed: 7,
    };
    (read, options)
}

/// A scan through the library.
pub fn scan_with(model: &Path, corpus: &Path, out: &Path, read: DocumentOptions, options: &Options) -> Scanned {
    let model: Model = open(model);
    let spec = corpus.to_str().unwrap();
    let documents = Documents::open(spec, read, &HubOptions::from_env()).unwrap();
    let job = Job::of(&model, Storage::F32, &documents, options, None).unwrap();
    let origin = Origin { model: &model, documents: &documents, corpus: spec };
    scan::scan(&origin, &job, out, std::time::Duration::ZERO, &mut Unwatched).unwrap()
}

/// Runs the program with the caches inside the desk.
pub fn run(desk: &Desk, args: &[&str]) -> Ran {
    let output = program(desk.root()).env("XDG_CACHE_HOME", desk.path("cache")).args(args).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `scan m corpus --out OUT` with small parts, and more; must succeed.
#[track_caller]
pub fn scans(desk: &Desk, out: &str, more: &[&str]) -> String {
    let args = scan_args(out, more);
    let ran = run(desk, &args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    ran.out
}

pub fn scan_args(out: &str, more: &[&str]) -> Vec<String> {
    let fixed = ["scan", "m", "corpus", "--out", out, "--window", "16", "--sample", "50", "--examples", "3"];
    let mut args: Vec<String> = fixed.iter().chain(more).map(|s| (*s).to_string()).collect();
    if !more.contains(&"--chunk") {
        args.extend(["--chunk".to_string(), "4".to_string()]);
    }
    args
}

pub fn bytes(desk: &Desk, path: &str) -> Vec<u8> {
    std::fs::read(desk.path(path)).unwrap()
}
