//! Facts: what a model is, by its architecture and its files.

use serde::{Deserialize, Serialize};

use super::Figures;
use crate::Result;
use crate::models::transformer::facts::{Facts as Architecture, Placement};
use crate::models::{Model, Network};
use crate::nn::NormKind;
use crate::report::{Block, Cell, Column, Report, Table};
use crate::store::Identity;

/// What a model is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Hugging Face's `model_type`.
    pub family: String,
    /// Sizes, in the order in which they are shown.
    pub sizes: Sizes,
    /// Parameters by part of the network; they add up to all of them.
    pub parts: Vec<Part>,
    /// How the weights are kept while the network runs.
    pub dtype: String,
    /// Longest text in tokens; `None` for no limit.
    pub context: Option<usize>,
    /// The embedding table serves as the unembedding too.
    pub tied: bool,
    /// Properties in words: what they are about, and what holds.
    pub properties: Vec<(String, String)>,
    /// What the tokenizer adds around a text, by which rule; `None` without a tokenizer.
    pub tokenizer: Option<String>,
    /// The sha256 of the model's files, the tokenizer's among them.
    pub identity: Identity,
}

/// Sizes of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads of a layer.
    pub heads: usize,
    /// Key/value heads of a layer.
    pub kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Neurons of a layer.
    pub d_mlp: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Places that can be recorded.
    pub sites: usize,
}

impl Sizes {
    fn named(&self) -> [(&'static str, usize); 8] {
        [
            ("layers", self.layers),
            ("d_model", self.d_model),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("d_head", self.d_head),
            ("d_mlp", self.d_mlp),
            ("vocab", self.vocab),
            ("sites", self.sites),
        ]
    }
}

/// A part of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is.
    pub name: String,
    /// Numbers that training sets.
    pub parameters: u64,
}

impl Facts {
    /// All parameters.
    pub fn parameters(&self) -> u64 {
        self.parts.iter().map(|p| p.parameters).sum()
    }
}

/// The facts of a model.
///
/// # Errors
/// When one of its files cannot be read.
pub fn facts(model: &Model) -> Result<Facts> {
    let net = &model.decoder;
    let architecture = net.facts();
    let total: u64 = net.parameters().iter().map(|(_, p)| p.elem_count() as u64).sum();
    let mut dtypes: Vec<&str> = net.parameters().iter().map(|(_, p)| p.dtype().as_str()).collect();
    dtypes.sort_unstable();
    dtypes.dedup();
    Ok(Facts {
        family: architecture.family.to_string(),
        sizes: Sizes {
            layers: architecture.layers.len(),
            d_model: architecture.d_model,
            heads: architecture.n_heads,
            kv_heads: architecture.n_kv_heads,
            d_head: architecture.d_head,
            d_mlp: architecture.d_mlp,
            vocab: architecture.vocab,
            sites: net.sites().len(),
        },
        parts: parts(architecture, total),
        dtype: dtypes.join(", "),
        context: architecture.context,
        tied: architecture.head.tied,
        properties: properties(architecture),
        tokenizer: model.tokenizer().ok().map(|t| t.rule().to_string()),
        identity: model.folder.identity()?,
    })
}

/// The matrices and their biases, counted from the sizes; what is left are norms and projections of the embedding.
fn parts(f: &Architecture, total: u64) -> Vec<Part> {
    let layers = f.layers.len();
    let with = |bias: bool, outputs: usize| if bias { outputs } else { 0 };
    let qkv = (f.n_heads + 2 * f.n_kv_heads) * f.d_head;
    let attention = qkv * f.d_model + with(f.attn.qkv_bias, qkv);
    let attention = attention + f.n_heads * f.d_head * f.d_model + with(f.attn.out_bias, f.d_model);
    let ups = if f.mlp.gated { 2 } else { 1 };
    let mlp = (ups + 1) * f.d_model * f.d_mlp + with(f.mlp.bias, ups * f.d_mlp + f.d_model);
    let head = with(!f.head.tied, f.vocab * f.embed.width) + with(f.head.bias, f.vocab);
    let counted = [
        ("token embedding", f.vocab * f.embed.width),
        ("position embedding", f.embed.positions.map_or(0, |(rows, _)| rows * f.d_model)),
        ("attention", layers * attention),
        ("MLP", layers * mlp),
        ("unembedding", head),
    ];
    let rest = total.saturating_sub(counted.iter().map(|(_, n)| *n as u64).sum());
    let mut parts: Vec<Part> =
        counted.iter().map(|(name, n)| Part { name: (*name).to_string(), parameters: *n as u64 }).collect();
    parts.push(Part { name: "norms and the rest".to_string(), parameters: rest });
    parts.retain(|part| part.parameters > 0);
    parts
}

fn properties(f: &Architecture) -> Vec<(String, String)> {
    let norm = match f.norm.kind {
        NormKind::Layer => "layer norm",
        NormKind::Rms => "RMS norm",
    };
    let placement = match f.placement {
        Placement::Pre => "before attention and MLP",
        Placement::Post => "after attention and MLP, before the addition",
        Placement::PrePost => "before and after attention and MLP",
        Placement::AfterAdd => "after each addition",
        Placement::ParallelOneNorm => "one before attention and MLP, which run in parallel",
        Placement::ParallelTwoNorms => "one each before attention and MLP, which run in parallel",
    };
    let rotated = f.layers.iter().filter(|l| l.rope.is_some()).count();
    let positions = match (rotated, f.embed.positions, f.attn.alibi) {
        (0, Some(_), _) => "learned".to_string(),
        (0, None, Some(_)) => "linear biases (ALiBi)".to_string(),
        (0, None, None) => "none".to_string(),
        (n, ..) => {
            let widths: Vec<String> = f.ropes.iter().map(|r| r.dim.to_string()).collect();
            format!("rotary in {n} of {} layers, over {} of {} coordinates", f.layers.len(), widths.join("/"), f.d_head)
        }
    };
    let windows: Vec<usize> = f.layers.iter().filter_map(|l| l.window).collect();
    let gate = if f.mlp.gated { "gated " } else { "" };
    let mut properties = vec![
        ("norms", format!("{norm}, {placement}, eps {:e}", f.norm.eps)),
        ("positions", positions),
        ("activation", format!("{gate}{:?}", f.mlp.activation).to_lowercase()),
    ];
    if let Some(shortest) = windows.iter().min() {
        let what = format!("{} of {} layers see at most {shortest} tokens back or more", windows.len(), f.layers.len());
        properties.push(("window", what));
    }
    if f.attn.qk_norm.is_some() {
        properties.push(("q/k norm", "yes".to_string()));
    }
    let caps = [("attention cap", f.attn.softcap), ("logit cap", f.head.softcap)];
    properties.extend(caps.into_iter().filter_map(|(name, cap)| Some((name, cap?.to_string()))));
    properties.into_iter().map(|(name, what)| (name.to_string(), what)).collect()
}

impl Figures for Facts {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![("parameters".to_string(), self.parameters() as f64)];
        figures.extend(self.sizes.named().map(|(name, size)| (name.to_string(), size as f64)));
        figures
    }
}

impl Report for Facts {
    fn blocks(&self) -> Vec<Block> {
        let mut rows = vec![
            vec![Cell::text("family"), Cell::text(&self.family)],
            vec![Cell::text("parameters"), Cell::count(self.parameters())],
        ];
        rows.extend(self.sizes.named().map(|(name, size)| vec![Cell::text(name), Cell::count(size)]));
        let context = self.context.map_or_else(|| Cell::text("no limit"), Cell::count);
        rows.push(vec![Cell::text("longest text, tokens"), context]);
        rows.push(vec![Cell::text("weights kept as"), Cell::text(&self.dtype)]);
        rows.push(vec![Cell::text("embedding and unembedding tied"), Cell::text(if self.tied { "yes" } else { "no" })]);
        rows.extend(self.properties.iter().map(|(name, what)| vec![Cell::text(name), Cell::text(what)]));
        rows.push(vec![
            Cell::text("tokens around a text"),
            Cell::text(self.tokenizer.as_deref().unwrap_or("no tokenizer")),
        ]);
        let total = self.parameters().max(1) as f64;
        let part = |p: &Part| {
            let share = Cell::Number { value: 100.0 * p.parameters as f64 / total, digits: 1 };
            vec![Cell::text(&p.name), Cell::count(p.parameters), share]
        };
        let file = |f: &crate::store::FileHash| vec![Cell::text(&f.name), Cell::text(&f.sha256)];
        vec![
            table(&["fact", "value"], rows),
            table(&["part", "parameters", "% of all"], self.parts.iter().map(part).collect()),
            Block::text(format!("sha256 of the model, over its files: {}", self.identity.sha256)),
            table(&["file", "sha256"], self.identity.files.iter().map(file).collect()),
        ]
    }
}

fn table(names: &[&str], rows: Vec<Vec<Cell>>) -> Block {
    Block::Table(Table { columns: names.iter().copied().map(Column::new).collect(), rows })
}
