//! Analytic gradients of sites and weights against central finite differences, in f64.

mod passes;
mod sites;
mod weights;

use std::collections::BTreeMap;

use candle_core::{D, DType, Tensor, Var};
use optrode::hook::{Edit, Pass, Values};
use optrode::models::{Decoder, Gradients, Input, Network, Side, Tokens, gradients};

use crate::common::{batch, config, folders, normal, pass, plan, see_with, text, weights};

/// Every kind of norm placement, attention bias, rotation, projection layout and gating.
const NETWORKS: [&str; 18] = [
    "bloom",
    "falcon-alibi",
    "falcon-new",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "gpt_neox",
    "gptj",
    "granite",
    "llama",
    "llama-dynamic",
    "olmo",
    "olmo2",
    "opt-350m",
    "phi-qknorm",
    "phi3",
    "qwen3",
    "stablelm-parallel",
];

/// Half the step of a central difference.
const STEP: f64 = 1e-5;

/// The metric is smooth and of order 1; its second-order error in the step and its rounding lie far below this.
const TOLERANCE: f64 = 1e-6;

fn tokens() -> Tokens {
    batch(&[text(1, 5), text(2, 3)], Side::Left)
}

/// The weights of a golden network in f64.
fn wide(name: &str) -> (serde_json::Map<String, serde_json::Value>, BTreeMap<String, Tensor>) {
    let folder = folders().into_iter().find(|f| f.ends_with(name)).unwrap();
    let wide = |(name, w): (String, Tensor)| (name, w.to_dtype(DType::F64).unwrap());
    (config(&folder), weights(&folder).into_iter().map(wide).collect())
}

/// A random linear functional of the log-probabilities at real positions.
fn metric(logits: &Tensor) -> optrode::Result<Tensor> {
    let top = logits.max_keepdim(D::Minus1)?.detach();
    let shifted = logits.broadcast_sub(&top)?;
    let total = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let chances = shifted.broadcast_sub(&total)?;
    let real: Vec<f64> = tokens().real.iter().map(|r| f64::from(u8::from(*r))).collect();
    let real = Tensor::from_vec(real, (tokens().rows, tokens().pos, 1), logits.device())?;
    let weights = (normal(77, logits.dims()).to_dtype(DType::F64)? * 0.1)?.broadcast_mul(&real)?;
    Ok((chances * weights)?.sum_all()?)
}

/// The metric of a run without a graph to differentiate.
fn value(net: &Decoder, edits: &[Edit], stored: &BTreeMap<String, Tensor>) -> f64 {
    let plan = plan(net, &pass(&[], edits), stored).differentiable();
    let logits = see_with(net, &tokens(), plan).logits;
    metric(&logits).unwrap().to_scalar().unwrap()
}

fn differentiate(net: &Decoder, pass: &Pass) -> Gradients {
    let registry = optrode::hook::Registry::elementary();
    gradients(net, &Input::Tokens(tokens()), pass, &registry, Values::default(), metric).unwrap()
}

/// Every site asked for, nothing edited.
fn all_sites() -> Pass {
    Pass { gradients: vec!["**".parse().unwrap()], ..Pass::default() }
}

fn doubles(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The error of a gradient against a difference, in units of the largest of both, a part of `scale`, and a thousandth.
fn error(analytic: f64, numeric: f64, scale: f64) -> f64 {
    let unit = analytic.abs().max(numeric.abs()).max(0.01 * scale).max(1e-3);
    let error = (analytic - numeric).abs() / unit;
    if error.is_nan() { f64::INFINITY } else { error }
}

fn variables(weights: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let variable = |(name, w): (&String, &Tensor)| (name.clone(), Var::from_tensor(w).unwrap().into_inner());
    weights.iter().map(variable).collect()
}

fn names(net: &Decoder) -> Vec<String> {
    net.parameters().iter().map(|(name, _)| name.clone()).collect()
}
