//! Cross-entropy of logits.

use candle_core::{D, Tensor};

use super::{Form, learn};
use crate::{Error, Result};

/// The summed cross-entropy (nats) of logits `[n, V]` with the right `tokens` `[n]`: a scalar with a gradient.
///
/// # Errors
/// [`Error::Invalid`] for another number of tokens than rows, or a token beyond the vocabulary.
pub fn cross_entropy(logits: &Tensor, tokens: &[u32]) -> Result<Tensor> {
    let (n, v) = logits.dims2()?;
    if tokens.len() != n || tokens.iter().any(|t| *t as usize >= v) {
        return Err(Error::invalid(
            format!("{} targets (largest {:?}) for logits [{n}, {v}]", tokens.len(), tokens.iter().max()),
            "give one token of the vocabulary for each row of logits",
        ));
    }
    if learn::applies(Form::Differentiable, logits) {
        return learn::cross_entropy(logits, tokens);
    }
    let tokens = Tensor::from_slice(tokens, (n, 1), logits.device())?;
    let max = logits.max_keepdim(D::Minus1)?.detach(); // [n, 1]
    let shifted = logits.broadcast_sub(&max)?;
    let norm = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?; // [n, 1]
    let right = shifted.gather(&tokens, 1)?; // [n, 1]
    Ok((norm - right)?.sum_all()?)
}

/// The summed cross-entropy (nats) of logits `[n, V]` with the distributions `aims` `[n, V]`, each of which adds to one:
/// a scalar with a gradient.
///
/// # Errors
/// [`Error::Invalid`] for other shapes.
pub fn soft_cross_entropy(logits: &Tensor, aims: &Tensor) -> Result<Tensor> {
    if logits.dims2()? != aims.dims2()? {
        return Err(Error::invalid(
            format!("distributions {:?} for logits {:?}", aims.shape(), logits.shape()),
            "give one distribution over the vocabulary for each row of logits",
        ));
    }
    if learn::applies(Form::Differentiable, logits) && aims.dtype() == logits.dtype() {
        return learn::soft_cross_entropy(logits, aims);
    }
    let max = logits.max_keepdim(D::Minus1)?.detach(); // [n, 1]
    let shifted = logits.broadcast_sub(&max)?;
    let norm = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?; // [n, 1]
    let right = (shifted * aims)?.sum_keepdim(D::Minus1)?; // [n, 1]
    Ok((norm - right)?.sum_all()?)
}
