//! A linear probe: whether the residual stream still says the answer that the model no longer gives.
//!
//! At the last token of a question the stream after each layer is regressed on the first token of the answer (ridge
//! regression on one-hot targets, in its dual form), under the edits; the likeliest class is what the probe answers. Layer
//! and ridge are chosen on validation questions, and the figure is of other ones.

use std::collections::BTreeMap;

use candle_core::DType;
use nalgebra::{Cholesky, DMatrix};
use serde::{Deserialize, Serialize};

use super::methods::Fitted;
use super::score::BATCH;
use crate::analysis::{Estimate, registry};
use crate::data::Item;
use crate::hook::{Output, Pass, Record, Run};
use crate::models::{Input, Job, Model, Side, Tokens, execute};
use crate::{Error, Result};

/// Ridges that are tried, in mean squared lengths of a centred vector.
const RIDGES: [f64; 4] = [1e-4, 1e-3, 1e-2, 1e-1];

/// What probes read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// Different first tokens of answers among the fitted questions.
    pub classes: usize,
    /// What always naming the commonest of them gives.
    pub chance: Estimate,
    /// The model as it is.
    pub before: Read,
    /// Under every chosen setting, in the order of [`Forgotten::chosen`](super::Forgotten::chosen).
    pub after: Vec<Read>,
}

/// What one probe reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Read {
    /// The layer after which the stream is read.
    pub layer: usize,
    /// Share of questions whose answer begins as the probe says.
    pub right: Estimate,
}

/// Questions of the three parts, of which the first are fitted to, the second choose and the third are reported.
pub(super) struct Questions<'a> {
    pub model: &'a Model,
    pub parts: [&'a [Item]; 3],
    /// Layers after which the stream is read.
    pub layers: &'a [usize],
    pub seed: u64,
}

impl Questions<'_> {
    /// Probes the model as it is and under each of `edits`. `None` where all answers begin alike.
    ///
    /// # Errors
    /// Whatever the network and the edits refuse.
    pub(super) fn probe(&self, edits: &[Fitted]) -> Result<Option<Probed>> {
        let labels = self.parts.map(|items| items.iter().map(|item| self.label(item)).collect::<Result<Vec<u32>>>());
        let [fit, validation, test] = labels;
        let labels = [fit?, validation?, test?];
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        labels[0].iter().for_each(|label| *counts.entry(*label).or_default() += 1);
        let Some(commonest) = counts.iter().max_by_key(|(label, n)| (**n, std::cmp::Reverse(**label))) else {
            return Ok(None);
        };
        if counts.len() < 2 || labels[1].is_empty() || labels[2].is_empty() {
            return Ok(None);
        }
        let always: Vec<f64> = labels[2].iter().map(|label| f64::from(u8::from(label == commonest.0))).collect();
        Ok(Some(Probed {
            classes: counts.len(),
            chance: Estimate::mean(&always, self.seed),
            before: self.read(&Fitted::default(), &labels)?,
            after: edits.iter().map(|fitted| self.read(fitted, &labels)).collect::<Result<_>>()?,
        }))
    }

    fn label(&self, item: &Item) -> Result<u32> {
        let ids = self.model.tokenizer()?.encode(item.answer(), false)?;
        ids.first().copied().ok_or_else(|| {
            Error::invalid(format!("the answer to `{}` has no token", item.prompt), "give every question an answer")
        })
    }

    /// The probe that does best on validation questions.
    fn read(&self, fitted: &Fitted, labels: &[Vec<u32>; 3]) -> Result<Read> {
        let mut streams = Vec::with_capacity(3);
        for items in self.parts {
            streams.push(self.streams(items, fitted)?);
        }
        let (mut best, mut read) = (f64::NEG_INFINITY, None);
        for (l, layer) in self.layers.iter().enumerate() {
            for ridge in RIDGES {
                let Some(probe) = Probe::fit(&streams[0][l], &labels[0], ridge) else { continue };
                let on_validation = mean(&probe.right(&streams[1][l], &labels[1]));
                if on_validation > best {
                    let right = Estimate::mean(&probe.right(&streams[2][l], &labels[2]), self.seed);
                    (best, read) = (on_validation, Some(Read { layer: *layer, right }));
                }
            }
        }
        read.ok_or_else(|| {
            Error::invalid("`hook_resid_post` is not finite under the edits", "run `doctor` on the model")
        })
    }

    /// The stream at the last token of every question, `[layers]` of `[questions, d_model]`.
    fn streams(&self, items: &[Item], fitted: &Fitted) -> Result<Vec<DMatrix<f64>>> {
        let site = |layer: &usize| format!("blocks.{layer}.hook_resid_post");
        let record = |layer: &usize| Ok(Record::whole(format!("{}@-1", site(layer)).parse()?));
        let pass = Pass {
            name: "probe".into(),
            records: self.layers.iter().map(record).collect::<Result<_>>()?,
            edits: fitted.edits.clone(),
            output: Output::Unread,
            seed: self.seed,
            ..Pass::default()
        };
        let run = Run { passes: vec![pass] };
        let d_model = self.model.decoder.facts().d_model;
        let mut values = vec![Vec::new(); self.layers.len()];
        for (at, batch) in items.chunks(BATCH).enumerate() {
            let rows: Vec<Vec<u32>> =
                batch.iter().map(|item| self.model.encode(&item.prompt)).collect::<Result<_>>()?;
            let mut tokens = Tokens::from_rows(&rows, Side::Right, self.model.pad())?;
            tokens.documents = batch.iter().zip(at * BATCH..).map(|(_, i)| i as u64).collect();
            tokens.special = self.model.special();
            let inputs = [Input::Tokens(tokens)];
            let job = Job { run: &run, inputs: &inputs, stored: fitted.tensors.clone(), registry: &registry() };
            let records = execute(&self.model.decoder, job)?.passes.remove(0).records;
            for (layer, values) in self.layers.iter().zip(&mut values) {
                let stream = records.get(&site(layer))?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?; // [rows d_model]
                values.extend(stream.into_iter().map(f64::from));
            }
        }
        Ok(values.into_iter().map(|v| DMatrix::from_row_iterator(items.len(), d_model, v)).collect())
    }
}

/// w = X' (X X' + lambda I)^-1 Y of centred X and one-hot Y.
struct Probe {
    center: DMatrix<f64>,
    /// `[d_model, classes]`
    weights: DMatrix<f64>,
    /// The share of each class, `[1, classes]`.
    bias: DMatrix<f64>,
    classes: Vec<u32>,
}

impl Probe {
    /// `None` where the vectors are not finite or all the same.
    fn fit(x: &DMatrix<f64>, labels: &[u32], ridge: f64) -> Option<Self> {
        let mut classes = labels.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let one_hot = |row: usize, class: usize| f64::from(u8::from(labels[row] == classes[class]));
        let y = DMatrix::from_fn(x.nrows(), classes.len(), one_hot);
        let (center, bias) = (row_mean(x), row_mean(&y));
        let (x, y) = (centred(x, &center), centred(&y, &bias));
        let mut kernel = &x * x.transpose();
        let length = kernel.trace() / x.nrows() as f64;
        if !length.is_finite() || length == 0.0 {
            return None;
        }
        (0..x.nrows()).for_each(|i| kernel[(i, i)] += ridge * length);
        let weights = x.transpose() * Cholesky::new(kernel)?.solve(&y);
        Some(Self { center, weights, bias, classes })
    }

    /// 1 for each vector whose class it says, else 0.
    fn right(&self, x: &DMatrix<f64>, labels: &[u32]) -> Vec<f64> {
        let said = centred(x, &self.center) * &self.weights;
        let score = |row: usize, class: usize| said[(row, class)] + self.bias[(0, class)];
        let one = |(row, label): (usize, &u32)| {
            let best = (0..self.classes.len()).max_by(|a, b| score(row, *a).total_cmp(&score(row, *b)));
            f64::from(u8::from(best.is_some_and(|class| self.classes[class] == *label)))
        };
        labels.iter().enumerate().map(one).collect()
    }
}

fn row_mean(x: &DMatrix<f64>) -> DMatrix<f64> {
    DMatrix::from_fn(1, x.ncols(), |_, j| x.column(j).mean())
}

fn centred(x: &DMatrix<f64>, center: &DMatrix<f64>) -> DMatrix<f64> {
    DMatrix::from_fn(x.nrows(), x.ncols(), |i, j| x[(i, j)] - center[(0, j)])
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
