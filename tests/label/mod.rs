//! Labels of units.

mod commands;
mod planted;
mod primitives;
mod reading;
mod stub;
mod told;

use std::sync::OnceLock;

use optrode::analysis::label::text::{Reading, Text};
use optrode::data::organism::embedded;
use optrode::models::{Model, OpenOptions};
use optrode::store::Tokenizer;

/// The organism's folder in the repository.
pub fn organism() -> Model {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/organism");
    Model::open(path, &OpenOptions::default()).unwrap()
}

pub fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| Tokenizer::open(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/organism")).unwrap())
}

/// The paragraphs that come with the organism, six languages as groups.
pub fn texts() -> (Vec<Text>, Vec<String>) {
    let sets = embedded::texts();
    let groups = sets.iter().map(|s| s.name.clone()).collect();
    let all = sets.iter().enumerate().flat_map(|(group, set)| set.texts.iter().map(move |text| (group, text.clone())));
    let texts = all.enumerate().map(|(number, (group, text))| Text { number: number as u64, group, text });
    (texts.collect(), groups)
}

pub fn reading() -> &'static Reading {
    static READING: OnceLock<Reading> = OnceLock::new();
    READING.get_or_init(|| {
        let (texts, groups) = texts();
        Reading::of(tokenizer(), &texts, &groups, 256, 0).unwrap()
    })
}
