//! The facts that tell one decoder family from another, as data. The core reads nothing else.

use crate::nn::{Activation, NormKind, Rope};

/// What a config says about a decoder.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Hugging Face `model_type`.
    pub family: &'static str,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads per layer.
    pub n_heads: usize,
    /// Key/value heads per layer; `n_heads / n_kv_heads` query heads share one.
    pub n_kv_heads: usize,
    /// Width of one head.
    pub d_head: usize,
    /// Neurons per MLP.
    pub d_mlp: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Longest text the positions allow; `None` for no limit.
    pub context: Option<usize>,
    /// What differs by layer.
    pub layers: Vec<LayerFacts>,
    /// The rotary embeddings that layers point to.
    pub ropes: Vec<Rope>,
    /// Tokens to residual stream.
    pub embed: EmbedFacts,
    /// All norms of the stream.
    pub norm: NormFacts,
    /// Where the norms stand.
    pub placement: Placement,
    /// Attention.
    pub attn: AttnFacts,
    /// MLP.
    pub mlp: MlpFacts,
    /// Contributions are multiplied by this before they are added (Granite).
    pub residual_multiplier: f64,
    /// Residual stream to logits.
    pub head: HeadFacts,
}

/// One layer's attention.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerFacts {
    /// A query sees itself and the `window - 1` tokens before it; `None` for all before it.
    pub window: Option<usize>,
    /// Index into [`Facts::ropes`]; `None` for no rotation.
    pub rope: Option<usize>,
    /// Factor of the scores.
    pub scale: f64,
}

/// Tokens to residual stream.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedFacts {
    /// Width of the embedding table (OPT-350m projects it to `d_model`).
    pub width: usize,
    /// Factor of the embeddings.
    pub scale: f64,
    /// A norm right after the embedding (BLOOM).
    pub norm: bool,
    /// Learned positions: rows of the table, and the offset of position 0 in it.
    pub positions: Option<(usize, usize)>,
}

/// A norm of the residual stream.
#[derive(Clone, Debug, PartialEq)]
pub struct NormFacts {
    /// LayerNorm or RMSNorm.
    pub kind: NormKind,
    /// Added to the variance.
    pub eps: f64,
    /// Added to the gain (1 for Gemma).
    pub offset: f32,
    /// Has a learned gain.
    pub weight: bool,
    /// Has a learned bias.
    pub bias: bool,
}

/// Where the norms of a block stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Before attention and before the MLP.
    Pre,
    /// After attention and after the MLP, before they are added (OLMo-2).
    Post,
    /// Both (Gemma-2, Gemma-3).
    PrePost,
    /// After the addition (the original transformer; OPT-350m).
    AfterAdd,
    /// Attention and MLP read the same stream through one norm (GPT-J, Phi, Falcon-7b).
    ParallelOneNorm,
    /// Attention and MLP read the same stream through a norm each (GPT-NeoX, Falcon-40b).
    ParallelTwoNorms,
}

impl Placement {
    /// Attention and MLP read the same stream.
    pub fn parallel(self) -> bool {
        matches!(self, Self::ParallelOneNorm | Self::ParallelTwoNorms)
    }

    /// Contributions are normed before they are added.
    pub fn norms_contributions(self) -> bool {
        matches!(self, Self::Post | Self::PrePost)
    }
}

/// How queries, keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvLayout {
    /// Three matrices.
    Separate,
    /// One matrix, rows `[q | k | v]`.
    Joined,
    /// One matrix, rows `[kv_head, (its queries, k, v), d_head]`.
    Grouped,
}

/// A norm of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNorm {
    /// One gain of `d_head` for all heads (Qwen-3, Gemma-3, Phi).
    PerHead,
    /// A gain of its own for every head (StableLM).
    PerHeadGains,
    /// Over all heads together (OLMo-2).
    Flat,
}

/// Linear biases by distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alibi {
    /// The bias is rounded to bf16, key by key (Falcon).
    pub rounded: bool,
    /// The bias is multiplied by the layer's scale as well (Falcon).
    pub scaled: bool,
}

/// Attention.
#[derive(Clone, Debug, PartialEq)]
pub struct AttnFacts {
    /// How q, k, v are stored.
    pub layout: QkvLayout,
    /// q, k and v have biases.
    pub qkv_bias: bool,
    /// The output projection has a bias.
    pub out_bias: bool,
    /// q/k norms with their kind, epsilon and gain offset.
    pub qk_norm: Option<(QkNorm, NormFacts)>,
    /// q, k and v are clipped to this magnitude (OLMo).
    pub clip: Option<f64>,
    /// Scores are squashed to this magnitude (Gemma-2).
    pub softcap: Option<f64>,
    /// Linear biases.
    pub alibi: Option<Alibi>,
}

/// MLP.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpFacts {
    /// `act(gate) * up` rather than `act(up)`.
    pub gated: bool,
    /// Gate and up are one matrix (Phi-3).
    pub fused: bool,
    /// The nonlinearity.
    pub activation: Activation,
    /// Both projections have biases.
    pub bias: bool,
}

/// Residual stream to logits.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadFacts {
    /// A norm before the unembedding.
    pub norm: bool,
    /// The unembedding is the embedding table.
    pub tied: bool,
    /// The unembedding has a bias.
    pub bias: bool,
    /// Logits are divided by this (Granite).
    pub divisor: f64,
    /// Logits are squashed to this magnitude (Gemma-2).
    pub softcap: Option<f64>,
}

/// Hugging Face's names of a family's weights. `{l}` in `block` stands for the layer; an empty name: there is none.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Prefix of everything but the head; files of the bare model lack it.
    pub base: &'static str,
    /// Token embedding.
    pub embed: &'static str,
    /// Learned positions.
    pub positions: &'static str,
    /// Norm of the embedding.
    pub embed_norm: &'static str,
    /// Projections between embedding width and `d_model`.
    pub project: (&'static str, &'static str),
    /// One block, with `{l}`.
    pub block: &'static str,
    /// Norm before attention (or after, where there is none before).
    pub ln1: &'static str,
    /// Norm of attention's output.
    pub ln1_post: &'static str,
    /// Norm before the MLP.
    pub ln2: &'static str,
    /// Norm of the MLP's output.
    pub ln2_post: &'static str,
    /// Attention module.
    pub attn: &'static str,
    /// q, k, v inside it; the first alone where they are one matrix.
    pub qkv: [&'static str; 3],
    /// Output projection inside it.
    pub out: &'static str,
    /// q and k norms inside it.
    pub qk_norm: [&'static str; 2],
    /// MLP module; empty where its matrices stand in the block itself.
    pub mlp: &'static str,
    /// Gate (or the fused gate and up) inside it.
    pub gate: &'static str,
    /// Up inside it.
    pub up: &'static str,
    /// Down inside it.
    pub down: &'static str,
    /// Norm before the unembedding.
    pub final_norm: &'static str,
    /// Unembedding.
    pub head: &'static str,
    /// Matrices are stored `[in, out]` (GPT-2).
    pub transposed: bool,
}

/// The names that Llama set and most families follow.
pub const LLAMA_NAMES: Names = Names {
    base: "model.",
    embed: "embed_tokens",
    positions: "",
    embed_norm: "",
    project: ("", ""),
    block: "layers.{l}",
    ln1: "input_layernorm",
    ln1_post: "",
    ln2: "post_attention_layernorm",
    ln2_post: "",
    attn: "self_attn",
    qkv: ["q_proj", "k_proj", "v_proj"],
    out: "o_proj",
    qk_norm: ["q_norm", "k_norm"],
    mlp: "mlp",
    gate: "gate_proj",
    up: "up_proj",
    down: "down_proj",
    final_norm: "norm",
    head: "lm_head",
    transposed: false,
};
