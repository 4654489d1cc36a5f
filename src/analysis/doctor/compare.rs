//! How far two tensors are apart, and where.
//!
//! A site's values come as one tensor per text, of real positions only. The relative error is the largest difference
//! over the largest magnitude of the whole site: single small values carry the rounding of their large neighbours.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::report::number;

/// When two values count as equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Equality {
    /// By how far they are apart.
    Close,
    /// Only if their bits are the same.
    Bits,
}

/// The largest difference of two sets of tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Largest absolute difference; infinite where a value is not a number or the shapes differ.
    #[serde(with = "number")]
    pub absolute: f64,
    /// Largest finite magnitude of both.
    #[serde(with = "number")]
    pub magnitude: f64,
    /// The text with the largest difference; `None` if there is none.
    pub text: Option<usize>,
    /// The position in that text.
    pub position: usize,
    /// How many values were compared.
    pub compared: u64,
}

impl Difference {
    /// The largest difference over the magnitude.
    pub fn relative(&self) -> f64 {
        relative(self.absolute, self.magnitude)
    }
}

/// `error / magnitude`; 0 for no error at all.
pub fn relative(error: f64, magnitude: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / magnitude }
}

/// Compares `got` with `expected`, one tensor per text; axis `dim` counts positions.
///
/// Equal infinities do not differ. What is not a number differs from everything, but by [`Equality::Bits`] from its
/// own copy.
///
/// # Errors
/// Tensors that cannot be read as f32.
pub fn compare(got: &[Tensor], expected: &[Tensor], dim: usize, equality: Equality) -> Result<Difference> {
    let mut found = Difference { absolute: 0.0, magnitude: 0.0, text: None, position: 0, compared: 0 };
    if got.len() != expected.len() {
        return Ok(Difference { absolute: f64::INFINITY, ..found });
    }
    for (text, (got, expected)) in got.iter().zip(expected).enumerate() {
        if got.dims() != expected.dims() || dim >= got.rank() {
            return Ok(Difference { absolute: f64::INFINITY, text: Some(text), ..found });
        }
        let inner: usize = got.dims()[dim + 1..].iter().product();
        let positions = got.dims()[dim];
        let (got, expected) = (values(got)?, values(expected)?);
        found.compared += got.len() as u64;
        for (i, (x, y)) in got.iter().zip(&expected).enumerate() {
            for v in [x, y] {
                if v.is_finite() {
                    found.magnitude = found.magnitude.max(f64::from(v.abs()));
                }
            }
            let error = error(*x, *y, equality);
            if error > found.absolute {
                found.absolute = error;
                found.text = Some(text);
                found.position = i / inner % positions;
            }
        }
    }
    Ok(found)
}

fn error(x: f32, y: f32, equality: Equality) -> f64 {
    if x.to_bits() == y.to_bits() && (equality == Equality::Bits || !x.is_nan()) {
        return 0.0;
    }
    let error = (f64::from(x) - f64::from(y)).abs();
    match equality {
        _ if error.is_nan() => f64::INFINITY,
        Equality::Close => error,
        Equality::Bits => error.max(f64::from(f32::MIN_POSITIVE)), // 0 and -0 are not the same bits
    }
}

/// The largest finite magnitude of a site.
///
/// # Errors
/// Tensors that cannot be read as f32.
pub fn magnitude(tensors: &[Tensor]) -> Result<f64> {
    let mut largest = 0f32;
    for tensor in tensors {
        let finite = values(tensor)?.into_iter().filter(|v| v.is_finite());
        largest = finite.fold(largest, |m, v| m.max(v.abs()));
    }
    Ok(f64::from(largest))
}

/// All values, in f32.
pub fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}
