//! ALiBi: a bias on attention scores that falls linearly with distance, bias(i, j) = slope (pos(j) - pos(i)).
//!
//! Slopes are 2^(-8k/n) for n heads; where n is no power of two, those of the power below, then every other one of
//! the power above. Hugging Face's Falcon rounds slope, position and product to bf16, and its checkpoints show it.

use crate::{Error, Result};
use candle_core::{Device, Tensor};
use half::bf16;

/// In which precision the bias is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlibiRounding {
    /// f32 throughout (BLOOM).
    F32,
    /// bias = r(r(slope) r(pos j)) - r(r(slope) r(pos i)) with r the rounding to bf16 (Falcon).
    Bf16,
}

/// The slopes of a network's heads.
#[derive(Clone, PartialEq, Debug)]
pub struct Alibi {
    /// One slope for each query head, `[H]`.
    pub slopes: Vec<f32>,
    /// The precision of the bias.
    pub rounding: AlibiRounding,
    /// Multiplies the bias at the end: 1, or 1/sqrt(d) in Falcon, which scales scores and bias together.
    pub scale: f32,
}

impl Alibi {
    /// The usual slopes for this many heads.
    pub fn new(heads: usize, rounding: AlibiRounding, scale: f32) -> Result<Self> {
        if heads == 0 {
            return Err(Error::invalid("ALiBi slopes for 0 heads", "check the number of heads in the configuration"));
        }
        let below = 1usize << heads.ilog2();
        let base = |n: usize| 2f64.powf(-(2f64.powf(-((n as f64).log2() - 3.0)))) as f32;
        let mut slopes: Vec<f32> = (1..=below).map(|k| base(below).powi(k as i32)).collect();
        slopes.extend((0..heads - below).map(|k| base(2 * below).powi(2 * k as i32 + 1)));
        Ok(Self { slopes, rounding, scale })
    }

    /// The bias `[B or 1, H, Tq, Tk]` for positions `query` `[B, Tq]` and `key` `[B, Tk]`, given row after row.
    ///
    /// One row where all rows have the same positions. It is made once for a forward pass and shared by all layers.
    pub fn bias(&self, query: &[u32], key: &[u32], batch: usize, device: &Device) -> Result<Tensor> {
        let (tq, tk) = (query.len() / batch.max(1), key.len() / batch.max(1));
        if tq * batch != query.len() || tk * batch != key.len() || tq == 0 || tk == 0 {
            return Err(Error::invalid(
                format!("{} query and {} key positions for {batch} rows", query.len(), key.len()),
                "give one position for each token of the batch",
            ));
        }
        let same =
            query.chunks_exact(tq).all(|row| row == &query[..tq]) && key.chunks_exact(tk).all(|k| k == &key[..tk]);
        let rows = if same { 1 } else { batch };
        let mut bias = Vec::with_capacity(rows * self.slopes.len() * tq * tk);
        for (query, key) in query.chunks_exact(tq).zip(key.chunks_exact(tk)).take(rows) {
            for &slope in &self.slopes {
                for &i in query {
                    bias.extend(key.iter().map(|&j| self.one(slope, i, j)));
                }
            }
        }
        Ok(Tensor::from_vec(bias, (rows, self.slopes.len(), tq, tk), device)?)
    }

    fn one(&self, slope: f32, i: u32, j: u32) -> f32 {
        let round = |v: f32| bf16::from_f32(v).to_f32();
        let bias = match self.rounding {
            AlibiRounding::F32 => slope * (j as f32 - i as f32),
            AlibiRounding::Bf16 => {
                let product = |p: u32| round(round(slope) * round(p as f32));
                product(j) - product(i)
            }
        };
        bias * self.scale
    }
}
