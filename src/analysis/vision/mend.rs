//! Mending a classifier by its labels: candidates are silenced in the order of what each does on validation images, as many
//! as are best there together; and the same in its weights.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::cuts::{Curve, at_random, right, silencing};
use super::units::Unit;
use crate::analysis::measure::mean;
use crate::analysis::{Estimate, Figures};
use crate::data::ImageSet;
use crate::models::{Convolutional, Network};
use crate::report::{Better, Block, Cell, Column, Report, Table};
use crate::{Error, Result};

/// Most units that are silenced together.
const MOST: usize = 24;
/// Random orders that mending is compared with.
const DRAWS: u64 = 5;

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
    /// What the labels of the candidates name.
    pub word: String,
    /// Units whose label names it.
    pub candidates: usize,
    /// Those that were silenced.
    pub silenced: Vec<Unit>,
    /// Accuracy on test images before.
    pub before: Estimate,
    /// After.
    pub after: Estimate,
    /// With as many random units silenced, mean over draws.
    pub random: Estimate,
    /// After less before, image by image.
    pub gain: Estimate,
    /// The same for random units.
    pub random_gain: Estimate,
    /// Accuracy on test images against units silenced: the candidates in their order, random units.
    pub curves: [Curve; 2],
}

/// Silences what helps among `candidates`; `all` are the units that random ones are drawn from. Without a candidate that
/// helps, nothing is silenced.
///
/// # Errors
/// Images without labels.
pub fn repair(
    net: &Convolutional,
    word: &str,
    candidates: &[&Unit],
    all: &[Unit],
    [validation, test]: [&ImageSet; 2],
    seed: u64,
) -> Result<Repair> {
    let (order, best) = search(net, candidates, validation)?;
    let on = |units: &[&Unit]| right(net, test, &silencing(units)?);
    let points = points(net, &order, test)?;
    let (before, after) = (on(&[])?, on(&order[..best])?);
    let mut random = vec![0.0; before.len()];
    let mut by_chance = vec![0.0; points.len()];
    for draw in 0..DRAWS {
        let chance = at_random(all, seed, draw);
        let first = |n: usize| &chance[..n.min(chance.len())];
        random.iter_mut().zip(on(first(best))?).for_each(|(sum, right)| *sum += right / DRAWS as f64);
        for (n, sum) in by_chance.iter_mut().enumerate() {
            *sum += mean(&on(first(n))?) / DRAWS as f64;
        }
    }
    let estimate = |values: &[f64]| Estimate::mean(values, seed);
    let over = |values: &[f64]| estimate(&values.iter().zip(&before).map(|(a, b)| a - b).collect::<Vec<_>>());
    Ok(Repair {
        word: word.into(),
        candidates: candidates.len(),
        silenced: order[..best].iter().map(|u| (*u).clone()).collect(),
        gain: over(&after),
        random_gain: over(&random),
        before: estimate(&before),
        after: estimate(&after),
        random: estimate(&random),
        curves: [
            Curve { name: format!("units whose label names `{word}`"), points },
            Curve { name: "random units".into(), points: by_chance.into_iter().enumerate().collect() },
        ],
    })
}

/// Accuracy with the first n units of an order silenced, for every n.
///
/// # Errors
/// Images without labels.
pub fn points(net: &Convolutional, order: &[&Unit], test: &ImageSet) -> Result<Vec<(usize, f64)>> {
    let point = |n: usize| Ok((n, mean(&right(net, test, &silencing(&order[..n])?)?)));
    (0..=order.len()).map(point).collect()
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
        let row = |what: String, value: &Estimate| vec![Cell::text(what), value.cell(3)];
        let rows = vec![
            row("as it is".into(), &self.before),
            row(format!("{n} units silenced, found by label"), &self.after),
            row(format!("{n} random units silenced"), &self.random),
            row("gain by label, image by image".into(), &self.gain),
            row("gain by random units".into(), &self.random_gain),
        ];
        let names: Vec<String> = self.silenced.iter().map(Unit::name).collect();
        vec![
            Block::text(format!(
                "{} units have a label that holds and names `{}`. They are sorted by what silencing each does to accuracy \
                 on validation images, and as many are silenced as is best there.",
                self.candidates, self.word
            )),
            Block::Table(Table { columns, rows }),
            Block::text(format!("Silenced: {}.", if n == 0 { "none".into() } else { names.join(", ") })),
        ]
    }
}

impl Figures for Repair {
    fn figures(&self) -> Vec<(String, f64)> {
        vec![
            ("before".into(), self.before.value),
            ("after".into(), self.after.value),
            ("gain".into(), self.gain.value),
            ("gain.random".into(), self.random_gain.value),
            ("candidates".into(), self.candidates as f64),
        ]
    }
}
