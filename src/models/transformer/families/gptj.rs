//! GPT-J: parallel attention and MLP behind one norm, interleaved rotary positions, a bias on the logits.

use super::super::config::Config;
use super::super::facts::{Facts, Names, Placement};
use super::{GptSizes, activation, gpt_like, gpt2};
use crate::Result;
use crate::nn::{Rope, RopeScaling};

pub(super) fn describe(c: &Config) -> Result<(Facts, Names)> {
    c.skip(&["rotary", "scale_attn_weights"]);
    let d_model = c.usize("n_embd")?;
    let sizes = GptSizes {
        d_model,
        n_heads: c.usize("n_head")?,
        n_layers: c.usize("n_layer")?,
        d_mlp: c.usize_or("n_inner", 4 * d_model)?,
    };
    let act = activation(c, "activation_function", "gelu_new")?;
    let mut facts = gpt_like(c, "gptj", &sizes, act, c.f64_or("layer_norm_epsilon", 1e-5)?)?;
    facts.context = c.opt_usize("n_positions")?;
    facts.placement = Placement::ParallelOneNorm;
    facts.attn.qkv_bias = false;
    facts.attn.out_bias = false;
    facts.head.tied = c.bool_or("tie_word_embeddings", false)?;
    facts.head.bias = true;
    let dim = c.usize_or("rotary_dim", facts.d_head)?;
    facts.ropes = vec![Rope { dim, theta: 10_000.0, scaling: RopeScaling::None, interleaved: true }];
    facts.layers.iter_mut().for_each(|l| l.rope = Some(0));
    let names = Names {
        positions: "",
        qkv: ["q_proj", "k_proj", "v_proj"],
        out: "out_proj",
        up: "fc_in",
        down: "fc_out",
        transposed: false,
        ..gpt2::NAMES
    };
    Ok((facts, names))
}
