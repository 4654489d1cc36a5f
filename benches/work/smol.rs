//! A network of SmolLM-135M's shape with random weights, made in memory.

use candle_core::{DType, Device, Tensor};
use optrode::models::Decoder;
use optrode::models::transformer::WeightSource;
use rayon::prelude::*;
use serde_json::{Map, json};

/// A network of SmolLM-135M's shape with random weights, kept as `dtype`.
pub fn smol(dtype: DType) -> optrode::Result<Decoder> {
    let config = json!({
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "hidden_act": "silu"
    });
    let empty = Map::new();
    Decoder::new(config.as_object().unwrap_or(&empty), &Random(dtype))
}

/// Random weights of whatever shape is asked for.
struct Random(DType);

impl WeightSource for Random {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> optrode::Result<Tensor> {
        let seed = name.bytes().fold(1u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let n: usize = shape.iter().product();
        let mut values = vec![1f32; n];
        if shape.len() > 1 {
            values.par_iter_mut().enumerate().for_each(|(i, x)| {
                let mut h = seed ^ (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                h = (h ^ h >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
                *x = ((h >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.07;
            });
        }
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(self.0)?)
    }
}
