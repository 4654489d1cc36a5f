//! What hooks cost: a decoding step and a prompt with nobody listening, with an empty plan, and the price of one
//! silent tap times the number of taps. Prints ratios of interleaved runs: `cargo bench --bench hooks`.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{Device, Tensor};
use optrode::hook::{Pass, Plan, Registry, Tap, Values};
use optrode::models::transformer::WeightSource;
use optrode::models::{Decoder, Input, Network, Side, State, Tokens};
use serde_json::json;

/// Random weights of whatever shape is asked for.
struct Random;

impl WeightSource for Random {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn tensor(&self, _: &str, shape: &[usize]) -> optrode::Result<Tensor> {
        Ok(Tensor::randn(0f32, 0.02, shape, &Device::Cpu)?)
    }
}

fn main() -> optrode::Result<()> {
    let config = json!({
        "model_type": "llama", "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 8,
        "num_attention_heads": 6, "num_key_value_heads": 3, "vocab_size": 2048, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "hidden_act": "silu"
    });
    let Some(config) = config.as_object() else {
        return Ok(());
    };
    let net = Decoder::new(config, &Random)?;
    for (rows, pos) in [(1, 1), (1, 16), (8, 64)] {
        let ids: Vec<Vec<u32>> = (0..rows).map(|r| (0..pos).map(|p| (r * 31 + p * 7) % 2048).collect()).collect();
        let input = Input::Tokens(Tokens::from_rows(&ids, Side::Right, 0)?);
        compare(&net, &input, rows, pos)?;
    }
    Ok(())
}

fn compare(net: &Decoder, input: &Input, rows: u32, pos: u32) -> optrode::Result<()> {
    let pass = Pass::default();
    let mut plan = Plan::compile(net.sites(), &pass, &Registry::elementary(), Values::default(), &[])?;
    let (mut off, mut empty) = (Vec::new(), Vec::new());
    for round in 0..61 {
        let start = Instant::now();
        black_box(net.forward(input, &mut State::none(), &mut Tap::off())?);
        let between = Instant::now();
        black_box(net.forward(input, &mut State::none(), &mut Tap::new(&mut plan))?);
        if round > 0 {
            off.push((between - start).as_secs_f64());
            empty.push(between.elapsed().as_secs_f64());
        }
    }
    let ratios: Vec<f64> = empty.iter().zip(&off).map(|(e, o)| e / o).collect();
    let tap = silent_tap(net)?;
    let forward = median(off);
    let share = tap * net.sites().len() as f64 / forward;
    println!(
        "[{rows} x {pos}] {:.3} ms; empty plan / no plan: {:.4}; one silent tap {:.2} ns, all {} of them {:.5} % of the pass",
        forward * 1e3,
        median(ratios),
        tap * 1e9,
        net.sites().len(),
        share * 100.0
    );
    Ok(())
}

/// Seconds per silent tap.
fn silent_tap(net: &Decoder) -> optrode::Result<f64> {
    let mut tap = Tap::off();
    let (site, _) = net.sites().iter().next().ok_or_else(|| optrode::Error::invalid("no sites", "build a network"))?;
    let mut x = Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu)?;
    let n = 1_000_000;
    let start = Instant::now();
    for _ in 0..n {
        x = black_box(tap.at(black_box(site), x)?);
    }
    Ok(start.elapsed().as_secs_f64() / n as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
