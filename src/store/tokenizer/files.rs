//! The files around a tokenizer: what they say about special tokens, the check of a template, and byte-level BPE
//! from the two files that GPT-2 came with.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as Inner};

use crate::store::chat::special_texts;
use crate::store::text::{read_json, read_json_if, read_text};
use crate::{Error, Result};

/// The configuration files beside the tokenizer; an absent one is `null`.
pub(super) struct Sides {
    pub(super) tokenizer: Value,
    map: Value,
    generation: Value,
    pub(super) model: Value,
}

impl Sides {
    /// Reads the files of a folder.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let file = |name: &str| read_json_if(&folder.join(name)).map(Option::unwrap_or_default);
        Ok(Self {
            tokenizer: file("tokenizer_config.json")?,
            map: file("special_tokens_map.json")?,
            generation: file("generation_config.json")?,
            model: file("config.json")?,
        })
    }

    /// The id of a special token by its configuration name (`bos_token`).
    pub(super) fn id(&self, inner: &Inner, name: &str) -> Option<u32> {
        self.ids(inner, name).first().copied()
    }

    /// Every id that a file gives for a token: texts of the tokenizer's files first, then ids of the model's.
    pub(super) fn ids(&self, inner: &Inner, name: &str) -> Vec<u32> {
        let mut out: Vec<u32> = [&self.tokenizer, &self.map]
            .into_iter()
            .filter_map(|json| special_texts(json).get(name)?.as_str().and_then(|t| inner.token_to_id(t)))
            .collect();
        let key = format!("{name}_id");
        for json in [&self.generation, &self.model] {
            let ids = match json.get(&key) {
                Some(Value::Array(list)) => list.iter().collect(),
                Some(one) => vec![one],
                None => Vec::new(),
            };
            // -1 and ids beyond the vocabulary occur in the wild and name no token.
            let known = |id: &u32| inner.id_to_token(*id).is_some();
            out.extend(ids.iter().filter_map(|v| u32::try_from(v.as_u64()?).ok()).filter(known));
        }
        let mut seen = BTreeSet::new();
        out.retain(|id| seen.insert(*id));
        out
    }
}

/// Whether a serialised component is of one of these types or holds one.
pub(super) fn names_type(json: &Value, types: &[&str]) -> bool {
    match json {
        Value::Object(fields) => {
            fields.get("type").and_then(Value::as_str).is_some_and(|t| types.contains(&t))
                || fields.values().any(|v| names_type(v, types))
        }
        Value::Array(items) => items.iter().any(|v| names_type(v, types)),
        _ => false,
    }
}

/// Checks that a template names only special tokens that it lists: the `tokenizers` crate takes that for granted
/// and would panic at the first text.
pub(super) fn check_template(path: &Path, inner: &Inner) -> Result<()> {
    fn missing(json: &Value) -> Option<String> {
        if json.get("type").and_then(Value::as_str) == Some("TemplateProcessing") {
            let pieces = ["single", "pair"].iter().filter_map(|form| json.get(form)?.as_array()).flatten();
            let named = pieces.filter_map(|piece| piece.pointer("/SpecialToken/id")?.as_str());
            let listed = |name: &str| json.get("special_tokens").is_some_and(|t| t.get(name).is_some());
            return named.filter(|name| !listed(name)).map(str::to_string).next();
        }
        json.get("processors")?.as_array()?.iter().find_map(missing)
    }
    let processor = serde_json::to_value(inner.get_post_processor()).unwrap_or_default();
    match missing(&processor) {
        None => Ok(()),
        Some(name) => Err(Error::file(
            path,
            format!("the post-processor uses the special token `{name}`, which its `special_tokens` lacks"),
            "download the file again, or save it with a current transformers",
        )),
    }
}

/// Byte-level BPE from `vocab.json` and `merges.txt`.
pub(super) fn byte_level(folder: &Path, sides: &Sides) -> Result<Inner> {
    let vocab_path = folder.join("vocab.json");
    let merges_path = folder.join("merges.txt");
    if !merges_path.is_file() {
        return Err(Error::file(
            &vocab_path,
            "there is no merges.txt beside it",
            "byte-level BPE needs both; fetch merges.txt",
        ));
    }
    let broken = |e: tokenizers::Error| {
        Error::file(&merges_path, format!("vocab.json and merges.txt make no tokenizer: {e}"), "fetch both files again")
    };
    let json = read_json(&vocab_path)?;
    let object = json
        .as_object()
        .ok_or_else(|| Error::file(&vocab_path, "expected an object of tokens to ids", "fetch it again"))?;
    let mut vocab = tokenizers::models::bpe::Vocab::default();
    for (token, id) in object {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
            Error::file(
                &vocab_path,
                format!("token {token:?} has the id {id}, expected a whole number"),
                "fetch it again",
            )
        })?;
        vocab.insert(token.clone(), id);
    }
    let mut merges = Vec::new();
    for (number, line) in read_text(&merges_path)?.lines().enumerate() {
        if line.starts_with("#version") || line.trim().is_empty() {
            continue;
        }
        let (left, right) = line.split_once(' ').ok_or_else(|| {
            Error::file(
                &merges_path,
                format!("line {} is {line:?}, expected two pieces with a space between", number + 1),
                "fetch it again",
            )
        })?;
        merges.push((left.to_string(), right.to_string()));
    }
    let model = BPE::builder().vocab_and_merges(vocab, merges).build().map_err(broken)?;
    let prefix = sides.tokenizer.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(false);
    let level = ByteLevel::default().add_prefix_space(prefix).trim_offsets(false);
    let mut inner = Inner::new(model);
    inner.with_pre_tokenizer(Some(level));
    inner.with_decoder(Some(level));
    inner.with_post_processor(Some(level));
    let mut special: Vec<String> = Vec::new();
    for json in [&sides.tokenizer, &sides.map] {
        special.extend(special_texts(json).values().filter_map(|v| v.as_str().map(str::to_string)));
    }
    // The one special token of GPT-2 itself; early folders have no file that says so.
    special.push("<|endoftext|>".to_string());
    special.retain(|text| object.contains_key(text));
    inner.add_special_tokens(special.into_iter().map(|t| AddedToken::from(t, true))).map_err(broken)?;
    Ok(inner)
}
