//! Inverse frequencies of the rotary embedding, and the ways in which checkpoints stretch them.
//!
//! Plain: f_i = theta^(-2i/dim). The scalings follow Hugging Face's `modeling_rope_utils.py`, step by step in f32 as
//! there, since a checkpoint was trained with those roundings.

use crate::{Error, Result};
use std::f64::consts::PI;

/// How a checkpoint stretches its rotary embedding beyond the length it was first trained for.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// All frequencies divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// A larger base once the sequence outgrows the training length ("NTK").
    Dynamic {
        /// The factor.
        factor: f64,
        /// The training length; Hugging Face takes `max_position_embeddings`.
        original_max: usize,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, the band between interpolated.
    Llama3 {
        /// The divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_max / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_max / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The training length.
        original_max: usize,
    },
    /// YaRN: interpolation by a ramp over the dimensions, and hotter attention.
    Yarn {
        /// The factor; `max_position_embeddings / original_max` where the configuration has none.
        factor: f64,
        /// Rotations over the training length above which a dimension is kept; usually 32.
        beta_fast: f64,
        /// Rotations below which a dimension is divided; usually 1.
        beta_slow: f64,
        /// The training length.
        original_max: usize,
        /// Scale of cos and sin; computed from the factor where absent.
        attention_factor: Option<f64>,
        /// DeepSeek's numerator of the computed scale.
        mscale: Option<f64>,
        /// DeepSeek's denominator of the computed scale.
        mscale_all_dim: Option<f64>,
        /// Whether the ends of the ramp are rounded outwards to whole dimensions; usually true.
        truncate: bool,
    },
    /// LongRoPE: a divisor for each dimension, in a short and a long set.
    LongRope {
        /// Divisors `[dim / 2]` up to the training length.
        short_factor: Vec<f64>,
        /// Divisors `[dim / 2]` beyond it.
        long_factor: Vec<f64>,
        /// The training length.
        original_max: usize,
        /// The factor; `max_position / original_max` where absent.
        factor: Option<f64>,
        /// Scale of cos and sin; computed from the factor where absent.
        attention_factor: Option<f64>,
        /// The length the checkpoint is meant for.
        max_position: usize,
    },
}

impl RopeScaling {
    /// Whether the frequencies depend on the length of the sequence.
    pub fn depends_on_length(&self) -> bool {
        matches!(self, Self::Dynamic { .. } | Self::LongRope { .. })
    }

    /// The factor by which cos and sin are scaled.
    pub fn attention_factor(&self) -> f32 {
        let factor = match self {
            Self::Yarn { factor, attention_factor, mscale, mscale_all_dim, .. } => {
                attention_factor.unwrap_or_else(|| match (mscale, mscale_all_dim) {
                    (Some(m), Some(all)) if *m != 0.0 && *all != 0.0 => heat(*factor, *m) / heat(*factor, *all),
                    _ => heat(*factor, 1.0),
                })
            }
            Self::LongRope { original_max, factor, attention_factor, max_position, .. } => attention_factor
                .unwrap_or_else(|| {
                    let factor = factor.unwrap_or(*max_position as f64 / *original_max as f64);
                    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (*original_max as f64).ln()).sqrt() }
                }),
            _ => 1.0,
        };
        factor as f32
    }

    /// The inverse frequencies `[dim / 2]` for a sequence of `seq_len` tokens (the largest position plus 1).
    pub fn inv_freq(&self, theta: f64, dim: usize, seq_len: usize) -> Result<Vec<f32>> {
        let plain = |base: f32| powers(base, dim).into_iter().map(|p| 1.0 / p).collect::<Vec<f32>>();
        let base = theta as f32;
        Ok(match self {
            Self::None => plain(base),
            Self::Linear { factor } => plain(base).into_iter().map(|f| f / *factor as f32).collect(),
            Self::Dynamic { factor, original_max } => {
                if seq_len <= *original_max {
                    return Ok(plain(base));
                }
                let stretch = *factor as f32 * seq_len as f32 / *original_max as f32 - (*factor - 1.0) as f32;
                plain(base * stretch.powf((dim as f64 / (dim as f64 - 2.0)) as f32))
            }
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max } => {
                let length = *original_max as f64;
                let (factor, low, high) = (*factor as f32, *low_freq_factor, *high_freq_factor);
                let (longest, shortest) = ((length / low) as f32, (length / high) as f32);
                let one = |f: f32| {
                    let wave = (2.0 * PI) as f32 / f;
                    if wave < shortest {
                        f
                    } else if wave > longest {
                        f / factor
                    } else {
                        let smooth = (length as f32 / wave - low as f32) / (high - low) as f32;
                        (1.0 - smooth) * f / factor + smooth * f
                    }
                };
                plain(base).into_iter().map(one).collect()
            }
            Self::Yarn { factor, beta_fast, beta_slow, original_max, truncate, .. } => {
                let (low, high) = ramp(*beta_fast, *beta_slow, dim, theta, *original_max as f64, *truncate);
                let one = |(i, p): (usize, f32)| {
                    let kept = 1.0 - ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    1.0 / (*factor as f32 * p) * (1.0 - kept) + 1.0 / p * kept
                };
                powers(base, dim).into_iter().enumerate().map(one).collect()
            }
            Self::LongRope { short_factor, long_factor, original_max, .. } => {
                let divisors = if seq_len > *original_max { long_factor } else { short_factor };
                if divisors.len() != dim / 2 {
                    return Err(Error::invalid(
                        format!("longrope expects {} factors and got {}", dim / 2, divisors.len()),
                        "give one factor for each pair of rotated dimensions",
                    ));
                }
                let one = |(p, d): (f32, &f64)| 1.0 / (*d as f32 * p);
                powers(base, dim).into_iter().zip(divisors).map(one).collect()
            }
        })
    }
}

/// theta^(2i/dim) for i below dim / 2.
fn powers(base: f32, dim: usize) -> Vec<f32> {
    (0..dim / 2).map(|i| base.powf((2 * i) as f32 / dim as f32)).collect()
}

/// YaRN's attention temperature.
fn heat(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

/// YaRN's ramp: the dimensions between which interpolation sets in.
fn ramp(fast: f64, slow: f64, dim: usize, theta: f64, length: f64, truncate: bool) -> (f64, f64) {
    let at = |rotations: f64| dim as f64 * (length / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (low, high) = if truncate { (at(fast).floor(), at(slow).ceil()) } else { (at(fast), at(slow)) };
    let (low, high) = (low.max(0.0), high.min(dim as f64 - 1.0));
    (low, if low == high { high + 0.001 } else { high })
}
