//! The two scores. For the activation probabilities p_k = c_k / n_k of a neuron in K languages, with
//! q_k = p_k / sum p (uniform where the sum is 0) and H = -sum q_k ln q_k:
//!
//! ```text
//! LAPE (Tang et al. 2024)   H, least first, of the neurons with some p_k > t
//! Zhang et al. 2025         S = H / ln K - lambda max_k p_k / R_K, least first, of all;   R_K = (1/K) sum_i 1/i
//! ```
//!
//! t is the round(0.95 N K)-th smallest of all p; the round(r N) first of either order are selected, and each is
//! assigned to every language with p_k > t. R_K is the expected largest coordinate of a uniform point of the simplex.
//! lambda is the largest for which no selected neuron is assigned to all languages, by bisection.

use serde::{Deserialize, Serialize};

use super::Counts;
use crate::report::number;

/// The share of all probabilities that lie at or below the threshold.
pub const BAR: f64 = 0.95;
/// Where lambda is looked for.
const LARGEST: f64 = 0.2;
/// How closely.
const CLOSE: f64 = 1e-3;

/// Activation probabilities of N neurons in K languages, with what follows from them.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Languages, K.
    pub languages: usize,
    /// `[N, K]`, neuron by neuron.
    pub p: Vec<f64>,
    /// H of every neuron, nats.
    pub entropy: Vec<f64>,
    /// max_k p_k of every neuron.
    pub most: Vec<f64>,
}

/// Which order neurons are selected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Entropy of the neurons that pass the threshold.
    Lape,
    /// Entropy less the largest probability, weighted.
    Score,
}

impl Method {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lape => "LAPE",
            Self::Score => "score",
        }
    }
}

/// A step of the search for lambda.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The value.
    #[serde(with = "number")]
    pub lambda: f64,
    /// Selected neurons that are assigned to all languages.
    pub everywhere: usize,
}

impl Rates {
    /// Of counts that [`Counts::check`] let pass.
    pub fn of(counts: &Counts) -> Self {
        let wholes: Vec<_> = (0..counts.languages.len()).map(|k| counts.whole(k)).collect();
        let column = |k: usize| (wholes[k].tokens, wholes[k].fired.as_slice());
        Self::of_columns(&(0..wholes.len()).map(column).collect::<Vec<_>>())
    }

    /// Of tokens and counts `[N]` of each language.
    pub fn of_columns(columns: &[(u64, &[u64])]) -> Self {
        let (k, n) = (columns.len(), columns.first().map_or(0, |(_, fired)| fired.len()));
        let mut rates = Self { languages: k, p: vec![0.0; n * k], entropy: vec![0.0; n], most: vec![0.0; n] };
        for (i, row) in rates.p.chunks_mut(k.max(1)).enumerate() {
            for (p, (tokens, fired)) in row.iter_mut().zip(columns) {
                *p = fired[i] as f64 / (*tokens).max(1) as f64;
            }
            rates.entropy[i] = entropy(row);
            rates.most[i] = row.iter().copied().fold(0.0, f64::max);
        }
        rates
    }

    /// Neurons, N.
    pub fn units(&self) -> usize {
        self.entropy.len()
    }

    /// The probabilities of a neuron `[K]`.
    pub fn row(&self, unit: usize) -> &[f64] {
        &self.p[unit * self.languages..(unit + 1) * self.languages]
    }

    /// t: the round(0.95 N K)-th smallest probability, counted from 1; halves round to even.
    pub fn threshold(&self) -> f64 {
        if self.p.is_empty() {
            return 0.0;
        }
        let rank = (BAR * self.p.len() as f64).round_ties_even() as usize;
        let mut all = self.p.clone();
        let (_, t, _) = all.select_nth_unstable_by(rank.clamp(1, self.p.len()) - 1, f64::total_cmp);
        *t
    }

    /// The languages with p_k > t.
    pub fn above(&self, unit: usize, threshold: f64) -> impl Iterator<Item = usize> + '_ {
        self.row(unit).iter().enumerate().filter(move |(_, p)| **p > threshold).map(|(k, _)| k)
    }

    /// How many are to be selected: round(r N), halves to even.
    pub fn quota(&self, share: f64) -> usize {
        ((share * self.units() as f64).round_ties_even() as usize).min(self.units())
    }

    /// The selected neurons, ascending; of equal scores the first ones.
    pub fn select(&self, method: Method, share: f64, lambda: f64, threshold: f64) -> Vec<usize> {
        let scale = (self.languages as f64).ln();
        let weight = lambda / largest_expected(self.languages);
        let key = |unit: usize| match method {
            Method::Lape => self.entropy[unit],
            Method::Score => self.entropy[unit] / scale - weight * self.most[unit],
        };
        let fits = |unit: &usize| method == Method::Score || self.most[*unit] > threshold;
        let mut order: Vec<(f64, usize)> = (0..self.units()).filter(fits).map(|unit| (key(unit), unit)).collect();
        let quota = self.quota(share).min(order.len());
        if quota < order.len() {
            order.select_nth_unstable_by(quota, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        }
        let mut selected: Vec<usize> = order[..quota].iter().map(|(_, unit)| *unit).collect();
        selected.sort_unstable();
        selected
    }

    /// The largest lambda of the bisection for which no selected neuron is assigned to all languages, with all that was
    /// tried; 0 where even the plain entropy selects such a neuron.
    pub fn tune(&self, share: f64, threshold: f64) -> (f64, Vec<Tried>) {
        let mut path = Vec::new();
        let mut fits = |lambda: f64| {
            let selected = self.select(Method::Score, share, lambda, threshold);
            let all = |unit: &&usize| self.above(**unit, threshold).count() == self.languages;
            let everywhere = selected.iter().filter(all).count();
            path.push(Tried { lambda, everywhere });
            everywhere == 0
        };
        let (mut low, mut high) = (0.0, LARGEST);
        if fits(high) {
            low = high;
        } else if !fits(low) {
            high = low;
        }
        while high - low > CLOSE {
            let middle = (low + high) / 2.0;
            if fits(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        (low, path)
    }
}

/// H of q = p / sum p, nats.
pub fn entropy(p: &[f64]) -> f64 {
    let sum: f64 = p.iter().sum();
    if sum == 0.0 {
        return (p.len() as f64).ln();
    }
    let terms = p.iter().map(|p| p / sum).filter(|q| *q > 0.0).map(|q| -q * q.ln());
    // A single language gives -1 ln 1 = -0.
    terms.sum::<f64>().max(0.0)
}

/// R_K, the expected largest coordinate of a uniform point of the simplex of K coordinates.
pub fn largest_expected(languages: usize) -> f64 {
    (1..=languages).map(|i| 1.0 / i as f64).sum::<f64>() / languages as f64
}
