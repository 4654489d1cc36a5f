//! Text to token ids and back, as transformers does it.
//!
//! Which special tokens `encode(text, true)` adds is decided by the first rule that applies ([`Tokenizer::rule`]
//! says which one did):
//! 1. `tokenizer.json` has a template post-processor: it decides, whatever the configuration says. This is what
//!    transformers 5 does.
//! 2. `tokenizer_config.json` sets `add_bos_token` (and `add_eos_token`): as it says.
//! 3. A SentencePiece vocabulary (it has byte pieces such as `<0x0A>`) of the Llama, Mistral or Gemma kind with
//!    a beginning-of-sequence token: that token goes first. transformers 5 adds none here, but such models were
//!    trained with it and tell no story without it. Byte-level vocabularies in Llama models (SmolLM) are not meant.
//! 4. Otherwise nothing is added.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::Tokenizer as Inner;
use tokenizers::models::ModelWrapper;

use super::text::read_text;
use crate::{Error, Result};

mod files;
mod pieces;
mod stream;

pub use stream::DecodeStream;

use files::{Sides, names_type};
use pieces::Pieces;

/// A tokenizer with the special tokens of its model.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    path: PathBuf,
    inner: Inner,
    pieces: Pieces,
    bos: Option<u32>,
    eos: Vec<u32>,
    pad: Option<u32>,
    unk: Option<u32>,
    special: BTreeSet<u32>,
    /// Ids that this type adds itself, where the post-processor adds none.
    before: Option<u32>,
    after: Option<u32>,
    rule: &'static str,
}

impl Tokenizer {
    /// Opens the tokenizer of a folder: `tokenizer.json`, or `vocab.json` with `merges.txt` (byte-level BPE as
    /// in GPT-2). `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json` and
    /// `config.json` are read for the special tokens where they are there.
    ///
    /// # Errors
    /// When neither kind is there or a file is malformed.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let sides = Sides::read(folder)?;
        let whole = folder.join("tokenizer.json");
        let vocab = folder.join("vocab.json");
        if whole.is_file() {
            let text = read_text(&whole)?;
            let inner = text.parse::<Inner>().map_err(|e| {
                Error::file(
                    &whole,
                    format!("not a tokenizer: {e}"),
                    "download it again, or save it with a current transformers",
                )
            })?;
            files::check_template(&whole, &inner)?;
            return Self::assemble(whole, inner, &sides);
        }
        if vocab.is_file() {
            let inner = files::byte_level(folder, &sides)?;
            return Self::assemble(vocab, inner, &sides);
        }
        let hint = if folder.join("tokenizer.model").is_file() {
            "tokenizer.model alone is not read; write tokenizer.json with transformers: \
             AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        } else {
            "fetch the tokenizer of this model into the folder"
        };
        Err(Error::file(folder, "no tokenizer here, expected tokenizer.json or vocab.json with merges.txt", hint))
    }

    fn assemble(path: PathBuf, mut inner: Inner, sides: &Sides) -> Result<Self> {
        // A stored truncation or padding is a habit of whoever saved the file; analyses need every token.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| {
            Error::file(&path, format!("cannot switch truncation off: {e}"), "remove `truncation` from the file")
        })?;
        let bos = sides.id(&inner, "bos_token");
        let pad = sides.id(&inner, "pad_token");
        let unk = sides.id(&inner, "unk_token").or_else(|| unknown(&inner));
        let eos = sides.ids(&inner, "eos_token");
        let added = inner.get_added_tokens_decoder();
        let mut special: BTreeSet<u32> = added.iter().filter(|(_, t)| t.special).map(|(id, _)| *id).collect();
        special.extend(bos.iter().chain(&pad).chain(&eos));
        let decoder = serde_json::to_value(inner.get_decoder()).unwrap_or_default();
        let pieces = Pieces::of(&decoder);
        let mut tokenizer = Self {
            path,
            inner,
            pieces,
            bos,
            eos,
            pad,
            unk,
            special,
            before: None,
            after: None,
            rule: "nothing is added: no template, no setting",
        };
        tokenizer.settle(sides);
        Ok(tokenizer)
    }

    /// Applies the rules of the module page.
    fn settle(&mut self, sides: &Sides) {
        let processor = serde_json::to_value(self.inner.get_post_processor()).unwrap_or_default();
        if names_type(&processor, &["TemplateProcessing", "BertProcessing", "RobertaProcessing"]) {
            self.rule = "the post-processor of tokenizer.json decides";
            return;
        }
        let flag = |name: &str| sides.tokenizer.get(name).and_then(Value::as_bool);
        if let Some(add) = flag("add_bos_token") {
            self.rule = "tokenizer_config.json sets add_bos_token";
            self.before = self.bos.filter(|_| add);
            self.after = self.eos.first().copied().filter(|_| flag("add_eos_token") == Some(true));
            return;
        }
        let text = |json: &Value, name: &str| json.get(name).and_then(Value::as_str).unwrap_or("").to_lowercase();
        let kinds = [text(&sides.model, "model_type"), text(&sides.tokenizer, "tokenizer_class")];
        let family = kinds.iter().any(|k| ["llama", "mistral", "mixtral", "gemma"].iter().any(|f| k.starts_with(f)));
        if family && self.bos.is_some() && self.inner.token_to_id("<0x0A>").is_some() {
            self.rule = "a SentencePiece vocabulary of the Llama kind starts with its BOS token";
            self.before = self.bos;
        }
    }

    /// The ids of a text. With `add_special`, the tokens that belong around a text of this model are added.
    ///
    /// Special tokens written out in the text become their ids, as in transformers.
    ///
    /// # Errors
    /// When the text has a character that the vocabulary cannot express.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, add_special).map_err(|e| self.failed("encode", &e))?;
        let mut ids = Vec::with_capacity(encoding.len() + 2);
        ids.extend(self.before.filter(|_| add_special));
        ids.extend_from_slice(encoding.get_ids());
        ids.extend(self.after.filter(|_| add_special));
        Ok(ids)
    }

    /// The text of ids. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// When the decoder of the tokenizer fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner.decode(ids, skip_special).map_err(|e| self.failed("decode", &e))
    }

    /// A decoder for ids that come one by one.
    pub fn stream(&self, skip_special: bool) -> DecodeStream<'_> {
        DecodeStream::new(self, skip_special)
    }

    /// The bytes that a token stands for in a text; `None` for an id that the vocabulary lacks.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let piece = self.inner.id_to_token(id)?;
        // Added tokens stand for themselves, in no alphabet.
        if self.special.contains(&id) || self.inner.get_added_vocabulary().get_vocab().contains_key(&piece) {
            return Some(piece.into_bytes());
        }
        Some(self.pieces.bytes(&piece))
    }

    /// A printable form of one token: its text, with bytes that are no UTF-8 by themselves as `<0xE4>`.
    pub fn token_text(&self, id: u32) -> String {
        match self.token_bytes(id) {
            Some(bytes) => pieces::printable(&bytes),
            None => format!("<id {id}>"),
        }
    }

    /// The id of a token by its entry in the vocabulary.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The beginning-of-sequence token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The tokens that end a sequence, from every file that names one; the first is the tokenizer's own.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// The padding token.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// The token for what the vocabulary cannot express.
    pub fn unk(&self) -> Option<u32> {
        self.unk
    }

    /// All tokens that are no text: what statistics over tokens skip.
    pub fn special_ids(&self) -> &BTreeSet<u32> {
        &self.special
    }

    /// Which rule decides what `encode(text, true)` adds.
    pub fn rule(&self) -> &'static str {
        self.rule
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1)
    }

    /// Checks that a model with `model_vocab` embedding rows has a row for every id. Fewer ids than rows are
    /// usual: rows are padded to round numbers.
    ///
    /// # Errors
    /// When an id has no row.
    pub fn check_vocab(&self, model_vocab: usize) -> Result<()> {
        let ids = self.vocab_size();
        if ids > model_vocab {
            return Err(Error::file(
                &self.path,
                format!("the tokenizer has ids up to {}, but the model has {model_vocab} rows", ids - 1),
                "tokenizer and model do not belong together",
            ));
        }
        Ok(())
    }

    /// The `tokenizers` object, for what is not offered here.
    pub fn inner(&self) -> &Inner {
        &self.inner
    }

    fn failed(&self, what: &str, error: &dyn std::fmt::Display) -> Error {
        Error::file(&self.path, format!("cannot {what}: {error}"), "the tokenizer lacks an unknown token")
    }
}

/// What the vocabulary itself says when it cannot express a text; a Unigram one keeps that to itself.
fn unknown(inner: &Inner) -> Option<u32> {
    let token = match inner.get_model() {
        ModelWrapper::WordLevel(model) => Some(model.unk_token.as_str()),
        ModelWrapper::WordPiece(model) => Some(model.unk_token.as_str()),
        ModelWrapper::BPE(model) => model.unk_token.as_deref(),
        ModelWrapper::Unigram(_) => None,
    };
    inner.token_to_id(token?)
}
