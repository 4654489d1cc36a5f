//! MILAN's editing application in small: a classifier that half learns to read a sign is mended by silencing the units
//! whose labels name the sign (Hernandez et al. 2022, section 6).
//!
//! Trained where half of the images carry a sign that tells the truth; tested where every image carries a random one.
//! Candidates are the units whose label names the sign; each is silenced alone and sorted by accuracy on validation images,
//! and the first n that are best together there are silenced on the test images.

use serde::{Deserialize, Serialize};

use super::super::label::Bits;
use super::concepts::Concepts;
use super::cuts::{Curve, at_random, right, silencing};
use super::labels::{Labels, labels};
use super::learn::{Training, classifier};
use super::mend::search;
use super::names::Naming;
use super::units::Unit;
use crate::analysis::Estimate;
use crate::data::glyphs::{Signed, Signs};
use crate::data::scenes::SIDE;
use crate::models::{Convolutional, ConvolutionalConfig};
use crate::report::Progress;
use crate::{Error, Result};

/// The word for the sign.
pub const SIGN: &str = "sign";
/// Channels of the network.
const CHANNELS: [usize; 3] = [16, 32, 64];
/// Random orders.
const DRAWS: u64 = 5;

/// What mending did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mended {
    /// Units whose label names the sign.
    pub candidates: usize,
    /// Units of the network.
    pub units: usize,
    /// Of those, silenced.
    pub silenced: Vec<String>,
    /// Accuracy on images without a lie (as in training), before.
    pub as_trained: Estimate,
    /// Accuracy on test images, before.
    pub before: Estimate,
    /// After silencing.
    pub after: Estimate,
    /// After silencing as many units drawn at random, mean over draws.
    pub random: Estimate,
    /// After less before, image by image.
    pub gain: Estimate,
    /// The same for random units.
    pub random_gain: Estimate,
    /// After the same search among all units, without labels.
    pub searched: Estimate,
    /// Accuracy on test images against units silenced.
    pub curves: Vec<Curve>,
    /// The labels.
    pub labels: Labels,
}

/// Sizes of the experiment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Training images.
    pub train: usize,
    /// Images each for choosing labels, scoring them, validation and test.
    pub other: usize,
    /// Updates of 64 images.
    pub updates: u64,
    /// Seed of everything.
    pub seed: u64,
}

/// Concepts of signed scenes: the atoms, and the sign.
fn concepts(signed: &Signed) -> Concepts {
    let mut concepts = Concepts::of_scenes(&signed.scenes);
    let area = SIDE * SIDE;
    concepts.names.push(SIGN.into());
    concepts.whole.push(false);
    concepts.masks.push(Bits::from_fn(signed.scenes.owner.len(), |at| signed.is_sign(at / area, at % area)));
    concepts
}

/// Carries it out; returns the network and its edits' effects.
///
/// # Errors
/// None but Candle's own.
pub fn mend(sizes: Sizes, progress: &Progress) -> Result<(Convolutional, Mended)> {
    let seed = sizes.seed;
    let train = Signed::draw(sizes.train, Signs::True(0.5), seed + 21);
    let like = Signed::draw(sizes.other, Signs::True(0.5), seed + 22);
    let random = |i: u64| Signed::draw(sizes.other, Signs::Random, seed + i);
    let (selection, scored, validation, test) = (random(23), random(24), random(25), random(26));
    progress.task("classifier with a sign");
    let config = ConvolutionalConfig::plain([3, SIDE, SIDE], &CHANNELS, train.scenes.images.classes.clone());
    let how = Training { updates: sizes.updates, batch: 64, rate: 3e-3, seed };
    let net = classifier(&config, &train.scenes.images, &train.targets(), how, progress)?;
    let (a, b) = (concepts(&selection), concepts(&scored));
    let naming = Naming { seed, ..Naming::default() };
    let labels = labels(&net, (&selection.scenes.images, &a), (&scored.scenes.images, &b), naming, progress)?;
    let sign = a.names.len() - 1;
    let named = |n: &&super::names::Named| n.formula.as_ref().is_some_and(|f| f.present().contains(&sign)) && n.holds();
    let candidates: Vec<&Unit> = labels.units.iter().filter(named).map(|n| &n.unit).collect();
    let all: Vec<Unit> = labels.units.iter().map(|n| n.unit.clone()).collect();
    progress.task("mending");
    let on = |signed: &Signed, units: &[&Unit]| right(&net, &signed.scenes.images, &silencing(units)?);
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    if candidates.is_empty() {
        return Err(Error::invalid("no unit's label names the sign", "train longer, or on more images"));
    }
    let everything: Vec<&Unit> = all.iter().collect();
    let (order, best) = search(&net, &candidates, &validation.scenes.images)?;
    let (any_order, any_best) = search(&net, &everything, &validation.scenes.images)?;
    let points = |order: &[&Unit]| -> Result<Vec<(usize, f64)>> {
        (0..=order.len()).map(|n| Ok((n, mean(on(&test, &order[..n])?)))).collect()
    };
    let (by_label, of_all) = (points(&order)?, points(&any_order)?);
    let chosen = &order[..best];
    let (before, after) = (on(&test, &[])?, on(&test, chosen)?);
    let less = |values: &[f64]| -> Vec<f64> { values.iter().zip(&before).map(|(a, b)| a - b).collect() };
    let mut by_chance = vec![0.0; before.len()];
    let mut curve = vec![0.0; by_label.len()];
    for draw in 0..DRAWS {
        let order = at_random(&all, seed, draw);
        let right = on(&test, &order[..chosen.len()])?;
        by_chance.iter_mut().zip(right).for_each(|(sum, right)| *sum += right / DRAWS as f64);
        for (n, sum) in curve.iter_mut().enumerate() {
            *sum += mean(on(&test, &order[..n])?) / DRAWS as f64;
        }
    }
    let estimate = |values: Vec<f64>| Estimate::mean(&values, seed);
    let mended = Mended {
        candidates: candidates.len(),
        units: all.len(),
        silenced: chosen.iter().map(|u| u.name()).collect(),
        as_trained: estimate(on(&like, &[])?),
        gain: estimate(less(&after)),
        random_gain: estimate(less(&by_chance)),
        before: estimate(before),
        after: estimate(after),
        random: estimate(by_chance),
        searched: estimate(on(&test, &any_order[..any_best])?),
        curves: vec![
            Curve { name: "units whose label names the sign".into(), points: by_label },
            Curve { name: "all units, without labels".into(), points: of_all },
            Curve { name: "random units".into(), points: curve.into_iter().enumerate().collect() },
        ],
        labels,
    };
    Ok((net, mended))
}
