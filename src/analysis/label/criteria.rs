//! What makes a label the best one: pointwise mutual information, as MILAN has it (Hernandez et al. 2022,
//! arXiv 2201.11114, eq. 4): d* = argmax_d log p(d|E) - lambda log p(d). Lambda 0 is likelihood, 1 is
//! pmi(d, E) = log p(d|E)/p(d) = log p(E|d)/p(E).

use crate::{Error, Result};

/// MILAN's lambda.
pub const LAMBDA: f64 = 0.2;

/// log p(d|E) - lambda log p(d), in nats.
pub fn pmi(log_given: f64, log_prior: f64, lambda: f64) -> f64 {
    log_given - lambda * log_prior
}

/// Indices by score, largest first; ties in their order, NaN last.
pub fn ranking(scores: &[f64]) -> Vec<usize> {
    let at = |i: &usize| if scores[*i].is_nan() { f64::NEG_INFINITY } else { scores[*i] };
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| at(b).total_cmp(&at(a)));
    order
}

/// log of the mean of exp(x): how log-probabilities under several prompts become one prior. Minus infinity for none.
pub fn log_mean_exp(x: &[f64]) -> f64 {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if x.is_empty() || most == f64::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    most + (x.iter().map(|x| (x - most).exp()).sum::<f64>() / x.len() as f64).ln()
}

/// A joint table p(d, E) of labels and exemplar sets: what both directions of scoring are exact on.
#[derive(Clone, Debug)]
pub struct Joint {
    labels: usize,
    sets: usize,
    /// `[labels, sets]`, sums to 1.
    p: Vec<f64>,
}

impl Joint {
    /// From non-negative weights `[labels, sets]`, row by row.
    ///
    /// # Errors
    /// A table of another size, weights that are negative or not finite, or no weight at all.
    pub fn new(labels: usize, sets: usize, weights: &[f64]) -> Result<Self> {
        let total: f64 = weights.iter().sum();
        let fits = labels.checked_mul(sets) == Some(weights.len());
        if !fits || weights.iter().any(|w| !w.is_finite() || *w < 0.0) || total <= 0.0 {
            return Err(Error::invalid(
                format!("no joint table of {labels} labels and {sets} sets has these {} weights", weights.len()),
                "give one non-negative weight for each pair, not all of them 0",
            ));
        }
        Ok(Self { labels, sets, p: weights.iter().map(|w| w / total).collect() })
    }

    /// p(d, E).
    pub fn p(&self, label: usize, set: usize) -> f64 {
        self.p[label * self.sets + set]
    }

    /// p(d).
    pub fn label(&self, label: usize) -> f64 {
        (0..self.sets).map(|set| self.p(label, set)).sum()
    }

    /// p(E).
    pub fn set(&self, set: usize) -> f64 {
        (0..self.labels).map(|label| self.p(label, set)).sum()
    }

    /// log p(d|E) - lambda log p(d).
    pub fn forward(&self, label: usize, set: usize, lambda: f64) -> f64 {
        pmi((self.p(label, set) / self.set(set)).ln(), self.label(label).ln(), lambda)
    }

    /// log p(E|d) - log p(E): the reverse score (surprisal), equal to the forward one at lambda 1.
    pub fn reverse(&self, label: usize, set: usize) -> f64 {
        (self.p(label, set) / self.label(label)).ln() - self.set(set).ln()
    }

    /// The mean of the pmi over the table, in nats; not negative.
    pub fn mutual_information(&self) -> f64 {
        let pairs = (0..self.labels).flat_map(|label| (0..self.sets).map(move |set| (label, set)));
        let term = |(label, set)| match self.p(label, set) {
            0.0 => 0.0,
            p => p * self.forward(label, set, 1.0),
        };
        pairs.map(term).sum()
    }
}
