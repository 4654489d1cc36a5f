//! Reading `config.json` so that nothing is overlooked: every key is either read, known not to matter, or refused.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::hook::site::edit_distance;
use crate::nn::{Rope, RopeScaling};
use crate::{Error, Result};

/// Keys that do not change a forward pass in inference.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "_num_labels",
    "activation_dropout",
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "embed_dropout",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "init_std",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "label2id",
    "layerdrop",
    "length_penalty",
    "mask_token_id",
    "masked_softmax_fusion",
    "max_length",
    "max_sequence_length",
    "mem_efficient",
    "min_length",
    "model_type",
    "n_ctx",
    "n_special",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "offset_alibi",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token_id",
    "predict_special_tokens",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_dropout",
    "resid_pdrop",
    "residual_dropout",
    "return_dict",
    "return_dict_in_generate",
    "scale_fp32_softmax",
    "sep_token_id",
    "skip_bias_add",
    "skip_bias_add_qkv",
    "slow_but_exact",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
];

/// The keys that count layers. What is made per layer is made before a weight is seen, so their number is bounded.
const LAYERS: &[&str] = &["num_hidden_layers", "n_layer", "num_layers"];
const MAX_LAYERS: usize = 4096;

/// A config under reading.
pub struct Config<'a> {
    map: &'a Map<String, Value>,
    read: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Config<'a> {
    /// Starts reading.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, read: RefCell::new(BTreeSet::new()) }
    }

    /// True when the key is there and null.
    pub fn is_null(&self, key: &'static str) -> bool {
        self.map.get(key).is_some_and(Value::is_null)
    }

    /// The value of a key; `null` counts as absent.
    pub fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(key);
        self.map.get(key).filter(|v| !v.is_null())
    }

    fn read<T>(&self, key: &'static str, kind: &str, get: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        get(value).map(Some).ok_or_else(|| wrong(key, kind, value))
    }

    /// A whole number, if the key is there. Bounded, so that a hostile config cannot ask for absurd sizes.
    pub fn opt_usize(&self, key: &'static str) -> Result<Option<usize>> {
        let number =
            self.read(key, "a whole number below 2^31", |v| v.as_u64().filter(|n| *n < 1 << 31).map(|n| n as usize))?;
        Ok(number)
    }

    /// A whole number that must be there and above 0.
    pub fn usize(&self, key: &'static str) -> Result<usize> {
        match self.opt_usize(key)? {
            Some(n) if n > MAX_LAYERS && LAYERS.contains(&key) => Err(Error::invalid(
                format!("config.json has `{key}` = {n}, expected at most {MAX_LAYERS}"),
                "use the config that belongs to the weights",
            )),
            Some(n) if n > 0 => Ok(n),
            Some(_) => Err(Error::invalid(format!("config.json has `{key}` = 0"), "it must be above 0")),
            None => Err(Error::invalid(
                format!("config.json lacks `{key}`"),
                "the architecture cannot be known without it; use the config that belongs to the weights",
            )),
        }
    }

    /// A size that goes by two names, at least one of which must be there; both must agree.
    pub fn usize_by(&self, first: &'static str, second: &'static str) -> Result<usize> {
        match (self.opt_usize(first)?, self.opt_usize(second)?) {
            (Some(a), Some(b)) if a != b => Err(Error::invalid(
                format!("config.json has `{first}` = {a} and `{second}` = {b}, which mean the same"),
                "leave one of them out",
            )),
            (_, Some(_)) => self.usize(second),
            _ => self.usize(first),
        }
    }

    /// A whole number with a default.
    pub fn usize_or(&self, key: &'static str, default: usize) -> Result<usize> {
        Ok(self.opt_usize(key)?.unwrap_or(default))
    }

    /// A number, if the key is there.
    pub fn opt_f64(&self, key: &'static str) -> Result<Option<f64>> {
        self.read(key, "a finite number", |v| v.as_f64().filter(|x| x.is_finite()))
    }

    /// A number with a default.
    pub fn f64_or(&self, key: &'static str, default: f64) -> Result<f64> {
        Ok(self.opt_f64(key)?.unwrap_or(default))
    }

    /// A truth value with a default.
    pub fn bool_or(&self, key: &'static str, default: bool) -> Result<bool> {
        Ok(self.read(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A text with a default.
    pub fn str_or(&self, key: &'static str, default: &str) -> Result<String> {
        let text = self.read(key, "a text", |v| v.as_str().map(str::to_string))?;
        Ok(text.unwrap_or_else(|| default.to_string()))
    }

    /// A list, if the key is there.
    pub fn list(&self, key: &'static str) -> Result<Option<&'a Vec<Value>>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(wrong(key, "a list", other)),
        }
    }

    /// Refuses a key whose value is not what this crate computes.
    pub fn require(&self, key: &'static str, expected: impl Into<Value>) -> Result<()> {
        let expected = expected.into();
        match self.value(key) {
            Some(value) if *value != expected => Err(Error::invalid(
                format!("config.json has `{key}` = {value}, which this family is not built for (expected {expected})"),
                "the numbers would be wrong, so the model is refused",
            )),
            _ => Ok(()),
        }
    }

    /// The longest text: `max_position_embeddings`; more where dynamic or YaRN scaling is made for it.
    pub fn context(&self) -> Result<Option<usize>> {
        let Some(trained) = self.opt_usize("max_position_embeddings")? else {
            return Ok(None);
        };
        let scaling = self.value("rope_parameters").or(self.value("rope_scaling"));
        let kind = scaling.and_then(|s| s.get("rope_type").or(s.get("type"))).and_then(Value::as_str);
        let factor = scaling.and_then(|s| s.get("factor")).and_then(Value::as_f64);
        let original = scaling.and_then(|s| s.get("original_max_position_embeddings")).and_then(Value::as_u64);
        let from = match kind {
            Some("dynamic") => trained,
            Some("yarn") => original.map_or(trained, |n| n.min(1 << 31) as usize),
            _ => return Ok(Some(trained)),
        };
        let stretched = factor.filter(|f| f.is_finite() && *f > 1.0).map_or(0, |f| (from as f64 * f) as usize);
        Ok(Some(trained.max(stretched)))
    }

    /// Marks keys as known not to matter for this family.
    pub fn skip(&self, keys: &[&'static str]) {
        self.read.borrow_mut().extend(keys);
    }

    /// The share of a head that is rotated, as a number of coordinates.
    pub fn rotary_dim(&self, d_head: usize, default: f64) -> Result<usize> {
        let nested = self.value("rope_parameters").and_then(|p| p.get("partial_rotary_factor")).and_then(Value::as_f64);
        let share = match (nested, self.opt_f64("partial_rotary_factor")?, self.opt_f64("rotary_pct")?) {
            (Some(share), _, _) | (None, Some(share), _) | (None, None, Some(share)) => share,
            (None, None, None) => default,
        };
        let dim = (d_head as f64 * share) as usize;
        if dim == 0 || dim > d_head || dim % 2 == 1 {
            return Err(Error::invalid(
                format!("config.json rotates {dim} of {d_head} coordinates of a head"),
                "it must be an even number within the head",
            ));
        }
        Ok(dim)
    }

    /// `layer_types`: true for each sliding-window layer, if given.
    pub fn sliding_layers(&self, n_layers: usize) -> Result<Option<Vec<bool>>> {
        let Some(list) = self.list("layer_types")? else {
            return Ok(None);
        };
        if list.len() != n_layers {
            return Err(Error::invalid(
                format!("config.json has {} `layer_types` for {n_layers} layers", list.len()),
                "give one per layer",
            ));
        }
        let kinds = list.iter().map(|v| match v.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(wrong("layer_types", "full_attention or sliding_attention", v)),
        });
        kinds.collect::<Result<Vec<_>>>().map(Some)
    }

    /// The rotary embedding over `dim` coordinates, from `rope_parameters` (transformers 5) or `rope_theta` and
    /// `rope_scaling` (before); `kind` picks one of several parameter sets by layer type.
    pub fn rope(&self, dim: usize, kind: Option<&str>) -> Result<Rope> {
        self.rope_with_base(dim, kind, 10_000.0)
    }

    /// [`Config::rope`] with another base where the config gives none.
    pub fn rope_with_base(&self, dim: usize, kind: Option<&str>, base: f64) -> Result<Rope> {
        let theta = self.f64_or("rope_theta", base)?;
        let scaling = self.value("rope_scaling");
        let parameters = self.value("rope_parameters");
        let nested = parameters.and_then(|p| kind.and_then(|k| p.get(k)));
        let given = nested.or(parameters).or(scaling).filter(|v| !v.is_null());
        let context = self.opt_usize("max_position_embeddings")?.unwrap_or(2048);
        let original = self.opt_usize("original_max_position_embeddings")?;
        rope_of(given, dim, theta, context, original)
    }

    /// Ends the reading: a key that was neither read nor known not to matter is refused.
    pub fn finish(&self, family: &str) -> Result<()> {
        let read = self.read.borrow();
        let unknown: Vec<(&String, &Value)> = (self.map.iter())
            .filter(|(k, v)| !v.is_null() && !read.contains(k.as_str()) && !HARMLESS.contains(&k.as_str()))
            .collect();
        let Some((key, _)) = unknown.first() else { return Ok(()) };
        let near = read.iter().filter(|k| edit_distance(k, key) <= 3).min_by_key(|k| edit_distance(k, key));
        let hint = near.filter(|_| unknown.len() == 1).map_or_else(
            || "it could change the numbers, so the model is refused; remove it only if you know it does not".into(),
            |n| format!("did you mean `{n}`?"),
        );
        let named: Vec<String> = unknown.iter().take(8).map(|(k, v)| format!("`{k}` = {}", short(v))).collect();
        let (keys, are) = if unknown.len() == 1 { ("the key", "is") } else { ("the keys", "are") };
        Err(Error::invalid(
            format!("config.json has {keys} {}, which {are} not understood for {family}", named.join(", ")),
            hint,
        ))
    }
}

fn wrong(key: &str, kind: &str, value: &Value) -> Error {
    Error::invalid(
        format!("config.json has `{key}` = {}, expected {kind}", short(value)),
        "use the config that belongs to the weights",
    )
}

/// A value for a message: the first part of a long one.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Reads one set of rotary parameters.
fn rope_of(given: Option<&Value>, dim: usize, theta: f64, context: usize, original: Option<usize>) -> Result<Rope> {
    let plain = Rope { dim, theta, scaling: RopeScaling::None, interleaved: false };
    let Some(given) = given else { return Ok(plain) };
    let Some(map) = given.as_object() else {
        return Err(wrong("rope_parameters", "an object", given));
    };
    let number = |key: &str| -> Result<Option<f64>> {
        match map.get(key).filter(|v| !v.is_null()) {
            None => Ok(None),
            Some(v) => v.as_f64().filter(|x| x.is_finite()).map(Some).ok_or_else(|| wrong(key, "a number", v)),
        }
    };
    let needed = |key: &str| -> Result<f64> {
        number(key)?.ok_or_else(|| {
            Error::invalid(format!("the rope parameters of config.json lack `{key}`"), "give it, or another rope_type")
        })
    };
    let factors = |key: &str| -> Result<Vec<f64>> {
        let list = map.get(key).and_then(Value::as_array);
        let numbers = list.and_then(|l| l.iter().map(Value::as_f64).collect::<Option<Vec<_>>>());
        match numbers {
            Some(numbers) if numbers.len() == dim / 2 => Ok(numbers),
            _ => Err(Error::invalid(
                format!("the rope parameters need `{key}` with {} numbers", dim / 2),
                "give one per rotated pair",
            )),
        }
    };
    let theta = number("rope_theta")?.unwrap_or(theta);
    number("partial_rotary_factor")?; // read elsewhere, where a wrong type counts as absent
    let kind = match map.get("rope_type").or(map.get("type")) {
        None | Some(Value::Null) => "default",
        Some(Value::String(kind)) => kind,
        Some(other) => return Err(wrong("rope_type", "a text", other)),
    };
    let original_max = match number("original_max_position_embeddings")? {
        Some(n) => n as usize,
        None => original.unwrap_or(context),
    };
    let known: &[&str] = match kind {
        "default" | "linear" => &["factor"],
        "dynamic" => &["factor", "original_max_position_embeddings"],
        "llama3" => &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
        "yarn" => &[
            "factor",
            "beta_fast",
            "beta_slow",
            "attention_factor",
            "mscale",
            "mscale_all_dim",
            "truncate",
            "original_max_position_embeddings",
        ],
        _ => &["factor", "short_factor", "long_factor", "attention_factor", "original_max_position_embeddings"],
    };
    let common = ["rope_theta", "rope_type", "type", "partial_rotary_factor"];
    let stray = map.iter().find(|(k, v)| !v.is_null() && !known.contains(&k.as_str()) && !common.contains(&k.as_str()));
    if let Some((key, value)) = stray {
        return Err(Error::invalid(
            format!("the rope parameters have the key `{key}` = {value}, which rope type {kind} does not know"),
            "it could change the numbers, so the model is refused",
        ));
    }
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: needed("factor")? },
        "dynamic" => RopeScaling::Dynamic { factor: needed("factor")?, original_max },
        "llama3" => RopeScaling::Llama3 {
            factor: needed("factor")?,
            low_freq_factor: needed("low_freq_factor")?,
            high_freq_factor: needed("high_freq_factor")?,
            original_max,
        },
        "yarn" => RopeScaling::Yarn {
            factor: needed("factor")?,
            beta_fast: number("beta_fast")?.unwrap_or(32.0),
            beta_slow: number("beta_slow")?.unwrap_or(1.0),
            original_max,
            attention_factor: number("attention_factor")?,
            mscale: number("mscale")?,
            mscale_all_dim: number("mscale_all_dim")?,
            truncate: match map.get("truncate") {
                None | Some(Value::Null) => true,
                Some(Value::Bool(truncate)) => *truncate,
                Some(other) => return Err(wrong("truncate", "true or false", other)),
            },
        },
        "longrope" | "su" => RopeScaling::LongRope {
            short_factor: factors("short_factor")?,
            long_factor: factors("long_factor")?,
            original_max,
            factor: number("factor")?,
            attention_factor: number("attention_factor")?,
            max_position: context,
        },
        other => {
            return Err(Error::invalid(
                format!("config.json asks for rope type `{other}`"),
                "the known ones are default, linear, dynamic, llama3, yarn and longrope",
            ));
        }
    };
    Ok(Rope { theta, scaling, ..plain })
}
