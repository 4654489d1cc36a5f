//! Neuron Adjust and Key Space Detection as edits.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use optrode::analysis::registry;
use optrode::analysis::unlearn::{ABSTAIN, Cube, Densities};
use optrode::generate::{Generated, Generator, Options};
use optrode::hook::reduce::{Observation, Reducer, ReducerSpec};
use optrode::hook::{Edit, Event, Pass, Plan, Tap, random};
use optrode::models::{Decoder, Input, Network, Side, State, Tokens};
use serde_json::json;

use crate::common::shared::golden;
use crate::common::{batch, bits, edit, load, see, text, values};

const MLP: usize = 3;

fn llama() -> Decoder {
    load(&golden("llama"))
}

/// One call under edits of the methods.
fn run(
    net: &Decoder,
    tokens: &Tokens,
    edits: Vec<Edit>,
    seed: u64,
    stored: &BTreeMap<String, Tensor>,
) -> (Tensor, Vec<Event>) {
    let pass = Pass { edits, seed, ..Pass::default() };
    let mut plan = Plan::compile(net.sites(), &pass, &registry(), values(stored), &[]).unwrap();
    let logits = net.forward(&Input::Tokens(tokens.clone()), &mut State::none(), &mut Tap::new(&mut plan)).unwrap();
    (logits, plan.drain_events())
}

#[test]
fn the_map_transports_and_mirrors() {
    let neuron = Densities { retain_mean: 0.5, retain_std: 2.0, forget_mean: -3.0, forget_std: 0.25 };
    assert_eq!(neuron.mirrored(-3.0), 0.5);
    for c in [-2.0, 0.5, 3.0] {
        assert!((neuron.mirrored(-3.0 + c * 0.25) - (0.5 - c * 2.0)).abs() < 1e-12);
    }
}

#[test]
fn forced_to_fire_the_forgotten_distribution_becomes_the_retained_one() {
    let neuron = Densities { retain_mean: 0.5, retain_std: 2.0, forget_mean: -3.0, forget_std: 0.25 };
    let n = 20_000u64;
    let draw = |i| neuron.mirrored(-3.0 + 0.25 * random::normal(random::key(1, &[i])));
    let values: Vec<f64> = (0..n).map(draw).collect();
    let mean = values.iter().sum::<f64>() / n as f64;
    let std = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
    // Four standard errors.
    assert!((mean - 0.5).abs() < 4.0 * 2.0 / (n as f64).sqrt(), "{mean}");
    assert!((std - 2.0).abs() < 4.0 * 2.0 / (2.0 * n as f64).sqrt(), "{std}");
}

#[test]
fn a_neuron_fires_by_its_densities() {
    let same = Densities { retain_mean: 1.0, retain_std: 0.5, forget_mean: 1.0, forget_std: 0.5 };
    for x in [-4.0, 0.0, 1.0, 60.0] {
        assert_eq!(same.fires(x), 0.5);
        assert_eq!(same.mirrored(x), 2.0 - x);
    }
    let apart = Densities { retain_mean: 0.0, retain_std: 1.0, forget_mean: 4.0, forget_std: 1.0 };
    assert_eq!(apart.fires(1.9), 0.0);
    assert!(apart.fires(2.1) > 0.5 && apart.fires(4.0) > 0.999);
    // Both densities are 0 in f64 out here; their ratio is not.
    assert_eq!(apart.fires(1e4), 1.0);
    assert_eq!(apart.fires(-1e4), 0.0);
    let released = Densities { forget_std: -0.3, ..apart };
    assert!([-1e3, 0.0, 4.0, 1e3].iter().all(|x| released.fires(*x) == 0.0));
}

fn adjust(site: &str, retain: (f64, f64), forget: (f64, f64)) -> Edit {
    let numbers =
        json!({"retain_mean": retain.0, "retain_std": retain.1, "forget_mean": forget.0, "forget_std": forget.1});
    let mut object = numbers.as_object().unwrap().clone();
    object.insert("op".into(), "neuron_adjust".into());
    edit(site, json!(object))
}

#[test]
fn adjusting_draws_by_seed_document_and_position_alone() {
    let net = llama();
    let rows = [text(1, 5), text(2, 9)];
    let site = "blocks.0.mlp.hook_pre[neuron=0..3]";
    let edits = || vec![adjust(site, (0.1, 0.3), (0.1, 0.3))];
    let none = BTreeMap::new();
    let (first, _) = run(&net, &batch(&rows, Side::Left), edits(), 7, &none);
    let (again, _) = run(&net, &batch(&rows, Side::Left), edits(), 7, &none);
    let (other, _) = run(&net, &batch(&rows, Side::Left), edits(), 8, &none);
    assert_eq!(bits(&first), bits(&again));
    assert_ne!(bits(&first), bits(&other));
    let mut single = batch(&rows[1..], Side::Left);
    single.documents = vec![1];
    let (single, _) = run(&net, &single, edits(), 7, &none);
    let last = |x: &Tensor, row: usize| x.get(row).unwrap().get(x.dim(1).unwrap() - 1).unwrap();
    crate::common::assert_close(&last(&single, 0), &last(&first, 1), crate::common::AGREE, "batch and single");
}

#[test]
fn where_the_retained_density_is_larger_nothing_changes() {
    let net = llama();
    let tokens = batch(&[text(1, 6)], Side::Right);
    let plain = see(&net, &tokens, &Pass::default());
    let site = "blocks.*.mlp.hook_pre";
    // The forgotten density lies far away: it is never the likelier.
    let (logits, events) = run(&net, &tokens, vec![adjust(site, (0.0, 5.0), (1e4, 1.0))], 0, &BTreeMap::new());
    crate::common::assert_close(&logits, &plain.logits, crate::common::AGREE, "untouched");
    let (logits, _) = run(&net, &tokens, Vec::new(), 0, &BTreeMap::new());
    assert_eq!(bits(&logits), bits(&plain.logits));
    assert!(events.is_empty());
}

/// A cube around these keys.
fn cube(keys: &[[f32; MLP]]) -> optrode::Result<Cube> {
    let mut reducer = ReducerSpec::Moments {}.build(MLP).unwrap();
    let n = keys.len();
    let seen = Observation {
        values: &keys.concat(),
        rows: n,
        pos: 1,
        width: MLP,
        keep: &vec![true; n],
        tokens: &vec![0; n],
        documents: &(0..n as u64).collect::<Vec<_>>(),
        positions: &vec![0; n],
    };
    reducer.observe(&seen).unwrap();
    let Reducer::Moments(moments) = &reducer else { unreachable!() };
    Cube::fit(moments, MLP)
}

fn keys(seed: u64, n: usize, scale: f32, shift: f32) -> Vec<[f32; MLP]> {
    let draw = |i: usize, j: usize| scale * random::normal(random::key(seed, &[i as u64, j as u64])) as f32 + shift;
    (0..n).map(|i| std::array::from_fn(|j| draw(i, j))).collect()
}

#[test]
fn the_smallest_cube_holds_every_key_touches_one_and_obeys_samuelson() {
    for n in [2, 3, 10, 200] {
        let keys = keys(n as u64, n, 1.5, 0.3);
        let cube = cube(&keys).unwrap();
        let reach: Vec<f64> = keys.iter().map(|k| cube.reach(k)).collect();
        let farthest = reach.iter().copied().fold(0.0, f64::max);
        assert!((farthest - 1.0).abs() < 1e-9, "{n}: {farthest}");
        let bound = (n as f64 - 1.0) / (n as f64).sqrt();
        assert!(cube.kappa <= bound * (1.0 + 1e-5), "{n}: {} above {bound}", cube.kappa);
        assert_eq!(cube.keys, n as u64);
        // alpha below 1 shuts at least one out; membership only grows with alpha.
        assert!(reach.iter().any(|r| *r > 0.99));
        let held = |alpha: f64| reach.iter().filter(|r| **r <= alpha).count();
        assert!([0.2, 0.5, 0.9, 1.1].windows(2).all(|a| held(a[0]) <= held(a[1])));
    }
}

#[test]
fn kappa_does_not_depend_on_the_units_of_a_coordinate() {
    let plain = cube(&keys(5, 50, 1.0, 0.0)).unwrap();
    let moved = cube(&keys(5, 50, -8.0, 4.0)).unwrap();
    assert!((plain.kappa - moved.kappa).abs() < 1e-4 * plain.kappa, "{} {}", plain.kappa, moved.kappa);
}

#[test]
fn a_coordinate_that_never_varies_has_a_narrow_side_and_no_nan() {
    let mut all = keys(6, 20, 1.0, 0.0);
    all.iter_mut().for_each(|k| k[1] = 0.25);
    let cube = cube(&all).unwrap();
    assert!(cube.kappa.is_finite() && all.iter().all(|k| cube.reach(k) <= 1.0 + 1e-9));
    assert_eq!(cube.reach(&[cube.center[0], 0.3, cube.center[2]]), f64::INFINITY);
    let words = self::cube(&[[1.0, 2.0, 3.0]; 4]).unwrap_err().to_string();
    assert!(words.contains("all the same"), "{words}");
    assert!(self::cube(&[[1.0, 2.0, 3.0]]).unwrap_err().to_string().contains("at least two keys"));
}

/// Abstains within `alpha` of the golden Llama's own keys.
fn abstaining(net: &Decoder, alpha: f64) -> (Vec<Edit>, BTreeMap<String, Tensor>) {
    let last = net.facts().layers.len() - 1;
    let width = net.facts().d_mlp;
    let site = format!("blocks.{last}.mlp.hook_post@last");
    let op =
        json!({"op": "key_space", "center": {"tensor": "c"}, "spread": {"tensor": "s"}, "kappa": 2.0, "alpha": alpha});
    let tensor = |value: f32| Tensor::full(value, width, &Device::Cpu).unwrap();
    let stored = BTreeMap::from([("c".to_string(), tensor(0.0)), ("s".to_string(), tensor(0.1))]);
    (vec![edit(site, op)], stored)
}

fn generate(net: &Decoder, rows: &[Vec<u32>], alpha: f64, cache: bool) -> Generated {
    let (edits, stored) = abstaining(net, alpha);
    let pass = Pass { edits, ..Pass::default() };
    let registry = registry();
    let generator = Generator { net, pass: &pass, registry: &registry, values: values(&stored) };
    // Rows go on after a hit, so that every decision is seen.
    let options = Options { max_new_tokens: 6, cache, stop_events: Vec::new(), ..Options::default() };
    generator.run(&batch(rows, Side::Left), &options, &mut |_, _| {}).unwrap()
}

#[test]
fn cached_and_uncached_generations_decide_alike() {
    let net = llama();
    let rows: Vec<Vec<u32>> = (0..4).map(|i| text(i, 3 + i as usize)).collect();
    let mut counts = Vec::new();
    for alpha in (0..24).map(|i| 0.001 * 1.6f64.powi(i)) {
        let cached = generate(&net, &rows, alpha, true);
        assert_eq!(cached.events, generate(&net, &rows, alpha, false).events, "alpha {alpha}");
        counts.push(cached.events.len());
    }
    // Nothing at first, then some, at last every prompt and every new token that was run.
    assert!(counts.windows(2).all(|c| c[0] <= c[1]), "{counts:?}");
    assert_eq!((counts[0], counts[23]), (0, 4 * 6), "{counts:?}");
    assert!(counts.iter().any(|c| *c > 0 && *c < 24), "{counts:?}");
}

#[test]
fn a_hit_raises_an_event_and_leaves_the_logits() {
    let net = llama();
    let tokens = batch(&[text(1, 6), text(2, 4)], Side::Right);
    let (edits, stored) = abstaining(&net, 1e6);
    let (logits, events) = run(&net, &tokens, edits, 0, &stored);
    let plain = see(&net, &tokens, &Pass::default());
    crate::common::assert_close(&logits, &plain.logits, crate::common::AGREE, "an observed run");
    let places: Vec<(usize, u32)> = events.iter().map(|e| (e.row, e.position)).collect();
    assert_eq!(places, [(0, 5), (1, 3)]);
    assert!(events.iter().all(|e| e.name == ABSTAIN));
}

#[test]
fn a_generation_ends_where_it_abstains() {
    let net = llama();
    let (edits, stored) = abstaining(&net, 1e6);
    let pass = Pass { edits, ..Pass::default() };
    let registry = registry();
    let generator = Generator { net: &net, pass: &pass, registry: &registry, values: values(&stored) };
    let made = generator.run(&batch(&[text(1, 6)], Side::Left), &Options::default(), &mut |_, _| {}).unwrap();
    assert_eq!((made.rows[0].len(), made.finish[0].word()), (0, ABSTAIN));
}

#[test]
fn steering_puts_a_key_in_the_place_of_the_hit() {
    let net = llama();
    let last = net.facts().layers.len() - 1;
    let tokens = batch(&[text(1, 6)], Side::Right);
    let (mut edits, mut stored) = abstaining(&net, 1e6);
    let edits = vec![edits.remove(0).with("steer", json!({"tensor": "to"}))];
    stored.insert("to".into(), Tensor::zeros(net.facts().d_mlp, candle_core::DType::F32, &Device::Cpu).unwrap());
    let (steered, events) = run(&net, &tokens, edits, 0, &stored);
    let zero = edit(format!("blocks.{last}.mlp.hook_post@last"), json!({"op": "zero"}));
    let (zeroed, _) = run(&net, &tokens, vec![zero], 0, &BTreeMap::new());
    assert_eq!((bits(&steered), events.len()), (bits(&zeroed), 1));
}

#[test]
fn statistics_of_another_width_and_numbers_that_are_none_are_refused() {
    let net = llama();
    let tokens = batch(&[text(1, 3)], Side::Right);
    let refused = |edits: Vec<Edit>, stored: BTreeMap<String, Tensor>| {
        let pass = Pass { edits, ..Pass::default() };
        let mut plan = Plan::compile(net.sites(), &pass, &registry(), values(&stored), &[]).unwrap();
        let run = net.forward(&Input::Tokens(tokens.clone()), &mut State::none(), &mut Tap::new(&mut plan));
        run.unwrap_err().to_string()
    };
    let (edits, mut stored) = abstaining(&net, 1.0);
    stored.insert("c".into(), Tensor::zeros(net.facts().d_mlp + 1, candle_core::DType::F32, &Device::Cpu).unwrap());
    let words = refused(edits, stored);
    assert!(words.contains("one value for each of"), "{words}");
    let (edits, stored) = abstaining(&net, -1.0);
    assert!(refused(edits, stored).contains("alpha -1"));
}
