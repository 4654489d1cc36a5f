//! The liquid with an astrocyte: closed forms, a step by hand, and what edits during plasticity reach.

use candle_core::Tensor;
use optrode::analysis::dynamics::branching_factor;
use optrode::analysis::liquid::{Plan, events, experiment};
use optrode::data::strokes;
use optrode::models::{Input, Liquid, LiquidConfig, Network, Series, Simulation};
use optrode::nn::spiking::Sparse;
use serde_json::json;

use super::{Ran, run};
use crate::common::{bits, edit, floats};

const STEPS: usize = 80;

pub fn liquid() -> Liquid {
    let config = LiquidConfig { lattice: [5, 4, 3], inputs: 20, input_share: 0.5, seed: 3, ..LiquidConfig::default() };
    Liquid::new(config).unwrap()
}

/// Events at these (step, input).
fn at(steps: usize, inputs: usize, events: &[(usize, usize)]) -> Input {
    let mut values = vec![0.0; steps * inputs];
    events.iter().for_each(|(t, i)| values[t * inputs + i] = 1.0);
    Input::Series(Series { rows: 1, steps, channels: inputs, values })
}

/// A busy input.
pub fn busy(steps: usize) -> Series {
    events(&[0.2; 20], steps, 5)
}

fn record(ran: &Ran, site: &str) -> Vec<f32> {
    floats(ran.records.get(site).unwrap())
}

#[test]
fn an_event_is_one_spike_a_step_later_and_waits_for_the_refractory_time() {
    let ran = run(&liquid(), &at(20, 20, &[(2, 0), (3, 0), (8, 1)]), &["input.hook_spikes", "input.hook_kappa"], &[]);
    let spikes = record(&ran, "input.hook_spikes");
    let of = |i: usize| (0..20).filter(|t| spikes[t * 20 + i] != 0.0).collect::<Vec<_>>();
    assert_eq!((of(0), of(1), of(2)), (vec![3, 6], vec![9], vec![]));
    // kappa is reset, not added to: 1, 1/e, 1/e^2, 1.
    let kappa: Vec<f32> = record(&ran, "input.hook_kappa").chunks(20).map(|step| step[0]).collect();
    for (t, expected) in [(2, 0.0), (3, 1.0), (4, (-1.0f32).exp()), (5, (-2.0f32).exp()), (6, 1.0)] {
        assert!((kappa[t] - expected).abs() < 1e-6, "{t}: {}", kappa[t]);
    }
}

#[test]
fn no_two_spikes_of_a_neuron_are_closer_than_three_steps() {
    let ran = run(&liquid(), &Input::Series(busy(400)), &["*.hook_spikes"], &[]);
    for (site, n) in [("input.hook_spikes", 20), ("liquid.hook_spikes", 60)] {
        let spikes = record(&ran, site);
        let times = |i: usize| (0..400).filter(|t| spikes[t * n + i] != 0.0).collect::<Vec<_>>();
        let gaps: Vec<usize> =
            (0..n).flat_map(|i| times(i).windows(2).map(|w| w[1] - w[0]).collect::<Vec<_>>()).collect();
        assert_eq!(gaps.iter().min(), Some(&3), "{site}");
    }
}

#[test]
fn a_step_of_the_astrocyte_by_hand_and_its_fixed_point() {
    let net = liquid();
    let input = Input::Series(busy(STEPS));
    let ran = run(&net, &input, &["*.hook_spikes", "astro.**"], &[]);
    let (drive, a) = (record(&ran, "astro.hook_drive"), record(&ran, "astro.hook_A"));
    let (liquid, given) = (record(&ran, "liquid.hook_spikes"), record(&ran, "input.hook_spikes"));
    let mut before = 0.15f64;
    for (t, (drive, a)) in drive.iter().zip(&a).enumerate() {
        let sum = |spikes: &[f32], n: usize| spikes[t * n..(t + 1) * n].iter().sum::<f32>();
        assert_eq!(*drive, sum(&liquid, 60) - sum(&given, 20));
        before += (0.015 * f64::from(*drive) + 0.15 - before) / 100.0;
        assert!((f64::from(*a) - before).abs() < 1e-6, "{t}: {a} and {before}");
    }
    assert!(drive.iter().any(|d| *d > 0.0) && drive.iter().any(|d| *d < 0.0));
    // 7 spikes more: A* = 0.15 + 0.015 * 7, approached by 1 - 1/100 per step.
    let held = edit("astro.hook_drive", json!({"op": "set", "value": 7.0}));
    let a = record(&run(&net, &input, &["astro.hook_A"], &[held]), "astro.hook_A");
    for t in [0, 10, 79] {
        let expected = 0.255 - 0.105 * 0.99f64.powi(t as i32 + 1);
        assert!((f64::from(a[t]) - expected).abs() < 1e-6, "{t}: {}", a[t]);
    }
}

#[test]
fn a_change_of_weight_by_hand() {
    let net = liquid();
    let input = Input::Series(busy(STEPS));
    let sites = ["*.hook_spikes", "*.hook_trace", "astro.hook_A", "stdp.*", "syn.rec.hook_weight"];
    let ran = run(&net, &input, &sites, &[]);
    let (s, x, a) =
        (record(&ran, "liquid.hook_spikes"), record(&ran, "liquid.hook_trace"), record(&ran, "astro.hook_A"));
    let dw = record(&ran, "stdp.hook_dw_rec");
    let weights = record(&ran, "syn.rec.hook_weight");
    let synapses = net.recurrent();
    let (mut seen, mut turned) = (0, 0);
    for t in 1..STEPS {
        for k in 0..synapses.len() {
            let (j, i) = (synapses.sources()[k] as usize, synapses.targets()[k] as usize);
            let (up, down) = (s[t * 60 + i] * x[(t - 1) * 60 + j], s[t * 60 + j] * x[(t - 1) * 60 + i]);
            let own = a[t - 1];
            let expected = if j < 48 { 0.15 * up - own * down } else { 0.15 * down - own * up };
            assert!((dw[t * synapses.len() + k] - expected).abs() < 1e-6, "{t}, {k}");
            seen += usize::from(expected != 0.0);
            turned += usize::from(expected > 0.0 && j >= 48);
            let w = weights[t * 3600 + i * 60 + j];
            assert!(if j < 48 { (0.0..=3.0).contains(&w) } else { (-3.0..=0.0).contains(&w) });
        }
    }
    assert!(seen > 100 && turned > 0, "{seen}, {turned}");
    // A trace after ten silent steps.
    let trace = record(&run(&net, &at(20, 20, &[(2, 0)]), &["input.hook_trace"], &[]), "input.hook_trace");
    assert!((trace[13 * 20] / trace[3 * 20] - 0.3676).abs() < 1e-4);
}

#[test]
fn an_edit_during_plasticity_changes_only_what_is_downstream() {
    let net = liquid();
    let input = Input::Series(busy(STEPS));
    let clean = run(&net, &input, &["**"], &[]);
    let other = |site: &str, ran: &Ran| -> Option<usize> {
        let (a, b) = (ran.records.get(site).unwrap(), clean.records.get(site).unwrap());
        let step = |x: &Tensor, t: usize| bits(&x.narrow(0, t, 1).unwrap());
        (0..STEPS).find(|t| step(a, *t) != step(b, *t))
    };
    // The astrocyte's amplitude acts on the next step's plasticity and on nothing before it.
    let raised = run(&net, &input, &["**"], &[edit("astro.hook_A@t=30", json!({"op": "set", "value": 2.0}))]);
    assert_eq!(other("astro.hook_A", &raised), Some(30));
    let first = other("stdp.hook_dw_rec", &raised).unwrap();
    assert!(first > 30 && first < 40, "{first}");
    assert_eq!(other("syn.rec.hook_weight", &raised), Some(first + 1));
    assert!(other("liquid.hook_spikes", &raised).is_none_or(|t| t > first));
    assert_eq!(other("input.hook_spikes", &raised), None);
    assert_eq!(other("input.hook_trace", &raised), None);
    // A frozen change leaves the spikes of its step alone and the weights of the next as they were.
    let frozen = run(&net, &input, &["**"], &[edit("stdp.hook_dw_*", json!({"op": "zero"}))]);
    let weights = frozen.records.get("syn.in.hook_weight").unwrap();
    assert_eq!(bits(&weights.narrow(0, 0, 1).unwrap()), bits(&weights.narrow(0, STEPS - 1, 1).unwrap()));
    // That is the static liquid.
    let still = Liquid::new(LiquidConfig { eta: 0.0, astrocyte: 0.0, ..*net.config() }).unwrap();
    assert!(bits(&run(&still, &input, &[], &[]).output) == bits(&frozen.output));
    assert!(bits(&frozen.output) != bits(&clean.output));
}

#[test]
fn held_at_rest_the_astrocyte_is_plain_stdp_with_decay_too() {
    let input = Input::Series(busy(STEPS));
    for decay in [1.0, 0.9] {
        let net = liquid().decaying(decay).unwrap();
        let held = run(&net, &input, &[], &[edit("astro.hook_A", json!({"op": "set", "value": 0.15}))]);
        let plain = Liquid::new(LiquidConfig { astrocyte: 0.0, ..*net.config() }).unwrap();
        super::assert_same(&held, &run(&plain, &input, &[], &[]));
        // In so few steps the astrocyte itself changes weights, if not yet a spike.
        let weights = |ran: &Ran| bits(&ran.state.tensors["syn.in.weight"]);
        assert!(weights(&held) != weights(&run(&net, &input, &[], &[])));
    }
    // What decays cannot grow: from one step on nothing more is learned.
    let net = liquid().decaying(0.0).unwrap();
    let weights = run(&net, &input, &["syn.in.hook_weight"], &[]).records.get("syn.in.hook_weight").unwrap().clone();
    assert_eq!(bits(&weights.narrow(0, 1, 1).unwrap()), bits(&weights.narrow(0, STEPS - 1, 1).unwrap()));
}

#[test]
fn synapses_are_as_many_and_as_signed_as_they_should_be() {
    let net = Liquid::new(LiquidConfig::default()).unwrap();
    let input = net.synapses("syn.in.hook_weight").unwrap();
    assert!((0..1000).all(|i| input.incoming(i).len() == 118));
    // Over all pairs of places, whatever their types: C is 0.2 0.64 + 0.1 0.16 + 0.3 0.16 + 0.05 0.04 = 0.194 on average.
    let mut pairs = 0.0;
    for (a, b) in (0..1000).flat_map(|a| (0..1000).map(move |b| (a, b))).filter(|(a, b)| a != b) {
        let gap = |d: i32| f64::from(a / d % 10 - b / d % 10).powi(2);
        pairs += (-(gap(1) + gap(10) + gap(100)) / 9.0).exp();
    }
    let expected = 0.194 * pairs;
    let count = net.recurrent().len() as f64;
    assert!((count - expected).abs() < 4.0 * expected.sqrt() + 0.02 * expected, "{count} and {expected}");
    let weights: Vec<f32> = net.parameters()[1].1.to_vec1().unwrap();
    assert!(weights.iter().zip(net.recurrent().sources()).all(|(w, j)| *w == if *j < 800 { 3.0 } else { -3.0 }));
}

#[test]
fn the_branching_factor_of_a_chain_is_one() {
    let chain = Sparse::new(20, 20, (0..19).map(|i| (i, i + 1)).collect()).unwrap();
    let spikes: Vec<f32> = (0..20).flat_map(|t| (0..20).map(move |i| f32::from(u8::from(i == t)))).collect();
    assert_eq!(branching_factor(&spikes, &chain, 4), 1.0);
    assert_eq!(branching_factor(&spikes, &Sparse::new(20, 20, Vec::new()).unwrap(), 4), 0.0);
}

#[test]
fn a_small_experiment_repeats_and_its_control_holds() {
    let plan = Plan {
        config: LiquidConfig { lattice: [4, 4, 4], ..LiquidConfig::default() },
        weights: vec![0.8],
        astrocytes: vec![0.015],
        images: [10, 30, 10],
        steps: [20, 60],
        ..Plan::quick(1)
    };
    let images = strokes::digits(plan.needs(), 1);
    let found = experiment(&plan, &images, "generated digits", &|| ()).unwrap();
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(json, serde_json::to_string(&experiment(&plan, &images, "generated digits", &|| ()).unwrap()).unwrap());
    let verdicts = found.verdicts();
    let control = verdicts.iter().find(|v| v.name.starts_with("control")).unwrap();
    assert_eq!(control.verdict, optrode::report::Verdict::Passed, "{control:?}");
    let few = strokes::digits(20, 1);
    assert!(experiment(&plan, &few, "", &|| ()).unwrap_err().to_string().contains("50 labelled images"));
}

#[test]
fn digits_are_drawn_apart_and_each_by_itself() {
    let set = strokes::digits(300, 4);
    assert_eq!(set.pixels[..100 * 784], strokes::digits(100, 4).pixels);
    assert!((0..10).all(|d| set.labels.contains(&d)));
    assert!((0..300).all(|i| set.image(i).iter().filter(|p| **p > 0).count() > 20));
}

#[test]
fn liquids_that_cannot_be_are_refused() {
    let wrong = [
        LiquidConfig { lattice: [0, 4, 4], ..LiquidConfig::default() },
        LiquidConfig { weight: 3.5, ..LiquidConfig::default() },
        LiquidConfig { input_share: 0.0, ..LiquidConfig::default() },
        LiquidConfig { decay: f64::NAN, ..LiquidConfig::default() },
    ];
    assert!(wrong.into_iter().all(|config| Liquid::new(config).is_err()));
    let two = Input::None { rows: 2, steps: 3 };
    super::refused(&liquid(), &two, &[], &[], &["2 rows"]);
    assert!(liquid().with_readout(&[1.0; 60]).is_err());
}
