//! A training step of an ELM neuron at NeuronIO's sizes: `cargo bench --bench elm`; `benches/peers/elm.py` times the
//! reference's. 1278 inputs, windows of 500 ms of which 150 are left out of the loss, batch 8 in two lessons; forward, loss,
//! backward, Adam. Prints medians.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use optrode::analysis::registry;
use optrode::hook::{Pass, Run, random};
use optrode::models::{Elm, ElmConfig, Input, Series};
use optrode::train::{AdamW, AdamWOptions, Course, Group, Lesson, Schedule, Trainer, TrainerOptions};

#[global_allocator]
static ALLOCATOR: optrode::allocator::Allocator = optrode::allocator::Allocator;

const ROUNDS: usize = 15;
const STEPS: usize = 500;
const BURN_IN: usize = 150;
const BATCH: usize = 8;
const LESSONS: usize = 2;

fn main() -> optrode::Result<()> {
    optrode::allocator::keep_freed();
    println!("| memory units | ms per update |\n| --- | --- |");
    for memory in [20, 100] {
        let config = ElmConfig { memory, ..ElmConfig::default() };
        let variables = config.variables(DType::F32, 0)?;
        let tensors: BTreeMap<String, Tensor> =
            variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect();
        let net = Elm::new(config, &tensors)?;
        let groups = [Group { members: config.learnt()?, weight_decay: 0.0, rate: 1.0 }];
        let optimiser = AdamW::new(&variables, &groups, AdamWOptions::default())?;
        let schedule = Schedule::Constant { rate: 5e-4, warm_up: 0 };
        let mut trainer = Trainer::new(&net, optimiser, TrainerOptions { schedule, clip: None }, registry())?;
        let mut took = Vec::new();
        for round in 0..ROUNDS + 3 {
            let start = Instant::now();
            trainer.update(&Random { inputs: config.inputs })?;
            if round >= 3 {
                took.push(1e3 * start.elapsed().as_secs_f64());
            }
        }
        took.sort_by(f64::total_cmp);
        println!("| {memory} | {:.1} |", took[took.len() / 2]);
    }
    Ok(())
}

/// Spikes at 2 Hz, with targets of chance.
struct Random {
    inputs: usize,
}

impl Course for Random {
    fn lessons(&self, step: u64) -> optrode::Result<Vec<Lesson>> {
        (0..LESSONS).map(|part| self.lesson(random::key(step, &[part as u64]))).collect()
    }
}

impl Random {
    fn lesson(&self, key: u64) -> optrode::Result<Lesson> {
        let (rows, asked) = (BATCH / LESSONS, STEPS - BURN_IN);
        let mut values = vec![0f32; rows * STEPS * self.inputs];
        // As many as a chance of 0.002 each gives.
        for i in 0..values.len() as u64 / 500 {
            let at = (random::uniform(random::key(key, &[i])) * values.len() as f64) as usize;
            values[at] = if at % self.inputs < self.inputs / 2 { 1.0 } else { -1.0 };
        }
        let draw = |i: u64| random::uniform(random::key(key, &[1, i]));
        let spikes: Vec<f32> = (0..(rows * asked) as u64).map(|i| f32::from(u8::from(draw(i) < 0.005))).collect();
        let soma: Vec<f32> = (0..(rows * asked) as u64).map(|i| draw(i) as f32).collect();
        let spikes = Tensor::from_vec(spikes, (rows, asked), &Device::Cpu)?;
        let soma = Tensor::from_vec(soma, (rows, asked), &Device::Cpu)?;
        let loss = move |out: &[Tensor]| -> optrode::Result<Tensor> {
            let out = out[0].narrow(1, BURN_IN, asked)?;
            let part = |i| out.narrow(2, i, 1)?.squeeze(2)?.contiguous();
            let (logit, voltage) = (part(0)?, part(1)?);
            let surprise = ((logit.relu()? + (logit.abs()?.neg()?.exp()? + 1.0)?.log()?)? - (logit * &spikes)?)?;
            let error = (voltage - &soma)?.sqr()?;
            Ok(((surprise + error)?.sum_all()? * (0.5 / (BATCH * asked) as f64))?)
        };
        let series = Series { rows, steps: STEPS, channels: self.inputs, values };
        Ok(Lesson {
            kind: "loss".into(),
            run: Run { passes: vec![Pass { name: "learn".into(), ..Pass::default() }] },
            inputs: vec![Input::Series(series)],
            stored: BTreeMap::new(),
            loss: Box::new(loss),
            share: 0.5,
        })
    }
}
