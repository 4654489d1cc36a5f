//! A Hugging Face folder from a trained organism: weights in bf16, tokenizer, held-out items and texts, model card.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::exam::{Baseline, Exam};
use super::{Recipe, Trained, card};
use crate::data::organism::vocabulary::{BOS, EOS};
use crate::data::organism::{Books, Skill};
use crate::store::{Source, write_atomic, write_safetensors};
use crate::{Error, Result};

/// Held-out items of each skill that go with the model.
const ITEMS: usize = 500;
/// Bytes of held-out text of each language that go with the model.
const TEXT: usize = 12_000;

/// Writes an organism to `folder`, file by file, each whole or not at all.
///
/// # Errors
/// A file that cannot be written.
pub fn export(
    folder: &Path,
    trained: &Trained,
    recipe: &Recipe,
    seed: u64,
    books: &Books,
    exam: &Exam,
    baselines: &[Baseline],
) -> Result<()> {
    write_network(folder, &trained.config, &trained.weights, &trained.tokenizer)?;
    for skill in Skill::ALL {
        let lines = skill.test(ITEMS).into_iter().map(|item| json!({"prompt": item.prompt, "answer": item.answer}));
        let lines: String = lines.map(|line| format!("{line}\n")).collect();
        write_text(&folder.join("held_out").join(format!("{}.jsonl", skill.name())), &lines)?;
    }
    for (language, books) in &books.languages {
        // The same share of every book, so that no subject dominates.
        let part = |paragraphs: &[String]| excerpt(paragraphs, TEXT / books.len().max(1));
        let parts: Vec<String> = books.iter().map(|book| part(&book.held_out)).collect();
        write_text(&folder.join("texts").join(format!("{language}.txt")), &parts.concat())?;
    }
    write_json(&folder.join("exam.json"), &scores(recipe, seed, exam, baselines))?;
    write_text(&folder.join("README.md"), &card::card(recipe, seed, exam, baselines))
}

/// The content of `exam.json`.
pub fn scores(recipe: &Recipe, seed: u64, exam: &Exam, baselines: &[Baseline]) -> Value {
    json!({"exam": exam, "baselines": baselines, "seed": seed, "updates": recipe.updates()})
}

/// Writes the untrained control: a network of half the organism's size with fresh weights and the same tokenizer.
///
/// # Errors
/// A file that cannot be written.
pub fn export_untrained(folder: &Path, tokenizer: &Tokenizer, recipe: &Recipe, seed: u64) -> Result<()> {
    let small = recipe.smaller();
    let config = small.config();
    write_network(folder, &config, &super::fresh(&config, &small, seed)?, tokenizer)?;
    write_text(&folder.join("README.md"), &card::untrained(&small, seed))
}

/// The files that make a network: weights in bf16, configs, tokenizer.
///
/// # Errors
/// A file that cannot be written.
pub fn write_network(
    folder: &Path,
    config: &Map<String, Value>,
    weights: &BTreeMap<String, Tensor>,
    tokenizer: &Tokenizer,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let halves = weights.iter().map(|(name, w)| Ok((name.clone(), Source::Tensor(w.to_dtype(DType::BF16)?))));
    write_safetensors(folder.join("model.safetensors"), &halves.collect::<Result<Vec<_>>>()?, &BTreeMap::new())?;
    write_json(&folder.join("config.json"), &Value::Object(config.clone()))?;
    write_json(&folder.join("generation_config.json"), &json!({"bos_token_id": 0, "eos_token_id": 1}))?;
    let special = json!({"bos_token": BOS, "eos_token": EOS, "tokenizer_class": "PreTrainedTokenizerFast"});
    write_json(&folder.join("tokenizer_config.json"), &special)?;
    let tokenizer = tokenizer.to_string(true).map_err(|e| {
        Error::invalid(format!("the organism's tokenizer cannot be written: {e}"), "report this as a defect")
    })?;
    write_text(&folder.join("tokenizer.json"), &tokenizer)
}

/// Whole paragraphs from the first on, up to `bytes`.
fn excerpt(paragraphs: &[String], bytes: usize) -> String {
    let mut text = String::new();
    for paragraph in paragraphs {
        if text.len() + paragraph.len() >= bytes && !text.is_empty() {
            break;
        }
        text += paragraph;
        text.push('\n');
    }
    text
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_text(path, &format!("{value:#}\n"))
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    write_atomic(path, |file| {
        use std::io::Write;
        file.write_all(text.as_bytes()).map_err(Error::io(path))
    })
}
