//! A sweep of patches against the naive loop, interleaved: every block and position of `hook_resid_pre` of a 16-token
//! prompt, in a network of the shape of SmolLM-135M with random weights. Prints times and their ratio:
//! `cargo bench --bench sweep`; `-- naive=N` measures N patches of the naive loop (48) and reckons the rest;
//! `-- alone` runs the sweep only, for a comparison with another program.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{Device, Tensor};
use optrode::analysis::sweep::{Sweep, TOKENS};
use optrode::hook::{Pass, Record, Registry, Run, Selector, random};
use optrode::models::transformer::WeightSource;
use optrode::models::{Decoder, Input, Job, Side, Tokens, execute, execute::observe};
use serde_json::json;

const POSITIONS: usize = 16;

/// Random weights of whatever shape is asked for.
struct Random;

impl WeightSource for Random {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn tensor(&self, _: &str, shape: &[usize]) -> optrode::Result<Tensor> {
        Ok(Tensor::randn(0f32, 0.05, shape, &Device::Cpu)?)
    }
}

fn network() -> optrode::Result<Decoder> {
    let config = json!({
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "hidden_act": "silu"
    });
    let config = config.as_object().cloned().unwrap_or_default();
    Decoder::new(&config, &Random)
}

fn prompt(seed: u64) -> Vec<u32> {
    (0..POSITIONS as u64).map(|i| (random::key(seed, &[i]) % 49152) as u32).collect()
}

/// What a peer has to do too: both runs, every patch, a logit difference of each.
fn sweep(
    net: &Decoder,
    base: &[u32],
    source: &[u32],
    patches: &[Selector],
    tokens: usize,
) -> optrode::Result<Vec<f32>> {
    let mut effects = vec![f32::NAN; patches.len()];
    let sweep = Sweep::new(net, &[base.to_vec()], &[source.to_vec()], patches)?;
    sweep.run(tokens, &mut |p| {
        effects[p.patch] = p.logits[1000] - p.logits[2000];
        Ok(())
    })?;
    Ok(effects)
}

/// One patch in a forward pass of its own, its value at hand.
fn naive(net: &Decoder, base: &[u32], source: &optrode::hook::Records, patch: &Selector) -> optrode::Result<f32> {
    let site = patch.name();
    let edit = json!({"site": patch, "op": "replace", "value": {"tensor": "value"}});
    let edit = serde_json::from_value(edit).map_err(|e| optrode::Error::invalid(e.to_string(), "a defect"))?;
    let run = Run { passes: vec![Pass { edits: vec![edit], ..Pass::default() }] };
    let input = [Input::Tokens(Tokens::from_rows(&[base.to_vec()], Side::Right, 0)?)];
    let stored = [("value".to_string(), source.get(&site)?.clone())].into();
    let job = Job { run: &run, inputs: &input, stored, registry: &Registry::elementary() };
    let logits = execute(net, job)?.passes.remove(0).output; // [1, t, vocab]
    let last = logits.narrow(1, POSITIONS - 1, 1)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(last[1000] - last[2000])
}

fn main() -> optrode::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let given = arguments.iter().find_map(|a| a.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
        given.unwrap_or(default)
    };
    let net = network()?;
    let blocks = net.facts().layers.len();
    let mut patches: Vec<Selector> = Vec::new();
    for block in 0..blocks {
        for position in 0..POSITIONS {
            patches.push(format!("blocks.{block}.hook_resid_pre@{position}").parse()?);
        }
    }
    let (base, source, tokens) = (prompt(1), prompt(2), number("tokens", TOKENS));
    sweep(&net, &base, &source, &patches, tokens)?;
    if arguments.iter().any(|a| a == "alone") {
        for _ in 0..number("rounds", 5) {
            let start = Instant::now();
            black_box(sweep(&net, &base, &source, &patches, tokens)?);
            println!("sweep of {} patches: {:.3} s", patches.len(), start.elapsed().as_secs_f64());
        }
        return Ok(());
    }
    let record = Record::whole("blocks.*.hook_resid_pre".parse()?);
    let input = Input::Tokens(Tokens::from_rows(std::slice::from_ref(&source), Side::Right, 0)?);
    let pass = Pass { records: vec![record], ..Pass::default() };
    let records = observe(&net, &input, &pass, &Registry::elementary())?.records;
    let some: Vec<usize> = (0..number("naive", 48)).map(|i| i * patches.len() / number("naive", 48)).collect();
    let mut ratios = Vec::new();
    for _ in 0..number("rounds", 3) {
        let start = Instant::now();
        let effects = sweep(&net, &base, &source, &patches, tokens)?;
        let ours = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let mut worst = 0f32;
        for at in &some {
            let effect = naive(&net, &base, &records, &patches[*at])?;
            worst = worst.max((effect - effects[*at]).abs());
        }
        let each = start.elapsed().as_secs_f64() / some.len() as f64;
        let loop_ = each * patches.len() as f64;
        println!(
            "sweep of {} patches: {ours:.3} s; naive loop {loop_:.1} s ({:.1} ms a patch, {} measured); ratio {:.1}; \
             largest difference of effects {worst:.1e}",
            patches.len(),
            each * 1e3,
            some.len(),
            loop_ / ours
        );
        ratios.push(loop_ / ours);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.1}", ratios[ratios.len() / 2]);
    Ok(())
}
