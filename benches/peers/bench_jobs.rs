//! Runs one of the timed jobs on a model folder, once for each line on stdin: the part of ours in `benches/peers`.
//!
//! `bench_jobs JOB FOLDER [--bf16]` answers each line with the seconds that the job took and the most memory that the
//! process has held, as JSON.

#[path = "../work/mod.rs"]
mod work;

use std::io::BufRead;
use std::time::Instant;

use optrode::models::{Model, OpenOptions};
use optrode::store::Storage;
use serde_json::json;

use work::Job;

#[global_allocator]
static ALLOCATOR: optrode::allocator::Allocator = optrode::allocator::Allocator;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    optrode::allocator::keep_freed();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder, rest @ ..] = args.as_slice() else {
        return Err("give a job and a model folder".into());
    };
    let job = Job::ALL.iter().find(|(known, _)| known == name).ok_or_else(|| format!("there is no job `{name}`"))?.1;
    let storage = if rest.iter().any(|a| a == "--bf16") { Storage::BF16 } else { Storage::F32 };
    let model = Model::open(folder, &OpenOptions { storage, ..OpenOptions::default() })?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        let tokens = job.run(&model.decoder)?;
        let seconds = start.elapsed().as_secs_f64();
        println!("{}", json!({ "seconds": seconds, "tokens": tokens, "peak_mb": peak_mb() }));
    }
    Ok(())
}

/// Most memory that this process has held, where the system tells.
fn peak_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1024)
}
