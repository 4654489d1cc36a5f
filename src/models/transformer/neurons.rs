//! The weights of MLP neurons as directions of the residual stream, f32, and what a direction does to the logits.
//!
//! Gains of norms are applied, their division by the scale and their biases are not: these depend on the text or belong
//! to no neuron. A layer norm also takes the mean away.

use candle_core::{DType, Tensor};

use super::Decoder;
use super::circuits::{inputs_first, no_layer};
use crate::hook::Form;
use crate::nn::{Linear, Norm};
use crate::{Error, Result};

impl Decoder {
    /// What each neuron of a layer reads: `[d_mlp, d_model]`, the rows of the input projection (of the gate, if gated)
    /// times the gain of the norm before the MLP.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a layer that there is not.
    pub fn neuron_inputs(&self, layer: usize) -> Result<Tensor> {
        let block = self.blocks.get(layer).ok_or_else(|| no_layer(layer, self.blocks.len()))?;
        let rows = block.mlp_input()?.t()?.contiguous()?; // [d_mlp, d_model]
        match block.mlp_norms().0 {
            Some(norm) => bare(norm).affine(&rows),
            None => Ok(rows),
        }
    }

    /// What each neuron of a layer adds to the stream per unit of activation: `[d_mlp, d_model]`, the rows of the output
    /// projection through the gain of the norm after the MLP, if there is one, times the residual multiplier.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a layer that there is not.
    pub fn neuron_outputs(&self, layer: usize) -> Result<Tensor> {
        let block = self.blocks.get(layer).ok_or_else(|| no_layer(layer, self.blocks.len()))?;
        let mut rows = inputs_first(block.mlp_output())?; // [d_mlp, d_model]
        if let Some(norm) = block.mlp_norms().1 {
            rows = through(norm, &rows)?;
        }
        Ok((rows * self.facts().residual_multiplier)?)
    }

    /// The direct effect of directions `[n, d_model]` of the stream on the logits, `[n, vocab]`: through the gain of the
    /// last norm and the unembedding as it is, over the logits' divisor. The true change of a logit is this over the last
    /// norm's scale at the token (positive, common to all logits), before any softcap.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn direct_logits(&self, directions: &Tensor) -> Result<Tensor> {
        let mut x = directions.to_dtype(DType::F32)?;
        if let Some(norm) = &self.final_norm {
            x = through(&norm.norm, &x)?;
        }
        if let Some(project) = &self.project.1 {
            x = project.forward(&x, Form::Inference)?;
        }
        let head = Linear { bias: None, ..self.head.clone() };
        let logits = head.forward(&x, Form::Inference)?;
        Ok((logits / self.facts().head.divisor)?)
    }

    /// The directions of the stream that raise these tokens' logits, `[tokens, d_model]`: x . u over the last norm's scale
    /// is what x adds to a logit before any softcap. The transpose of [`Decoder::direct_logits`].
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a token beyond the vocabulary.
    pub fn logit_directions(&self, tokens: &[u32]) -> Result<Tensor> {
        if let Some(id) = tokens.iter().find(|id| **id as usize >= self.facts().vocab) {
            let what = format!("the token {id} is beyond the vocabulary of {}", self.facts().vocab);
            return Err(Error::invalid(what, "the ids come from another tokenizer"));
        }
        let ids = Tensor::from_slice(tokens, tokens.len(), self.head.weight.device())?;
        let mut rows = self.head.weight.index_select(&ids, 0)?.to_dtype(DType::F32)?; // [tokens, width]
        if let Some(project) = &self.project.1 {
            rows = rows.matmul(&inputs_first(project)?.t()?.contiguous()?)?; // [tokens, d_model]
        }
        if let Some(norm) = &self.final_norm {
            // Gain first, for the norm takes the mean away before it: both are symmetric.
            rows = norm.norm.center(&bare(&norm.norm).affine(&rows)?)?;
        }
        Ok((rows / self.facts().head.divisor)?)
    }

    /// What the logits are when the stream says nothing: the biases of the last norm and of the unembedding, `[vocab]`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn logit_bias(&self) -> Result<Tensor> {
        let mut x = Tensor::zeros((1, self.facts().d_model), DType::F32, self.head.weight.device())?;
        if let Some(bias) = self.final_norm.as_ref().and_then(|n| n.norm.bias.as_ref()) {
            x = x.broadcast_add(&bias.to_dtype(DType::F32)?)?;
        }
        if let Some(project) = &self.project.1 {
            x = project.forward(&x, Form::Inference)?;
        }
        Ok((self.head.forward(&x, Form::Inference)?.squeeze(0)? / self.facts().head.divisor)?)
    }
}

/// A norm without division by the scale and without bias.
fn through(norm: &Norm, x: &Tensor) -> Result<Tensor> {
    bare(norm).affine(&norm.center(x)?)
}

/// The norm without its bias: its last step is its gain.
fn bare(norm: &Norm) -> Norm {
    Norm { bias: None, ..norm.clone() }
}
