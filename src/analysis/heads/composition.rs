//! Composition scores: how much of what one head writes a later head could read (Elhage et al. 2021).
//!
//! ```text
//! score_X(a, b) = ||W_O^a W_X^b||_F / (||W_O^a||_F ||W_X^b||_F)      X in Q, K, V; rows are vectors
//! ```
//!
//! Two matrices of independent numbers score 1 / sqrt(d_model), which is the control. An induction head whose keys read
//! a previous-token head has a high K score with it. Norms, biases and rotations are not folded in: the score says what
//! the weights permit, and an intervention says what happens.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::models::Decoder;
use crate::report::number;

/// What of the later head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// Its queries.
    Q,
    /// Its keys.
    K,
    /// Its values.
    V,
}

impl Reader {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Q, Self::K, Self::V];

    /// `q`, `k` or `v`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
        }
    }
}

/// A pair of heads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// What of the later head reads.
    pub reader: Reader,
    /// (layer, head) of the earlier head.
    pub from: (usize, usize),
    /// (layer, head) of the later head; query heads that share a key/value head score alike as K and V.
    pub to: (usize, usize),
    /// The score, 0 to 1; 0 where one of the matrices is zero.
    #[serde(with = "number")]
    pub score: f64,
}

/// The scores of all pairs of heads in different layers: by reader, then by the later head, then by the earlier one.
///
/// # Errors
/// When memory runs out.
pub fn compositions(net: &Decoder) -> Result<Vec<Link>> {
    let facts = net.facts();
    let (layers, heads, d_head) = (facts.layers.len(), facts.n_heads, facts.d_head);
    let outs = (0..layers).map(|l| stacked(&net.output_weights(l)?)).collect::<Result<Vec<_>>>()?;
    let mut links = Vec::new();
    for reader in Reader::ALL {
        for to in 1..layers {
            let weights = match reader {
                Reader::Q => net.query_weights(to)?,
                Reader::K => net.key_weights(to)?,
                Reader::V => net.value_weights(to)?,
            }; // [n, d_model, d_head]
            let n = weights.dim(0)?;
            let read = stacked(&weights.transpose(1, 2)?.contiguous()?)?;
            let rows = read.tensor.t()?.contiguous()?; // [d_model, n d_head]
            let products: Vec<Vec<Vec<f64>>> = outs[..to]
                .iter()
                .map(|out| block_norms(&out.tensor.matmul(&rows)?, heads, n, d_head))
                .collect::<Result<_>>()?;
            for head in 0..heads {
                let slot = head / (heads / n);
                for (from, product) in products.iter().enumerate() {
                    for (earlier, norms) in product.iter().enumerate() {
                        let scale = outs[from].norms[earlier] * read.norms[slot];
                        let score = if scale > 0.0 { norms[slot] / scale } else { 0.0 };
                        links.push(Link { reader, from: (from, earlier), to: (to, head), score });
                    }
                }
            }
        }
    }
    Ok(links)
}

/// The matrices of a layer's heads, one below the other, with the Frobenius norm of each.
struct Stacked {
    /// `[heads d_head, d_model]`.
    tensor: Tensor,
    norms: Vec<f64>,
}

fn stacked(weights: &Tensor) -> Result<Stacked> {
    let squares = weights.sqr()?.flatten_from(1)?.to_dtype(DType::F64)?.sum(1)?;
    let norms = squares.to_vec1::<f64>()?.into_iter().map(f64::sqrt).collect();
    Ok(Stacked { tensor: weights.flatten(0, 1)?, norms })
}

/// The Frobenius norms of the blocks `[d, d]` of a matrix `[rows d, columns d]`.
fn block_norms(x: &Tensor, rows: usize, columns: usize, d: usize) -> Result<Vec<Vec<f64>>> {
    let blocks = x.sqr()?.to_dtype(DType::F64)?.reshape((rows, d, columns, d))?;
    let sums: Vec<Vec<f64>> = blocks.sum(3)?.sum(1)?.to_vec2()?;
    Ok(sums.into_iter().map(|row| row.into_iter().map(f64::sqrt).collect()).collect())
}
