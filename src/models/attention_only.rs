//! A small transformer without MLPs: the network in which induction heads can be watched as they form (Singh et al. 2024,
//! arXiv 2404.07129).
//!
//! ```text
//! x = embed(tokens)                                      tokens below `vocab` by table, exemplars by a linear map
//! x = x + sum_h pattern_h v_h W_O^h                      each layer; q, k, v read LayerNorm(x); q and k are rotated
//! logits = LayerNorm(x) W_U + b                          one per token below `vocab`
//! ```
//!
//! A row is a list of ids. Ids below `vocab` are tokens (the labels of the few-shot task, or a whole vocabulary); id
//! `vocab + i` is exemplar i, whose features the network is given once and does not learn. With two layers, eight heads,
//! d_model 64, five labels and exemplars of 512 features it has the paper's 66,629 parameters.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::transformer::WeightSource;
use super::transformer::norm::TappedNorm;
use super::transformer::sites::{self, NormSites};
use super::{Input, Network, State, Tokens};
use crate::hook::{Output, SiteId, SiteTable, Tap, random};
use crate::nn::{
    AttentionMask, CausalMask, Form, Layout, Linear, Norm, NormKind, Rope, RopeScaling, RopeTables, ScoreRule, mix,
    pattern, scores, softmax,
};
use crate::{Error, Result};

/// Sizes of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionOnlyConfig {
    /// Layers.
    pub layers: usize,
    /// Width of the stream; a multiple of twice the heads.
    pub d_model: usize,
    /// Heads of a layer.
    pub n_heads: usize,
    /// Tokens that have a row in the table and a logit.
    pub vocab: usize,
}

impl AttentionOnlyConfig {
    /// The paper's sizes for `vocab` labels.
    pub fn paper(vocab: usize) -> Self {
        Self { layers: 2, d_model: 64, n_heads: 8, vocab }
    }
}

struct Layer {
    ln1: TappedNorm,
    /// W_Q, W_K, W_V, W_O.
    projections: [Linear; 4],
    site: LayerSites,
}

struct LayerSites {
    resid_pre: SiteId,
    q: SiteId,
    k: SiteId,
    v: SiteId,
    rot_q: SiteId,
    rot_k: SiteId,
    scores: SiteId,
    pattern: SiteId,
    z: SiteId,
    result: SiteId,
    attn_out: SiteId,
    resid_post: SiteId,
}

/// The network with its weights.
pub struct AttentionOnly {
    config: AttentionOnlyConfig,
    table: SiteTable,
    /// `[vocab, d_model]`.
    embed: Tensor,
    /// Features `[exemplars, width]`, with the map to the stream.
    exemplars: Option<(Tensor, Linear)>,
    layers: Vec<Layer>,
    ln_final: TappedNorm,
    unembed: Linear,
    rope: Rope,
    parameters: Vec<(String, Tensor)>,
    ends: [SiteId; 2],
}

impl AttentionOnly {
    /// The network with these weights; `exemplars` are the features `[exemplars, width]`, if the task has any.
    ///
    /// # Errors
    /// Sizes that do not fit, and weights that are missing or of the wrong shape.
    pub fn new(config: AttentionOnlyConfig, exemplars: Option<Tensor>, weights: &dyn WeightSource) -> Result<Self> {
        let (d, h) = (config.d_model, config.n_heads);
        if config.layers == 0 || config.vocab == 0 || h == 0 || !d.is_multiple_of(2 * h) {
            return Err(Error::invalid(
                format!("a network of {} layers, {h} heads, width {d} and {} tokens", config.layers, config.vocab),
                "give at least one of each, and a width that is a multiple of twice the heads",
            ));
        }
        let mut parameters = Vec::new();
        let mut take = |name: String, shape: &[usize]| -> Result<Tensor> {
            let tensor = weights.tensor(&name, shape)?;
            parameters.push((name, tensor.clone()));
            Ok(tensor)
        };
        let table = table(&config);
        let norm = |take: &mut dyn FnMut(String, &[usize]) -> Result<Tensor>, name: String| -> Result<TappedNorm> {
            let weight = Some(take(format!("{name}.weight"), &[d])?);
            let bias = Some(take(format!("{name}.bias"), &[d])?);
            let norm = Norm { kind: NormKind::Layer, weight, bias, eps: 1e-5, offset: 0.0 };
            Ok(TappedNorm { norm, site: NormSites::find(&table, &name) })
        };
        let linear = |weight: Tensor, bias: Option<Tensor>| Linear { weight, bias, layout: Layout::OutIn };
        let embed = take("embed.weight".into(), &[config.vocab, d])?;
        let exemplars = match exemplars {
            None => None,
            Some(features) => {
                let width = features.dims2()?.1;
                let weight = take("exemplar.weight".into(), &[d, width])?;
                Some((features, linear(weight, Some(take("exemplar.bias".into(), &[d])?))))
            }
        };
        let mut layers = Vec::with_capacity(config.layers);
        for l in 0..config.layers {
            let ln1 = norm(&mut take, format!("blocks.{l}.ln1"))?;
            let mut projection = |part: &str| -> Result<Linear> {
                Ok(linear(take(format!("blocks.{l}.attn.{part}.weight"), &[d, d])?, None))
            };
            let projections = [projection("q")?, projection("k")?, projection("v")?, projection("o")?];
            layers.push(Layer { ln1, projections, site: LayerSites::find(&table, l)? });
        }
        let ln_final = norm(&mut take, "ln_final".into())?;
        let weight = take("unembed.weight".into(), &[config.vocab, d])?;
        let unembed = linear(weight, Some(take("unembed.bias".into(), &[config.vocab])?));
        let rope = Rope { dim: d / h, theta: 10_000.0, scaling: RopeScaling::None, interleaved: true };
        let ends = [table.id("hook_embed")?, table.id("logits")?];
        Ok(Self { config, table, embed, exemplars, layers, ln_final, unembed, rope, parameters, ends })
    }

    /// Variables for a network of these sizes, drawn as the paper's: matrices LeCun-normal (standard deviation
    /// 1 / sqrt(inputs)), label embeddings 0.02, both cut off at two standard deviations; gains 1, biases 0.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn variables(
        config: &AttentionOnlyConfig,
        exemplar_width: Option<usize>,
        seed: u64,
    ) -> Result<BTreeMap<String, Var>> {
        let (d, vocab) = (config.d_model, config.vocab);
        let mut shapes: Vec<(String, Vec<usize>)> = vec![("embed.weight".into(), vec![vocab, d])];
        if let Some(width) = exemplar_width {
            shapes.push(("exemplar.weight".into(), vec![d, width]));
            shapes.push(("exemplar.bias".into(), vec![d]));
        }
        for l in 0..config.layers {
            shapes.extend(["ln1.weight", "ln1.bias"].map(|part| (format!("blocks.{l}.{part}"), vec![d])));
            shapes.extend(["q", "k", "v", "o"].map(|p| (format!("blocks.{l}.attn.{p}.weight"), vec![d, d])));
        }
        shapes.extend(["ln_final.weight", "ln_final.bias"].map(|part| (part.to_string(), vec![d])));
        shapes.push(("unembed.weight".into(), vec![vocab, d]));
        shapes.push(("unembed.bias".into(), vec![vocab]));
        let mut variables = BTreeMap::new();
        for (name, shape) in shapes {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = if name.ends_with("bias") {
                vec![0.0; count]
            } else if shape.len() == 1 {
                vec![1.0; count]
            } else {
                // A normal that is cut at two standard deviations has 0.8796 of its width.
                let std = if name == "embed.weight" { 0.02 } else { (shape[1] as f64).sqrt().recip() / 0.879_625_66 };
                let key = random::key(seed, &[random::name(&name)]);
                (0..count as u64).map(|i| (std * cut_normal(random::key(key, &[i]))) as f32).collect()
            };
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
            variables.insert(name, Var::from_tensor(&tensor)?);
        }
        Ok(variables)
    }

    /// Its sizes.
    pub fn config(&self) -> &AttentionOnlyConfig {
        &self.config
    }

    /// Ids to the stream: `[b, t, d]`.
    fn embed(&self, tokens: &Tokens, form: Form) -> Result<Tensor> {
        let (vocab, cells) = (self.config.vocab, tokens.rows * tokens.pos);
        let known = vocab + self.exemplars.as_ref().map_or(0, |(features, _)| features.dims()[0]);
        if let Some(at) = (0..cells).find(|at| tokens.real[*at] && tokens.ids[*at] as usize >= known) {
            return Err(Error::invalid(
                format!(
                    "id {} at row {}, column {} is beyond {known}",
                    tokens.ids[at],
                    at / tokens.pos,
                    at % tokens.pos
                ),
                format!("ids below {vocab} are tokens, those from there on exemplars"),
            ));
        }
        // Each id is looked up, and each exemplar mapped, once: a batch holds most of them several times.
        let mut ids: Vec<u32> = (0..cells).map(|at| if tokens.real[at] { tokens.ids[at] } else { 0 }).collect();
        let mut each = ids.clone();
        each.sort_unstable();
        each.dedup();
        let place = |id: &u32| each.binary_search(id).unwrap_or(0) as u32;
        ids.iter_mut().for_each(|id| *id = place(id));
        let (labels, others) = each.split_at(each.partition_point(|id| (*id as usize) < vocab));
        let pick = |table: &Tensor, ids: &[u32]| -> Result<Tensor> {
            Ok(table.index_select(&Tensor::from_slice(ids, ids.len(), table.device())?, 0)?)
        };
        let mut parts = Vec::new();
        if !labels.is_empty() {
            parts.push(pick(&self.embed, labels)?);
        }
        if let (false, Some((features, map))) = (others.is_empty(), &self.exemplars) {
            let others: Vec<u32> = others.iter().map(|id| id - vocab as u32).collect();
            parts.push(map.forward(&pick(features, &others)?, form)?);
        }
        let x = pick(&Tensor::cat(&parts, 0)?, &ids)?; // [b t, d]
        Ok(x.reshape((tokens.rows, tokens.pos, self.config.d_model))?)
    }

    fn layer(
        &self,
        layer: &Layer,
        x: Tensor,
        mask: &AttentionMask,
        tables: &RopeTables,
        tap: &mut Tap,
    ) -> Result<Tensor> {
        let (site, form) = (&layer.site, tap.form());
        let (b, t, d) = x.dims3()?;
        let (h, d_head) = (self.config.n_heads, d / self.config.n_heads);
        let x = tap.at(site.resid_pre, x)?;
        let read = layer.ln1.forward(&x, tap)?;
        let by_head =
            |i: usize| -> Result<Tensor> { Ok(layer.projections[i].forward(&read, form)?.reshape((b, t, h, d_head))?) };
        let q = tap.at(site.q, by_head(0)?)?;
        let k = tap.at(site.k, by_head(1)?)?;
        let v = tap.at(site.v, by_head(2)?)?;
        let q = tap.at(site.rot_q, self.rope.apply(&q.contiguous()?, tables, form)?)?;
        let k = tap.at(site.rot_k, self.rope.apply(&k.contiguous()?, tables, form)?)?;
        let raw = scores(&q, &k, (d_head as f64).sqrt().recip(), form)?; // [b, h, t, t]
        let rule = ScoreRule { cap: None, bias: None, mask };
        let weights = if tap.follows(site.scores) {
            softmax(&tap.at(site.scores, rule.apply(&raw, form)?)?, form)?
        } else {
            let parts = pattern(&raw, &rule, tap.wants(site.scores), form)?;
            parts.scores.map(|scores| tap.at(site.scores, scores)).transpose()?;
            parts.pattern
        };
        let weights = tap.at(site.pattern, weights)?;
        let z = tap.at(site.z, mix(&weights, &v, form)?)?; // [b, t, h, d_head]
        let out = match tap.at_with(site.result, || self.result(layer, &z))? {
            Some(result) => result.sum(2)?,
            None => layer.projections[3].forward(&z.flatten_from(2)?, form)?,
        };
        let out = tap.at(site.attn_out, out)?;
        tap.at(site.resid_post, (x + out)?)
    }

    /// Each head's share of a layer's output: `[b, t, h, d]`.
    fn result(&self, layer: &Layer, z: &Tensor) -> Result<Tensor> {
        let (b, t, h, d_head) = z.dims4()?;
        let weight = layer.projections[3].weight.t()?.reshape((h, d_head, self.config.d_model))?;
        let z = z.flatten(0, 1)?.transpose(0, 1)?.contiguous()?; // [h, b t, d_head]
        let result = z.matmul(&weight.contiguous()?)?; // [h, b t, d]
        Ok(result.transpose(0, 1)?.reshape((b, t, h, self.config.d_model))?)
    }
}

/// A standard normal number that is at most two from zero, by rejection under keys of its own.
fn cut_normal(key: u64) -> f64 {
    let draws = (0..).map(|i| random::normal(random::key(key, &[i])));
    draws.into_iter().find(|x| x.abs() <= 2.0).unwrap_or(0.0)
}

impl Network for AttentionOnly {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let tokens = input.tokens()?;
        if state.keeps() {
            return Err(Error::invalid("this network keeps no cache", "run it without one (`State::none`)"));
        }
        tokens.check(None)?;
        let context = tokens.context(None);
        let mask = CausalMask {
            batch: tokens.rows,
            real: &context.key_real,
            key: &context.key_position,
            query: &context.position,
            window: None,
        };
        let mask = AttentionMask::causal(&mask, self.device())?;
        let tables = self.rope.tables(&context.position, tokens.rows, self.device())?;
        tap.enter(context);
        let [embed, logits] = self.ends;
        let mut x = tap.at(embed, self.embed(tokens, tap.form())?)?; // [b, t, d]
        for layer in &self.layers {
            x = self.layer(layer, x, &mask, &tables, tap)?;
        }
        let none = || Ok(Tensor::zeros((tokens.rows, 0, self.config.vocab), DType::F32, self.device())?);
        if tap.output() == Output::Unread && !tap.wants_from(self.ln_final.site.scale) {
            return none();
        }
        let read = self.ln_final.forward(&x, tap)?;
        let y = tap.at(logits, self.unembed.forward(&read, tap.form())?)?; // [b, t, vocab]
        match tap.output() {
            Output::Whole => Ok(y),
            Output::Unread => none(),
            Output::Last => {
                let last = |row: &[bool]| row.iter().rposition(|real| *real).unwrap_or(0);
                let rows = tokens.real.chunks_exact(tokens.pos).enumerate();
                let rows: Vec<u32> = rows.map(|(r, real)| (r * tokens.pos + last(real)) as u32).collect();
                let rows = Tensor::from_vec(rows, tokens.rows, self.device())?;
                Ok(y.flatten_to(1)?.index_select(&rows, 0)?.unsqueeze(1)?)
            }
        }
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.embed.device()
    }
}

impl LayerSites {
    fn find(table: &SiteTable, l: usize) -> Result<Self> {
        let id = |part: &str| table.id(&format!("blocks.{l}.{part}"));
        Ok(Self {
            resid_pre: id("hook_resid_pre")?,
            q: id("attn.hook_q")?,
            k: id("attn.hook_k")?,
            v: id("attn.hook_v")?,
            rot_q: id("attn.hook_rot_q")?,
            rot_k: id("attn.hook_rot_k")?,
            scores: id("attn.hook_attn_scores")?,
            pattern: id("attn.hook_pattern")?,
            z: id("attn.hook_z")?,
            result: id("attn.hook_result")?,
            attn_out: id("hook_attn_out")?,
            resid_post: id("hook_resid_post")?,
        })
    }
}

/// The sites of a layer: those of a decoder's block that a layer without an MLP has.
const LAYER: &[&str] = &[
    "hook_resid_pre",
    "ln1.hook_scale",
    "ln1.hook_normalized",
    "ln1.hook_out",
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.hook_rot_q",
    "attn.hook_rot_k",
    "attn.hook_attn_scores",
    "attn.hook_pattern",
    "attn.hook_z",
    "attn.hook_result",
    "hook_attn_out",
    "hook_resid_post",
];

fn table(config: &AttentionOnlyConfig) -> SiteTable {
    let sizes = sites::Sizes {
        n_heads: config.n_heads,
        n_kv_heads: config.n_heads,
        d_head: config.d_model / config.n_heads,
        d_model: config.d_model,
        d_mlp: 0,
        vocab: config.vocab,
    };
    let after = ["ln_final.hook_scale", "ln_final.hook_normalized", "ln_final.hook_out", "logits"];
    sites::part(sizes, config.layers, &["hook_embed"], LAYER, &after)
}
