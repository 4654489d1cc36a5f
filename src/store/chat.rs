//! Chat templates: turning a conversation into the text that a model was trained on.
//!
//! The template is a Jinja program that came with the model, so it is untrusted: it runs with a bounded number
//! of steps, reaches no file, and its output is bounded. Blocks are trimmed as transformers trims them, and
//! `raise_exception`, `strftime_now`, `tojson` and the methods of Python's strings and dictionaries are there.
//! One difference from Python is left: a list or dictionary printed as it is, not through `tojson`, shows its
//! texts in double quotes. The text usually begins with the beginning-of-sequence token: encode it with `add_special = false`.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::{ErrorKind, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::jinja::{self, FUEL};
use super::text::{read_json_if, read_text};
use crate::{Error, Result};

mod python;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
    /// Further fields (`tool_calls`, `name`, ...), passed to the template as they are.
    #[serde(flatten, default)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A turn with a role and a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), extra: Map::new() }
    }
}

/// The chat templates of a model: one, or several by name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    sources: BTreeMap<String, String>,
    /// `bos_token`, `eos_token`, ... as texts.
    tokens: Map<String, Value>,
}

impl ChatTemplate {
    /// Reads the template of a model folder: `chat_template.jinja` first, then `chat_template.json`, then
    /// `tokenizer_config.json` (a text, or a list of named ones). `None` when there is none.
    ///
    /// # Errors
    /// When a file cannot be read or has something else where the template should be.
    pub fn open(folder: impl AsRef<Path>) -> Result<Option<Self>> {
        let folder = folder.as_ref();
        let config_path = folder.join("tokenizer_config.json");
        let config = read_json_if(&config_path)?.unwrap_or(Value::Null);
        let mut tokens = special_texts(&config);
        if let Some(map) = read_json_if(&folder.join("special_tokens_map.json"))? {
            for (name, text) in special_texts(&map) {
                tokens.entry(name).or_insert(text);
            }
        }
        let jinja = folder.join("chat_template.jinja");
        let json_path = folder.join("chat_template.json");
        let (path, value) = if jinja.is_file() {
            let text = read_text(&jinja)?;
            (jinja, Value::String(text))
        } else if let Some(json) = read_json_if(&json_path)? {
            (json_path, json.get("chat_template").cloned().unwrap_or(Value::Null))
        } else {
            (config_path, config.get("chat_template").cloned().unwrap_or(Value::Null))
        };
        let mut sources = BTreeMap::new();
        match value {
            Value::Null => return Ok(None),
            Value::String(text) => {
                sources.insert("default".to_string(), text);
            }
            Value::Array(list) => {
                for item in &list {
                    let field = |name: &str| item.get(name).and_then(Value::as_str);
                    let (Some(name), Some(text)) = (field("name"), field("template")) else {
                        return Err(Error::file(
                            path,
                            "an entry of `chat_template` lacks `name` or `template`",
                            "expected a list of {\"name\": ..., \"template\": ...}",
                        ));
                    };
                    sources.insert(name.to_string(), text.to_string());
                }
            }
            _ => {
                return Err(Error::file(
                    path,
                    "`chat_template` is neither a text nor a list of named texts",
                    "take the tokenizer_config.json that belongs to the model",
                ));
            }
        }
        Ok(Some(Self { sources, tokens }))
    }

    /// A template from its text, with the texts of `bos_token`, `eos_token` and the like.
    pub fn from_text(text: impl Into<String>, tokens: Map<String, Value>) -> Self {
        Self { sources: BTreeMap::from([("default".to_string(), text.into())]), tokens }
    }

    /// The names of the templates; a single one is called `default`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// The conversation as text, with the default template.
    ///
    /// # Errors
    /// As [`ChatTemplate::render_with`].
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.render_with("default", messages, add_generation_prompt, &Map::new())
    }

    /// The conversation as text, with a named template and further variables (`tools`, `documents`,
    /// `enable_thinking`, ...), which go before everything else.
    ///
    /// # Errors
    /// When there is no such template, it has a mistake, refuses the conversation (`raise_exception`), or runs
    /// longer than it may.
    pub fn render_with(
        &self,
        name: &str,
        messages: &[Message],
        add_generation_prompt: bool,
        variables: &Map<String, Value>,
    ) -> Result<String> {
        let Some(source) = self.sources.get(name) else {
            let known: Vec<&str> = self.names().collect();
            return Err(Error::invalid(
                format!("there is no chat template `{name}`"),
                format!("this model has: {}", known.join(", ")),
            ));
        };
        let source = python::without_generation_tags(source);
        let mut env = jinja::environment();
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        // Like Jinja2: an undefined value prints as nothing and is false, but has no attributes.
        env.set_undefined_behavior(UndefinedBehavior::Lenient);
        python::install(&mut env);
        let mut values = self.tokens.clone();
        values.insert("tools".to_string(), Value::Null);
        values.insert("documents".to_string(), Value::Null);
        values.extend(variables.iter().map(|(k, v)| (k.clone(), v.clone())));
        let template = env.template_from_str(&source).map_err(|e| refused(name, &e))?;
        let values = context! {
            messages,
            add_generation_prompt,
            ..minijinja::Value::from_serialize(&values)
        };
        jinja::render(&template, values).map_err(|e| refused(name, &e))
    }
}

fn refused(name: &str, error: &minijinja::Error) -> Error {
    let line = error.line().map_or(String::new(), |l| format!(" at line {l}"));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_string);
    match error.kind() {
        ErrorKind::OutOfFuel => Error::invalid(
            format!("chat template `{name}` took more than {FUEL} steps{line}"),
            "shorten the conversation, or give the text without a template",
        ),
        ErrorKind::SyntaxError => Error::invalid(
            format!("chat template `{name}` cannot be read{line}: {detail}"),
            "give the text without a template, or correct the template",
        ),
        _ => Error::invalid(
            format!("chat template `{name}` refuses this conversation{line}: {detail}"),
            "give turns in the order and with the roles that the model knows",
        ),
    }
}

/// The texts of the special tokens in a configuration, each a text or an object with `content`.
pub(super) fn special_texts(config: &Value) -> Map<String, Value> {
    let mut out = Map::new();
    for name in ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"] {
        let value = config.get(name);
        let text = value.and_then(|v| v.as_str().or_else(|| v.get("content").and_then(Value::as_str)));
        if let Some(text) = text {
            out.insert(name.to_string(), Value::String(text.to_string()));
        }
    }
    out
}
