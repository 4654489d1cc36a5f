//! Networks of spiking populations.

use candle_core::Tensor;
use optrode::hook::random::Stream;
use optrode::models::spiking::{
    Neurons, Plasticity, Population, Projection, Synapse, izhikevich_population, thalamic_noise,
};
use optrode::models::{Input, Series, Simulation, Spiking};
use optrode::nn::spiking::{
    Adaptation, Conductance, CurrentSynapse, Eligibility, Lif, PairStdp, Pairing, Refractory, Reset, ResetDelay,
    Sparse, TripletStdp,
};
use serde_json::json;

use super::networks::{plastic_input, signal};
use super::{assert_same, clamped, run, run_from};
use crate::common::{bits, edit, floats, pass};

fn population(name: &str, size: usize, neurons: Neurons) -> Population {
    Population { name: name.into(), size, neurons }
}

fn lif(cell: Lif) -> Neurons {
    Neurons::Lif { cell, adaptation: None }
}

fn projection(name: &str, from: usize, to: usize, synapses: Sparse, weight: f32, kind: Synapse) -> Projection {
    let weights = (0..synapses.len()).map(|s| weight * (1.0 + (s % 5) as f32 * 0.1)).collect();
    Projection { name: name.into(), from, to, synapses, weights, delay: 2, kind, plasticity: None }
}

/// 24 excitatory and 12 inhibitory neurons, with adaptation, refractoriness of both kinds, currents of both kinds.
pub fn lif_network() -> Spiking {
    let mut draw = Stream::new(1, &[]);
    let exc = Neurons::Lif {
        cell: Lif {
            refractory: Refractory::Silent(2),
            reset: Reset::Subtract,
            reset_delay: ResetDelay::Next,
            ..Lif::default()
        },
        adaptation: Some(Adaptation::lsnn(50.0, 0.8, 1.0)),
    };
    let inh = lif(Lif { tau_m: 10.0, refractory: Refractory::Clamped(3), ..Lif::default() });
    let mut between = |a, b| Sparse::bernoulli(a, b, 0.3, &mut draw).unwrap();
    let exponential = Synapse::Current(CurrentSynapse { tau_s: 5.0 });
    let projections = vec![
        projection("ee", 0, 0, between(24, 24), 0.3, exponential),
        projection("ei", 0, 1, between(24, 12), 0.5, exponential),
        projection("ie", 1, 0, between(12, 24), -0.5, Synapse::Jump),
    ];
    Spiking::new(vec![population("exc", 24, exc), population("inh", 12, inh)], projections).unwrap()
}

const PAIRS: PairStdp = PairStdp {
    a_plus: 0.02,
    a_minus: 0.021,
    tau_plus: 20.0,
    tau_minus: 20.0,
    pairing: Pairing::AllToAll,
    bounds: (0.0, 0.5),
    mu: 0.0,
};

const ELIGIBILITY: Eligibility = Eligibility { tau: 25.0, eta: 0.5 };

/// 20 sources that drive 10 neurons through plastic conductances.
pub fn plastic_network() -> Spiking {
    learning_network(Plasticity::Pair(PAIRS))
}

/// The same under triplets of spikes.
pub fn triplet_network() -> Spiking {
    let rule = TripletStdp { plus: (5e-3, 6.2e-2), minus: (7e-2, 2.3e-3), ..TripletStdp::default() };
    learning_network(Plasticity::Triplet { rule, bounds: (0.0, 0.5) })
}

/// The same under a third factor.
pub fn modulated_network() -> Spiking {
    learning_network(Plasticity::Modulated { pairs: PAIRS, eligibility: ELIGIBILITY })
}

fn learning_network(rule: Plasticity) -> Spiking {
    let synapses = Sparse::bernoulli(20, 10, 0.6, &mut Stream::new(2, &[])).unwrap();
    let conductance = Synapse::Conductance(Conductance { tau_s: 5.0, reversal: 4.0 });
    let plastic = Projection { plasticity: Some(rule), delay: 1, ..projection("in", 0, 1, synapses, 0.1, conductance) };
    let cell = Lif { refractory: Refractory::Clamped(2), ..Lif::default() };
    Spiking::new(vec![population("input", 20, Neurons::Source), population("out", 10, lif(cell))], vec![plastic])
        .unwrap()
}

fn lif_input() -> Input {
    Input::Series(signal(1, 60, 36, 0.4, 1.1))
}

fn count(spikes: &Tensor) -> f32 {
    floats(spikes).iter().sum()
}

#[test]
fn a_silenced_projection_is_one_without_weights() {
    let (net, input) = (lif_network(), lif_input());
    let clean = run(&net, &input, &[], &[]);
    assert!(count(&clean.output) > 50.0);
    let silent = run(&net, &input, &[], &[edit("syn.ee.hook_spikes", json!({"op": "zero"}))]);
    let weightless = run(&net, &input, &[], &[edit("syn.ee.hook_weight", json!({"op": "zero"}))]);
    assert_same(&silent, &weightless);
    assert_ne!(bits(&silent.output), bits(&clean.output));
}

#[test]
fn one_neuron_clamped_to_its_own_train_changes_nothing_and_silenced_everything_downstream() {
    let (net, input) = (lif_network(), lif_input());
    let clean = run(&net, &input, &["exc.hook_spikes"], &[]);
    let train = clean.records.get("exc.hook_spikes").unwrap();
    let fired: Vec<f32> = floats(train).iter().skip(5).step_by(24).copied().collect();
    assert!(fired.iter().sum::<f32>() > 0.0);
    let stored = [("train".to_string(), train.clone())].into();
    let own = pass(&[], &[clamped("exc.hook_spikes[neuron=5]", "train")]);
    let again = run_from(&net, &input, &optrode::models::State::cached(), &own, &stored).unwrap();
    assert_same(&clean, &again);
    let silenced = run(&net, &input, &["exc.hook_spikes"], &[edit("exc.hook_spikes[neuron=5]", json!({"op": "zero"}))]);
    let others = floats(silenced.records.get("exc.hook_spikes").unwrap());
    assert!(others.iter().skip(5).step_by(24).all(|s| *s == 0.0));
    assert_ne!(bits(&silenced.output), bits(&clean.output));
}

#[test]
fn a_spike_put_in_by_hand_resets_travels_and_is_counted() {
    let (net, input) = (lif_network(), Input::None { rows: 1, steps: 8 });
    let sites = ["exc.hook_spikes", "syn.ei.hook_spikes", "syn.ei.hook_current", "inh.hook_mem", "exc.hook_threshold"];
    assert_eq!(count(&run(&net, &input, &[], &[]).output), 0.0);
    let ran = run(&net, &input, &sites, &[edit("exc.hook_spikes[neuron=4]@t=2", json!({"op": "set", "value": 1.0}))]);
    assert_eq!(count(&ran.output), 1.0);
    let at = |site: &str, t: usize, i: usize, n: usize| floats(ran.records.get(site).unwrap())[t * n + i];
    assert_eq!(at("syn.ei.hook_spikes", 3, 4, 24), 0.0);
    assert_eq!(at("syn.ei.hook_spikes", 4, 4, 24), 1.0);
    let current: f32 = (0..12).map(|i| at("syn.ei.hook_current", 4, i, 12)).sum();
    assert!(current > 0.5);
    assert!((0..12).any(|i| at("inh.hook_mem", 4, i, 12) > 0.0));
    assert!(at("exc.hook_threshold", 3, 4, 24) > at("exc.hook_threshold", 2, 4, 24));
}

#[test]
fn networks_step_as_the_closed_forms_do() {
    // A network of one neuron, against the scalar equations.
    let cell = Lif { dt: 0.1, refractory: Refractory::Clamped(20), ..Lif::default() };
    let net = Spiking::new(vec![population("cell", 1, lif(cell))], vec![]).unwrap();
    for (current, spikes) in [(1.0f32, 0.0), (1.2, 26.0), (1.5, 41.0), (2.0, 63.0), (3.0, 98.0)] {
        let input = Series { rows: 1, steps: 10_000, channels: 1, values: vec![current; 10_000] };
        assert_eq!(count(&run(&net, &Input::Series(input), &[], &[]).output), spikes, "{current}");
    }
    // One spike through an exponential current of 1: the potential is the closed form of both time constants.
    let synapses = Sparse::dense(1, 1).unwrap();
    let current = Synapse::Current(CurrentSynapse { tau_s: 5.0 });
    let quiet = Lif { threshold: 1e6, ..Lif::default() };
    let parts = vec![population("source", 1, Neurons::Source), population("cell", 1, lif(quiet))];
    let wire = Projection { delay: 3, ..projection("wire", 0, 1, synapses, 1.0, current) };
    let net = Spiking::new(parts, vec![wire]).unwrap();
    let values = (0..60).map(|at| if at == 0 { 1.0 } else { 0.0 }).collect();
    let input = Input::Series(Series { rows: 1, steps: 30, channels: 2, values });
    let ran = run(&net, &input, &["cell.hook_mem"], &[]);
    for (t, v) in floats(ran.records.get("cell.hook_mem").unwrap()).into_iter().enumerate() {
        let passed = (t as f64 - 2.0).max(0.0);
        let expected = 5.0 / (5.0 - 20.0) * ((-passed / 5.0f64).exp() - (-passed / 20.0f64).exp());
        assert!((f64::from(v) - expected).abs() < 1e-6, "step {t}: {v} {expected}");
    }
}

#[test]
fn the_reset_of_the_next_step_shows_the_membrane_above_threshold() {
    let with = |reset_delay| {
        let cell = Lif { reset_delay, ..Lif::default() };
        let net = Spiking::new(vec![population("cell", 1, lif(cell))], vec![]).unwrap();
        let input = Series { rows: 1, steps: 100, channels: 1, values: vec![1.5; 100] };
        let ran = run(&net, &Input::Series(input), &["cell.hook_mem"], &[]);
        (count(&ran.output), floats(ran.records.get("cell.hook_mem").unwrap()))
    };
    let ((same, v), (next, w)) = (with(ResetDelay::Same), with(ResetDelay::Next));
    assert_eq!(same, next);
    assert!(v.iter().all(|v| *v < 1.0) && w.iter().any(|v| *v >= 1.0));
}

#[test]
fn frozen_weights_stay_and_edited_ones_last() {
    let (net, input) = (plastic_network(), Input::Series(plastic_input(60)));
    let sites = ["syn.in.hook_weight", "out.hook_spikes", "syn.in.hook_trace_post"];
    let clean = run(&net, &input, &sites, &[]);
    let weights =
        |ran: &super::Ran, t: usize| floats(&ran.records.get("syn.in.hook_weight").unwrap().narrow(0, t, 1).unwrap());
    assert_ne!(weights(&clean, 0), weights(&clean, 59));
    let frozen = run(&net, &input, &sites, &[edit("syn.in.hook_dw", json!({"op": "zero"}))]);
    assert_eq!(weights(&frozen, 0), weights(&frozen, 59));
    let late = run(&net, &input, &sites, &[edit("syn.in.hook_dw@t=30..", json!({"op": "zero"}))]);
    assert_eq!(weights(&late, 30), weights(&clean, 30));
    assert_eq!(weights(&late, 31), weights(&late, 59));
    assert_ne!(weights(&late, 59), weights(&clean, 59));
    // A trace that is edited teaches otherwise, and spikes of the same step know nothing of it.
    let trace = run(&net, &input, &sites, &[edit("syn.in.hook_trace_post@t=20..", json!({"op": "zero"}))]);
    assert_eq!(weights(&trace, 20), weights(&clean, 20));
    assert_ne!(weights(&trace, 59), weights(&clean, 59));
    // The weight of a plastic projection is state: an edit of one step lasts. No synapse is made where there is none.
    let set = edit("syn.in.hook_weight@t=10", json!({"op": "set", "value": 0.25}));
    let lasting = run(&net, &input, &sites, &[set, edit("syn.in.hook_dw", json!({"op": "zero"}))]);
    let (before, after) = (weights(&lasting, 9), weights(&lasting, 40));
    assert!(before.iter().zip(&after).all(|(b, a)| *a == if *b == 0.0 { 0.0 } else { 0.25 }));
    // That of a static one is a parameter: the edit acts in its step only.
    let net = lif_network();
    let double = edit("syn.ee.hook_weight@t=10", json!({"op": "scale", "factor": 2.0}));
    let ran = run(&net, &lif_input(), &["syn.ee.hook_weight"], &[double]);
    let at = |t: usize| floats(&ran.records.get("syn.ee.hook_weight").unwrap().narrow(0, t, 1).unwrap());
    assert_eq!(at(10), at(9).iter().map(|w| 2.0 * w).collect::<Vec<_>>());
    assert_eq!(at(11), at(9));
}

/// A source's spikes at these steps arrive one step later at a neuron that is made to fire at others.
fn weight_after(rule: Plasticity, pre: &[usize], post: &[usize], modulator: impl Fn(usize) -> f32) -> Vec<f32> {
    let modulated = matches!(rule, Plasticity::Modulated { .. });
    let synapses = Sparse::dense(1, 1).unwrap();
    let wire = Projection { plasticity: Some(rule), delay: 1, ..projection("in", 0, 1, synapses, 0.25, Synapse::Jump) };
    let cells = vec![population("a", 1, Neurons::Source), population("b", 1, lif(Lif::default()))];
    let net = Spiking::new(cells, vec![wire]).unwrap();
    let steps = 120;
    let values = (0..steps).flat_map(|t| {
        let here = |times: &[usize], size| if times.contains(&t) { size } else { 0.0 };
        let all = [here(pre, 1.0), here(post, 1000.0), modulator(t)];
        all[..if modulated { 3 } else { 2 }].to_vec()
    });
    let input = Series { rows: 1, steps, channels: net.channels(), values: values.collect() };
    let ran = run(&net, &Input::Series(input), &["syn.in.hook_weight", "b.hook_spikes"], &[]);
    let fired = floats(ran.records.get("b.hook_spikes").unwrap());
    assert!((0..steps).all(|t| (fired[t] > 0.0) == post.contains(&t)));
    floats(ran.records.get("syn.in.hook_weight").unwrap())
}

#[test]
fn triplets_of_spikes_weigh_as_their_rule_says() {
    let rule = TripletStdp { plus: (0.01, 0.02), minus: (0.015, 0.03), ..TripletStdp::default() };
    let after = |pre: &[usize], post: &[usize]| {
        let plasticity = Plasticity::Triplet { rule, bounds: (-10.0, 10.0) };
        f64::from(*weight_after(plasticity, pre, post, |_| 0.0).last().unwrap()) - 0.25
    };
    let left = |dt: f64, tau: f64| (-dt / tau).exp();
    // Arrivals are a step after the spikes that are given.
    let close = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-6, "{got} {expected}");
    close(after(&[10], &[16]), 0.01 * left(5.0, 16.8));
    close(after(&[15], &[10]), -0.015 * left(6.0, 33.7));
    // post, pre, post: o1 depresses, o2 of the first post spike strengthens the second.
    let down = 0.015 * left(11.0, 33.7);
    close(after(&[20], &[10, 26]), left(5.0, 16.8) * (0.01 + 0.02 * left(16.0, 125.0)) - down);
    // pre, post, pre: r2 of the first pre spike strengthens the depression of the second.
    let up = 0.01 * left(9.0, 16.8);
    close(after(&[10, 25], &[20]), up - left(6.0, 33.7) * (0.015 + 0.03 * left(15.0, 101.0)));
}

#[test]
fn a_third_factor_turns_eligibility_into_change() {
    let rule = |tau| Plasticity::Modulated { pairs: PAIRS, eligibility: Eligibility { tau, ..ELIGIBILITY } };
    let pair = 0.02 * (-5.0f64 / 20.0).exp();
    // No factor, no change; a factor that comes 40 steps later finds what is left of the eligibility.
    assert!(weight_after(rule(25.0), &[10], &[16], |_| 0.0).iter().all(|w| *w == 0.25));
    let late = weight_after(rule(25.0), &[10], &[16], |t| if t == 56 { 2.0 } else { 0.0 });
    let expected = 0.25 + 0.5 * 2.0 * pair * (-40.0f64 / 25.0).exp();
    assert!(late[..57].iter().all(|w| *w == 0.25));
    assert!((f64::from(late[119]) - expected).abs() < 1e-6, "{} {expected}", late[119]);
    // Without a trace of it the factor must be there in the step of the pair.
    let missed = weight_after(rule(0.0), &[10], &[16], |t| if t == 56 { 2.0 } else { 0.0 });
    assert!(missed.iter().all(|w| *w == 0.25));
    let met = weight_after(rule(0.0), &[10], &[16], |t| if t == 16 { -2.0 } else { 0.0 });
    assert!((f64::from(met[119]) - (0.25 - pair)).abs() < 1e-6, "{}", met[119]);

    // A factor that an edit holds teaches; eligibility held at 0 does not.
    let (net, sites) = (modulated_network(), ["syn.in.hook_weight", "syn.in.hook_elig"]);
    let values = plastic_input(60).values.chunks_exact(30).flat_map(|step| [step, &[0.0]].concat()).collect();
    let input = Input::Series(Series { rows: 1, steps: 60, channels: 31, values });
    let weights = |edits: &[optrode::hook::Edit]| {
        let all = floats(run(&net, &input, &sites, edits).records.get("syn.in.hook_weight").unwrap());
        (all[..200].to_vec(), all[59 * 200..].to_vec())
    };
    let held = edit("neuromod.hook_m", json!({"op": "set", "value": 1.0}));
    let (first, last) = weights(&[]);
    assert_eq!(first, last);
    let (first, taught) = weights(std::slice::from_ref(&held));
    assert_ne!(first, taught);
    assert_eq!(weights(&[held, edit("syn.in.hook_elig", json!({"op": "zero"}))]).1, first);
}

#[test]
fn izhikevich_population_fires_as_published() {
    let net = izhikevich_population(0).unwrap();
    let input = Input::Series(thalamic_noise(1, 1000, 0));
    let ran = run(&net, &input, &[], &[]);
    let spikes = floats(&ran.output);
    let total: f32 = spikes.iter().sum();
    // Three independent seeds gave 7,452 to 7,646 spikes.
    assert!((7000.0..8200.0).contains(&total), "{total}");
    // Without inhibition the network runs away.
    let silenced = run(&net, &input, &[], &[edit("inh.hook_spikes@t=500..", json!({"op": "zero"}))]);
    let half = |spikes: &[f32], from: usize| -> f32 {
        spikes.chunks(1000).skip(from).take(500).map(|step| step[..800].iter().sum::<f32>()).sum()
    };
    let edited = floats(&silenced.output);
    assert_eq!(half(&spikes, 0), half(&edited, 0));
    assert!(half(&edited, 500) > 2.0 * half(&spikes, 500), "{} {}", half(&edited, 500), half(&spikes, 500));
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    type Change = dyn Fn(&mut Vec<Population>, &mut Vec<Projection>);
    let make = |change: &Change| {
        let synapses = Sparse::dense(2, 3).unwrap();
        let mut populations = vec![population("a", 2, lif(Lif::default())), population("b", 3, lif(Lif::default()))];
        let mut projections = vec![projection("ab", 0, 1, synapses, 0.1, Synapse::Jump)];
        change(&mut populations, &mut projections);
        Spiking::new(populations, projections).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(make(&|_, _| {}), "");
    let cases: [(&str, &Change); 7] = [
        ("named `a`", &|p, _| p[1].name = "a".into()),
        ("delay of 0", &|_, q| q[0].delay = 0),
        ("steps of 1 ms", &|p, _| p[1].neurons = lif(Lif { dt: 0.5, ..Lif::default() })),
        ("cannot take", &|p, _| p[1].neurons = Neurons::Source),
        ("weights for", &|_, q| q[0].weights.push(1.0)),
        ("population 0 to 2", &|_, q| q[0].to = 2),
        ("both exponential", &|_, q| {
            let other = |name: &str, kind| projection(name, 0, 1, Sparse::dense(2, 3).unwrap(), 0.1, kind);
            q.push(other("c", Synapse::Current(CurrentSynapse { tau_s: 1.0 })));
            q.push(other("d", Synapse::Conductance(Conductance { tau_s: 1.0, reversal: 0.0 })));
        }),
    ];
    for (words, change) in cases {
        let text = make(change);
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(Sparse::new(2, 2, vec![(0, 2)]).is_err() && Sparse::new(2, 2, vec![(0, 1), (0, 1)]).is_err());
}

#[test]
fn a_network_says_by_which_rules_it_steps() {
    let rules = lif_network().rules().join("\n");
    for words in
        ["order:", "exact", "dt 1 ms", "the threshold is subtracted in the next step", "delay 2 steps", "tau_s 5 ms"]
    {
        assert!(rules.contains(words), "{words}: {rules}");
    }
    let plastic = plastic_network();
    assert!(plastic.rules().join("\n").contains("traces are read before they jump"));
    assert!(triplet_network().rules().join("\n").contains("tau_y 125 ms"));
    assert!(modulated_network().rules().join("\n").contains("dw = 0.5 M e"));
    assert_eq!(plastic.synapses("syn.in.hook_dw").unwrap().pre(), 20);
    assert!(plastic.synapses("out.hook_mem").is_none());
}
