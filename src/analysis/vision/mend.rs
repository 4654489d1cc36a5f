//! Mending a classifier by its labels: candidates are silenced in the order of what each does on validation images, as many
//! as are best there together; and the same in its weights.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::cuts::{Curve, right, silencing};
use super::units::Unit;
use crate::analysis::{Estimate, Figures};
use crate::data::ImageSet;
use crate::models::{Convolutional, Network};
use crate::report::chart::{Axis, Chart, Line, Plot};
use crate::report::{Better, Block, Cell, Column, Report, Table};
use crate::{Error, Result};

/// Most units that are silenced together.
const MOST: usize = 24;

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The candidates in the order of validation accuracy with each alone silenced, best first, and how many of them are best
/// together.
///
/// # Errors
/// Images without labels.
pub fn search<'a>(
    net: &Convolutional,
    candidates: &[&'a Unit],
    validation: &ImageSet,
) -> Result<(Vec<&'a Unit>, usize)> {
    let accuracy = |units: &[&Unit]| Ok::<_, Error>(mean(&right(net, validation, &silencing(units)?)?));
    let mut alone = candidates.iter().map(|u| Ok((accuracy(&[*u])?, *u))).collect::<Result<Vec<(f64, &Unit)>>>()?;
    alone.sort_by(|a, b| b.0.total_cmp(&a.0));
    let order: Vec<&Unit> = alone.into_iter().map(|x| x.1).take(MOST).collect();
    let mut best = (accuracy(&[])?, 0);
    for n in 1..=order.len() {
        let score = accuracy(&order[..n])?;
        if score > best.0 {
            best = (score, n);
        }
    }
    Ok((order, best.1))
}

/// What mending did to a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repair {
    /// The word that labels were searched for.
    pub word: String,
    /// Units whose label has it.
    pub candidates: usize,
    /// Those that were silenced.
    pub silenced: Vec<Unit>,
    /// Accuracy on test images before.
    pub before: Estimate,
    /// After.
    pub after: Estimate,
    /// With as many random units silenced.
    pub random: Estimate,
    /// Accuracy on test images against units silenced.
    pub curve: Curve,
}

/// Silences what helps among `candidates`; `chance` are units in random orders.
///
/// # Errors
/// No candidates, images without labels.
pub fn repair(
    net: &Convolutional,
    word: &str,
    candidates: &[&Unit],
    chance: &[Vec<&Unit>],
    validation: &ImageSet,
    test: &ImageSet,
    seed: u64,
) -> Result<Repair> {
    if candidates.is_empty() {
        return Err(Error::invalid(
            format!("no unit has a label that holds and has the word `{word}`"),
            "name a word of the labels that are listed",
        ));
    }
    let (order, best) = search(net, candidates, validation)?;
    let on = |units: &[&Unit]| right(net, test, &silencing(units)?);
    let points = (0..=order.len()).map(|n| Ok((n, mean(&on(&order[..n])?)))).collect::<Result<_>>()?;
    let mut random = Vec::new();
    for order in chance {
        random.extend(on(&order[..best.min(order.len())])?);
    }
    Ok(Repair {
        word: word.into(),
        candidates: candidates.len(),
        silenced: order[..best].iter().map(|u| (*u).clone()).collect(),
        before: Estimate::mean(&on(&[])?, seed),
        after: Estimate::mean(&on(&order[..best])?, seed),
        random: Estimate::mean(&random, seed),
        curve: Curve { name: format!("units labelled `{word}`"), points },
    })
}

/// The same network with the units silenced in its weights: the filter (or the gain of its norm) and its bias are 0, so that
/// the ReLU gives exactly 0.
///
/// # Errors
/// A unit at the end of a shortcut, whose sum no weight can silence.
pub fn baked(net: &Convolutional, units: &[Unit]) -> Result<Convolutional> {
    let config = net.config();
    let mut weights: BTreeMap<String, Tensor> =
        net.parameters().iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    for unit in units {
        let layer = config.layers.get(unit.layer).filter(|layer| unit.channel < layer.channels).ok_or_else(|| {
            Error::invalid(format!("the network has no unit {}", unit.name()), "use units of this very network")
        })?;
        if layer.shortcut {
            return Err(Error::invalid(
                format!("{} ends a shortcut: what is added there no weight can silence", unit.name()),
                "keep the edit as a file, or leave the unit out",
            ));
        }
        let prefix = layer.norm.as_ref().unwrap_or(&layer.name);
        for name in [format!("{prefix}.weight"), format!("{prefix}.bias")] {
            // A convolution without a bias has 0 there already.
            let Some(tensor) = weights.get_mut(&name) else { continue };
            let keep: Vec<f32> = (0..layer.channels).map(|c| f32::from(u8::from(c != unit.channel))).collect();
            let mut shape = vec![1; tensor.rank()];
            shape[0] = layer.channels;
            *tensor = tensor.broadcast_mul(&Tensor::from_vec(keep, shape, tensor.device())?)?;
        }
    }
    Convolutional::new(config.clone(), &weights)
}

impl Report for Repair {
    fn blocks(&self) -> Vec<Block> {
        let n = self.silenced.len();
        let columns = vec![Column::new("network"), Column::new("accuracy on test images").better(Better::More)];
        let rows = vec![
            vec![Cell::text("as it is"), self.before.cell(3)],
            vec![Cell::text(format!("{n} units labelled `{}` silenced", self.word)), self.after.cell(3)],
            vec![Cell::text(format!("{n} random units silenced")), self.random.cell(3)],
        ];
        let points = self.curve.points.iter().map(|(n, a)| (*n as f64, *a)).collect();
        let names: Vec<String> = self.silenced.iter().map(Unit::name).collect();
        vec![
            Block::Table(Table { columns, rows }),
            Block::text(format!("Silenced: {}.", if n == 0 { "none".into() } else { names.join(", ") })),
            Block::Chart(Chart {
                title: format!("Accuracy with units labelled `{}` silenced", self.word),
                caption: "Test images; units in the order of their effect on validation images.".into(),
                plot: Plot::Lines {
                    x: Axis::new("units silenced"),
                    y: Axis::new("accuracy"),
                    series: vec![Line { name: self.curve.name.clone(), points, band: Vec::new(), reference: false }],
                },
            }),
        ]
    }
}

impl Figures for Repair {
    fn figures(&self) -> Vec<(String, f64)> {
        vec![
            ("before".into(), self.before.value),
            ("after".into(), self.after.value),
            ("random".into(), self.random.value),
        ]
    }
}
