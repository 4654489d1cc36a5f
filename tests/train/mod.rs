//! Training: the optimiser, the loop, checkpoints, fused gradients, and the organism's recipe and data.

mod embedded;
mod fused;
mod optimiser;
mod organism;
mod updates;

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use optrode::hook::{Edit, Pass, Registry, Run};
use optrode::models::{Decoder, Input};
use optrode::train::{
    AdamW, AdamWOptions, Course, Group, Lesson, Schedule, Targets, Trainer, TrainerOptions, next_token_loss,
};

use crate::common::{batch, config, folders, text, weights};
use optrode::models::Side;

/// A golden network whose weights are variables.
fn learner(name: &str) -> (Decoder, BTreeMap<String, Var>) {
    let folder = folders().into_iter().find(|f| f.ends_with(name)).unwrap();
    let variable = |(name, w): (String, Tensor)| {
        let w = w.to_dtype(DType::F32).unwrap();
        (name, Var::from_tensor(&w).unwrap())
    };
    let variables: BTreeMap<String, Var> = weights(&folder).into_iter().map(variable).collect();
    let tensors: BTreeMap<String, Tensor> =
        variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect();
    (Decoder::new(&config(&folder), &tensors).unwrap(), variables)
}

/// Two lessons per update: random texts to be predicted, under edits.
struct Texts {
    edits: Vec<Edit>,
}

impl Course for Texts {
    fn lessons(&self, step: u64) -> optrode::Result<Vec<Lesson>> {
        let lesson = |i: u64| {
            let rows: Vec<Vec<u32>> = (0..3).map(|row| text(100 * step + 10 * i + row, 9)).collect();
            let targets = Targets::of_rows(&rows, &vec![vec![true; 9]; 3]);
            let pass = Pass { name: "learn".into(), edits: self.edits.clone(), ..Pass::default() };
            Lesson {
                kind: ["even", "odd"][i as usize].into(),
                run: Run { passes: vec![pass] },
                inputs: vec![Input::Tokens(batch(&rows, Side::Right))],
                stored: BTreeMap::new(),
                loss: Box::new(move |outputs| next_token_loss(&outputs[0], &targets, 1.0 / 48.0)),
                share: 0.5,
            }
        };
        Ok(vec![lesson(0), lesson(1)])
    }
}

fn trainer<'a>(net: &'a Decoder, variables: &BTreeMap<String, Var>) -> Trainer<'a> {
    let optimiser = AdamW::new(variables, &Group::usual(variables, 0.1), AdamWOptions::default()).unwrap();
    let schedule = Schedule::Cosine { rate: 1e-2, warm_up: 3, updates: 20, floor: 0.1 };
    let options = TrainerOptions { schedule, clip: Some(1.0) };
    Trainer::new(net, optimiser, options, Registry::elementary()).unwrap()
}

fn values(variables: &BTreeMap<String, Var>) -> BTreeMap<String, Vec<u32>> {
    variables.iter().map(|(name, v)| (name.clone(), crate::common::bits(v.as_tensor()))).collect()
}
