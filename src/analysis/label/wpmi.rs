//! Concept matching (CLIP-Dissect, Oikarinen and Weng 2023, arXiv 2204.10965): a unit gets the concept whose presence in
//! the unit's top windows says most, against what the concept gets from all units.
//!
//! ```text
//! q[i, m] = softmax over m of a P[i, m]
//! g(u, m) = sum over the top k windows i of u of log(1 + r_i (q[i, m] - 1) + 1e-7)
//! score   = g(u, m) - lambda log mean_u exp g(u, m)
//! ```
//!
//! Soft: a = 10, k = 100, r_i falls linearly with the rank, lambda = 1. Hard: r = 1, a = 2, k = 28, lambda = 0.6.

use super::criteria::log_mean_exp;
use crate::{Error, Result};

/// Parameters of concept matching.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matching {
    /// a: sharpness of the softmax over concepts.
    pub scale: f64,
    /// k: windows of a unit.
    pub windows: usize,
    /// r of the first and of the last window.
    pub certainty: (f64, f64),
    /// Weight of the prior.
    pub lambda: f64,
}

impl Matching {
    /// Soft WPMI.
    pub const SOFT: Self = Self { scale: 10.0, windows: 100, certainty: (0.998, 0.97), lambda: 1.0 };
    /// WPMI.
    pub const HARD: Self = Self { scale: 2.0, windows: 28, certainty: (1.0, 1.0), lambda: 0.6 };

    /// Scores `[units][concepts]`. `concepts` is P `[windows, concepts]`, row by row; `top` holds each unit's windows, the
    /// most active first.
    ///
    /// # Errors
    /// A matrix of another size, a window that it lacks, a unit without windows.
    pub fn scores(&self, concepts: &[f64], count: usize, top: &[Vec<usize>]) -> Result<Vec<Vec<f64>>> {
        let windows = concepts.len().checked_div(count).unwrap_or(0);
        if count == 0 || windows * count != concepts.len() {
            return Err(Error::invalid(
                format!("{} values are no matrix of {count} concepts", concepts.len()),
                "give one value for every window and concept",
            ));
        }
        if let Some(unit) = top.iter().position(|t| t.is_empty() || t.iter().any(|i| *i >= windows)) {
            return Err(Error::invalid(
                format!("unit {unit} has no windows, or one beyond the {windows} there are"),
                "match units that are active somewhere",
            ));
        }
        let q: Vec<f64> = concepts.chunks(count).flat_map(|row| softmax(row, self.scale)).collect();
        let own: Vec<Vec<f64>> = top.iter().map(|top| self.evidence(&q, count, top)).collect();
        let prior: Vec<f64> = (0..count).map(|m| log_mean_exp(&own.iter().map(|g| g[m]).collect::<Vec<_>>())).collect();
        Ok(own.into_iter().map(|g| g.iter().zip(&prior).map(|(g, p)| g - self.lambda * p).collect()).collect())
    }

    /// g(u, m) for all m.
    fn evidence(&self, q: &[f64], count: usize, top: &[usize]) -> Vec<f64> {
        let top = &top[..top.len().min(self.windows)];
        let mut sums = vec![0.0; count];
        for (rank, window) in top.iter().enumerate() {
            let (first, last) = self.certainty;
            let r = first + (last - first) * rank as f64 / (top.len() - 1).max(1) as f64;
            for (sum, q) in sums.iter_mut().zip(&q[window * count..][..count]) {
                *sum += (1.0 + r * (q - 1.0) + 1e-7).ln();
            }
        }
        sums
    }
}

fn softmax(row: &[f64], scale: f64) -> Vec<f64> {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = row.iter().map(|x| (scale * (x - most)).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / total).collect()
}
