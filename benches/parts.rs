//! How far the jobs are from what the machine allows: `cargo bench --bench parts` (names of jobs as arguments: only
//! these). Weights are random, in SmolLM-135M's shape.
//!
//! Limits are measured between the jobs, so that both see the same machine: the `gemm` crate's product of two matrices
//! in f32 (1024 x 768 x 3072), and the reading of memory, both with all threads. Prints medians.

mod work;

use std::hint::black_box;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use optrode::models::transformer::WeightSource;
use optrode::models::{Decoder, Network};
use rayon::prelude::*;
use serde_json::{Map, json};

use work::Job;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;

fn main() -> optrode::Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    for dtype in [DType::F32, DType::BF16] {
        let net = smol(dtype)?;
        for (name, job) in Job::ALL {
            if asked.is_empty() || asked.iter().any(|a| a == name) {
                report(name, job, dtype, &net)?;
            }
        }
    }
    Ok(())
}

fn report(name: &str, job: Job, dtype: DType, net: &Decoder) -> optrode::Result<()> {
    let (mut took, mut products, mut reads, mut tokens) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..=ROUNDS {
        let start = Instant::now();
        tokens = black_box(job.run(net)?);
        let seconds = start.elapsed().as_secs_f64();
        if round > 0 {
            took.push(seconds);
            products.push(product()?);
            reads.push(read());
        }
    }
    let (seconds, product, read) = (median(took), median(products), median(reads));
    let rate = tokens as f64 / seconds;
    let (bytes, multiply_adds) = sizes(net);
    let limit = match job {
        Job::Decode | Job::Patch => {
            let speed = rate * bytes as f64 / if job == Job::Patch { tokens as f64 } else { 1.0 };
            format!("{:.1} GB/s of weights, {:.0} % of memory", speed / 1e9, 100.0 * speed / read)
        }
        _ => {
            let speed = rate * 2.0 * multiply_adds as f64;
            format!("{:.0} GFLOP/s in the blocks, {:.0} % of gemm", speed / 1e9, 100.0 * speed / product)
        }
    };
    println!(
        "{name:>10} {:>4}: {:8.1} ms {rate:8.1} tokens/s; {limit} (gemm {:.0} GFLOP/s, memory {:.1} GB/s)",
        dtype.as_str(),
        seconds * 1e3,
        product / 1e9,
        read / 1e9
    );
    Ok(())
}

/// Floating-point operations per second of a large product.
fn product() -> optrode::Result<f64> {
    let (m, k, n) = (1024, 768, 3072);
    let a = Tensor::ones((m, k), DType::F32, &Device::Cpu)?;
    let b = Tensor::ones((k, n), DType::F32, &Device::Cpu)?;
    black_box(a.matmul(&b)?);
    let start = Instant::now();
    black_box(a.matmul(&b)?);
    Ok(2.0 * (m * k * n) as f64 / start.elapsed().as_secs_f64())
}

/// Bytes per second of reading more than the caches hold.
fn read() -> f64 {
    thread_local!(static MEMORY: Vec<u64> = vec![1; 32 << 20]);
    MEMORY.with(|memory| {
        let start = Instant::now();
        let sum: u64 = memory.par_chunks(1 << 16).map(|part| part.iter().fold(0u64, |s, x| s ^ x)).sum();
        black_box(sum);
        (memory.len() * 8) as f64 / start.elapsed().as_secs_f64()
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A network of SmolLM-135M's shape with random weights, kept as `dtype`.
fn smol(dtype: DType) -> optrode::Result<Decoder> {
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

/// Bytes of all weights, and multiply-adds of one token in all blocks.
fn sizes(net: &Decoder) -> (usize, usize) {
    let bytes = net.parameters().iter().map(|(_, p)| p.elem_count() * p.dtype().size_in_bytes()).sum();
    let inner = net.parameters().iter().filter(|(name, p)| name.contains("layers") && p.rank() == 2);
    (bytes, inner.map(|(_, p)| p.elem_count()).sum())
}
