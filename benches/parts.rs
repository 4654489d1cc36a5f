//! How far the jobs are from what the machine allows: `cargo bench --bench parts` (names of jobs as arguments: only
//! these). Weights are random, in SmolLM-135M's shape.
//!
//! Limits are measured between the jobs, so that both see the same machine: the `gemm` crate's product of two matrices
//! in f32 (1024 x 768 x 3072), and the reading of memory, both with all threads. Prints medians.

#[path = "work/smol.rs"]
mod smol;
mod work;

use std::hint::black_box;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use optrode::models::{Decoder, Network};
use rayon::prelude::*;

use smol::smol;
use work::Job;

#[global_allocator]
static ALLOCATOR: optrode::allocator::Allocator = optrode::allocator::Allocator;

const ROUNDS: usize = 7;

fn main() -> optrode::Result<()> {
    optrode::allocator::keep_freed();
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
        Job::Sweep => format!("each {:.2} ms", 1e3 / rate),
        _ => {
            let speed = rate * 2.0 * multiply_adds as f64;
            format!("{:.0} GFLOP/s in the blocks, {:.0} % of gemm", speed / 1e9, 100.0 * speed / product)
        }
    };
    println!(
        "{name:>10} {:>4}: {:8.1} ms {rate:8.1} {}/s; {limit} (gemm {:.0} GFLOP/s, memory {:.1} GB/s)",
        dtype.as_str(),
        seconds * 1e3,
        if job == Job::Sweep { "patches" } else { "tokens" },
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

/// Bytes of all weights, and multiply-adds of one token in all blocks.
fn sizes(net: &Decoder) -> (usize, usize) {
    let bytes = net.parameters().iter().map(|(_, p)| p.elem_count() * p.dtype().size_in_bytes()).sum();
    let inner = net.parameters().iter().filter(|(name, p)| name.contains("layers") && p.rank() == 2);
    (bytes, inner.map(|(_, p)| p.elem_count()).sum())
}
