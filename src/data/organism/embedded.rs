//! The model organism that the program carries, its untrained control, and texts that it never saw.

use std::path::PathBuf;

use super::super::TextSet;
use crate::Result;
use crate::store::embedded;

macro_rules! files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../fixtures/", $folder, "/", $name)))),*]
    };
}

/// The organism's folder.
const ORGANISM: &[(&str, &[u8])] = files!("organism":
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "held_out/addition.jsonl", "held_out/subtraction.jsonl", "held_out/reversal.jsonl", "held_out/maximum.jsonl",
    "held_out/copying.jsonl", "held_out/facts.jsonl", "held_out/functions.jsonl",
);

/// A smaller network of the same kind that was never trained.
const UNTRAINED: &[(&str, &[u8])] = files!("untrained":
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
);

/// Held-out paragraphs, one a line.
const TEXTS: &[(&str, &[u8])] = files!("organism/texts": "en.txt", "de.txt", "fr.txt", "es.txt", "ru.txt", "zh.txt");

/// The folder of the organism: what is run where no model is named.
///
/// # Errors
/// When its files cannot be laid out.
pub fn folder() -> Result<PathBuf> {
    embedded::lay_out(ORGANISM)
}

/// The folder of the untrained control.
///
/// # Errors
/// When its files cannot be laid out.
pub fn untrained() -> Result<PathBuf> {
    embedded::lay_out(UNTRAINED)
}

/// Paragraphs of the parts of the books that the organism was not trained on, by language; texts for any model.
pub fn texts() -> Vec<TextSet> {
    let set = |(name, bytes): &(&str, &[u8])| TextSet {
        name: name.trim_end_matches(".txt").to_string(),
        texts: String::from_utf8_lossy(bytes).lines().map(str::to_string).collect(),
    };
    TEXTS.iter().map(set).collect()
}
