//! Direct logit attribution: the stream is a sum, so its logits are a sum over components.
//!
//! ```text
//! resid_final = embed + pos_embed + sum_l (sum_h result_lh + b_O + mlp_out_l)
//! attr_c = (c - mean c) . (g u) / s       u = W_U[correct] - W_U[wrong], g and s the last norm's gain and scale
//! ```
//!
//! No mean is taken away under RMS norms. The scale is that of the run; nothing is folded. Sums are of the logits before any
//! softcap. Where contributions pass a norm of their own before they are added (OLMo-2, Gemma-2), heads and neurons are not
//! told apart; where the stream itself is normed after each addition (OPT-350m) there is no such sum.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::analysis::patching::Pair;
use crate::hook::{Pass, Record, Registry};
use crate::models::execute::observe;
use crate::models::transformer::facts::Placement;
use crate::models::{Decoder, Input, Side, Tokens};
use crate::report::number;
use crate::{Error, Result};

/// Neurons that a result names.
const NEURONS: usize = 16;

/// The parts of a logit difference, means over prompts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Direct {
    /// Prompts.
    pub prompts: usize,
    /// The logit difference before any softcap.
    #[serde(with = "number")]
    pub logits: f64,
    /// The token embedding's part.
    #[serde(with = "number")]
    pub embed: f64,
    /// The position embedding's part, if there is one.
    pub positions: Option<f64>,
    /// Attention's part, layer by layer, biases among it.
    #[serde(with = "number::nested")]
    pub attn: Vec<f64>,
    /// Each head's part, layer by layer; `None` where contributions are normed.
    pub heads: Option<Vec<Vec<f64>>>,
    /// The MLP's part, layer by layer.
    #[serde(with = "number::nested")]
    pub mlp: Vec<f64>,
    /// Neurons with the largest parts.
    pub neurons: Vec<NeuronShare>,
    /// The part of the last norm's and the unembedding's biases.
    #[serde(with = "number")]
    pub bias: f64,
    /// The largest difference, over prompts, between the sum of all parts and the logit difference.
    #[serde(with = "number")]
    pub error: f64,
    /// The largest difference between heads and biases and attention's part, neurons and bias and the MLP's part.
    #[serde(with = "number")]
    pub inner_error: f64,
}

/// A neuron's part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeuronShare {
    /// Its layer.
    pub layer: usize,
    /// Its number.
    pub neuron: usize,
    /// Its part of the logit difference.
    #[serde(with = "number")]
    pub value: f64,
}

/// Sums over prompts.
struct Sums {
    embed: f64,
    positions: f64,
    attn: Vec<f64>,
    heads: Vec<Vec<f64>>,
    mlp: Vec<f64>,
    neurons: Vec<Vec<f64>>,
    bias: f64,
    logits: f64,
}

/// Takes the logit difference of every clean prompt apart.
///
/// # Errors
/// No prompt, one that the network cannot take, or a network whose stream is no sum.
pub fn direct(net: &Decoder, pairs: &[Pair]) -> Result<Direct> {
    let facts = net.facts();
    if pairs.is_empty() {
        return Err(Error::invalid("no prompt was given", "give a prompt and two answers"));
    }
    if facts.placement == Placement::AfterAdd {
        return Err(Error::invalid(
            "this network norms its stream after every addition, so that its logits are no sum over components",
            "use `patch`, which asks what a component does rather than what it adds",
        ));
    }
    let whole = !facts.placement.norms_contributions();
    let (layers, heads) = (facts.layers.len(), facts.n_heads);
    let mut sums = Sums {
        embed: 0.0,
        positions: 0.0,
        attn: vec![0.0; layers],
        heads: vec![vec![0.0; heads]; layers],
        mlp: vec![0.0; layers],
        neurons: vec![vec![0.0; facts.d_mlp]; layers],
        bias: 0.0,
        logits: 0.0,
    };
    let (mut error, mut inner_error) = (0f64, 0f64);
    let outputs = match whole {
        true => (0..layers).map(|l| net.neuron_outputs(l)).collect::<Result<Vec<_>>>()?,
        false => Vec::new(),
    };
    for pair in pairs {
        let run = Look::new(net, pair, whole)?;
        let embed = run.part("hook_embed")?;
        let positions = if run.has("hook_pos_embed") { run.part("hook_pos_embed")? } else { 0.0 };
        let mut sum = embed + positions + run.bias;
        sums.embed += embed;
        sums.positions += positions;
        for layer in 0..layers {
            let (attn, mlp) = (
                run.part(&format!("blocks.{layer}.hook_attn_out"))?,
                run.part(&format!("blocks.{layer}.hook_mlp_out"))?,
            );
            sum += attn + mlp;
            sums.attn[layer] += attn;
            sums.mlp[layer] += mlp;
            if let Some(outputs) = outputs.get(layer) {
                let of_heads = run.parts(&format!("blocks.{layer}.attn.hook_result"), facts.residual_multiplier)?;
                let bias = |linear: Option<&crate::nn::Linear>| -> Result<f64> {
                    let bias = linear.and_then(|l| l.bias.as_ref());
                    bias.map_or(Ok(0.0), |b| Ok(facts.residual_multiplier * run.along(b)?))
                };
                let rest = bias(net.attention_output(layer))?;
                inner_error = inner_error.max((of_heads.iter().sum::<f64>() + rest - attn).abs());
                sums.heads[layer].iter_mut().zip(&of_heads).for_each(|(s, x)| *s += x);
                let per_unit = outputs.matmul(&run.direction.unsqueeze(1)?)?.squeeze(1)?; // [d_mlp]
                let post = run.seen(&format!("blocks.{layer}.mlp.hook_post"))?.flatten_all()?;
                let of_neurons: Vec<f64> = ((per_unit * post)?.to_dtype(DType::F64)? / run.scale)?.to_vec1()?;
                let rest = bias(net.mlp_output(layer))?;
                inner_error = inner_error.max((of_neurons.iter().sum::<f64>() + rest - mlp).abs());
                sums.neurons[layer].iter_mut().zip(&of_neurons).for_each(|(s, x)| *s += x);
            }
        }
        sums.bias += run.bias;
        sums.logits += run.logits;
        error = error.max((sum - run.logits).abs());
    }
    let n = pairs.len() as f64;
    let mean = |values: Vec<f64>| -> Vec<f64> { values.into_iter().map(|v| v / n).collect() };
    let mut neurons: Vec<NeuronShare> = sums
        .neurons
        .iter()
        .enumerate()
        .flat_map(|(layer, values)| {
            values.iter().enumerate().map(move |(neuron, v)| NeuronShare { layer, neuron, value: v / n })
        })
        .collect();
    neurons.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    neurons.truncate(if whole { NEURONS } else { 0 });
    Ok(Direct {
        prompts: pairs.len(),
        logits: sums.logits / n,
        embed: sums.embed / n,
        positions: facts.embed.positions.map(|_| sums.positions / n),
        attn: mean(sums.attn),
        heads: whole.then(|| sums.heads.into_iter().map(mean).collect()),
        mlp: mean(sums.mlp),
        neurons,
        bias: sums.bias / n,
        error,
        inner_error,
    })
}

/// One prompt's last position.
struct Look {
    records: crate::hook::Records,
    /// The direction of the stream that raises the difference, `[d_model]`.
    direction: Tensor,
    scale: f64,
    bias: f64,
    logits: f64,
}

impl Look {
    fn new(net: &Decoder, pair: &Pair, whole: bool) -> Result<Self> {
        let facts = net.facts();
        let mut sites = vec!["hook_embed".to_string(), "unembed.hook_out".to_string()];
        if facts.embed.positions.is_some() {
            sites.push("hook_pos_embed".into());
        }
        if facts.head.norm {
            sites.push("ln_final.hook_scale".into());
        }
        for layer in 0..facts.layers.len() {
            sites.extend(["hook_attn_out", "hook_mlp_out"].map(|part| format!("blocks.{layer}.{part}")));
            if whole {
                sites.extend(["attn.hook_result", "mlp.hook_post"].map(|part| format!("blocks.{layer}.{part}")));
            }
        }
        let records = sites.iter().map(|s| Ok(Record::whole(format!("{s}@last").parse()?))).collect::<Result<_>>()?;
        let input = Input::Tokens(Tokens::from_rows(std::slice::from_ref(&pair.clean), Side::Right, 0)?);
        let records = observe(net, &input, &Pass { records, ..Pass::default() }, &Registry::elementary())?.records;
        let answers = [pair.correct, pair.wrong];
        let directions = net.logit_directions(&answers)?;
        let ids = Tensor::from_slice(&answers, 2, directions.device())?;
        let difference = |x: &Tensor| -> Result<f64> {
            let two: Vec<f32> = x.flatten_all()?.index_select(&ids, 0)?.to_dtype(DType::F32)?.to_vec1()?;
            Ok(f64::from(two[0]) - f64::from(two[1]))
        };
        let scale = match facts.head.norm {
            true => f64::from(records.get("ln_final.hook_scale")?.flatten_all()?.to_vec1::<f32>()?[0]),
            false => 1.0,
        };
        Ok(Self {
            direction: (directions.get(0)? - directions.get(1)?)?,
            scale,
            bias: difference(&net.logit_bias()?)?,
            logits: difference(records.get("unembed.hook_out")?)? / facts.head.divisor,
            records,
        })
    }

    fn has(&self, site: &str) -> bool {
        self.records.tensors.contains_key(site)
    }

    fn seen(&self, site: &str) -> Result<&Tensor> {
        self.records.get(site)
    }

    /// What a vector `[d_model]` of the stream adds.
    fn along(&self, x: &Tensor) -> Result<f64> {
        let product = (x.flatten_all()?.to_dtype(DType::F64)? * self.direction.to_dtype(DType::F64)?)?;
        Ok(product.sum_all()?.to_scalar::<f64>()? / self.scale)
    }

    fn part(&self, site: &str) -> Result<f64> {
        self.along(self.seen(site)?)
    }

    /// What each of `[.., n, d_model]` adds, times a factor.
    fn parts(&self, site: &str, factor: f64) -> Result<Vec<f64>> {
        let x = self.seen(site)?;
        let x = x.flatten_to(x.rank() - 2)?.to_dtype(DType::F64)?; // [n, d_model]
        let products = x.matmul(&self.direction.to_dtype(DType::F64)?.unsqueeze(1)?)?.squeeze(1)?;
        Ok((products * (factor / self.scale))?.to_vec1()?)
    }
}
