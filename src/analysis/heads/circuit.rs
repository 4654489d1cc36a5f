//! Copying: the eigenvalues of each head's OV circuit (Elhage et al. 2021).
//!
//! W_E W_V W_O W_U, `[vocab, vocab]`, says how seeing a token raises each token's logit. It has the same eigenvalues, but
//! for zeros, as W_O W_U W_E W_V, `[d_head, d_head]`. With eigenvalues l the score is Re(sum l) / sum |l|: 1 if every
//! direction of tokens raises itself, -1 if every one lowers itself, 0 for a rotation by 90 degrees.

use candle_core::{DType, Tensor};
use nalgebra::{DMatrix, Schur};
use rayon::prelude::*;

use crate::models::Decoder;
use crate::{Error, Result};

/// Steps of the QR iteration per row of the matrix; a handful is usual.
const STEPS: usize = 100;

/// The eigenvalues of a head's circuit.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// (real, imaginary), in the order in which the Schur form gives them.
    pub eigenvalues: Vec<(f64, f64)>,
}

impl Spectrum {
    /// The eigenvalues of a square matrix, row by row.
    ///
    /// # Errors
    /// A matrix that is not square or not finite, or whose eigenvalues are not found.
    pub fn of(rows: &[Vec<f64>]) -> Result<Self> {
        let n = rows.len();
        if rows.iter().any(|row| row.len() != n) {
            return Err(Error::invalid("eigenvalues of a matrix that is not square", "give as many columns as rows"));
        }
        let matrix = DMatrix::from_fn(n, n, |i, j| rows[i][j]);
        // A scale of about 1 keeps the iteration's absolute thresholds meaningful.
        let scale = matrix.amax();
        if !scale.is_finite() {
            return Err(Error::invalid("a head's weights are not finite", "run `doctor` on the model"));
        }
        if scale == 0.0 {
            return Ok(Self { eigenvalues: vec![(0.0, 0.0); n] });
        }
        let form = Schur::try_new(matrix / scale, f64::EPSILON, STEPS * n).ok_or_else(|| {
            Error::invalid(format!("the eigenvalues of a head ({n} x {n}) were not found"), "report this as a defect")
        })?;
        let values = form.complex_eigenvalues();
        Ok(Self { eigenvalues: values.iter().map(|l| (l.re * scale, l.im * scale)).collect() })
    }

    /// Re(sum l) / sum |l|; `None` if all are zero.
    pub fn score(&self) -> Option<f64> {
        let real: f64 = self.eigenvalues.iter().map(|l| l.0).sum();
        let magnitude: f64 = self.eigenvalues.iter().map(|l| l.0.hypot(l.1)).sum();
        (magnitude > 0.0).then(|| real / magnitude)
    }
}

/// The copying score of a matrix, given row by row: see [`Spectrum`].
///
/// # Errors
/// As [`Spectrum::of`].
pub fn copying_score(rows: &[Vec<f64>]) -> Result<Option<f64>> {
    Ok(Spectrum::of(rows)?.score())
}

/// The spectrum of every head's W_O W_U W_E W_V, by layer and head. Query heads that share a value head have its W_V.
///
/// Norms are not folded in. Positive factors (embedding scale, multipliers, divisors) change no score and are left out.
///
/// # Errors
/// Weights that are not finite.
pub fn ov_spectra(net: &Decoder) -> Result<Vec<Vec<Spectrum>>> {
    let facts = net.facts();
    let tokens = net.unembed_embed()?; // [d_model, d_model]
    let group = facts.n_heads / facts.n_kv_heads.max(1);
    let mut all = Vec::with_capacity(facts.layers.len());
    for layer in 0..facts.layers.len() {
        let (out, value) = (net.output_weights(layer)?, net.value_weights(layer)?);
        let circuits = (0..facts.n_heads).map(|head| -> Result<Vec<Vec<f64>>> {
            let through = out.get(head)?.contiguous()?.matmul(&tokens)?; // [d_head, d_model]
            let circuit: Tensor = through.matmul(&value.get(head / group)?.contiguous()?)?; // [d_head, d_head]
            Ok(circuit.to_dtype(DType::F64)?.to_vec2()?)
        });
        let circuits = circuits.collect::<Result<Vec<_>>>()?;
        all.push(circuits.par_iter().map(|rows| Spectrum::of(rows)).collect::<Result<Vec<_>>>()?);
    }
    Ok(all)
}
