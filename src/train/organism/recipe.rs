//! The recipe: sizes, phases and rates as data.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::data::organism::{Mixture, Skill};
use crate::store::text::read_text;
use crate::train::{AdamWOptions, Schedule};
use crate::{Error, Result};

/// The recipe that the program carries.
const OWN: &str = include_str!("recipe.toml");

/// How an organism is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Lessons of an update, which run side by side. Part of the recipe: another number rounds sums differently.
    pub lessons: usize,
    /// The largest norm of a gradient.
    pub clip: Option<f64>,
    /// Weight decay of matrices.
    pub weight_decay: f64,
    /// Sizes of the network.
    pub model: Sizes,
    /// Constants of AdamW.
    pub optimiser: AdamWOptions,
    /// The learning rate.
    pub schedule: Schedule,
    /// What is learned, in order.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
}

/// Sizes of a Llama, under Hugging Face's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub max_position_embeddings: usize,
}

/// A stretch of the training with one mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// What it is about.
    pub name: String,
    /// How many updates it lasts.
    pub updates: u64,
    /// Rows of books per update.
    pub text: usize,
    /// Rows of repeated random sequences per update.
    pub repeats: usize,
    /// Rows of skill items per update.
    pub skills: usize,
    /// Tokens of a row.
    pub width: usize,
    /// How many different tokens a repeated sequence is drawn from.
    pub pool: usize,
    /// The longest period of a repeated sequence.
    pub period: usize,
    /// Relative frequency of each skill, in the order of [`Skill::ALL`].
    pub weights: [u32; Skill::ALL.len()],
    /// How much of a text's targets is what 4-grams of the rest of the training text say; the right token has the rest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub teacher: f64,
    /// Weights of the mean losses of text, skills and repeats in the loss of an update.
    pub emphasis: [f64; 3],
}

fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

impl Phase {
    /// What its rows are made of.
    pub fn mixture(&self) -> Mixture {
        Mixture {
            text: self.text,
            repeats: self.repeats,
            skills: self.skills,
            width: self.width,
            pool: self.pool,
            period: self.period,
            weights: self.weights,
        }
    }
}

impl Recipe {
    /// The recipe of the embedded organism.
    ///
    /// # Errors
    /// None, as a test shows.
    pub fn own() -> Result<Self> {
        Self::parse(OWN, Path::new("recipe.toml"))
    }

    /// A recipe from a TOML file.
    ///
    /// # Errors
    /// A file that cannot be read, or keys and values that are not understood.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(&read_text(path)?, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let recipe: Self = toml::from_str(text).map_err(|e| {
            let what = e.to_string().replace('\n', " ");
            Error::file(
                path,
                format!("the recipe is not understood: {what}"),
                "compare it with recipe.toml of the sources",
            )
        })?;
        let wrong = |what: &str| Err(Error::file(path, what, "repair the recipe"));
        match &recipe {
            r if r.phases.iter().all(|p| p.updates == 0) => wrong("no phase has an update"),
            r if r.lessons == 0 => wrong("`lessons` is 0"),
            r if r.phases.iter().any(|p| p.text + p.repeats + p.skills == 0) => wrong("a phase has no rows"),
            r if r.phases.iter().any(|p| p.width < 16) => wrong("rows need at least 16 tokens"),
            r if r.phases.iter().any(|p| p.pool < 4 || p.period < 4) => wrong("`pool` and `period` are 4 at least"),
            r if r.phases.iter().any(|p| p.weights.iter().sum::<u32>() == 0) => wrong("all `weights` of a phase are 0"),
            r if r.phases.iter().any(|p| !(0.0..=1.0).contains(&p.teacher)) => wrong("`teacher` is from 0 to 1"),
            r if r.phases.iter().any(|p| p.emphasis.iter().any(|e| !e.is_finite() || *e <= 0.0)) => {
                wrong("`emphasis` needs three numbers above 0")
            }
            _ => Ok(recipe),
        }
    }

    /// Updates in all.
    pub fn updates(&self) -> u64 {
        self.phases.iter().map(|p| p.updates).sum()
    }

    /// The phase of an update; the last one beyond the end.
    pub fn phase(&self, step: u64) -> &Phase {
        let mut left = step;
        for phase in &self.phases {
            if left < phase.updates {
                return phase;
            }
            left -= phase.updates;
        }
        &self.phases[self.phases.len() - 1]
    }

    /// The same network at half its size in every direction: for the untrained control.
    pub fn smaller(&self) -> Self {
        let half = |n: usize| (n / 2).max(1);
        let model = Sizes {
            hidden_size: half(self.model.hidden_size),
            intermediate_size: half(self.model.intermediate_size),
            num_hidden_layers: half(self.model.num_hidden_layers),
            num_attention_heads: half(self.model.num_attention_heads),
            num_key_value_heads: half(self.model.num_key_value_heads),
            max_position_embeddings: self.model.max_position_embeddings,
        };
        Self { model, ..self.clone() }
    }

    /// What a checkpoint must agree with to be gone on from.
    pub(super) fn identity(&self, seed: u64) -> Result<String> {
        let text = serde_json::to_string(&(self, seed));
        text.map_err(|e| Error::invalid(format!("the recipe cannot be written: {e}"), "report this as a defect"))
    }

    /// `config.json` of the organism.
    pub fn config(&self) -> Map<String, Value> {
        let model = &self.model;
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": model.hidden_size,
            "intermediate_size": model.intermediate_size,
            "num_hidden_layers": model.num_hidden_layers,
            "num_attention_heads": model.num_attention_heads,
            "num_key_value_heads": model.num_key_value_heads,
            "max_position_embeddings": model.max_position_embeddings,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "attention_bias": false,
            "mlp_bias": false,
            "tie_word_embeddings": false,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "torch_dtype": "bfloat16",
        });
        match config {
            Value::Object(config) => config,
            _ => Map::new(),
        }
    }

    /// Names and shapes of the weights, in Hugging Face's layout.
    pub(super) fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let model = &self.model;
        let (d, m) = (model.hidden_size, model.intermediate_size);
        let kv = d / model.num_attention_heads.max(1) * model.num_key_value_heads;
        let mut shapes = vec![
            ("model.embed_tokens.weight".to_string(), vec![self.vocabulary, d]),
            ("lm_head.weight".to_string(), vec![self.vocabulary, d]),
            ("model.norm.weight".to_string(), vec![d]),
        ];
        for l in 0..model.num_hidden_layers {
            let parts: [(&str, Vec<usize>); 9] = [
                ("input_layernorm", vec![d]),
                ("post_attention_layernorm", vec![d]),
                ("self_attn.q_proj", vec![d, d]),
                ("self_attn.k_proj", vec![kv, d]),
                ("self_attn.v_proj", vec![kv, d]),
                ("self_attn.o_proj", vec![d, d]),
                ("mlp.gate_proj", vec![m, d]),
                ("mlp.up_proj", vec![m, d]),
                ("mlp.down_proj", vec![d, m]),
            ];
            shapes.extend(parts.map(|(part, shape)| (format!("model.layers.{l}.{part}.weight"), shape)));
        }
        shapes
    }
}
