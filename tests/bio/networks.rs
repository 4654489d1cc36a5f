//! What must hold of every simulated network.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use optrode::hook::{Axis, Context, Edit, Moment, Pass, Plan, Record, Registry, Run, Tap, Values};
use optrode::models::{
    EiConfig, EiReservoir, Input, Job, Leak, Network, Series, Simulation, State, Swimmer, SwimmerConfig, Targets,
    execute,
};
use serde_json::json;

use super::dendrites::{learner, taught};
use super::elm::elm;
use super::liquid::{busy, liquid};
use super::nir::open;
use super::spiking::{lif_network, modulated_network, plastic_network, triplet_network};
use super::timescales::network;
use super::{Ran, assert_same, clamped, run, run_from, state_bits};
use crate::common::{bits, edit, floats, pass};

pub fn reservoir() -> EiReservoir {
    let config = EiConfig { neurons: 40, in_degree: 20, targets: Targets::Beta(2, 2), seed: 3, ..EiConfig::default() };
    EiReservoir::new(config).unwrap()
}

/// A signal per channel and step.
pub fn signal(rows: usize, steps: usize, channels: usize, scale: f64, shift: f64) -> Series {
    let draw = |i| (shift + scale * optrode::hook::random::normal(optrode::hook::random::key(9, &[i]))) as f32;
    Series { rows, steps, channels, values: (0..(rows * steps * channels) as u64).map(draw).collect() }
}

/// Every kind of network with an input of 60 steps, and in which rows may stand side by side.
fn all() -> Vec<(&'static str, Box<dyn Simulation>, Series)> {
    let reads = reservoir().with_readout(&(0..82).map(|i| f64::from(i % 7) - 3.0).collect::<Vec<_>>()).unwrap();
    vec![
        ("lif", Box::new(lif_network()), signal(1, 60, 36, 0.4, 1.1)),
        ("plastic", Box::new(plastic_network()), plastic_input(60)),
        ("triplet", Box::new(triplet_network()), plastic_input(60)),
        ("modulated", Box::new(modulated_network()), modulated_input(60)),
        ("reservoir", Box::new(reads), signal(1, 60, 1, 0.5, 0.0)),
        ("adapting", Box::new(reservoir().adapting(0.01)), signal(1, 60, 1, 0.5, 0.0)),
        (
            "liquid",
            Box::new(liquid().with_readout(&(0..122).map(|i| f64::from(i % 5)).collect::<Vec<_>>()).unwrap()),
            busy(60),
        ),
        ("elm", Box::new(elm()), signal(1, 60, 20, 0.6, 0.1)),
        ("nir", Box::new(open("small.nir")), signal(1, 60, 4, 0.5, 0.5)),
        ("swimmer", Box::new(Swimmer::new(SwimmerConfig::default()).unwrap()), signal(1, 60, 3, 0.3, 0.5)),
        ("dendrites", Box::new(learner()), taught(60)),
        ("timescales", Box::new(network(Leak::Around)), signal(1, 60, 1, 0.5, 0.5)),
        ("timescales inside", Box::new(network(Leak::Inside)), signal(1, 60, 1, 0.5, 0.5)),
    ]
}

/// What a population hands to others.
fn emits(site: &str) -> bool {
    !site.starts_with("syn.")
        && ["hook_spikes", "hook_state", "hook_qpos", "hook_nmda", "elm.hook_mem"].iter().any(|end| site.ends_with(end))
}

/// Spikes for the source, currents for the others.
pub fn plastic_input(steps: usize) -> Series {
    let mut series = signal(1, steps, 30, 0.3, 0.9);
    for step in series.values.chunks_exact_mut(30) {
        step[..20].iter_mut().for_each(|x| *x = f32::from(u8::from(*x > 1.2)));
    }
    series
}

/// The same, and a third factor that comes and goes.
pub fn modulated_input(steps: usize) -> Series {
    let plain = plastic_input(steps);
    let with = |(t, step): (usize, &[f32])| [step, &[(t as f32 / 5.0).sin()]].concat();
    let values = plain.values.chunks_exact(30).enumerate().flat_map(with).collect();
    Series { channels: 31, values, ..plain }
}

#[test]
fn recording_everything_changes_no_bit() {
    for (name, net, input) in all() {
        let input = Input::Series(input);
        let (plain, recorded) = (run(&*net, &input, &[], &[]), run(&*net, &input, &["**"], &[]));
        assert_same(&plain, &recorded);
        for (site, recorded) in &recorded.records.tensors {
            assert_eq!(recorded.axes[0], Axis::Time, "{name}: {site}");
            assert_eq!(recorded.tensor.dims()[0], 60, "{name}: {site}");
        }
        assert_eq!(recorded.records.tensors.len(), net.sites().len(), "{name}");
    }
}

#[test]
fn clamping_a_site_to_its_own_record_changes_no_bit() {
    for (name, net, input) in all() {
        let input = Input::Series(input);
        let recorded = run(&*net, &input, &["**"], &[]);
        for (site, record) in &recorded.records.tensors {
            let stored = BTreeMap::from([("own".to_string(), record.tensor.clone())]);
            let pass = pass(&[], &[clamped(site, "own")]);
            let again = run_from(&*net, &input, &State::cached(), &pass, &stored).unwrap();
            assert_eq!(state_bits(&again.state), state_bits(&recorded.state), "{name}: {site}");
            assert_eq!(bits(&again.output), bits(&recorded.output), "{name}: {site}");
        }
    }
}

#[test]
fn a_later_pass_takes_each_step_from_the_same_step_of_an_earlier_one() {
    for (name, net, input) in all() {
        let input = Input::Series(input);
        let site = net.sites().iter().map(|(_, s)| s.name.clone()).find(|n| emits(n)).unwrap();
        let passes = json!([
            {"name": "clean"},
            {"name": "clamped", "edits": [{"site": site, "op": "replace", "value": {"pass": "clean", "site": site}}]},
            {"name": "apart", "edits": [{"site": format!("{site}@t=30..50"), "op": "zero"}]},
            {"name": "mended", "edits": [
                {"site": format!("{site}@t=30..50"), "op": "zero"},
                {"site": format!("{site}@t=30..50"), "op": "replace", "value": {"pass": "clean", "site": site}}]}]);
        let job: Run = serde_json::from_value(json!({ "passes": passes })).unwrap();
        let (inputs, registry) = ([input], Registry::elementary());
        let job = Job { run: &job, inputs: &inputs, stored: BTreeMap::new(), registry: &registry };
        let out = execute(&*net, job).unwrap();
        let of = |name: &str| bits(&out.pass(name).unwrap().output);
        assert_eq!(of("clean"), of("clamped"), "{name}");
        assert_eq!(of("clean"), of("mended"), "{name}");
        assert!(of("clean") != of("apart"), "{name}");
    }
}

#[test]
fn a_run_in_two_pieces_is_the_run_in_one() {
    for (name, net, input) in all() {
        let part = |from: usize, to: usize| {
            let values = input.values[from * input.channels..to * input.channels].to_vec();
            Input::Series(Series { steps: to - from, values, ..input.clone() })
        };
        let whole = run(&*net, &part(0, 60), &[], &[]);
        let first = run(&*net, &part(0, 23), &[], &[]);
        let every = |records: &[&str]| pass(records, &[]);
        let second = run_from(&*net, &part(23, 60), &first.state, &every(&["**@t=30..32"]), &BTreeMap::new()).unwrap();
        assert_eq!(state_bits(&second.state), state_bits(&whole.state), "{name}");
        let joined = Tensor::cat(&[&first.output, &second.output], 1).unwrap();
        assert_eq!(bits(&joined), bits(&whole.output), "{name}");
        // Times count from the beginning of the simulation.
        let recorded = run(&*net, &part(0, 60), &["**@t=30..32"], &[]);
        for (site, record) in &recorded.records.tensors {
            assert_eq!(bits(&record.tensor), bits(second.records.get(site).unwrap()), "{name}: {site}");
        }
    }
}

#[test]
fn the_state_of_another_run_makes_the_rest_that_runs() {
    for (name, net, input) in all() {
        let other = Series { values: input.values.iter().map(|x| 1.0 - x * 0.5).collect(), ..input.clone() };
        let part = |series: &Series, from: usize, to: usize| {
            let values = series.values[from * series.channels..to * series.channels].to_vec();
            Input::Series(Series { steps: to - from, values, ..series.clone() })
        };
        let donor = run(&*net, &part(&other, 0, 30), &[], &[]);
        let mut patched = run(&*net, &part(&input, 0, 30), &[], &[]);
        assert_ne!(state_bits(&donor.state), state_bits(&patched.state), "{name}");
        patched.state.tensors.clone_from(&donor.state.tensors);
        let rest = part(&input, 30, 60);
        let go_on = |from: &Ran| run_from(&*net, &rest, &from.state, &pass(&[], &[]), &BTreeMap::new()).unwrap();
        assert_same(&go_on(&donor), &go_on(&patched));
    }
}

#[test]
fn nothing_before_an_edit_changes() {
    for (name, net, input) in all() {
        let input = Input::Series(input);
        let clean = run(&*net, &input, &["**"], &[]);
        for (_, site) in net.sites().iter().filter(|(_, s)| !s.name.contains("readout")) {
            let add = edit(format!("{}@t=35", site.name), json!({"op": "add", "value": 0.7}));
            let edited = run(&*net, &input, &["**"], &[add]);
            for (other, record) in &edited.records.tensors {
                let before = |t: &Tensor| bits(&t.narrow(0, 0, 35).unwrap());
                assert_eq!(before(&record.tensor), before(clean.records.get(other).unwrap()), "{name}: {}", site.name);
            }
            let (own, was) = (edited.records.get(&site.name).unwrap(), clean.records.get(&site.name).unwrap());
            assert_ne!(bits(own), bits(was), "{name}: {} was not edited", site.name);
            // Sites that come earlier in the step do not see it in that step.
            for (_, earlier) in net.sites().iter().take_while(|(_, s)| s.name != site.name) {
                let at = |t: &Tensor| bits(&t.narrow(0, 35, 1).unwrap());
                let (a, b) = (edited.records.get(&earlier.name).unwrap(), clean.records.get(&earlier.name).unwrap());
                assert_eq!(at(a), at(b), "{name}: {} before {}", earlier.name, site.name);
            }
        }
    }
}

#[test]
fn rows_are_runs_of_their_own() {
    // Plastic networks take one row; swimmers begin in another posture in every row.
    let apart = ["plastic", "triplet", "modulated", "adapting", "liquid", "swimmer", "dendrites"];
    for (name, net, input) in all().into_iter().filter(|(name, ..)| !apart.contains(name)) {
        let other: Vec<f32> = input.values.iter().map(|x| x * 0.9 + 0.05).collect();
        let both = Series { rows: 2, values: [input.values.clone(), other.clone()].concat(), ..input.clone() };
        let batch = run(&*net, &Input::Series(both.clone()), &[], &[]).output;
        for (row, values) in [input.values.clone(), other].into_iter().enumerate() {
            let alone = run(&*net, &Input::Series(Series { values, ..input.clone() }), &[], &[]).output;
            assert_eq!(bits(&batch.narrow(0, row, 1).unwrap()), bits(&alone), "{name}");
        }
        // A row scope leaves the other row alone.
        let site = net.sites().iter().map(|(_, s)| s.name.clone()).find(|n| emits(n)).unwrap();
        let zero = edit(format!("{site}@t=10..@rows=1"), json!({"op": "zero"}));
        let scoped = run(&*net, &Input::Series(both), &[&format!("{site}@rows=0")], &[zero]);
        assert_eq!(bits(&scoped.output.narrow(0, 0, 1).unwrap()), bits(&batch.narrow(0, 0, 1).unwrap()), "{name}");
        assert_ne!(bits(&scoped.output.narrow(0, 1, 1).unwrap()), bits(&batch.narrow(0, 1, 1).unwrap()), "{name}");
        assert_eq!(scoped.records.get(&site).unwrap().dims()[1], 1);
    }
}

#[test]
fn times_select_steps_and_reducers_see_them() {
    let net = reservoir();
    let input = Input::Series(signal(1, 50, 1, 0.5, 0.0));
    let whole = run(&net, &input, &["reservoir.hook_state"], &[]);
    let all = whole.records.get("reservoir.hook_state").unwrap();
    for (scope, steps) in [("@t=5..9", vec![5, 6, 7, 8]), ("@every=20", vec![0, 20, 40]), ("@t=-1", vec![49])] {
        let some = run(&net, &input, &[&format!("reservoir.hook_state[neuron=3,7]{scope}")], &[]);
        let got = floats(some.records.get("reservoir.hook_state").unwrap());
        let at = |t: usize, i: usize| floats(all)[t * 40 + i];
        assert_eq!(got, steps.iter().flat_map(|t| [at(*t, 3), at(*t, 7)]).collect::<Vec<_>>(), "{scope}");
    }
    let moments = serde_json::from_value(json!({"kind": "moments"})).unwrap();
    let record = Record::reduced("reservoir.hook_state[neuron=3]@t=10..".parse().unwrap(), moments);
    let reduced = Pass { records: vec![record], ..Pass::default() };
    let ran = run_from(&net, &input, &State::none(), &reduced, &BTreeMap::new()).unwrap();
    let optrode::hook::reduce::Reducer::Moments(m) = ran.records.reducer("reservoir.hook_state", "moments").unwrap()
    else {
        panic!()
    };
    let values: Vec<f64> = (10..50).map(|t| f64::from(floats(all)[t * 40 + 3])).collect();
    assert_eq!(m.unit(0).unwrap().count, 40);
    assert!((m.means()[0] - values.iter().sum::<f64>() / 40.0).abs() < 1e-12);
    let last: Pass =
        serde_json::from_value(json!({"records": [{"site": "reservoir.hook_pre", "repeats": "last"}]})).unwrap();
    let last = run_from(&net, &input, &State::none(), &last, &BTreeMap::new()).unwrap();
    assert_eq!(last.records.get("reservoir.hook_pre").unwrap().dims(), [1, 40]);
}

#[test]
fn mean_resample_and_noise_take_steps_for_examples() {
    let net = reservoir();
    let input = Input::Series(signal(1, 50, 1, 0.5, 0.0));
    let clean = run(&net, &input, &["reservoir.hook_exc"], &[]);
    let reference = clean.records.get("reservoir.hook_exc").unwrap();
    let stored = BTreeMap::from([("reference".to_string(), reference.clone())]);
    let with = |op: serde_json::Value| {
        let pass = pass(&["reservoir.hook_exc"], &[edit("reservoir.hook_exc@t=10..20", op)]);
        let ran = run_from(&net, &input, &State::none(), &pass, &stored).unwrap();
        floats(ran.records.get("reservoir.hook_exc").unwrap())
    };
    let of = json!({"tensor": "reference"});
    let mean = with(json!({"op": "mean", "reference": of}));
    let column: f32 = (0..50).map(|t| floats(reference)[t * 40 + 5]).sum::<f32>() / 50.0;
    assert!((10..20).all(|t| (mean[t * 40 + 5] - column).abs() < 1e-5));
    let drawn = with(json!({"op": "resample", "reference": of}));
    let steps: Vec<&[f32]> = drawn.chunks(40).skip(10).take(10).collect();
    assert!(steps.iter().all(|step| floats(reference).chunks(40).any(|r| r == *step)));
    assert!(steps.windows(2).any(|w| w[0] != w[1]));
    let noisy = with(json!({"op": "noise", "std": 0.1}));
    assert_eq!(noisy, with(json!({"op": "noise", "std": 0.1})));
    assert_eq!(noisy[..400], floats(reference)[..400]);
    assert_ne!(noisy[400..800], floats(reference)[400..800]);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let net = reservoir();
    let input = Input::Series(signal(1, 10, 1, 0.5, 0.0));
    let at = |site: &str| [edit(site, json!({"op": "zero"}))];
    super::refused(&net, &input, &[], &at("reservoir.hook_state@last"), &["token positions", "@t="]);
    super::refused(&net, &input, &[], &at("syn.inh.hook_weight@rows=0"), &["scoped by rows"]);
    super::refused(&net, &input, &["reservoir.hook_state@t=20"], &[], &["ends before"]);
    super::refused(&net, &Input::None { rows: 1, steps: 0 }, &[], &[], &["0 steps"]);
    super::refused(&net, &Input::Series(signal(1, 10, 2, 0.5, 0.0)), &[], &[], &["2 channels"]);
    let two = Input::Series(signal(2, 10, 1, 0.5, 0.0));
    super::refused(&net.adapting(0.1), &two, &[], &[], &["2 rows"]);
    let stored = BTreeMap::from([("short".to_string(), Tensor::zeros((4, 1, 40), DType::F32, &Device::Cpu).unwrap())]);
    let short = pass(&[], &[clamped("reservoir.hook_state", "short")]);
    let words = run_from(&net, &input, &State::none(), &short, &stored).err().unwrap().to_string();
    assert!(words.contains("4 time steps"), "{words}");
    let gradient: Pass = serde_json::from_value(json!({"gradients": ["reservoir.hook_state"]})).unwrap();
    let words = run_from(&net, &input, &State::none(), &gradient, &BTreeMap::new()).err().unwrap().to_string();
    assert!(words.contains("every time step"), "{words}");
    let other = run(&net, &Input::None { rows: 2, steps: 3 }, &[], &[]).state;
    let words = run_from(&net, &input, &other, &pass(&[], &[]), &BTreeMap::new()).err().unwrap().to_string();
    assert!(words.contains("as many rows"), "{words}");
}

#[test]
fn a_tensor_is_made_only_in_the_steps_that_somebody_asks_for() {
    let net = plastic_network();
    let id = net.sites().find("syn.in.hook_weight").unwrap();
    let made_under = |records: &[&str], edits: &[Edit]| -> Vec<usize> {
        let pass = pass(records, edits);
        let mut plan = Plan::compile(net.sites(), &pass, &Registry::elementary(), Values::default(), &[]).unwrap();
        let mut tap = Tap::new(&mut plan);
        tap.enter(Context::simulation(1));
        let mut made = Vec::new();
        for step in 0..12 {
            tap.tick(Moment { step, end: 12 }).unwrap();
            let make = || {
                made.push(step);
                Ok(Tensor::zeros((10, 20), DType::F32, &Device::Cpu)?)
            };
            tap.at_with(id, make).unwrap();
        }
        made
    };
    assert_eq!(made_under(&["syn.in.hook_weight@every=5"], &[]), [0, 5, 10]);
    assert_eq!(made_under(&["syn.in.hook_weight@t=-1"], &[]), [11]);
    assert_eq!(made_under(&[], &[edit("syn.in.hook_weight@t=3", json!({ "op": "zero" }))]), [3]);
    assert!(made_under(&["syn.in.hook_spikes"], &[]).is_empty());
}
