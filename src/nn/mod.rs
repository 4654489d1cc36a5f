//! Layers shared by networks, each in two forms of one arithmetic.
//!
//! - *Differentiable*: composed Candle operations that all have a backward pass, on any device and float type.
//!   Candle's own fused softmax, norms and rotary embedding cut the gradient without a word and are not used.
//! - *Inference*: plain kernels that write fresh tensors and leave no graph. They run on f32 tensors of the CPU;
//!   anything else takes the composed operations.
//!
//! The two agree to 1e-6 of a tensor's scale. A kernel computes every element in a fixed order, so its bits depend
//! neither on the number of threads nor on which optional outputs were asked for.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use optrode::nn::{Activation, Form};
//! let x = Tensor::new(&[-1f32, 0., 2.], &Device::Cpu)?;
//! let y = Activation::from_hf("relu")?.forward(&x, Form::Inference)?;
//! assert_eq!(y.to_vec1::<f32>()?, [0., 0., 2.]);
//! # Ok::<(), optrode::Error>(())
//! ```

mod activated;
mod activation;
mod alibi;
mod attend;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod buffer;
mod conv;
mod dense;
mod embedding;
mod heads;
pub(crate) mod kernel;
mod learn;
mod linear;
mod loss;
mod lstm;
mod mask;
mod norm;
mod packed;
mod product;
pub mod readout;
mod rope;
mod rope_scaling;
mod short;
mod softmax;
pub mod spiking;

pub use activated::{Activated, Maps, activated};
pub use activation::Activation;
pub use alibi::{Alibi, AlibiRounding};
pub use attend::{Attended, attend};
pub use attention::{mix, scores};
pub use conv::Conv2d;
pub use embedding::Embedding;
pub use linear::{Layout, Linear, forward_all};
pub use loss::{cross_entropy, soft_cross_entropy};
pub use lstm::{Lstm, sigmoid};
pub use mask::{AttentionMask, CausalMask};
pub use norm::{Norm, NormKind, NormOut, Want};
pub use packed::{PackedKeys, PackedRow, packed_attention};
pub use rope::{Rope, RopeTables};
pub use rope_scaling::RopeScaling;
pub use softmax::{Pattern, ScoreRule, masked, pattern, softcap, softmax};

pub use crate::hook::Form;
