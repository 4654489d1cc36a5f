//! Readers, tasks as data, and scoring.

mod choices;
mod documents;
mod hub;
mod lens_prompts;
mod likelihood;
mod readers;
mod real;
mod results;
mod tasks;
mod written;

use std::path::{Path, PathBuf};

use optrode::analysis::tasks::{Options, Subject, TaskResult, evaluate};
use optrode::data::{Item, Task};
use optrode::models::Decoder;
use optrode::store::Tokenizer;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::common::{config, load, shared::golden};
pub use crate::store::message;

/// A file in a folder of its own.
pub fn file(name: &str, content: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), name, content);
    (folder, path)
}

pub fn put(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

/// A golden network with a tokenizer over letters, some pairs of letters, and BOS.
pub struct Little {
    pub net: Decoder,
    pub tokenizer: Tokenizer,
}

/// Letters of the vocabulary, after `<pad>`, `<s>`, `</s>`.
const LETTERS: &str = " \nabcdefghijklmnopqrstuvwxyz0123456789.,:?+-=ABCD#$";
const PAIRS: [&str; 5] = [" a", "th", " B", "e ", ": "];

impl Little {
    pub fn new(name: &str) -> Self {
        let folder = golden(name);
        let net = load(&folder);
        assert!(config(&folder)["vocab_size"].as_u64().unwrap() as usize >= 3 + LETTERS.len() + PAIRS.len());
        Self { net, tokenizer: tokenizer(true) }
    }

    pub fn subject(&self) -> Subject<'_> {
        Subject::of(&self.net, &self.tokenizer, self.net.facts().context)
    }

    pub fn evaluate(&self, task: &Task, items: &[Item]) -> TaskResult {
        run(&self.subject(), task, items)
    }
}

pub fn run(subject: &Subject, task: &Task, items: &[Item]) -> TaskResult {
    evaluate(subject, task, items, &Options::default(), &mut |_, _| {}).unwrap()
}

fn tokenizer(adds_bos: bool) -> Tokenizer {
    let mut vocab: Map<String, Value> = Map::new();
    let letters = LETTERS.chars().map(String::from);
    let words = ["<pad>", "<s>", "</s>"].map(String::from).into_iter().chain(letters).chain(PAIRS.map(String::from));
    for word in words {
        let id = vocab.len();
        vocab.insert(word, id.into());
    }
    let merges: Vec<[String; 2]> = PAIRS.iter().map(|p| [p[..1].to_string(), p[1..].to_string()]).collect();
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false})
    };
    let whole = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
        "added_tokens": [special(0, "<pad>"), special(1, "<s>"), special(2, "</s>")],
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "fuse_unk": false, "byte_fallback": false}
    });
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "tokenizer.json", whole.to_string().as_bytes());
    let side = json!({"add_bos_token": adds_bos, "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"});
    put(folder.path(), "tokenizer_config.json", side.to_string().as_bytes());
    Tokenizer::open(folder.path()).unwrap()
}

/// `log softmax` of the logits after each of these ids, by one plain call.
pub fn log_probs(net: &Decoder, ids: &[u32]) -> Vec<Vec<f64>> {
    let batch = crate::common::batch(&[ids.to_vec()], optrode::models::Side::Right);
    let seen = crate::common::see(net, &batch, &crate::common::pass(&[], &[]));
    let rows = seen.logits.squeeze(0).unwrap().to_vec2::<f32>().unwrap();
    let normal = |row: Vec<f32>| {
        let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
        row.iter().map(|x| f64::from(*x) - sum.ln()).collect()
    };
    rows.into_iter().map(normal).collect()
}
