//! Executable labels of units: the formula that fits best on one half of the images, and what it is worth on the other.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::super::label::{Bits, Overlap, Redraws, holm, normal_tail, spread};
use super::concepts::{Concepts, Formula, best_formula};
use super::units::Unit;
use crate::analysis::Estimate;
use crate::hook::random::Stream;

/// Draws of the bootstrap over images.
const DRAWS: usize = 200;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Naming {
    /// Most concepts in a formula.
    pub length: usize,
    /// Formulas kept at every step.
    pub beam: usize,
    /// Seed of the permuted labels and the bootstrap.
    pub seed: u64,
}

impl Default for Naming {
    fn default() -> Self {
        Self { length: 3, beam: 10, seed: 0 }
    }
}

/// A unit with its label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// The unit.
    pub unit: Unit,
    /// The formula; `None` where no concept meets the unit's places.
    pub formula: Option<Formula>,
    /// The formula in words.
    pub label: String,
    /// IoU on the images it was chosen on.
    pub chosen: f64,
    /// IoU on the others.
    pub iou: f64,
    /// Area under the ROC curve on the others: how well the formula tells active places, with its interval over images.
    pub auroc: Estimate,
    /// The same for another unit's formula, drawn at random.
    pub permuted: f64,
    /// p of the area against 0.5, corrected for all units (Holm).
    pub p: f64,
}

impl Named {
    /// Whether the label says more than chance, and than another unit's label.
    pub fn holds(&self) -> bool {
        self.p < 0.05 && self.auroc.ends().0 > self.permuted.max(0.5)
    }
}

/// Places of all units on a set of images, with the concepts there.
pub struct Seen<'a> {
    /// The concepts.
    pub concepts: &'a Concepts,
    /// Where each unit is active.
    pub active: &'a [Bits],
    /// Pixels of an image.
    pub area: usize,
}

/// Labels chosen on `selection`, scored on `test`.
pub fn name_units(units: &[Unit], selection: &Seen, test: &Seen, naming: Naming) -> Vec<Named> {
    let found: Vec<Option<(Formula, f64)>> = (selection.active.par_iter())
        .map(|active| best_formula(selection.concepts, active, naming.length, naming.beam))
        .collect();
    let mut others: Vec<usize> = (0..units.len()).collect();
    Stream::new(naming.seed, &[0x6e]).shuffle(&mut others);
    // A cycle, so that none has its own label.
    let mut other = vec![0; units.len()];
    others.iter().zip(others.iter().cycle().skip(1)).for_each(|(a, b)| other[*a] = *b);
    let images = test.active.first().map_or(0, |a| a.universe() / test.area.max(1));
    let redraws = Redraws::new(images, DRAWS, naming.seed);
    let mut named: Vec<Named> = (0..units.len())
        .into_par_iter()
        .map(|u| {
            let formula = found[u].as_ref().map(|f| f.0.clone());
            let active = &test.active[u];
            let mask = formula.as_ref().map(|f| test.concepts.mask(f));
            let overlap = mask.as_ref().map(|m| Overlap::of(m, active)).unwrap_or_default();
            let auroc = mask.as_ref().map_or(Estimate::exact(f64::NAN), |m| area(m, active, test.area, &redraws));
            let theirs = found[other[u]].as_ref().map(|f| test.concepts.mask(&f.0));
            let permuted = theirs.and_then(|m| Overlap::of(&m, active).auroc()).unwrap_or(0.5);
            Named {
                unit: units[u].clone(),
                label: formula.as_ref().map_or_else(|| "(nothing)".into(), |f| selection.concepts.words(f)),
                chosen: found[u].as_ref().map_or(0.0, |f| f.1),
                iou: overlap.iou(),
                permuted,
                p: chance(&auroc),
                auroc,
                formula,
            }
        })
        .collect();
    let corrected = holm(&named.iter().map(|n| n.p).collect::<Vec<_>>());
    named.iter_mut().zip(corrected).for_each(|(n, p)| n.p = p);
    named
}

/// p of an area against 0.5, from the width of its interval over images (pixels of one image are no independent evidence).
fn chance(auroc: &Estimate) -> f64 {
    match auroc.interval {
        Some((low, high)) if high > low => normal_tail((auroc.value - 0.5) / ((high - low) / (2.0 * 1.96))),
        _ => f64::NAN,
    }
}

/// The area with its interval over images drawn anew.
fn area(mask: &Bits, active: &Bits, area: usize, redraws: &Redraws) -> Estimate {
    let images = active.universe() / area.max(1);
    let both = mask.and(active);
    let count = |bits: &Bits, i: usize| bits.count_in(i * area, (i + 1) * area);
    let parts: Vec<[u64; 3]> = (0..images).map(|i| [count(&both, i), count(mask, i), count(active, i)]).collect();
    let of = |weights: &[u32]| {
        let mut sum = Overlap::default();
        for ([both, concept, active], w) in parts.iter().zip(weights) {
            let w = u64::from(*w);
            sum.both += both * w;
            sum.concept += concept * w;
            sum.active += active * w;
            sum.all += area as u64 * w;
        }
        sum.auroc()
    };
    let Some(value) = of(&vec![1; images]) else { return Estimate::exact(f64::NAN) };
    Estimate { value, interval: spread(&redraws.values(of)).map(|s| s.1) }
}
