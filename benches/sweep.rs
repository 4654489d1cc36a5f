//! A sweep of patches against the naive loop, interleaved: every block and position of `hook_resid_pre` of a 16-token
//! prompt, in a network of the shape of SmolLM-135M with random weights. Prints times and their ratio:
//! `cargo bench --bench sweep`; `-- naive=N` measures N patches of the naive loop (48) and reckons the rest.

#[path = "work/smol.rs"]
mod smol;
#[path = "work/sweep.rs"]
mod work;

use std::time::Instant;

use candle_core::DType;
use optrode::analysis::sweep::TOKENS;
use optrode::hook::{Pass, Record, Registry, Run, Selector};
use optrode::models::{Decoder, Input, Job, Side, Tokens, execute, execute::observe};
use serde_json::json;

use smol::smol;
use work::{PROMPT, patches, prompt, sweep};

#[global_allocator]
static ALLOCATOR: optrode::allocator::Allocator = optrode::allocator::Allocator;

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
    let last = logits.narrow(1, PROMPT - 1, 1)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(last[100] - last[200])
}

fn main() -> optrode::Result<()> {
    optrode::allocator::keep_freed();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let given = arguments.iter().find_map(|a| a.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
        given.unwrap_or(default)
    };
    let net = smol(DType::F32)?;
    let patches = patches(&net)?;
    let (base, source, tokens) = (prompt(0), prompt(1), number("tokens", TOKENS));
    sweep(&net, &base, &source, &patches, tokens)?;
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
