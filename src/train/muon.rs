//! The rule of Muon: momentum, made orthogonal (Jordan et al. 2024; in the scale of Liu et al. 2025, arXiv 2502.16982).
//!
//! With G the gradient of a matrix of A rows and B columns:
//!
//! ```text
//! M := mu M + G          O = orthogonal(G + mu M)          W := W - rate (decay W + 0.2 sqrt(max(A, B)) O)
//! ```
//!
//! where orthogonal(X) replaces the singular values of X by numbers near 1 in five steps of a Newton-Schulz iteration:
//! from X / |X|, X := a X + (b X X^T + c (X X^T)^2) X. The factor gives an update the size that AdamW's updates have, so
//! that both rules share one learning rate.

use candle_core::Tensor;

use crate::Result;

/// mu.
const MOMENTUM: f32 = 0.95;
/// a, b, c: the slope at 0 is large, and singular values end between 0.7 and 1.2.
const STEP: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);
/// Steps of the iteration.
const STEPS: usize = 5;
/// Root-mean-square size of AdamW's updates, in learning rates.
const SIZE: f64 = 0.2;

/// Adds the gradient `[A, B]`, multiplied by `factor`, to the momentum and returns the change of the weights at a rate
/// of 1, without their decay.
pub(super) fn change(gradient: &Tensor, momentum: &mut [f32], factor: f32) -> Result<Tensor> {
    let (rows, columns) = gradient.dims2()?;
    let mut ahead: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
    for (g, m) in ahead.iter_mut().zip(momentum) {
        *g *= factor;
        *m = MOMENTUM * *m + *g;
        *g += MOMENTUM * *m;
    }
    let ahead = Tensor::from_vec(ahead, (rows, columns), gradient.device())?;
    Ok((orthogonal(&ahead)? * (SIZE * (rows.max(columns) as f64).sqrt()))?)
}

/// A matrix `[A, B]` with its singular values moved towards 1.
///
/// # Errors
/// None but Candle's own.
pub fn orthogonal(x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    // The shorter side makes the smaller square.
    let tall = rows > columns;
    let mut x = if tall { x.t()?.contiguous()? } else { x.clone() };
    let norm = x.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt();
    x = (x / f64::from(norm.max(f32::MIN_POSITIVE)))?;
    let (a, b, c) = STEP;
    for _ in 0..STEPS {
        let square = x.matmul(&x.t()?)?; // [short, short]
        let polynomial = ((&square * b)? + (square.matmul(&square)? * c)?)?;
        x = ((&x * a)? + polynomial.matmul(&x)?)?;
    }
    Ok(if tall { x.t()?.contiguous()? } else { x })
}
