//! The weights of attention's circuits head by head, f32, in TransformerLens's row-vector convention: a value is
//! `x W_V`, a head's output `z W_O`, an embedding a row of W_E, logits `x W_U`. Norms are not folded in.

use candle_core::{DType, Tensor};

use super::Decoder;
use super::qkv::Role;
use crate::nn::{Layout, Linear};
use crate::{Error, Result};

/// Tokens of the vocabulary taken at a time.
const TOKENS: usize = 8192;

impl Decoder {
    /// W_V of every key/value head of a layer: `[kv_heads, d_model, d_head]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that there is not.
    pub fn value_weights(&self, layer: usize) -> Result<Tensor> {
        self.read_weights(layer, Role::Value)
    }

    /// W_K of every key/value head of a layer: `[kv_heads, d_model, d_head]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that there is not.
    pub fn key_weights(&self, layer: usize) -> Result<Tensor> {
        self.read_weights(layer, Role::Key)
    }

    /// W_Q of every head of a layer: `[heads, d_model, d_head]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that there is not.
    pub fn query_weights(&self, layer: usize) -> Result<Tensor> {
        self.read_weights(layer, Role::Query)
    }

    fn read_weights(&self, layer: usize, role: Role) -> Result<Tensor> {
        let block = self.blocks.get(layer).ok_or_else(|| no_layer(layer, self.blocks.len()))?;
        Ok(block.attention_weights(role)?.transpose(1, 2)?.contiguous()?)
    }

    /// W_O of every head of a layer: `[heads, d_head, d_model]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that there is not.
    pub fn output_weights(&self, layer: usize) -> Result<Tensor> {
        let out = self.attention_output(layer).ok_or_else(|| no_layer(layer, self.blocks.len()))?;
        let facts = self.facts();
        Ok(inputs_first(out)?.reshape((facts.n_heads, facts.d_head, facts.d_model))?)
    }

    /// W_U W_E, summed over the vocabulary: `[d_model, d_model]`. Projections between the embedding's width and the
    /// stream belong to both matrices; a norm of the embedding does not.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn unembed_embed(&self) -> Result<Tensor> {
        let (embed, unembed) = (&self.embed.table, &self.head.weight); // [vocab, width] both
        let vocab = embed.dim(0)?;
        let mut sum: Option<Tensor> = None;
        for start in (0..vocab).step_by(TOKENS) {
            let rows = TOKENS.min(vocab - start);
            let part = |table: &Tensor| table.narrow(0, start, rows)?.to_dtype(DType::F32);
            let product = part(unembed)?.t()?.contiguous()?.matmul(&part(embed)?.contiguous()?)?; // [width, width]
            sum = Some(match sum {
                Some(sum) => (sum + product)?,
                None => product,
            });
        }
        let mut product = sum.ok_or_else(|| Error::invalid("the vocabulary is empty", "check the model's config"))?;
        if let Some(up) = &self.project.0 {
            product = product.matmul(&inputs_first(up)?)?; // [width, d_model]
        }
        if let Some(down) = &self.project.1 {
            product = inputs_first(down)?.matmul(&product)?; // [d_model, d_model]
        }
        Ok(product)
    }
}

/// The weight as `[in, out]`, f32.
pub(super) fn inputs_first(linear: &Linear) -> Result<Tensor> {
    let weight = linear.weight.to_dtype(DType::F32)?;
    Ok(match linear.layout {
        Layout::OutIn => weight.t()?.contiguous()?,
        Layout::InOut => weight.contiguous()?,
    })
}

pub(super) fn no_layer(layer: usize, layers: usize) -> Error {
    Error::invalid(format!("there is no layer {layer}"), format!("the network has layers 0 to {}", layers.max(1) - 1))
}
