//! Decoder-only transformers: one core, a table of facts, one small file per family.
//!
//! [`Decoder`] reads tokens and gives logits; everything between is tapped under TransformerLens's names. The norms are
//! never folded into the weights.

mod attention;
mod block;
mod branch;
mod call;
mod circuits;
pub mod config;
pub mod facts;
pub mod families;
mod load;
mod mlp;
mod neurons;
pub(super) mod norm;
mod qkv;
pub(super) mod sites;
pub mod writers;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value};

use super::{Input, Network, State, Tokens};
use crate::hook::{Form, Output, Pass, Plan, Registry, SiteId, SiteTable, Standing, Tap, Values};
use crate::nn::{Embedding, Layout, Linear, softcap};
use crate::{Error, Result};

use block::Block;
use call::Call;
use facts::{Facts, Names};
use load::Loader;
use norm::TappedNorm;
use sites::{NormSites, find};

pub use branch::{Branch, Trunk};
pub use load::WeightSource;

#[derive(Clone, Debug)]
struct Sites {
    embed: SiteId,
    pos_embed: SiteId,
    unembed: SiteId,
    logits: SiteId,
}

/// A decoder-only transformer with its weights.
#[derive(Clone, Debug)]
pub struct Decoder {
    facts: Facts,
    table: SiteTable,
    embed: Embedding,
    positions: Option<Embedding>,
    project: (Option<Linear>, Option<Linear>),
    embed_norm: Option<TappedNorm>,
    blocks: Vec<Block>,
    final_norm: Option<TappedNorm>,
    head: Linear,
    parameters: Vec<(String, Tensor)>,
    device: Device,
    /// The first site after the blocks.
    after: SiteId,
    site: Sites,
}

impl Decoder {
    /// Builds the decoder that `config` (the content of `config.json`) describes from its weights.
    ///
    /// # Errors
    /// A config that is not understood in full, and weights that are missing, superfluous or of the wrong shape.
    pub fn new(config: &Map<String, Value>, weights: &dyn WeightSource) -> Result<Self> {
        let (facts, names) = families::describe(config)?;
        let table = named_sites(&facts, &names);
        let loader = Loader::new(weights, names.base, names.embed, names.transposed);
        let d = facts.d_model;
        let embed_table = loader.tensor(&format!("{}.weight", names.embed), &[facts.vocab, facts.embed.width])?;
        let positions = match facts.embed.positions {
            None => None,
            Some((rows, _)) => {
                Some(Embedding { table: loader.tensor(&format!("{}.weight", names.positions), &[rows, d])? })
            }
        };
        let narrow = facts.embed.width != d;
        let project = |name: &str, i: usize, o: usize| narrow.then(|| loader.linear(name, i, o, false)).transpose();
        let project =
            (project(names.project.0, facts.embed.width, d)?, project(names.project.1, d, facts.embed.width)?);
        let embed_norm = match facts.embed.norm {
            false => None,
            true => Some(TappedNorm {
                norm: loader.norm(names.embed_norm, &facts.norm, &[d])?,
                site: NormSites::find(&table, "embed.ln"),
            }),
        };
        let blocks = (0..facts.layers.len()).map(|l| Block::load(&loader, &facts, &names, &table, l));
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        let final_norm = match facts.head.norm {
            false => None,
            true => Some(TappedNorm {
                norm: loader.norm(names.final_norm, &facts.norm, &[d])?,
                site: NormSites::find(&table, "ln_final"),
            }),
        };
        let head = load_head(&loader, &facts, &names, &embed_table)?;
        let last = format!("blocks.{}.hook_resid_post", facts.layers.len().max(1) - 1);
        let after = find(&table, &last).next();
        let site = Sites {
            embed: find(&table, "hook_embed"),
            pos_embed: find(&table, "hook_pos_embed"),
            unembed: find(&table, "unembed.hook_out"),
            logits: find(&table, "logits"),
        };
        Ok(Self {
            device: embed_table.device().clone(),
            embed: Embedding { table: embed_table },
            parameters: loader.finish(facts.head.tied.then_some(names.head))?,
            facts,
            table,
            positions,
            project,
            embed_norm,
            blocks,
            final_norm,
            head,
            after,
            site,
        })
    }

    /// The same network with edits that act in every pass, before the pass's own; `None` takes them away.
    ///
    /// # Errors
    /// What is wrong with the edits, as in any pass.
    pub fn edited(&self, standing: Option<Standing>) -> Result<Self> {
        let decoder = Self { table: self.table.clone().with_standing(standing), ..self.clone() };
        Plan::compile(&decoder.table, &Pass::default(), &Registry::elementary(), Values::default(), &[])?;
        Ok(decoder)
    }

    /// The facts of the architecture.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Attention's output projection in a layer: `hook_z`, heads joined, to `attn.hook_out`.
    pub fn attention_output(&self, layer: usize) -> Option<&Linear> {
        self.blocks.get(layer).map(Block::attention_output)
    }

    /// The MLP's output projection in a layer: `mlp.hook_post` to `mlp.hook_out`.
    pub fn mlp_output(&self, layer: usize) -> Option<&Linear> {
        self.blocks.get(layer).map(Block::mlp_output)
    }

    /// Checks ids and lengths before any work is done.
    fn check(&self, tokens: &Tokens, longest: u32) -> Result<()> {
        if let Some(at) =
            tokens.ids.iter().zip(&tokens.real).position(|(id, real)| *real && *id as usize >= self.facts.vocab)
        {
            return Err(Error::invalid(
                format!(
                    "token id {} at row {}, column {} is beyond the vocabulary of {}",
                    tokens.ids[at],
                    at / tokens.pos,
                    at % tokens.pos,
                    self.facts.vocab
                ),
                "the ids come from another tokenizer",
            ));
        }
        match self.facts.context {
            Some(limit) if longest as usize > limit => Err(Error::invalid(
                format!("a text of {longest} tokens is longer than the model's context of {limit}"),
                "shorten it, or split it into documents",
            )),
            _ => Ok(()),
        }
    }

    /// Tokens (and positions) to the residual stream: `[b, t, d]`.
    fn embed(&self, tokens: &Tokens, call: &Call, tap: &mut Tap) -> Result<Tensor> {
        let shape = (tokens.rows, tokens.pos);
        let last = self.facts.vocab as u32 - 1;
        let ids: Vec<u32> = tokens.ids.iter().map(|id| (*id).min(last)).collect(); // padding may hold any id
        let ids = Tensor::from_vec(ids, shape, &self.device)?;
        let mut x = self.embed.forward(&ids)?; // [b, t, width]
        if let Some(project) = &self.project.0 {
            x = project.forward(&x, tap.form())?; // [b, t, d]
        }
        if self.facts.embed.scale != 1.0 {
            x = x.affine(self.facts.embed.scale, 0.0)?;
        }
        if let Some(norm) = &self.embed_norm {
            x = norm.forward(&x, tap)?;
        }
        let x = tap.at(self.site.embed, x)?;
        let (Some(table), Some((_, offset))) = (&self.positions, self.facts.embed.positions) else {
            return Ok(x);
        };
        let rows: Vec<u32> = call.context.position.iter().map(|p| p + offset as u32).collect();
        let positions = table.forward(&Tensor::from_vec(rows, shape, &self.device)?)?;
        let positions = tap.at(self.site.pos_embed, positions)?;
        Ok((x + positions)?)
    }

    /// As many of the logits as are read. Who listens after the blocks sees all positions.
    fn output(&self, x: Tensor, tokens: &Tokens, tap: &mut Tap) -> Result<Tensor> {
        let (reads, seen) = (tap.output(), tap.wants_from(self.after));
        match reads {
            Output::Unread if !seen => self.no_logits(tokens.rows),
            Output::Unread => {
                self.unembed(x, tap)?;
                self.no_logits(tokens.rows)
            }
            Output::Last if !seen => self.unembed(last_tokens(&x, tokens)?, tap),
            Output::Last => last_tokens(&self.unembed(x, tap)?, tokens),
            Output::Whole => self.unembed(x, tap),
        }
    }

    fn no_logits(&self, rows: usize) -> Result<Tensor> {
        Ok(Tensor::zeros((rows, 0, self.facts.vocab), DType::F32, &self.device)?)
    }

    /// Residual stream to logits: `[b, t, d] -> [b, t, vocab]`.
    fn unembed(&self, x: Tensor, tap: &mut Tap) -> Result<Tensor> {
        let form = tap.form();
        let mut x = self.final_norm.as_ref().map_or(Ok(x.clone()), |n| n.forward(&x, tap))?;
        if let Some(project) = &self.project.1 {
            x = project.forward(&x, form)?; // [b, t, width]
        }
        let logits = self.head.forward(&x, form)?; // [b, t, vocab]
        let mut logits = tap.at(self.site.unembed, logits)?;
        if self.facts.head.divisor != 1.0 {
            logits = (logits / self.facts.head.divisor)?;
        }
        if let Some(cap) = self.facts.head.softcap {
            logits = softcap(&logits, cap, form)?;
        }
        tap.at(self.site.logits, logits)
    }

    /// The final norm and the unembedding of any vector of the stream, without taps: the logit lens.
    pub fn lens(&self, x: &Tensor, form: Form) -> Result<Tensor> {
        self.unembed(x.clone(), &mut Tap::silent(form))
    }
}

impl Network for Decoder {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let tokens = input.tokens()?;
        tokens.check(state.context.as_ref())?;
        match tap.form() {
            // A thread of the pool hands out parts of its work at once; any other thread would have to be woken each
            // time that its parts are done.
            Form::Inference => rayon::scope(|_| self.run(tokens, state, tap)),
            Form::Differentiable => self.run(tokens, state, tap),
        }
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    fn device(&self) -> &Device {
        &self.device
    }
}

impl Decoder {
    fn run(&self, tokens: &Tokens, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let context = tokens.context(state.context.as_ref());
        let longest = (0..tokens.rows).map(|row| context.real_keys(row)).max().unwrap_or(0);
        self.check(tokens, longest)?;
        let call = Call::new(&self.facts, context, state.keeps(), tap, &self.device)?;
        tap.enter(call.context.clone());
        let mut x = self.embed(tokens, &call, tap)?; // [b, t, d]
        for block in &self.blocks {
            match block.forward(x, &call, state, tap)? {
                Some(post) => x = post,
                None => return self.no_logits(tokens.rows),
            }
        }
        let logits = self.output(x, tokens, tap)?;
        if state.keeps() {
            state.context = Some(call.context);
        }
        Ok(logits)
    }
}

/// What stands at the last real token of each row: `[b, t, d] -> [b, 1, d]`.
fn last_tokens(x: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    let (b, t, d) = x.dims3()?;
    if t == 1 {
        return Ok(x.clone());
    }
    let last = |(row, real): (usize, &[bool])| (row * t + real.iter().rposition(|r| *r).unwrap_or(0)) as u32;
    let rows: Vec<u32> = tokens.real.chunks_exact(t).enumerate().map(last).collect();
    let rows = Tensor::from_vec(rows, b, x.device())?;
    Ok(x.reshape((b * t, d))?.index_select(&rows, 0)?.reshape((b, 1, d))?)
}

fn load_head(loader: &Loader, facts: &Facts, names: &Names, embed: &Tensor) -> Result<Linear> {
    let width = facts.embed.width;
    let weight = if facts.head.tied {
        embed.clone()
    } else {
        loader.exact(&format!("{}.weight", names.head), &[facts.vocab, width])?
    };
    let bias = facts.head.bias.then(|| loader.exact(&format!("{}.bias", names.head), &[facts.vocab])).transpose()?;
    let bias = bias.map(|b| if b.dtype() == DType::F64 { Ok(b) } else { b.to_dtype(DType::F32) }).transpose()?;
    Ok(Linear { weight, bias, layout: Layout::OutIn })
}

/// The sites of the decoder that `config` describes.
///
/// # Errors
/// A config that is not understood in full.
pub fn site_table(config: &Map<String, Value>) -> Result<SiteTable> {
    let (facts, names) = families::describe(config)?;
    Ok(named_sites(&facts, &names))
}

fn named_sites(facts: &Facts, names: &Names) -> SiteTable {
    let mut table = sites::table(facts);
    add_aliases(&mut table, facts, names);
    table
}

/// Lets Hugging Face's module paths stand for the sites of their outputs.
fn add_aliases(table: &mut SiteTable, facts: &Facts, names: &Names) {
    let mut alias = |module: String, site: String| {
        if let Some(id) = table.find(&site) {
            table.alias(module, id);
        }
    };
    let base = names.base;
    for l in 0..facts.layers.len() {
        let block = format!("{base}{}", names.block.replace("{l}", &l.to_string()));
        let site = |part: &str| format!("blocks.{l}.{part}");
        alias(block.clone(), site("hook_resid_post"));
        alias(format!("{block}.{}", names.attn), site("attn.hook_out"));
        if !names.mlp.is_empty() {
            alias(format!("{block}.{}", names.mlp), site("mlp.hook_out"));
            alias(format!("{block}.{}.{}", names.mlp, names.down), site("mlp.hook_out"));
        }
        for (module, part) in [
            (names.ln1, "ln1.hook_out"),
            (names.ln2, "ln2.hook_out"),
            (names.ln1_post, "ln1_post.hook_out"),
            (names.ln2_post, "ln2_post.hook_out"),
        ] {
            if !module.is_empty() {
                alias(format!("{block}.{module}"), site(part));
            }
        }
    }
    alias(format!("{base}{}", names.final_norm), "ln_final.hook_out".into());
    alias(names.head.to_string(), "unembed.hook_out".into());
}
