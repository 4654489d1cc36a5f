//! MILAN's editing application in small: a classifier that half learns to read a sign is mended by silencing the units
//! whose labels name the sign (Hernandez et al. 2022, section 6).
//!
//! Trained where half of the images carry a sign that tells the truth; tested where every image carries a random one.
//! Candidates are the units whose label names the sign; each is silenced alone and sorted by accuracy on validation images,
//! and the first n that are best together there are silenced on the test images.

use serde::{Deserialize, Serialize};

use super::super::label::Bits;
use super::concepts::Concepts;
use super::cuts::{Curve, right, silencing};
use super::labels::{Labels, labels};
use super::learn::{Training, classifier};
use super::mend::{Repair, points, repair, search};
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

/// What mending did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mended {
    /// Units of the network.
    pub units: usize,
    /// Accuracy on images whose signs tell the truth, as in training, before.
    pub as_trained: Estimate,
    /// Silencing by label.
    pub repair: Repair,
    /// Accuracy on test images after the same search among all units, without labels.
    pub searched: Estimate,
    /// Accuracy on test images against units silenced, in the order of that search.
    pub curve: Curve,
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
    let images = [&validation, &test].map(|signed| &signed.scenes.images);
    let repair = repair(&net, SIGN, &candidates, &all, images, seed)?;
    let everything: Vec<&Unit> = all.iter().collect();
    let (order, best) = search(&net, &everything, images[0])?;
    let on = |images, units: &[&Unit]| Ok::<_, Error>(Estimate::mean(&right(&net, images, &silencing(units)?)?, seed));
    let mended = Mended {
        units: all.len(),
        as_trained: on(&like.scenes.images, &[])?,
        repair,
        searched: on(images[1], &order[..best])?,
        curve: Curve { name: "all units, without labels".into(), points: points(&net, &order, images[1])? },
        labels,
    };
    Ok((net, mended))
}
