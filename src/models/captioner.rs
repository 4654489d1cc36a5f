//! The describer of exemplar sets of MILAN (Hernandez et al. 2022, appendix B), and the language model beside it.
//!
//! ```text
//! v_i                    features of exemplar i, k of them
//! h_0, c_0 = tanh(W mean_i v_i + b)
//! a_i = softmax over i of w . tanh(W_q h + W_k v_i)              decoder.hook_attention
//! ctx = sigmoid(W_g h + b) sum_i a_i v_i
//! h, c = LSTM([embed(word), ctx], h, c)                          decoder.hook_h
//! p(next word) = softmax(W_out h + b)                            logits
//! ```
//!
//! A word is a step in time: sites are visited once a word, and records are stacked along `time`.
//!
//! Without features it is a plain LSTM language model: p(d) of the same form, with the input of the word alone.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::transformer::WeightSource;
use super::{Input, Network, State, Tokens};
use crate::hook::{Axis, Kind, Moment, Site, SiteId, SiteTable, Tap, random};
use crate::nn::{Form, Layout, Linear, Lstm, sigmoid, softmax};
use crate::{Error, Result};

/// Sizes of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionerConfig {
    /// Words, with those that begin, end and fill.
    pub vocab: usize,
    /// Width of a word's embedding.
    pub embed: usize,
    /// Width of the hidden state.
    pub hidden: usize,
}

/// What the network looks at.
struct Sight {
    /// `[sets, k, width]`; the number of a row's set is its document.
    features: Tensor,
    query: Linear,
    key: Linear,
    score: Linear,
    gate: Linear,
    first_h: Linear,
    first_c: Linear,
}

/// The network with its weights.
pub struct Captioner {
    config: CaptionerConfig,
    table: SiteTable,
    /// `[vocab, embed]`.
    embed: Tensor,
    lstm: Lstm,
    out: Linear,
    sight: Option<Sight>,
    parameters: Vec<(String, Tensor)>,
    attention: SiteId,
    h: SiteId,
    logits: SiteId,
}

/// Names and shapes of the weights.
fn shapes(config: &CaptionerConfig, width: Option<usize>) -> Vec<(&'static str, Vec<usize>)> {
    let CaptionerConfig { vocab, embed, hidden } = *config;
    let mut shapes = vec![
        ("embed.weight", vec![vocab, embed]),
        ("lstm.weight_ih", vec![4 * hidden, embed + width.unwrap_or(0)]),
        ("lstm.weight_hh", vec![4 * hidden, hidden]),
        ("lstm.bias", vec![4 * hidden]),
        ("out.weight", vec![vocab, hidden]),
        ("out.bias", vec![vocab]),
    ];
    if let Some(width) = width {
        shapes.extend([
            ("attention.query.weight", vec![hidden, hidden]),
            ("attention.key.weight", vec![hidden, width]),
            ("attention.score.weight", vec![1, hidden]),
            ("gate.weight", vec![width, hidden]),
            ("gate.bias", vec![width]),
            ("first_h.weight", vec![hidden, width]),
            ("first_h.bias", vec![hidden]),
            ("first_c.weight", vec![hidden, width]),
            ("first_c.bias", vec![hidden]),
        ]);
    }
    shapes
}

impl Captioner {
    /// The network with these weights; without `features` `[sets, k, width]`, a language model.
    ///
    /// # Errors
    /// Weights that are missing or of the wrong shape.
    pub fn new(config: CaptionerConfig, features: Option<Tensor>, weights: &dyn WeightSource) -> Result<Self> {
        let width = features.as_ref().map(|f| f.dim(D::Minus1)).transpose()?;
        let mut by_name = BTreeMap::new();
        let mut parameters = Vec::new();
        for (name, shape) in shapes(&config, width) {
            let tensor = weights.tensor(name, &shape)?;
            parameters.push((name.to_string(), tensor.clone()));
            by_name.insert(name, tensor);
        }
        let get = |name: &str| by_name.get(name).cloned();
        let need =
            |name: &str| get(name).ok_or_else(|| Error::invalid(format!("no weight `{name}`"), "report this defect"));
        let linear = |name: &str| -> Result<Linear> {
            let weight = need(&format!("{name}.weight"))?;
            Ok(Linear { weight, bias: get(&format!("{name}.bias")), layout: Layout::OutIn })
        };
        let exemplars = features.as_ref().map_or(Ok(0), |f| f.dim(1))?;
        let sight = match features {
            None => None,
            Some(features) => Some(Sight {
                features,
                query: linear("attention.query")?,
                key: linear("attention.key")?,
                score: linear("attention.score")?,
                gate: linear("gate")?,
                first_h: linear("first_h")?,
                first_c: linear("first_c")?,
            }),
        };
        let table = table(&config, sight.is_some().then_some(exemplars));
        Ok(Self {
            embed: need("embed.weight")?,
            lstm: Lstm::new(need("lstm.weight_ih")?, need("lstm.weight_hh")?, need("lstm.bias")?),
            out: linear("out")?,
            sight,
            parameters,
            attention: table.find("decoder.hook_attention").unwrap_or(SiteId::ABSENT),
            h: table.id("decoder.hook_h")?,
            logits: table.id("logits")?,
            table,
            config,
        })
    }

    /// Variables for such a network: uniform within 1 / sqrt(inputs), biases 0, those of the forget gates 1.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn variables(config: &CaptionerConfig, width: Option<usize>, seed: u64) -> Result<BTreeMap<String, Var>> {
        let mut variables = BTreeMap::new();
        for (name, shape) in shapes(config, width) {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = if shape.len() == 1 {
                let forget = config.hidden..2 * config.hidden;
                (0..count).map(|i| f32::from(name == "lstm.bias" && forget.contains(&i))).collect()
            } else {
                let bound = if name == "embed.weight" { 1.0 } else { (shape[1] as f64).sqrt().recip() };
                let key = random::key(seed, &[random::name(name)]);
                let draw = |i: u64| (bound * (2.0 * random::uniform(random::key(key, &[i])) - 1.0)) as f32;
                (0..count as u64).map(draw).collect()
            };
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
            variables.insert(name.to_string(), Var::from_tensor(&tensor)?);
        }
        Ok(variables)
    }

    /// The same weights looking at other exemplar sets, `[sets, k, width]`.
    ///
    /// # Errors
    /// Features of another width; a network that looks at nothing.
    pub fn looking_at(&self, features: Tensor) -> Result<Self> {
        let weights: BTreeMap<String, Tensor> =
            self.parameters.iter().map(|(name, tensor)| (name.clone(), tensor.detach())).collect();
        if self.sight.is_none() {
            return Err(Error::invalid("a language model looks at nothing", "use a network with features"));
        }
        Self::new(self.config, Some(features), &weights)
    }

    /// Its sizes.
    pub fn config(&self) -> &CaptionerConfig {
        &self.config
    }

    /// Hidden state and cell before the first word.
    fn first(&self, v: Option<&Tensor>, rows: usize, form: Form) -> Result<(Tensor, Tensor)> {
        match (&self.sight, v) {
            (Some(sight), Some(v)) => {
                let mean = v.mean(1)?; // [b, width]
                Ok((sight.first_h.forward(&mean, form)?.tanh()?, sight.first_c.forward(&mean, form)?.tanh()?))
            }
            _ => {
                let zero = Tensor::zeros((rows, self.config.hidden), DType::F32, self.device())?;
                Ok((zero.clone(), zero))
            }
        }
    }

    /// What the network sees while it says the next word: `[b, width]`.
    fn context(&self, sight: &Sight, v: &Tensor, keys: &Tensor, h: &Tensor, tap: &mut Tap) -> Result<Tensor> {
        let form = tap.form();
        let query = sight.query.forward(h, form)?.unsqueeze(1)?; // [b, 1, hidden]
        let scores = sight.score.forward(&keys.broadcast_add(&query)?.tanh()?, form)?.squeeze(2)?; // [b, k]
        let weights = tap.at(self.attention, softmax(&scores, form)?)?; // [b, k]
        let mixed = weights.unsqueeze(1)?.matmul(v)?.squeeze(1)?; // [b, width]
        Ok((sigmoid(&sight.gate.forward(h, form)?)? * mixed)?)
    }
}

impl Network for Captioner {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let tokens = input.tokens()?;
        tokens.check(state.context.as_ref())?;
        self.check(tokens)?;
        let form = tap.form();
        let rows = tokens.rows;
        let seen = match &self.sight {
            None => None,
            Some(sight) => {
                let sets: Vec<u32> = tokens.documents.iter().map(|d| *d as u32).collect();
                let v = sight.features.index_select(&Tensor::from_vec(sets, rows, self.device())?, 0)?; // [b, k, width]
                let keys = sight.key.forward(&v, form)?; // [b, k, hidden]
                Some((sight, v, keys))
            }
        };
        let kept = state.tensors.get("decoder.h").cloned().zip(state.tensors.get("decoder.c").cloned());
        let (mut h, mut c) = match kept {
            Some(kept) => kept,
            None => self.first(seen.as_ref().map(|s| &s.1), rows, form)?,
        };
        let mut before = state.context.clone();
        let start = before.as_ref().map_or(0, |call| call.keys);
        let mut logits = Vec::with_capacity(tokens.pos);
        for t in 0..tokens.pos {
            let column = |at: usize| at * tokens.pos + t;
            let ids: Vec<u32> = (0..rows).map(|r| tokens.ids[column(r)]).collect();
            let real: Vec<bool> = (0..rows).map(|r| tokens.real[column(r)]).collect();
            let call = tokens.next(&ids, &real).context(before.as_ref());
            before = Some(call.clone());
            tap.enter(call);
            tap.tick(Moment { step: start + t, end: start + tokens.pos })?;
            let word = self.embed.index_select(&Tensor::from_vec(ids, rows, self.device())?, 0)?; // [b, embed]
            let x = match &seen {
                None => word,
                Some((sight, v, keys)) => Tensor::cat(&[&word, &self.context(sight, v, keys, &h, tap)?], 1)?,
            };
            (h, c) = self.lstm.step(&x, &h, &c, form)?;
            h = tap.at(self.h, h)?;
            logits.push(tap.at(self.logits, self.out.forward(&h, form)?)?); // [b, vocab]
        }
        if state.keeps() {
            state.tensors.insert("decoder.h".into(), h);
            state.tensors.insert("decoder.c".into(), c);
            state.context = before;
        }
        Ok(Tensor::stack(&logits, 1)?) // [b, t, vocab]
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.embed.device()
    }
}

impl Captioner {
    fn check(&self, tokens: &Tokens) -> Result<()> {
        let sets = self.sight.as_ref().map_or(Ok(usize::MAX), |s| s.features.dim(0))?;
        if let Some(set) = tokens.documents.iter().find(|d| **d as usize >= sets) {
            return Err(Error::invalid(
                format!("a row describes exemplar set {set}; there are {sets}"),
                "number the rows' documents as the sets are numbered",
            ));
        }
        match tokens.ids.iter().find(|id| **id as usize >= self.config.vocab) {
            Some(id) => Err(Error::invalid(
                format!("word {id} is beyond the {} that are known", self.config.vocab),
                "use the vocabulary that the network was trained with",
            )),
            None => Ok(()),
        }
    }
}

fn table(config: &CaptionerConfig, exemplars: Option<usize>) -> SiteTable {
    let mut table = SiteTable::default();
    let mut push = |name: &str, axis: Axis, size: usize, meaning: &'static str| {
        table.push(Site {
            name: name.into(),
            layer: None,
            axes: vec![Axis::Batch, axis],
            sizes: vec![None, Some(size)],
            kind: Kind::Raw,
            on_demand: false,
            timed: true,
            meaning,
        });
    };
    if let Some(exemplars) = exemplars {
        push("decoder.hook_attention", Axis::Exemplar, exemplars, "share of each exemplar in what is seen for a word");
    }
    push("decoder.hook_h", Axis::Width, config.hidden, "hidden state after the word");
    push("logits", Axis::Vocab, config.vocab, "one logit per word that may come next");
    table
}
