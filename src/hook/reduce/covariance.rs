//! Second moments of all pairs of units, in f64: covariance (as the language-confidence and probe methods need it) or
//! Gram matrix C = E[k k^T] (as ROME needs it).
//!
//! ```text
//! Gram:        G += X^T X                                   over a block X of n_b positions, C = G / n
//! covariance:  S += (X - m_b)^T (X - m_b) + d d^T n_a n_b/n with d = m_b - m_a (Chan), C = S / n
//! ```
//!
//! The d d^T term is one more row sqrt(n_a n_b/n) d of the centred block. Only strips of the upper triangle are held:
//! strip s is rows `s * STRIP ..` against columns `s * STRIP .. width`. The products run on Candle's f64 matmul,
//! which shares out output tiles only and adds along positions in one order: results do not depend on the threads.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::observation::Kept;
use super::state::{Arrays, damaged};
use super::{CovarianceSpec, Reduce, ReducerSpec};
use crate::Result;

/// Rows of the matrix per strip.
const STRIP: usize = 256;

/// Positions per block.
const DEPTH: usize = 512;

/// Mean and second-moment matrix of all units.
#[derive(Clone, Debug)]
pub struct Covariance {
    spec: CovarianceSpec,
    width: usize,
    count: u64,
    non_finite: u64,
    mean: Vec<f64>,
    /// Strip s: `[rows of s, width - s * STRIP]`.
    strips: Vec<Vec<f64>>,
}

/// First row and number of numbers of each strip.
fn layout(width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..width).step_by(STRIP).map(move |first| (first, STRIP.min(width - first) * (width - first)))
}

impl Covariance {
    pub(super) fn new(spec: CovarianceSpec, width: usize) -> Self {
        let strips = layout(width).map(|(_, len)| vec![0.0; len]).collect();
        Self { spec, width, count: 0, non_finite: 0, mean: vec![0.0; width], strips }
    }

    /// Strips, one block of positions, and one product with its copy.
    pub(super) fn bytes(width: usize) -> u128 {
        let width = width as u128;
        let (full, rest) = (width / STRIP as u128, width % STRIP as u128);
        let strip = STRIP as u128;
        // Sum over full strips of strip * (width - i * strip), then the last one.
        let held = strip * (full * width - strip * (full * full.saturating_sub(1) / 2)) + rest * rest;
        8 * (held + (DEPTH as u128 + 2) * width + 2 * strip.min(width) * width)
    }

    pub(super) fn load(spec: CovarianceSpec, width: usize, arrays: &mut Arrays) -> Result<Self> {
        let count = arrays.take_count("count")?;
        let non_finite = arrays.take_count("non_finite")?;
        let mean: Vec<f64> = arrays.take("mean", &[Some(width)])?;
        let sum: Vec<f64> = arrays.take("sum", &[None])?;
        let expected: u128 = layout(width).map(|(_, len)| len as u128).sum();
        if sum.len() as u128 != expected {
            let got = sum.len();
            return Err(damaged(format!("the array `sum` holds {got} numbers, expected {expected}")));
        }
        if mean.iter().chain(&sum).any(|x| !x.is_finite() || (count == 0 && *x != 0.0)) {
            return Err(damaged("a sum of products is not finite or comes from nowhere"));
        }
        let mut rest = sum.as_slice();
        let strips = layout(width).map(|(_, len)| {
            let (strip, tail) = rest.split_at(len);
            rest = tail;
            strip.to_vec()
        });
        let strips: Vec<Vec<f64>> = strips.collect();
        let made = Self { spec, width, count, non_finite, mean, strips };
        if (0..width).any(|u| made.sum(u, u) < 0.0) {
            return Err(damaged("a sum of squares is negative"));
        }
        Ok(made)
    }

    fn sum(&self, a: usize, b: usize) -> f64 {
        let (a, b) = (a.min(b), a.max(b));
        let first = a / STRIP * STRIP;
        self.strips[a / STRIP][(a - first) * (self.width - first) + b - first]
    }

    /// Adds X^T X for a block X, `[rows, width]` row-major.
    fn add_products(&mut self, block: Vec<f64>) -> Result<()> {
        let width = self.width;
        let depth = block.len() / width;
        let block = Tensor::from_vec(block, (depth, width), &Device::Cpu)?;
        for ((first, _), strip) in layout(width).zip(&mut self.strips) {
            let rows = STRIP.min(width - first);
            let left = block.narrow(1, first, rows)?.t()?;
            let right = block.narrow(1, first, width - first)?;
            let product = left.matmul(&right)?.flatten_all()?.to_vec1::<f64>()?;
            let pieces = strip.par_chunks_mut(1 << 14).zip(product.par_chunks(1 << 14));
            pieces.for_each(|(sums, products)| sums.iter_mut().zip(products).for_each(|(s, p)| *s += p));
        }
        Ok(())
    }

    /// Moves the mean to that of `count` further positions with mean `mean`; returns the row whose square joins the
    /// scatter.
    fn join_mean(&mut self, mean: &[f64], count: u64) -> Vec<f64> {
        let (a, b) = (self.count as f64, count as f64);
        let n = a + b;
        let (weight, share) = ((a * (b / n)).sqrt(), b / n);
        self.count = self.count.saturating_add(count);
        let joined = self.mean.iter_mut().zip(mean).map(|(m, other)| {
            let d = other - *m;
            *m += d * share;
            weight * d
        });
        joined.collect()
    }

    /// Positions whose vectors were finite.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Positions left out because a value was infinite or NaN.
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// Mean of every unit, `[width]`; zeros without positions.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// One element of the covariance (divided by n) or Gram matrix; `None` without positions or such units.
    pub fn get(&self, a: usize, b: usize) -> Option<f64> {
        let there = a.max(b) < self.width && self.count > 0;
        there.then(|| self.sum(a, b) / self.count as f64)
    }

    /// The whole symmetric matrix, `[width, width]` row-major; `None` without positions.
    pub fn matrix(&self) -> Option<Vec<f64>> {
        let n = (self.count > 0).then_some(self.count as f64)?;
        let mut matrix = vec![0.0; self.width * self.width];
        matrix.par_chunks_mut(self.width).enumerate().for_each(|(a, row)| {
            row.iter_mut().enumerate().for_each(|(b, x)| *x = self.sum(a, b) / n);
        });
        Some(matrix)
    }
}

impl Reduce for Covariance {
    fn spec(&self) -> ReducerSpec {
        ReducerSpec::Covariance(self.spec.clone())
    }

    fn width(&self) -> usize {
        self.width
    }

    fn observe(&mut self, kept: &Kept) -> Result<()> {
        for positions in kept.at.chunks(DEPTH) {
            let vectors = positions.iter().map(|&at| kept.vector(at));
            let finite: Vec<&[f32]> = vectors.filter(|v| v.iter().fold(true, |all, x| all & x.is_finite())).collect();
            self.non_finite += (positions.len() - finite.len()) as u64;
            if finite.is_empty() {
                continue;
            }
            let mut mean = vec![0.0; self.width];
            for vector in &finite {
                mean.iter_mut().zip(*vector).for_each(|(m, x)| *m += f64::from(*x));
            }
            mean.iter_mut().for_each(|m| *m /= finite.len() as f64);
            let mut block = Vec::with_capacity((finite.len() + 1) * self.width);
            for vector in &finite {
                if self.spec.centered {
                    block.extend(vector.iter().zip(&mean).map(|(x, m)| f64::from(*x) - m));
                } else {
                    block.extend(vector.iter().map(|x| f64::from(*x)));
                }
            }
            let shift = self.join_mean(&mean, finite.len() as u64);
            if self.spec.centered {
                block.extend(shift);
            }
            self.add_products(block)?;
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.non_finite = self.non_finite.saturating_add(other.non_finite);
        if other.count == 0 {
            return Ok(());
        }
        for (strip, more) in self.strips.iter_mut().zip(&other.strips) {
            strip.iter_mut().zip(more).for_each(|(s, x)| *s += x);
        }
        let shift = self.join_mean(&other.mean, other.count);
        if self.spec.centered { self.add_products(shift) } else { Ok(()) }
    }

    fn arrays(&self) -> Arrays {
        let mut arrays = Arrays::new();
        let sum = self.strips.concat();
        arrays.put("count", &[1], vec![self.count]);
        arrays.put("non_finite", &[1], vec![self.non_finite]);
        arrays.put("mean", &[self.width], self.mean.clone());
        arrays.put("sum", &[sum.len()], sum);
        arrays
    }
}
