//! dMetric/dWeight.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use optrode::hook::{Pass, random};
use optrode::models::Decoder;

use super::*;

const COORDINATES: u64 = 2;

fn nudged(weight: &Tensor, at: usize, by: f64) -> Tensor {
    let mut all = doubles(weight);
    all[at] += by;
    Tensor::from_vec(all, weight.shape(), &Device::Cpu).unwrap()
}

#[test]
fn gradients_of_every_weight_match_finite_differences() {
    let mut largest = (0f64, String::new());
    let mut failures = Vec::new();
    for name in NETWORKS {
        let (config, weights) = wide(name);
        let net = Decoder::new(&config, &variables(&weights)).unwrap();
        let found = differentiate(&net, &Pass::default());
        for weight in names(&net) {
            let Some(gradient) = found.weights.get(&weight) else {
                failures.push(format!("{name}: {weight} got no gradient"));
                continue;
            };
            assert_eq!(gradient.dims(), weights[&weight].dims(), "{name}: {weight}");
            let all = doubles(gradient);
            let scale = all.iter().fold(0f64, |m, g| m.max(g.abs()));
            let live: Vec<usize> = (0..all.len()).filter(|i| all[*i] != 0.0).collect();
            for seed in 0..COORDINATES {
                // Rows of embeddings that no token reads have no gradient: draw among the others, and one at large.
                let draw = random::key(seed, &[random::name(&weight)]) as usize;
                let at = if seed == 0 && !live.is_empty() { live[draw % live.len()] } else { draw % all.len() };
                let moved = |by: f64| {
                    let mut weights = weights.clone();
                    weights.insert(weight.clone(), nudged(&weights[&weight], at, by));
                    value(&Decoder::new(&config, &weights).unwrap(), &[], &BTreeMap::new())
                };
                let numeric = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                let error = error(all[at], numeric, scale);
                if error > largest.0 {
                    largest = (error, format!("{name}: {weight} {at}"));
                }
                if error > TOLERANCE {
                    let analytic = all[at];
                    failures.push(format!("{name}: {weight} {at}: {analytic:.6e}, by differences {numeric:.6e}"));
                }
            }
        }
    }
    eprintln!("weights: {largest:?}");
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

/// Nothing may keep a weight's gradient from passing through a site that somebody records or edits.
#[test]
fn every_weight_of_every_network_gets_a_gradient_while_everything_is_recorded() {
    for folder in folders() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (config, weights) = wide(&name);
        let net = Decoder::new(&config, &variables(&weights)).unwrap();
        let pass = Pass { gradients: all_sites().gradients, ..crate::common::pass(&["**"], &[]) };
        let found = differentiate(&net, &pass);
        let without: Vec<String> = names(&net).into_iter().filter(|w| !found.weights.contains_key(w)).collect();
        assert!(without.is_empty(), "{name}: no gradient for {without:?}");
        assert_eq!(found.sites.len(), net.sites().len(), "{name}");
    }
}
