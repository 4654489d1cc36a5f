//! What the selected neurons are: specific to a language, related to several, or neither; layer by layer.
//!
//! The four parts of a network follow the method card's rule, in one point amended: the middle, where most neurons are
//! active in all languages, is looked for among inner layers alone. The first and the last layer read and write tokens of
//! any language, and in the profile that the card publishes the last one has most such neurons of all (745 of 14,336,
//! against 555 at the peak within, layer 14): taken as the middle, it would leave no layer for the parts behind it.

use serde::{Deserialize, Serialize};

use super::score::{Method, Rates, Tried};
use crate::report::number;

/// Layers whose counts are averaged for the parts of the network: this one and one on each side.
const SIDE: usize = 1;
/// Language neurons have ended where fewer than this share of their early maximum are left.
const ENDED: f64 = 0.05;
/// Part 4 begins where fewer than this share of the late maximum of specific neurons are left.
const FADED: f64 = 0.5;

/// Language neurons by one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identified {
    /// Which order they were selected by.
    pub method: Method,
    /// The share of all neurons that was selected, r.
    #[serde(with = "number")]
    pub share: f64,
    /// The weight of the largest probability; 0 for LAPE.
    #[serde(with = "number")]
    pub lambda: f64,
    /// How lambda was found.
    pub path: Vec<Tried>,
    /// Selected neurons.
    pub selected: usize,
    /// By number of languages, 0 to K: how many selected neurons are assigned to so many.
    pub appear: Vec<usize>,
    /// By language: how many are assigned to it.
    pub per_language: Vec<usize>,
    /// By layer.
    pub layers: Vec<LayerKinds>,
    /// The four parts, where the layers show them.
    pub parts: Option<Parts>,
    /// Jaccard overlap of the languages' neurons, `[K][K]`; NaN where neither has one.
    #[serde(with = "number::nested")]
    pub overlap: Vec<Vec<f64>>,
    /// By language and layer: its neurons, ascending.
    pub masks: Vec<Vec<Vec<u32>>>,
}

/// Kinds of neurons in a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerKinds {
    /// Selected and assigned to one language.
    pub specific: usize,
    /// Selected and assigned to more than one language, but not to all.
    pub related: usize,
    /// Agnostic in the first reading: all neurons that are neither specific nor related.
    pub outside: usize,
    /// Agnostic in the second reading: neurons, selected or not, with p_k > t in all languages.
    pub everywhere: usize,
}

/// Where the four parts of a network begin (the card's rule; the paper shows the picture without one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Shared reasoning: the first layer after the early language neurons.
    pub reasoning: usize,
    /// Output: the first layer where language neurons are back.
    pub output: usize,
    /// Vocabulary: the first layer where specific neurons fade again; `None` if they do not.
    pub vocabulary: Option<usize>,
}

/// Language neurons of `rates` with `layers` blocks, above `threshold`; lambda is tuned unless given.
pub fn identify(
    rates: &Rates,
    layers: usize,
    method: Method,
    share: f64,
    lambda: Option<f64>,
    threshold: f64,
) -> Identified {
    let (lambda, path) = match (method, lambda) {
        (Method::Lape, _) => (0.0, Vec::new()),
        (Method::Score, Some(lambda)) => (lambda, Vec::new()),
        (Method::Score, None) => rates.tune(share, threshold),
    };
    let (k, width) = (rates.languages, rates.units() / layers.max(1));
    let selected = rates.select(method, share, lambda, threshold);
    let mut appear = vec![0; k + 1];
    let mut kinds = vec![LayerKinds { outside: width, ..LayerKinds::default() }; layers];
    let mut masks = vec![vec![Vec::new(); layers]; k];
    for unit in &selected {
        let languages: Vec<usize> = rates.above(*unit, threshold).collect();
        appear[languages.len()] += 1;
        let kind = &mut kinds[unit / width];
        match languages.len() {
            0 => {}
            1 => kind.specific += 1,
            n if n < k => kind.related += 1,
            _ => {}
        }
        for language in languages {
            masks[language][unit / width].push((unit % width) as u32);
        }
    }
    for (layer, kind) in kinds.iter_mut().enumerate() {
        kind.outside -= kind.specific + kind.related;
        let all = |unit: &usize| rates.above(*unit, threshold).count() == k;
        kind.everywhere = (layer * width..(layer + 1) * width).filter(all).count();
    }
    let per_language = masks.iter().map(|mask| mask.iter().map(Vec::len).sum()).collect();
    let overlap = masks.iter().map(|a| masks.iter().map(|b| jaccard(a, b)).collect()).collect();
    let parts = parts(&kinds);
    Identified {
        method,
        share,
        lambda,
        path,
        selected: selected.len(),
        appear,
        per_language,
        layers: kinds,
        parts,
        overlap,
        masks,
    }
}

impl Identified {
    /// Neurons assigned to one language.
    pub fn specific(&self) -> usize {
        self.layers.iter().map(|l| l.specific).sum()
    }

    /// Neurons assigned to several languages, but not all.
    pub fn related(&self) -> usize {
        self.layers.iter().map(|l| l.related).sum()
    }

    /// Whether a neuron belongs to any language.
    pub fn holds(&self, layer: usize, neuron: u32) -> bool {
        self.masks.iter().any(|mask| mask[layer].binary_search(&neuron).is_ok())
    }
}

/// |A and B| / |A or B| of two masks.
pub fn jaccard(a: &[Vec<u32>], b: &[Vec<u32>]) -> f64 {
    let of_layer = |(a, b): (&Vec<u32>, &Vec<u32>)| a.iter().filter(|n| b.binary_search(n).is_ok()).count();
    let both: usize = a.iter().zip(b).map(of_layer).sum();
    let all = a.iter().chain(b).map(Vec::len).sum::<usize>() - both;
    both as f64 / all as f64
}

/// Part 1 ends where language neurons, smoothed, fall below 5 % of their early maximum, which is the largest up to the
/// middle: the inner layer with most neurons that are active everywhere, smoothed over inner layers. Part 3 begins where
/// language neurons are back after that layer; part 4 where specific neurons fall below half of their late maximum or
/// related ones come to outnumber them. `None` where there is no such course, or no inner layer.
pub fn parts(layers: &[LayerKinds]) -> Option<Parts> {
    let n = layers.len();
    let smooth = |of: fn(&LayerKinds) -> usize, within: std::ops::Range<usize>| -> Vec<f64> {
        let around = |l: usize| &layers[l.saturating_sub(SIDE).max(within.start)..within.end.min(l + SIDE + 1)];
        let mean = |l: usize| around(l).iter().map(|k| of(k) as f64).sum::<f64>() / around(l).len() as f64;
        within.clone().map(mean).collect()
    };
    let larger = |of: &[f64], from: usize, to: usize| (from..to).reduce(|a, b| if of[b] > of[a] { b } else { a });
    let inner = 1..n.saturating_sub(1).max(1);
    let shared = smooth(|k| k.everywhere, inner.clone());
    let middle = inner.start + larger(&shared, 0, shared.len())?;
    let language = smooth(|k| k.specific + k.related, 0..n);
    let early = larger(&language, 0, middle + 1)?;
    let few = ENDED * language[early];
    let reasoning = (early..n).find(|l| language[*l] < few)?;
    let output = (middle.max(reasoning) + 1..n).find(|l| language[*l] >= few)?;
    let specific: Vec<f64> = layers.iter().map(|k| k.specific as f64).collect();
    let late = larger(&specific, output, n)?;
    let fades = |l: &usize| specific[*l] < FADED * specific[late] || layers[*l].related > layers[*l].specific;
    Some(Parts { reasoning, output, vocabulary: (late + 1..n).find(fades) })
}
