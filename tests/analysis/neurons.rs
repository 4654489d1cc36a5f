//! Neurons against a naive loop.

use std::collections::BTreeMap;

use optrode::analysis::neurons::{DENSE, Neurons, Options, Why, neurons};
use optrode::analysis::{Corpus, Figures};
use optrode::models::{Decoder, Side};
use optrode::report::{Block, Report};

use super::{SPECIAL, texts};
use crate::common::shared::golden;
use crate::common::{batch, load, pass, see};

/// (text, position, value) of one neuron at every token that counts.
fn naive(net: &Decoder, texts: &[Vec<u32>], site: &str, neuron: usize) -> Vec<(usize, usize, f32)> {
    let mut all = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let seen = see(net, &batch(std::slice::from_ref(text), Side::Right), &pass(&[site], &[]));
        let values = seen.at(site).get(0).unwrap().to_vec2::<f32>().unwrap();
        let counted = (0..text.len()).filter(|p| text[*p] != SPECIAL);
        all.extend(counted.map(|p| (number, p, values[p][neuron])));
    }
    all
}

fn run(net: &Decoder, options: &Options) -> Neurons {
    let corpus = Corpus::of_ids(&texts(), &[SPECIAL]).unwrap();
    neurons(net, &corpus, None, options).unwrap()
}

#[test]
fn counts_equal_a_naive_loop() {
    for name in ["llama", "gpt2", "gemma2"] {
        let net = load(&golden(name));
        let found = run(&net, &Options::default());
        let texts = texts();
        for layer in &found.layers {
            let site = format!("blocks.{}.mlp.hook_pre", layer.layer);
            let rate = |neuron: usize| {
                let all = naive(&net, &texts, &site, neuron);
                assert_eq!(all.len() as u64, found.tokens);
                all.iter().filter(|x| x.2 > 0.0).count() as f64 / all.len() as f64
            };
            let mut rates: Vec<f64> = (0..layer.neurons).map(rate).collect();
            let share =
                |keep: &dyn Fn(f64) -> bool| rates.iter().filter(|r| keep(**r)).count() as f64 / rates.len() as f64;
            assert_eq!(layer.shares.dead.value, share(&|r| r == 0.0), "{name}");
            assert_eq!(layer.shares.dense.value, share(&|r| r > DENSE), "{name}");
            let mean = rates.iter().sum::<f64>() / rates.len() as f64;
            assert!((layer.shares.rate.value - mean).abs() < 1e-12, "{name}");
            assert_eq!(layer.rates.iter().sum::<u64>() as usize, layer.neurons);
            rates.sort_by(f64::total_cmp);
            assert_eq!(layer.quantiles[2], rates[rates.len().div_ceil(2) - 1], "{name}");
        }
    }
}

#[test]
fn examples_are_the_extremes_with_their_neighbours() {
    let net = load(&golden("llama"));
    let options = Options { show: vec![[1, 7], [0, 3], [1, 2]], context: 2, examples: 3, ..Options::default() };
    let found = run(&net, &options);
    let texts = texts();
    let shown: Vec<(usize, usize, Why)> = found.shown.iter().map(|s| (s.layer, s.neuron, s.why)).collect();
    assert_eq!(shown, [(1, 7, Why::Asked), (0, 3, Why::Asked), (1, 2, Why::Asked)]);
    for neuron in &found.shown {
        let all = naive(&net, &texts, &format!("blocks.{}.mlp.hook_post", neuron.layer), neuron.neuron);
        for (sign, side) in [(1.0, &neuron.top), (-1.0, &neuron.bottom)] {
            let mut best: BTreeMap<usize, f32> = BTreeMap::new();
            for (text, _, value) in &all {
                let entry = best.entry(*text).or_insert(f32::MIN);
                *entry = entry.max(sign * value);
            }
            let mut best: Vec<f32> = best.into_values().collect();
            best.sort_by(|a, b| b.total_cmp(a));
            assert_eq!(side.len(), 3);
            let mut used: Vec<usize> = side.iter().map(|e| e.text).collect();
            used.dedup();
            assert_eq!(used.len(), 3, "one example per text");
            for (example, value) in side.iter().zip(best) {
                let (text, position) = (example.text, example.position as usize);
                // Texts that begin alike tie: the place is right if the neuron has the value there.
                let there = all.iter().find(|x| (x.0, x.1) == (text, position)).unwrap().2;
                assert!((example.value - sign * value).abs() < 1e-5 && (example.value - there).abs() < 1e-5);
                assert!((example.values[example.focus] - example.value).abs() < 1e-5);
                let from = position.saturating_sub(2);
                let to = (position + 3).min(texts[text].len());
                let words: Vec<String> = texts[text][from..to].iter().map(|id| format!("<id {id}>")).collect();
                assert_eq!((&example.tokens, example.focus), (&words, position - from));
            }
        }
    }
}

#[test]
fn neurons_are_chosen_over_the_layers_and_by_kurtosis() {
    let net = load(&golden("llama"));
    let options = Options { random: 4, selective: 2, ..Options::default() };
    let found = run(&net, &options);
    let of = |why: Why| found.shown.iter().filter(|s| s.why == why).collect::<Vec<_>>();
    let layers: Vec<usize> = of(Why::Random).iter().map(|s| s.layer).collect();
    assert_eq!(layers.len(), 4);
    assert!((0..net.facts().layers.len()).all(|l| layers.contains(&l)), "{layers:?}");
    let selective = of(Why::Selective);
    assert_eq!(selective.len(), 2);
    assert!(selective[0].kurtosis >= selective[1].kurtosis);
    assert_eq!(found, run(&net, &options));
    let other = run(&net, &Options { seed: 1, ..options });
    assert_ne!(found.shown, other.shown);
    assert_eq!(found.layers, other.layers);
    let charts = found.blocks().into_iter().filter(|b| matches!(b, Block::Chart(_))).count();
    assert_eq!(charts, 2 + 6);
    assert_eq!(found.figures()[0].0, "dead.share");
}

#[test]
fn the_control_is_the_extreme_on_shuffled_texts() {
    let net = load(&golden("llama"));
    let options = Options { show: vec![[1, 7]], seed: 9, ..Options::default() };
    let found = run(&net, &options);
    let corpus = Corpus::of_ids(&texts(), &[SPECIAL]).unwrap().shuffled(9);
    let rows: Vec<Vec<u32>> = corpus.windows.iter().map(|w| w.ids.clone()).collect();
    let all = naive(&net, &rows, "blocks.1.mlp.hook_post", 7);
    let most = all.iter().map(|x| f64::from(x.2)).fold(f64::MIN, f64::max);
    let least = all.iter().map(|x| f64::from(x.2)).fold(f64::MAX, f64::min);
    assert!((found.shown[0].shuffled_max - most).abs() < 1e-5);
    assert!((found.shown[0].shuffled_min - least).abs() < 1e-5);
}

#[test]
fn an_untrained_twin_and_refusals() {
    let net = load(&golden("llama"));
    let corpus = Corpus::of_ids(&texts(), &[SPECIAL]).unwrap();
    let found = neurons(&net, &corpus, Some(&net), &Options::default()).unwrap();
    assert_eq!(found.untrained, Some(found.all));
    let options = Options { show: vec![[99, 0]], ..Options::default() };
    assert!(neurons(&net, &corpus, None, &options).unwrap_err().to_string().contains("layer 99"));
    let special = Corpus::of_ids(&[vec![SPECIAL, SPECIAL]], &[SPECIAL]).unwrap();
    assert!(neurons(&net, &special, None, &Options::default()).unwrap_err().to_string().contains("special"));
}
