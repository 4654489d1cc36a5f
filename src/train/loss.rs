//! Losses of language models.

use candle_core::Tensor;

use crate::nn::{cross_entropy, soft_cross_entropy};
use crate::{Error, Result};

/// Which next tokens are to be predicted from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Rows of the flattened logits `[batch pos, vocab]` that predict.
    pub places: Vec<u32>,
    /// The token that each of them should predict.
    pub tokens: Vec<u32>,
}

impl Targets {
    /// Targets of `rows`, all of one length: every token but a row's first for which `wanted` says so.
    pub fn of_rows(rows: &[Vec<u32>], wanted: &[Vec<bool>]) -> Self {
        let width = rows.first().map_or(0, Vec::len);
        let mut targets = Self::default();
        for (r, (row, wanted)) in rows.iter().zip(wanted).enumerate() {
            for at in (1..width).filter(|at| wanted[*at]) {
                targets.places.push((r * width + at - 1) as u32);
                targets.tokens.push(row[at]);
            }
        }
        targets
    }
}

/// The summed cross-entropy (nats) of `logits` `[batch, pos, vocab]` at `targets`, times `scale`: a scalar.
///
/// # Errors
/// [`Error::Invalid`] without a target.
pub fn next_token_loss(logits: &Tensor, targets: &Targets, scale: f64) -> Result<Tensor> {
    Ok((cross_entropy(&chosen(logits, targets)?, &targets.tokens)? * scale)?)
}

/// The same with the distributions `aims` `[targets, vocab]` in place of the targets' tokens: distillation (Hinton et
/// al. 2015) from whatever made them.
///
/// # Errors
/// [`Error::Invalid`] without a target, or for aims of another shape.
pub fn distillation_loss(logits: &Tensor, targets: &Targets, aims: &Tensor, scale: f64) -> Result<Tensor> {
    Ok((soft_cross_entropy(&chosen(logits, targets)?, aims)? * scale)?)
}

/// The rows of the logits that predict: `[targets, vocab]`.
fn chosen(logits: &Tensor, targets: &Targets) -> Result<Tensor> {
    if targets.places.is_empty() {
        return Err(Error::invalid("a lesson has no token to predict", "give a row of at least two tokens"));
    }
    let places = Tensor::from_slice(&targets.places, targets.places.len(), logits.device())?;
    Ok(logits.flatten_to(1)?.index_select(&places, 0)?)
}
