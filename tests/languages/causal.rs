//! What neurons do: silencing and steering against naive runs, their controls, and the judges.

use candle_core::Tensor;
use optrode::analysis::languages::{
    Ambiguous, Asking, Helm, Judge, Rates, Silence, deactivate, means, script, script_lens, script_of_bytes, selectors,
    steer, twin,
};
use optrode::data::TextSet;
use optrode::generate::{Generator, Options as Generating, Sampler};
use optrode::hook::random::Stream;
use optrode::hook::{Edit, Registry, Selector, Values};
use optrode::models::{Model, Side};
use serde_json::json;

use super::{counts, random_rates};
use crate::cli::Desk;
use crate::common::shared::open;
use crate::common::{assert_close, batch, edit, pass, see};
use crate::scan::{desk, words};

fn sets() -> Vec<TextSet> {
    let set = |(name, seed): (&str, u64)| TextSet {
        name: name.to_string(),
        texts: (0..4).map(|i| words(seed + i, 6 + i)).collect(),
    };
    [("en", 10), ("de", 20), ("fr", 30)].into_iter().map(set).collect()
}

/// A golden network with rates for its neurons.
fn stage(desk: &Desk) -> (Model, Rates) {
    let model = open(&desk.path("m"));
    let facts = model.decoder.facts();
    let (layers, units) = (facts.layers.len(), facts.layers.len() * facts.d_mlp);
    let rates = Rates::of(&counts(layers, &random_rates(3, units, 3), &[1000; 3]));
    (model, rates)
}

/// Mean -log p of every word of a text under edits, and its tokens.
fn nats(model: &Model, text: &str, edits: &[Edit]) -> (f64, f64) {
    let ids = model.tokenizer().unwrap().encode(text, true).unwrap();
    let logits = see(&model.decoder, &batch(std::slice::from_ref(&ids), Side::Right), &pass(&[], edits)).logits;
    let rows = logits.get(0).unwrap().to_vec2::<f32>().unwrap();
    let log_prob = |at: usize| {
        let row: Vec<f64> = rows[at - 1].iter().map(|x| f64::from(*x)).collect();
        row[ids[at] as usize] - row.iter().map(|x| x.exp()).sum::<f64>().ln()
    };
    ((1..ids.len()).map(|at| -log_prob(at)).sum(), (ids.len() - 1) as f64)
}

#[test]
fn the_matrix_is_what_naive_runs_give() {
    let desk = desk("llama");
    let (model, rates) = stage(&desk);
    let layers = model.decoder.facts().layers.len();
    let mask = |seed: u32| (0..layers as u32).map(|l| vec![seed, seed + 3 + l, seed + 9]).collect::<Vec<_>>();
    let masks = [mask(0), mask(1), mask(2)];
    for silence in [Silence::Zero, Silence::Mean] {
        let asking = Asking { silence, draws: 2, ..Asking::default() };
        let found = deactivate(&model, &masks, &rates, &sets(), &asking, &mut |_, _| {}).unwrap();
        let means = means(&model, &sets(), 256).unwrap();
        let width = model.decoder.facts().d_mlp;
        let pooled = |u: usize| means.iter().map(|m| m[u]).sum::<f32>() / 3.0;
        for (i, mask) in masks.iter().enumerate() {
            let silent = |(layer, neurons): (usize, &Vec<u32>)| {
                let list: Vec<String> = neurons.iter().map(u32::to_string).collect();
                let site = format!("blocks.{layer}.mlp.hook_post[neuron={}]", list.join(","));
                let values: Vec<f32> = neurons.iter().map(|n| pooled(layer * width + *n as usize)).collect();
                match silence {
                    Silence::Zero => edit(site, json!({"op": "zero"})),
                    Silence::Mean => edit(site, json!({"op": "set", "value": values})),
                }
            };
            let edits: Vec<Edit> = mask.iter().enumerate().map(silent).collect();
            for (j, set) in sets().iter().enumerate() {
                let (mut change, mut tokens) = (0.0, 0.0);
                for text in &set.texts {
                    let ((with, n), (without, _)) = (nats(&model, text, &edits), nats(&model, text, &[]));
                    (change, tokens) = (change + with - without, tokens + n);
                }
                let got = found.matrix[i][j].value;
                assert!((got - change / tokens).abs() < 1e-5, "{i} {j}: {got} against {}", change / tokens);
                let (low, high) = found.matrix[i][j].interval.unwrap();
                assert!(low <= got && got <= high);
            }
        }
        assert!(found.diagonal().is_finite() && found.same_layers.iter().all(|draws| draws.len() == 2));
        assert_eq!(found.neurons, [3 * layers; 3]);
        // Without any neuron: every MLP gives nothing, or the same whatever it reads.
        let all = |layer: usize| -> Edit {
            let values: Vec<f32> = (0..width).map(|n| pooled(layer * width + n)).collect();
            match silence {
                Silence::Zero => edit(format!("blocks.{layer}.mlp.hook_post"), json!({"op": "zero"})),
                Silence::Mean => edit(format!("blocks.{layer}.mlp.hook_post"), json!({"op": "set", "value": values})),
            }
        };
        let edits: Vec<Edit> = (0..layers).map(all).collect();
        for (set, without) in sets().iter().zip(&found.everything) {
            let (mut change, mut tokens) = (0.0, 0.0);
            for text in &set.texts {
                let ((with, n), (free, _)) = (nats(&model, text, &edits), nats(&model, text, &[]));
                (change, tokens) = (change + with - free, tokens + n);
            }
            assert!((without.value - change / tokens).abs() < 1e-5, "{}", without.value);
        }
    }
}

/// Texts are tested as they are counted: a tokenizer that puts nothing before a text reads it without BOS, though it has
/// one.
#[test]
fn texts_are_read_as_they_were_counted() {
    let desk = desk("llama");
    let text = std::fs::read_to_string(desk.path("m/tokenizer.json")).unwrap();
    let mut tokenizer: serde_json::Value = serde_json::from_str(&text).unwrap();
    tokenizer["post_processor"] = serde_json::Value::Null;
    desk.write("m/tokenizer.json", tokenizer.to_string());
    let (model, rates) = stage(&desk);
    let ids = |special| model.tokenizer().unwrap().encode("w3 w4", special).unwrap();
    assert_eq!(ids(true), ids(false));
    let masks = vec![vec![vec![1]; model.decoder.facts().layers.len()]; 3];
    let asking = Asking { draws: 0, ..Asking::default() };
    let found = deactivate(&model, &masks, &rates, &sets(), &asking, &mut |_, _| {}).unwrap();
    for (set, got) in sets().iter().zip(&found.nats) {
        let each: Vec<(f64, f64)> = set.texts.iter().map(|text| nats(&model, text, &[])).collect();
        let (sum, tokens) = each.iter().fold((0.0, 0.0), |(a, b), (nats, n)| (a + nats, b + n));
        assert!((got.value - sum / tokens).abs() < 1e-5, "{} against {}", got.value, sum / tokens);
    }
}

#[test]
fn no_neurons_change_nothing_to_the_last_bit() {
    let desk = desk("llama");
    let (model, rates) = stage(&desk);
    let none = vec![vec![Vec::new(); model.decoder.facts().layers.len()]; 3];
    let found = deactivate(&model, &none, &rates, &sets(), &Asking::default(), &mut |_, _| {}).unwrap();
    assert!(found.matrix.iter().flatten().all(|x| x.value == 0.0));
    assert!(found.same_rates.iter().flatten().all(|x| *x == 0.0));
    assert!(found.overlap[0][1].is_nan());
    let two = deactivate(&model, &none[..2], &rates, &sets(), &Asking::default(), &mut |_, _| {});
    assert!(two.unwrap_err().to_string().contains("2 languages"));
}

/// act(0) = 0, so that a gate at zero silences its neuron as zero after the gate does.
#[test]
fn zero_after_the_gate_is_zero_before_the_activation() {
    for name in ["llama", "gpt2", "gemma2"] {
        let model = open(&desk(name).path("m"));
        let ids = batch(&[vec![1, 5, 9, 4, 7]], Side::Right);
        let at = |site: &str, op| edit(format!("blocks.*.mlp.{site}[neuron=0,3,5]"), op);
        let post = see(&model.decoder, &ids, &pass(&[], &[at("hook_post", json!({"op": "zero"}))])).logits;
        let pre = see(&model.decoder, &ids, &pass(&[], &[at("hook_pre", json!({"op": "zero"}))])).logits;
        assert_close(&post, &pre, 1e-5, name);
        let untouched: Tensor = see(&model.decoder, &ids, &pass(&[], &[])).logits;
        assert!(crate::common::relative(&post, &untouched) > 1e-4, "{name}: the edit must do something");
    }
}

#[test]
fn controls_are_other_neurons_of_the_same_layers() {
    let rates = Rates::of(&counts(2, &random_rates(3, 200, 3), &[1000; 3]));
    let masks = vec![vec![vec![1, 2, 50], vec![7]], vec![vec![2, 3], vec![]], vec![vec![], vec![8, 9]]];
    let mut gaps = [0.0, 0.0];
    for draw in 0..20 {
        for (gap, by_rate) in gaps.iter_mut().zip([false, true]) {
            let found = twin(&masks, &rates, 0, by_rate, &mut Stream::new(draw, &[]));
            assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1]);
            for (layer, neurons) in found.iter().enumerate() {
                assert!(neurons.is_sorted_by(|a, b| a < b), "each once");
                assert!(neurons.iter().all(|n| *n < 100 && masks.iter().all(|mask| !mask[layer].contains(n))));
                let rate = |n: &u32| rates.row(layer * 100 + *n as usize)[0];
                let mean = |of: &[u32]| of.iter().map(rate).sum::<f64>() / of.len() as f64;
                *gap += (mean(neurons) - mean(&masks[0][layer])).abs();
            }
            assert_eq!(found, twin(&masks, &rates, 0, by_rate, &mut Stream::new(draw, &[])));
        }
    }
    assert!(gaps[1] < 0.5 * gaps[0], "{gaps:?}: rates must match better when they are asked to");
    let all: Vec<Vec<Vec<u32>>> = vec![vec![(0..100).collect(), vec![]], vec![vec![], vec![]], vec![vec![], vec![]]];
    assert!(twin(&all, &rates, 0, true, &mut Stream::new(0, &[])).concat().is_empty());
}

#[test]
fn long_masks_are_parted_into_selectors_that_can_be_read() {
    let mask = vec![(0..1000).map(|n| 13_000 + n).collect::<Vec<u32>>(), Vec::new(), vec![5]];
    let parts = selectors(&mask).unwrap();
    assert_eq!(parts.iter().map(|(_, layer, _)| *layer).collect::<Vec<_>>(), [0, 0, 0, 2]);
    assert_eq!(parts.iter().flat_map(|(_, _, n)| n.clone()).collect::<Vec<u32>>(), mask.concat());
    for (selector, ..) in parts {
        assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
    }
}

#[test]
fn steering_writes_what_a_naive_run_with_the_same_edits_writes() {
    let desk = desk("llama");
    let (model, rates) = stage(&desk);
    let (layers, width) = (model.decoder.facts().layers.len(), model.decoder.facts().d_mlp);
    // Neuron 1 belongs to the first two languages: where both meet, it is raised.
    let masks: Vec<_> = (0..3u32).map(|k| vec![vec![k, k + 1]; layers]).collect();
    let helm = Helm { prompts: 3, given: 4, written: 5, factor: 3.0, ..Helm::default() };
    let found = steer(&model, &masks, &rates, &sets(), &helm, &mut |_, _| {}).unwrap();
    assert_eq!(found.turns.len(), 6);
    assert!(found.turns.iter().all(|t| t.from != t.to && t.steered.nats.value.is_finite()));
    let means = &means(&model, &sets(), 256).unwrap()[1];
    let raised = |layer: usize| -> Vec<f32> { [1, 2].map(|n| 3.0 * means[layer * width + n]).to_vec() };
    let mut edits: Vec<Edit> = vec![edit("blocks.*.mlp.hook_post[neuron=0]", json!({"op": "zero"}))];
    edits.extend(
        (0..layers)
            .map(|l| edit(format!("blocks.{l}.mlp.hook_post[neuron=1,2]"), json!({"op": "set", "value": raised(l)}))),
    );
    let tokenizer = model.tokenizer().unwrap();
    let prompts: Vec<Vec<u32>> =
        sets()[0].texts[..3].iter().map(|text| tokenizer.encode(text, true).unwrap()[..4].to_vec()).collect();
    let pass = pass(&[], &edits);
    let registry = Registry::elementary();
    let generator = Generator { net: &model.decoder, pass: &pass, registry: &registry, values: Values::default() };
    let sampler = Sampler::Random { temperature: 0.8, top_k: Some(40), top_p: None };
    let options = Generating { max_new_tokens: 5, sampler, stop: model.eos(), ..Generating::default() };
    let made = generator.run(&batch(&prompts, Side::Left), &options, &mut |_, _| {}).unwrap();
    let turn = &found.turns[0];
    assert_eq!((turn.from, turn.to), (0, 1));
    assert_eq!(turn.steered.example, tokenizer.decode(&made.rows[0], true).unwrap());
    let nowhere = Helm { given: 1000, ..helm };
    let said = steer(&model, &masks, &rates, &sets(), &nowhere, &mut |_, _| {}).unwrap_err().to_string();
    assert!(said.contains("no text of `en` has more than 1000 tokens"), "{said}");
}

#[test]
fn languages_and_scripts_are_told() {
    let names: Vec<String> = ["en", "de", "rus", "zh"].map(String::from).to_vec();
    let judge = Judge::of(&names).unwrap();
    let texts = [
        "The rabbit took a watch out of its pocket and looked at it.",
        "Das Kaninchen zog eine Uhr aus der Tasche und sah darauf.",
        "Кролик вынул часы из кармана и посмотрел на них.",
        "兔子从口袋里掏出一块表看了看。",
    ];
    for (k, text) in texts.iter().enumerate() {
        assert_eq!(judge.language(text), Some(k), "{text}");
    }
    assert_eq!(judge.language("123 ... !"), None);
    assert!(Judge::of(&["en".to_string(), "tongue1".to_string()]).is_err());
    let scripts: Vec<_> = texts.iter().map(|text| script(text).unwrap()).collect();
    assert_eq!(scripts, ["Latin", "Latin", "Cyrillic", "Han"]);
    assert_eq!((script_of_bytes(b" the"), script_of_bytes(b"12.")), (Ok(Some("Latin")), Ok(None)));
    // Parts of characters: the first byte of Russian and Chinese ones tells, the later bytes do not.
    assert_eq!(script_of_bytes(&[0xD0]), Ok(Some("Cyrillic")));
    assert_eq!(script_of_bytes(&"中".as_bytes()[..2]), Ok(Some("Han")));
    assert_eq!(script_of_bytes(&"门".as_bytes()[..1]), Ok(Some("Han")));
    assert_eq!((script_of_bytes(&[0xB8]), script_of_bytes(&[0xE3])), (Err(Ambiguous), Err(Ambiguous)));
    assert_eq!(script_of_bytes(&"हि".as_bytes()[..2]), Ok(Some("Devanagari")));
}

#[test]
fn the_last_layer_of_the_script_lens_is_what_the_network_says() {
    let desk = desk("llama");
    let (model, _) = stage(&desk);
    let found = script_lens(&model, &sets(), 1000, 256).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    for (set, language) in sets().iter().zip(&found.languages) {
        let (mut own, mut positions) = (0, 0);
        for text in &set.texts {
            let ids = tokenizer.encode(text, true).unwrap();
            let logits = see(&model.decoder, &batch(std::slice::from_ref(&ids), Side::Right), &pass(&[], &[])).logits;
            for row in logits.get(0).unwrap().to_vec2::<f32>().unwrap().iter().skip(1) {
                let best = (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
                positions += 1;
                own += u64::from(script(&tokenizer.token_text(best as u32)) == Some("Latin"));
            }
        }
        assert_eq!((language.positions, language.script.as_str()), (positions, "Latin"));
        let last = language.layers.last().unwrap();
        assert!((last.own - own as f64 / positions as f64).abs() < 1e-12);
        assert!((last.own + last.other + last.none + last.parts - 1.0).abs() < 1e-12);
    }
}
