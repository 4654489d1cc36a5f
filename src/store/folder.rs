//! A model folder as transformers writes it: `config.json`, weights in safetensors, tokenizer files.
//!
//! Opening a folder reads the small files and finds the large ones; weights and tokenizer are opened when asked
//! for. A folder that has its weights only as Python pickles is refused: unpickling runs code of a stranger.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::chat::ChatTemplate;
use super::identity::Identity;
use super::safetensors::{Weights, shard_map};
use super::text::{read_json, read_json_if};
use super::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Small files of a model folder that say something about the model; what a download fetches beside the weights.
pub(super) const SIDE_FILES: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

/// Those of [`SIDE_FILES`] that make a tokenizer.
const TOKENIZER_FILES: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];

/// The single weight file, and the index of sharded weights.
pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Endings of weight files that are Python pickles or other formats not read here.
pub(super) fn is_pickle(name: &str) -> bool {
    let weights = [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| name.ends_with(end));
    // `training_args.bin` and the like lie beside the weights of many models and are none.
    weights && !name.starts_with("training_args") && !name.starts_with("optimizer") && !name.starts_with("scheduler")
}

/// What to do about pickled weights; `model` is what the user has, a folder or a Hub name.
pub(super) fn convert_hint(model: &str) -> String {
    format!(
        "pickles can run code and are never read; convert once with transformers: \
         AutoModelForCausalLM.from_pretrained({model:?}).save_pretrained(\"converted\", safe_serialization=True)"
    )
}

/// Where a model folder came from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Origin {
    /// A folder that the user named.
    Local,
    /// A snapshot in the Hub cache.
    Hub {
        /// Repository, `org/name`.
        id: String,
        /// Commit that the snapshot holds.
        commit: String,
    },
}

#[derive(Debug, Clone)]
enum Layout {
    Single(PathBuf),
    Sharded(PathBuf),
}

/// An opened model folder.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    path: PathBuf,
    config: Value,
    generation_config: Option<Value>,
    layout: Layout,
    origin: Origin,
}

impl ModelFolder {
    /// Opens a local folder.
    ///
    /// # Errors
    /// When there is no folder, no `config.json` or a malformed one, or no safetensors weights.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_from(path.as_ref(), Origin::Local)
    }

    pub(super) fn open_from(path: &Path, origin: Origin) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::file(
                path,
                if path.exists() { "this is a file, expected a folder" } else { "there is no such folder" },
                "name a folder with config.json, tokenizer.json and model.safetensors",
            ));
        }
        let config_path = path.join("config.json");
        if !config_path.is_file() {
            return Err(Error::file(
                path,
                "no config.json in this folder",
                "name the folder that save_pretrained wrote, or the snapshot folder of a Hub cache",
            ));
        }
        let config = read_json(&config_path)?;
        if !config.is_object() {
            return Err(Error::file(
                &config_path,
                "expected a JSON object, found another value",
                "take the config.json that belongs to the model",
            ));
        }
        Ok(Self {
            config,
            generation_config: read_json_if(&path.join("generation_config.json"))?,
            layout: find_weights(path, &origin)?,
            path: path.to_path_buf(),
            origin,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.json`.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// `config.json` as an object.
    ///
    /// # Errors
    /// A config that is none.
    pub fn settings(&self) -> Result<&Map<String, Value>> {
        self.config.as_object().ok_or_else(|| {
            Error::file(
                self.path.join("config.json"),
                "it is no JSON object",
                "use the config that belongs to the weights",
            )
        })
    }

    /// `generation_config.json`, where there is one.
    pub fn generation_config(&self) -> Option<&Value> {
        self.generation_config.as_ref()
    }

    /// Where the folder came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The name to show: the Hub name with its commit, or the folder's path.
    pub fn name(&self) -> String {
        match &self.origin {
            Origin::Local => self.path.display().to_string(),
            Origin::Hub { id, commit } => format!("{id}@{}", commit.get(..12).unwrap_or(commit)),
        }
    }

    /// The file of this name in the folder, if there is one.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.path.join(name)).filter(|p| p.is_file())
    }

    /// The weight files: one, or all shards.
    ///
    /// # Errors
    /// When the index of the shards cannot be read.
    pub fn weight_files(&self) -> Result<Vec<PathBuf>> {
        match &self.layout {
            Layout::Single(file) => Ok(vec![file.clone()]),
            Layout::Sharded(index) => {
                let mut shards: Vec<String> = shard_map(index)?.into_values().collect();
                shards.sort_unstable();
                shards.dedup();
                Ok(shards.into_iter().map(|s| self.path.join(s)).collect())
            }
        }
    }

    /// Opens the weights.
    ///
    /// # Errors
    /// As [`Weights::open`] and [`Weights::open_sharded`].
    pub fn weights(&self) -> Result<Weights> {
        match &self.layout {
            Layout::Single(file) => Weights::open(file),
            Layout::Sharded(index) => Weights::open_sharded(index),
        }
    }

    /// Opens the tokenizer.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::open(&self.path)
    }

    /// Reads the chat template, where there is one.
    ///
    /// # Errors
    /// As [`ChatTemplate::open`].
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        ChatTemplate::open(&self.path)
    }

    /// The sha256 of the model: weights, configuration and tokenizer files.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn identity(&self) -> Result<Identity> {
        let mut files = self.weight_files()?;
        if let Layout::Sharded(index) = &self.layout {
            files.push(index.clone());
        }
        files.extend(SIDE_FILES.iter().filter_map(|name| self.file(name)));
        Identity::of(&files)
    }
}

/// The part of a model's identity that is its tokenizer; `None` where it has none.
pub fn tokenizer_identity(model: &Identity) -> Option<Identity> {
    model.part(TOKENIZER_FILES)
}

/// Finds the weights: the single file first, as transformers does, then the index, then a lone safetensors file
/// of another name.
fn find_weights(path: &Path, origin: &Origin) -> Result<Layout> {
    let single = path.join(SINGLE);
    if single.is_file() {
        return Ok(Layout::Single(single));
    }
    let index = path.join(INDEX);
    if index.is_file() {
        return Ok(Layout::Sharded(index));
    }
    let mut names: Vec<String> = std::fs::read_dir(path)
        .map_err(Error::io(path))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    // An adapter is a change to another model and no model by itself.
    let tensors: Vec<&String> =
        names.iter().filter(|n| n.ends_with(".safetensors") && !n.starts_with("adapter_")).collect();
    if let [only] = tensors[..] {
        return Ok(Layout::Single(path.join(only)));
    }
    if tensors.len() > 1 {
        return Err(Error::file(
            path,
            format!("{} safetensors files but neither {SINGLE} nor {INDEX}", tensors.len()),
            "a shard's index is missing; fetch the model again",
        ));
    }
    let shown = match origin {
        Origin::Local => path.display().to_string(),
        Origin::Hub { id, .. } => id.clone(),
    };
    if let Some(pickle) = names.iter().find(|n| is_pickle(n)) {
        return Err(Error::file(
            path,
            format!("the weights are only there as `{pickle}`, expected safetensors"),
            convert_hint(&shown),
        ));
    }
    Err(Error::file(
        path,
        format!("no weights in this folder, expected {SINGLE} or {INDEX}"),
        "fetch the model again, or export it with save_pretrained(safe_serialization=True)",
    ))
}
