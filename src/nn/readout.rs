//! Linear readouts in f64: ridge regression and recursive least squares (FORCE).

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use crate::{Error, Result};

/// Ridge regression on a fixed set of samples: one factorisation for any number of targets.
///
/// W = (X^T X + lambda I)^-1 X^T y. A constant column is the caller's, and is regularised like the others, so that RLS
/// with mu = 1 gives the same.
#[derive(Debug)]
pub struct Ridge {
    features: DMatrix<f64>,
    factor: Cholesky<f64, Dyn>,
}

impl Ridge {
    /// For `features` `[samples, width]`, row-major.
    ///
    /// # Errors
    /// Features of another length, lambda that is not positive, numbers that are not finite.
    pub fn new(features: &[f64], width: usize, lambda: f64) -> Result<Self> {
        if width == 0 || features.is_empty() || !features.len().is_multiple_of(width) {
            return Err(Error::invalid(
                format!("{} features in samples of {width}", features.len()),
                "give samples of one width, at least one",
            ));
        }
        let x = DMatrix::from_row_slice(features.len() / width, width, features);
        let gram = x.transpose() * &x + DMatrix::identity(width, width) * lambda; // [width, width]
        let factor = Cholesky::new(gram).filter(|_| features.iter().all(|v| v.is_finite())).ok_or_else(|| {
            Error::invalid(
                format!("the samples of a ridge regression with lambda {lambda} have no Cholesky factor"),
                "use a larger lambda; if a feature is not finite, the network has blown up",
            )
        })?;
        Ok(Self { features: x, factor })
    }

    /// The weights `[width]` for one target value per sample.
    ///
    /// # Errors
    /// Another number of targets.
    pub fn fit(&self, targets: &[f64]) -> Result<Vec<f64>> {
        if targets.len() != self.features.nrows() {
            return Err(Error::invalid(
                format!("{} targets for {} samples", targets.len(), self.features.nrows()),
                "give one target per sample",
            ));
        }
        let y = DVector::from_column_slice(targets);
        Ok(self.factor.solve(&self.features.tr_mul(&y)).as_slice().to_vec())
    }
}

/// What weights `[width]` read out of `features` `[samples, width]`.
pub fn read_out(features: &[f64], weights: &[f64]) -> Vec<f64> {
    let dot = |x: &[f64]| x.iter().zip(weights).map(|(a, b)| a * b).sum();
    features.chunks_exact(weights.len().max(1)).map(dot).collect()
}

/// Recursive least squares, as FORCE trains a readout while the network runs (Sussillo and Abbott 2009).
///
/// k = P x / (mu + x^T P x); W -= (W x - y) k^T; P = (P - k x^T P) / mu, from P = I / alpha and W = 0.
#[derive(Clone, Debug)]
pub struct Rls {
    p: DMatrix<f64>,
    weights: DMatrix<f64>,
    mu: f64,
    steps: u64,
}

/// Steps after which P is made symmetric again.
const SYMMETRISE: u64 = 200;

impl Rls {
    /// For features of `width` and so many outputs; alpha is the ridge, mu forgets (1: nothing).
    ///
    /// # Errors
    /// alpha that is not positive, mu outside (0, 1].
    pub fn new(width: usize, outputs: usize, alpha: f64, mu: f64) -> Result<Self> {
        if alpha <= 0.0 || !(0.0..=1.0).contains(&mu) || mu == 0.0 {
            return Err(Error::invalid(
                format!("recursive least squares with alpha {alpha} and mu {mu}"),
                "give alpha > 0 and mu in (0, 1]",
            ));
        }
        let p = DMatrix::identity(width, width) / alpha;
        Ok(Self { p, weights: DMatrix::zeros(outputs, width), mu, steps: 0 })
    }

    /// Learns one sample; gives the errors before the update, W x - y.
    ///
    /// # Errors
    /// A sample of another size.
    pub fn step(&mut self, x: &[f64], targets: &[f64]) -> Result<Vec<f64>> {
        if x.len() != self.p.nrows() || targets.len() != self.weights.nrows() {
            return Err(Error::invalid(
                format!("a sample of {} features and {} targets", x.len(), targets.len()),
                format!("give {} and {}", self.p.nrows(), self.weights.nrows()),
            ));
        }
        let x = DVector::from_column_slice(x);
        let px = &self.p * &x; // [width]
        let gain = &px / (self.mu + x.dot(&px));
        let errors = &self.weights * &x - DVector::from_column_slice(targets);
        self.weights.ger(-1.0, &errors, &gain, 1.0);
        self.p.ger(-1.0, &gain, &px, 1.0);
        if self.mu != 1.0 {
            self.p /= self.mu;
        }
        self.steps += 1;
        if self.steps.is_multiple_of(SYMMETRISE) {
            self.p = (&self.p + self.p.transpose()) * 0.5;
        }
        Ok(errors.as_slice().to_vec())
    }

    /// The weights of an output.
    pub fn weights(&self, output: usize) -> Vec<f64> {
        self.weights.row(output).iter().copied().collect()
    }

    /// P, `[width, width]`: (alpha I + sum x x^T)^-1 for mu = 1.
    pub fn covariance(&self) -> Vec<f64> {
        self.p.as_slice().to_vec()
    }
}
