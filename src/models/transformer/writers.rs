//! The weights that write to the residual stream, by their names in a model's files.

use serde_json::{Map, Value};

use super::facts::{Facts, Names};
use super::families;
use crate::Result;
use crate::nn::Layout;

/// A linear map into the residual stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Its matrix.
    pub weight: String,
    /// Its bias, if the family has one.
    pub bias: Option<String>,
    /// How the matrix is stored.
    pub layout: Layout,
    /// Values that it reads.
    pub inputs: usize,
}

/// Everything that writes to the residual stream of a decoder, and its unembedding.
#[derive(Clone, Debug)]
pub struct Writers {
    /// What the config says.
    pub facts: Facts,
    /// The table of token embeddings `[vocab, width]`.
    pub embed: String,
    /// The table of learned positions `[rows, d_model]`.
    pub positions: Option<String>,
    /// The unembedding `[vocab, width]`; no tensor of the files where it is tied to the embeddings.
    pub head: String,
    /// Attention's output projection, by layer.
    pub attention: Vec<Writer>,
    /// The MLP's output projection, by layer.
    pub mlp: Vec<Writer>,
}

impl Writers {
    /// Of the model that `config` describes; `has` tells whether its files hold a tensor of this name (those of a bare
    /// model lack the first parts of all names).
    ///
    /// # Errors
    /// A config that is not understood in full.
    pub fn of(config: &Map<String, Value>, has: &dyn Fn(&str) -> bool) -> Result<Self> {
        let (facts, names) = families::describe(config)?;
        let mut base = names.base;
        while let (false, Some((_, rest))) = (has(&format!("{base}{}.weight", names.embed)), base.split_once('.')) {
            base = rest;
        }
        let weight = |name: &str| format!("{base}{name}.weight");
        let layers = || (0..facts.layers.len()).map(|l| names.block.replace("{l}", &l.to_string()));
        let layout = if names.transposed { Layout::InOut } else { Layout::OutIn };
        let writer = |name: String, bias: bool, inputs: usize| Writer {
            weight: weight(&name),
            bias: bias.then(|| format!("{base}{name}.bias")),
            layout,
            inputs,
        };
        let heads = facts.n_heads * facts.d_head;
        Ok(Self {
            embed: weight(names.embed),
            positions: facts.embed.positions.map(|_| weight(names.positions)),
            head: format!("{}.weight", names.head),
            attention: layers()
                .map(|block| writer(format!("{block}.{}.{}", names.attn, names.out), facts.attn.out_bias, heads))
                .collect(),
            mlp: layers().map(|block| writer(down(&block, &names), facts.mlp.bias, facts.d_mlp)).collect(),
            facts,
        })
    }
}

fn down(block: &str, names: &Names) -> String {
    match names.mlp {
        "" => format!("{block}.{}", names.down),
        mlp => format!("{block}.{mlp}.{}", names.down),
    }
}
