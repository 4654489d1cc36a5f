//! The permutation null: the languages' names shuffled over parts of the documents.
//!
//! Every language keeps its number of parts, but the parts are anybody's. If documents were exchangeable between
//! languages, the true names would give nothing that shuffled ones do not. Selection is that of the real run (share,
//! lambda), with the threshold of each shuffle.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::kinds::identify;
use super::score::{Method, Rates};
use super::{Counts, Part};
use crate::hook::random::Stream;
use crate::report::number;

/// What was found against what shuffled names give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Null {
    /// Shuffles.
    pub permutations: usize,
    /// Parts of documents that were shuffled.
    pub parts: usize,
    /// Neurons assigned to one language.
    pub specific: Effect,
    /// Neurons assigned to one language or to several, but not all.
    pub set: Effect,
    /// How far the selected neurons are from caring for no language: the mean of 1 - H / ln K, 0 to 1.
    pub selectivity: Effect,
    /// Selected neurons whose H lies below that of every neuron above the threshold in 95 % of the shuffles: language
    /// neurons that chance explains in no neuron of the network (family-wise).
    pub certain: usize,
}

/// A figure against its null distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// With the true names.
    #[serde(with = "number")]
    pub found: f64,
    /// Mean over shuffles.
    #[serde(with = "number")]
    pub mean: f64,
    /// Standard deviation over shuffles.
    #[serde(with = "number")]
    pub deviation: f64,
    /// (found - mean) / deviation: the effect size; NaN where shuffles do not differ.
    #[serde(with = "number")]
    pub z: f64,
    /// (1 + shuffles that give as much) / (1 + shuffles).
    #[serde(with = "number")]
    pub p: f64,
}

impl Effect {
    /// Of the value found and those of the shuffles, at least one.
    pub fn of(found: f64, shuffled: &[f64]) -> Self {
        let n = shuffled.len() as f64;
        let mean = shuffled.iter().sum::<f64>() / n;
        let deviation = (shuffled.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let as_much = shuffled.iter().filter(|x| **x >= found).count() as f64;
        let z = if deviation > 0.0 { (found - mean) / deviation } else { f64::NAN };
        Self { found, mean, deviation, z, p: (1.0 + as_much) / (1.0 + n) }
    }
}

/// What one naming of the parts gives.
struct Figures {
    specific: f64,
    set: f64,
    selectivity: f64,
    /// The least H of all neurons above the threshold.
    least: f64,
}

/// Shuffles the parts of `counts` so often; `None` if they hold a single part per language, which cannot be shuffled.
pub fn null(counts: &Counts, share: f64, lambda: f64, permutations: usize, seed: u64) -> Option<Null> {
    let owners: Vec<usize> = counts.parts.iter().enumerate().flat_map(|(k, parts)| vec![k; parts.len()]).collect();
    if permutations == 0 || owners.len() <= counts.languages.len() {
        return None;
    }
    let parts: Vec<&Part> = counts.parts.iter().flatten().collect();
    let real = Rates::of(counts);
    let (found, entropies) = figures(&real, counts.layers, share, lambda);
    let shuffled = |n: u64| {
        let mut names = owners.clone();
        Stream::new(seed, &[n]).shuffle(&mut names);
        let mut wholes = vec![Part::empty(counts.units()); counts.languages.len()];
        names.iter().zip(&parts).for_each(|(k, part)| wholes[*k].add(part));
        let columns: Vec<_> = wholes.iter().map(|whole| (whole.tokens, whole.fired.as_slice())).collect();
        figures(&Rates::of_columns(&columns), counts.layers, share, lambda).0
    };
    let shuffled: Vec<Figures> = (0..permutations as u64).into_par_iter().map(shuffled).collect();
    let effect = |of: fn(&Figures) -> f64| Effect::of(of(&found), &shuffled.iter().map(of).collect::<Vec<_>>());
    let mut least: Vec<f64> = shuffled.iter().map(|f| f.least).collect();
    least.sort_by(f64::total_cmp);
    let bar = least[(0.05 * (least.len() - 1) as f64).floor() as usize];
    Some(Null {
        permutations,
        parts: parts.len(),
        specific: effect(|f| f.specific),
        set: effect(|f| f.set),
        selectivity: effect(|f| f.selectivity),
        certain: entropies.iter().filter(|h| **h < bar).count(),
    })
}

/// The figures, and H of the selected neurons that are assigned to a language.
fn figures(rates: &Rates, layers: usize, share: f64, lambda: f64) -> (Figures, Vec<f64>) {
    let threshold = rates.threshold();
    let identified = identify(rates, layers, Method::Score, share, Some(lambda), threshold);
    let selected = rates.select(Method::Score, share, lambda, threshold);
    let scale = (rates.languages as f64).ln();
    let selectivity = selected.iter().map(|u| 1.0 - rates.entropy[*u] / scale).sum::<f64>() / selected.len() as f64;
    let above = |u: &usize| rates.most[*u] > threshold;
    let least = (0..rates.units()).filter(above).map(|u| rates.entropy[u]).fold(f64::INFINITY, f64::min);
    let assigned = selected.iter().filter(|u| above(u)).map(|u| rates.entropy[*u]).collect();
    let specific = identified.specific() as f64;
    let set = specific + identified.related() as f64;
    (Figures { specific, set, selectivity, least }, assigned)
}
