//! What trained networks are like: their timescales, what they still know, what damage does to them.

use std::collections::BTreeMap;

use candle_core::Tensor;
use nalgebra::{DMatrix, SymmetricEigen};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::fit::{autocorrelation, single, timescale};
use super::learn::{run, says};
use super::task::Task;
use crate::Result;
use crate::analysis::measure::mean;
use crate::hook::random::{self, Stream};
use crate::hook::{Edit, Output};
use crate::models::timescale_rnn::CLASSES;
use crate::models::{Network, TimescaleRnn};
use crate::nn::readout::{Ridge, read_out};
use crate::report::number;

/// Steps before anything is measured.
const BURN_IN: usize = 100;
/// Ridge of fresh readouts.
const LAMBDA: f64 = 1e-3;

/// A number of every unit, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    #[serde(with = "number")]
    pub mean: f64,
    /// Standard deviation.
    #[serde(with = "number")]
    pub sd: f64,
    /// Median.
    #[serde(with = "number")]
    pub median: f64,
}

impl Spread {
    /// Of these values.
    pub fn of(values: &[f64]) -> Self {
        let mean = mean(values);
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
        Self { mean, sd: variance.sqrt(), median }
    }
}

/// The timescales of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timescales {
    /// Time constants of the units, as they act.
    pub tau: Vec<f64>,
    /// Timescales of their autocorrelations; units that never move have none.
    pub net: Vec<f64>,
    /// The same from a single exponential each.
    pub single: Vec<f64>,
    /// That of the summed units.
    #[serde(with = "number")]
    pub population: f64,
    /// Principal components for 90 % of the variance.
    pub dimension: usize,
}

/// Lets a network run on bits of the task and fits its autocorrelations.
///
/// # Errors
/// Edits that do not fit it.
pub fn timescales(
    net: &TimescaleRnn,
    task: Task,
    edits: &[Edit],
    (rows, steps): (usize, usize),
    seed: u64,
) -> Result<Timescales> {
    let n = net.config().neurons;
    let mut stream = Stream::new(seed, &[random::name("timescales")]);
    let trials = task.trials(rows, BURN_IN + steps, n, &mut stream);
    let sites = [format!("rnn.hook_state@t={BURN_IN}.."), "rnn.hook_tau@t=0".to_string()];
    let (_, records) = run(net, &trials, edits, &sites, Output::Unread)?;
    let tau: Vec<f32> = records.get("rnn.hook_tau")?.flatten_all()?.to_vec1()?;
    let states: Vec<f32> = records.get("rnn.hook_state")?.flatten_all()?.to_vec1()?; // [steps, rows, n]
    let course = |row: usize, unit: usize| -> Vec<f64> {
        (0..steps).map(|t| f64::from(states[(t * rows + row) * n + unit])).collect()
    };
    let of_unit = |unit: usize| autocorrelation(&(0..rows).map(|row| course(row, unit)).collect::<Vec<_>>());
    let summed = |row: usize| -> Vec<f64> {
        let steps = states.chunks_exact(rows * n);
        steps.map(|step| step[row * n..][..n].iter().map(|h| f64::from(*h)).sum()).collect()
    };
    let correlations: Vec<Vec<f64>> = (0..n).filter_map(of_unit).collect();
    let population = autocorrelation(&(0..rows).map(summed).collect::<Vec<_>>());
    Ok(Timescales {
        tau: tau.into_iter().map(f64::from).collect(),
        net: correlations.iter().map(|c| timescale(c)).collect(),
        single: correlations.iter().filter_map(|c| single(c).parts.first().map(|part| part.1)).collect(),
        population: population.map_or(f64::NAN, |c| timescale(&c)),
        dimension: dimension(&states, n),
    })
}

/// Principal components of samples `[.., n]` that hold 90 % of their variance.
fn dimension(states: &[f32], n: usize) -> usize {
    let samples = DMatrix::from_row_iterator(states.len() / n, n, states.iter().map(|h| f64::from(*h)));
    let means = samples.row_mean();
    let centred = DMatrix::from_fn(samples.nrows(), n, |i, j| samples[(i, j)] - means[j]);
    let mut variances: Vec<f64> = SymmetricEigen::new(centred.tr_mul(&centred)).eigenvalues.iter().copied().collect();
    variances.sort_by(|a, b| b.total_cmp(a));
    let whole: f64 = variances.iter().sum();
    let held = |count: usize| variances[..count].iter().sum::<f64>();
    (0..=n).find(|count| held(*count) >= 0.9 * whole).unwrap_or(n)
}

/// The accuracy of one head in every step of long sequences, ten of them.
///
/// # Errors
/// Edits that do not fit the network.
pub fn long_run(
    net: &TimescaleRnn,
    task: Task,
    (head, n): (usize, usize),
    edits: &[Edit],
    steps: usize,
    seed: u64,
) -> Result<f64> {
    let rows = 10;
    let whole = BURN_IN + steps;
    let mut stream = Stream::new(seed, &[random::name("long run")]);
    let trials = task.trials(rows, whole, net.config().neurons, &mut stream);
    let site = format!("heads.{head}.hook_logits");
    let (_, records) = run(net, &trials, edits, &[format!("{site}@t={BURN_IN}..")], Output::Unread)?;
    let logits: Vec<f32> = records.get(&site)?.flatten_all()?.to_vec1()?; // [steps, rows, 2]
    let right = |at: usize| {
        let (t, row) = (BURN_IN + at / rows, at % rows);
        says(&logits[CLASSES * at..]) == task.label(&trials.series.values[row * whole..][..t + 1], n)
    };
    Ok((0..steps * rows).filter(|at| right(*at)).count() as f64 / (steps * rows) as f64)
}

/// Holds units at 0, from their beginning on; nothing for none.
///
/// # Errors
/// A unit that is named twice.
pub fn silence(units: &[usize]) -> Result<Vec<Edit>> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let mut units = units.to_vec();
    units.sort_unstable();
    let list = units.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let begin = Edit::new(format!("rnn.hook_prev[neuron={list}]@t=0").parse()?, "zero");
    Ok(vec![begin, Edit::new(format!("rnn.hook_state[neuron={list}]").parse()?, "zero")])
}

/// Holds the time constants of units at values of their own.
///
/// # Errors
/// None but defects.
pub fn hold_each(tau: &[f64]) -> Result<Edit> {
    Ok(Edit::new("rnn.hook_tau".parse()?, "set").with("value", json!(tau)))
}

/// The network with W moved by `size` of its norm in a random direction.
///
/// # Errors
/// None but Candle's own.
pub fn perturbed(net: &TimescaleRnn, size: f64, stream: &mut Stream) -> Result<TimescaleRnn> {
    let mut weights: BTreeMap<String, Tensor> = net.parameters().iter().cloned().collect();
    let n = net.config().neurons;
    if let Some(own) = weights.get_mut("rnn.weight") {
        let mut values: Vec<f32> = own.flatten_all()?.to_vec1()?;
        values.iter_mut().step_by(n + 1).for_each(|w| *w = 0.0);
        let mut moved: Vec<f64> = values.iter().map(|_| random::normal(stream.bits())).collect();
        moved.iter_mut().step_by(n + 1).for_each(|d| *d = 0.0);
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let scale = size * norm(&mut values.iter().map(|w| f64::from(*w))) / norm(&mut moved.iter().copied());
        let new: Vec<f32> = values.iter().zip(moved).map(|(w, d)| (f64::from(*w) + scale * d) as f32).collect();
        *own = Tensor::from_vec(new, own.shape(), own.device())?;
    }
    TimescaleRnn::new(*net.config(), &weights)
}

/// Time constants lengthened by `size` of their norm in a random direction.
pub fn lengthened(tau: &[f64], size: f64, stream: &mut Stream) -> Vec<f64> {
    let moved: Vec<f64> = tau.iter().map(|_| random::normal(stream.bits()).abs()).collect();
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let scale = size * norm(tau) / norm(&moved);
    tau.iter().zip(moved).map(|(tau, d)| tau + scale * d).collect()
}

/// The accuracy of a fresh linear readout of frozen states on another N.
///
/// # Errors
/// Edits that do not fit the network.
pub fn fresh_readout(
    net: &TimescaleRnn,
    task: Task,
    n: usize,
    edits: &[Edit],
    (learn, test): (usize, usize),
    seed: u64,
) -> Result<f64> {
    let width = net.config().neurons + 1;
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    let mut stream = Stream::new(seed, &[random::name("fresh readout")]);
    let rows = 50;
    while labels.len() < learn + test {
        let steps = super::task::length(n, &mut stream);
        let trials = task.trials(rows, steps, width - 1, &mut stream);
        let (_, records) = run(net, &trials, edits, &["rnn.hook_state@t=-1".to_string()], Output::Unread)?;
        let states: Vec<f32> = records.get("rnn.hook_state")?.flatten_all()?.to_vec1()?;
        for (state, seen) in states.chunks_exact(width - 1).zip(trials.series.values.chunks_exact(steps)) {
            features.extend(state.iter().map(|h| f64::from(*h)).chain([1.0]));
            labels.push(2.0 * f64::from(task.label(seen, n)) - 1.0);
        }
    }
    let weights = Ridge::new(&features[..learn * width], width, LAMBDA)?.fit(&labels[..learn])?;
    let read = read_out(&features[learn * width..], &weights);
    let right = read.iter().zip(&labels[learn..]).filter(|(y, label)| *y * *label > 0.0).count();
    Ok(right as f64 / read.len() as f64)
}
