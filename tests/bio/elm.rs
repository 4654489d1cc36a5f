//! The expressive leaky memory neuron.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use optrode::analysis::Figures;
use optrode::analysis::elm::{Imitation, Plan, Training, experiment, outputs, train};
use optrode::data::dendrites::{CHANNELS, trials};
use optrode::data::events::{Recall, sequences};
use optrode::hook::{Edit, Output, Pass, Registry, Values, random};
use optrode::models::{
    Elm, ElmConfig, ElmRouting, ElmVersion, Gradients, Input, LstmConfig, LstmNetwork, Network, Series, gradients,
};
use serde_json::json;

use super::networks::signal;
use super::run;
use crate::common::{AGREE, assert_close, bits, edit, floats, normal, pass, relative};

fn config() -> ElmConfig {
    // The last branch has void slots: 4 windows of 7 from 0, 5, 10, 15 over 20 inputs.
    let routing = ElmRouting::Branches { branches: 4, synapses: 7 };
    ElmConfig { inputs: 20, routing, memory: 3, ..ElmConfig::default() }
}

/// Weights as they might be after training, of either sign.
fn drawn(config: &ElmConfig, dtype: DType) -> BTreeMap<String, Var> {
    let variables = config.variables(dtype, 1).unwrap();
    for (seed, (name, variable)) in variables.iter().enumerate() {
        if name == "_proto_tau_m" {
            // Away from the flat ends of the sigmoid.
            let logits: Vec<f64> = (0..config.memory).map(|i| i as f64 - 2.0).collect();
            let logits = Tensor::from_vec(logits, config.memory, &Device::Cpu).unwrap();
            variable.set(&logits.to_dtype(dtype).unwrap()).unwrap();
        } else {
            let values = (normal(seed as u64, variable.dims()) * 0.5).unwrap().to_dtype(dtype).unwrap();
            variable.set(&values).unwrap();
        }
    }
    variables
}

fn tensors(variables: &BTreeMap<String, Var>) -> BTreeMap<String, Tensor> {
    variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect()
}

fn neuron(config: ElmConfig) -> Elm {
    Elm::new(config, &tensors(&drawn(&config, DType::F32))).unwrap()
}

/// The neuron for what must hold of every network.
pub fn elm() -> Elm {
    neuron(config())
}

fn spikes(rows: usize, steps: usize, channels: usize) -> Input {
    let draw = |i: usize| match random::uniform(random::key(5, &[i as u64])) {
        u if u > 0.2 => 0.0,
        _ if i % channels < channels / 2 => 1.0,
        _ => -1.0,
    };
    Input::Series(Series { rows, steps, channels, values: (0..rows * steps * channels).map(draw).collect() })
}

/// Values and gradients of a weighted sum of the output, in the differentiable form.
fn learn(net: &dyn Network, input: &Input, records: &[&str], edits: &[Edit]) -> Gradients {
    let weighted = |out: &Tensor| -> optrode::Result<Tensor> {
        let weights = normal(77, out.dims()).to_dtype(out.dtype())?;
        Ok((out * weights)?.sum_all()?)
    };
    let pass = pass(records, edits);
    gradients(net, input, &pass, &Registry::elementary(), Values::default(), weighted).unwrap()
}

fn variants() -> Vec<ElmConfig> {
    let base = config();
    vec![
        base,
        ElmConfig { version: ElmVersion::V2, silu: true, ..base },
        ElmConfig { routing: ElmRouting::Simple, lambda: 2.0, ..base },
    ]
}

#[test]
fn sizes_are_the_published_ones() {
    for (memory, count) in [(1, 4601), (5, 5077), (20, 8002), (100, 54_002)] {
        assert_eq!(ElmConfig { memory, ..ElmConfig::default() }.count().unwrap(), count);
    }
    let learnt = ElmConfig { learn_tau: true, ..ElmConfig::default() };
    assert_eq!(learnt.count().unwrap(), 8022);
    let net = Elm::untrained(ElmConfig { memory: 5, ..ElmConfig::default() }, 0).unwrap();
    let routing = net.routing();
    assert_eq!((routing.input.len(), routing.valid.iter().filter(|v| **v).count()), (4500, 4282));
    // Interlocked, and the second branch begins 29 places later.
    assert_eq!(routing.input[..4], [0, 639, 1, 640]);
    assert_eq!(routing.input[100..103], [639 + 14, 15, 639 + 15]);
    for (tau, published) in net.time_constants().unwrap().into_iter().zip([1.0, 3.4996, 12.2475, 42.8616, 150.0]) {
        assert!((tau / published - 1.0).abs() < 2e-5, "{tau} {published}");
    }
    let all: usize = net.parameters().iter().map(|(_, t)| t.elem_count()).sum();
    assert_eq!(all, 5077 + 5);
}

#[test]
fn memory_is_bounded_and_follows_its_closed_forms() {
    let net = elm();
    let tau = net.time_constants().unwrap();
    let wild = Input::Series(signal(1, 200, 20, 300.0, 0.0));
    let ran = run(&net, &wild, &["elm.hook_mem", "elm.hook_delta"], &[]);
    let largest = |site: &str| floats(ran.records.get(site).unwrap()).iter().fold(0f32, |m, x| m.max(x.abs()));
    assert!(largest("elm.hook_delta") <= 1.7159 && largest("elm.hook_delta") > 1.7);
    assert!(largest("elm.hook_mem") <= 1.7159 * 5.0 && largest("elm.hook_mem") > 4.0);
    // A constant proposal: lambda D (1 - kappa^t); none: pure decay.
    let held = [
        edit("elm.hook_delta@t=0..30", json!({"op": "set", "value": 0.7})),
        edit("elm.hook_delta@t=30..", json!({"op": "zero"})),
    ];
    let memory = floats(run(&net, &spikes(1, 60, 20), &["elm.hook_mem"], &held).records.get("elm.hook_mem").unwrap());
    for (i, tau) in tau.iter().enumerate() {
        let risen = |t: f64| 5.0 * 0.7 * (1.0 - (-t / tau).exp());
        for t in 0..60 {
            let t_after = t as f64 + 1.0;
            let expected = if t < 30 { risen(t_after) } else { risen(30.0) * (-(t_after - 30.0) / tau).exp() };
            assert!((f64::from(memory[t * 3 + i]) - expected).abs() < 2e-5, "{tau} {t}");
        }
    }
    // A single spike of input 3 at step 2.
    let mut series = Series { rows: 1, steps: 20, channels: 20, values: vec![0.0; 400] };
    series.values[2 * 20 + 3] = 1.0;
    let trace = run(&net, &Input::Series(series), &["elm.hook_synapse"], &[]);
    let trace = floats(trace.records.get("elm.hook_synapse").unwrap());
    let weights = floats(&net.parameters()[0].1);
    let slot = net.routing().input.iter().position(|i| *i == 3).unwrap();
    for t in 0..20 {
        let since = t as f32 - 2.0;
        let expected = if since < 0.0 { 0.0 } else { weights[slot].max(0.0) * (-since / 5.0).exp() };
        assert!((trace[t * 28 + slot] - expected).abs() < 1e-6);
    }
}

#[test]
fn the_proposal_is_scaled_to_one_at_one() {
    for (y, expected, tolerance) in [(1.0f32, 1.0f32, 1e-4), (1e-3, 1.1439e-3, 1e-7)] {
        let weights = tensors(&drawn(&config(), DType::F32));
        let mut weights: BTreeMap<String, Tensor> = weights.into_iter().map(|(n, t)| (n, t.detach())).collect();
        weights.insert("mlp.network.2.weight".into(), Tensor::zeros((3, 6), DType::F32, &Device::Cpu).unwrap());
        weights.insert("mlp.network.2.bias".into(), Tensor::full(y, 3, &Device::Cpu).unwrap());
        let net = Elm::new(config(), &weights).unwrap();
        let ran = run(&net, &spikes(1, 2, 20), &["elm.hook_delta"], &[]);
        for d in floats(ran.records.get("elm.hook_delta").unwrap()) {
            assert!((d - expected).abs() < tolerance, "{d}");
        }
    }
}

#[test]
fn one_synapse_per_branch_is_the_simple_neuron() {
    let routing = ElmRouting::Branches { branches: 20, synapses: 1 };
    let branched = ElmConfig { routing, ..config() };
    let simple = ElmConfig { routing: ElmRouting::Simple, ..config() };
    let weights = tensors(&drawn(&simple, DType::F32));
    let (branched, simple) = (Elm::new(branched, &weights).unwrap(), Elm::new(simple, &weights).unwrap());
    // Branches take their inputs interlocked.
    let Input::Series(series) = spikes(2, 40, 20) else { panic!() };
    let order: Vec<usize> = branched.routing().input.iter().map(|i| *i as usize).collect();
    let values = series.values.chunks(20).flat_map(|x| order.iter().map(|i| x[*i]).collect::<Vec<_>>()).collect();
    let interlocked = Series { values, ..series.clone() };
    let a = run(&branched, &Input::Series(series), &[], &[]);
    let b = run(&simple, &Input::Series(interlocked), &[], &[]);
    assert_eq!(bits(&a.output), bits(&b.output));
}

#[test]
fn both_versions_have_the_same_branches_and_void_slots_do_nothing() {
    let (v1, v2) = (elm(), neuron(ElmConfig { version: ElmVersion::V2, ..config() }));
    let input = spikes(1, 80, 20);
    let branches =
        |net: &Elm| run(net, &input, &["elm.hook_branch"], &[]).records.get("elm.hook_branch").unwrap().clone();
    assert_close(&branches(&v1), &branches(&v2), 1e-6, "branches");
    // Steps of memory under a proposal of 1 and tau 1 ms: lambda (1 - 1/e) beyond 1, and 1 - e^-lambda below.
    let held = [
        edit("elm.hook_tau", json!({"op": "set", "value": 1.0})),
        edit("elm.hook_delta", json!({"op": "set", "value": 1.0})),
    ];
    let first = |net: &Elm| floats(run(net, &input, &["elm.hook_mem"], &held).records.get("elm.hook_mem").unwrap())[0];
    assert!((first(&v1) - 3.160_603).abs() < 1e-5 && (first(&v2) - 0.993_262).abs() < 1e-5);

    let weights = tensors(&drawn(&config(), DType::F32));
    let valid = v1.routing().valid.clone();
    assert!(valid.iter().filter(|v| !**v).count() == 2);
    let values = floats(&weights["_proto_w_s"]).into_iter().zip(&valid).map(|(w, v)| if *v { w } else { 9.0 + w });
    let other: Vec<f32> = values.collect();
    let mut changed = weights.clone();
    changed.insert("_proto_w_s".into(), Tensor::from_vec(other, 28, &Device::Cpu).unwrap());
    let changed = Elm::new(config(), &changed).unwrap();
    assert_eq!(bits(&run(&changed, &input, &[], &[]).output), bits(&run(&v1, &input, &[], &[]).output));
    assert_eq!(bits(&learn(&changed, &input, &[], &[]).value), bits(&learn(&v1, &input, &[], &[]).value));
}

#[test]
fn the_fused_sequence_is_the_composed_steps_and_inference() {
    for config in variants() {
        let input = spikes(3, 50, 20);
        let learnt = |dtype| {
            let net = Elm::new(config, &tensors(&drawn(&config, dtype))).unwrap();
            let (fused, composed) = (learn(&net, &input, &[], &[]), learn(&net, &input, &["elm.hook_out"], &[]));
            let out = composed.records.get("elm.hook_out").unwrap().transpose(0, 1).unwrap().contiguous().unwrap();
            assert_eq!(fused.weights.len(), 8);
            (fused, composed, out)
        };
        // In f64 the two are one to the last digits of f32; in f32 fifty steps round differently.
        for (dtype, tolerance) in [(DType::F64, 1e-6), (DType::F32, AGREE)] {
            let (fused, composed, out) = learnt(dtype);
            assert_close(&fused.value, &composed.value, tolerance, "fused = composed");
            for (name, gradient) in &fused.weights {
                assert_close(gradient, &composed.weights[name], tolerance, name);
            }
            assert_close(&run(&neuron(config), &input, &[], &[]).output, &out, AGREE, "inferred = composed");
        }
    }
}

#[test]
fn gradients_through_fifty_steps_are_finite_differences() {
    const STEP: f64 = 1e-5;
    for config in variants() {
        let variables = drawn(&config, DType::F64);
        let net = Elm::new(config, &tensors(&variables)).unwrap();
        let input = spikes(2, 50, 20);
        let exact = learn(&net, &input, &[], &[]).weights;
        for (name, variable) in &variables {
            let gradient: Vec<f64> = exact[name].flatten_all().unwrap().to_vec1().unwrap();
            let scale = gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
            assert!(scale > 0.0, "{name}");
            let start: Vec<f64> = variable.flatten_all().unwrap().to_vec1().unwrap();
            for at in (0..start.len()).step_by(start.len().div_ceil(6)) {
                let moved = |by: f64| -> f64 {
                    let mut values = start.clone();
                    values[at] += by;
                    variable.set(&Tensor::from_vec(values, variable.dims(), &Device::Cpu).unwrap()).unwrap();
                    learn(&net, &input, &[], &[]).value.to_scalar().unwrap()
                };
                let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                moved(0.0);
                assert!((difference - gradient[at]).abs() < 1e-4 * scale, "{name} {at}: {difference} {}", gradient[at]);
            }
        }
    }
}

#[test]
fn the_fused_lstm_is_the_composed_one() {
    let config = LstmConfig { inputs: 20, hidden: 5, outputs: 2, longest: None };
    assert_eq!(LstmConfig::within(config.count() + 3, 20, 2), config);
    let variables = config.variables(3).unwrap();
    let net = LstmNetwork::new(config, &tensors(&variables)).unwrap();
    let input = spikes(3, 40, 20);
    let (fused, composed) = (learn(&net, &input, &[], &[]), learn(&net, &input, &["lstm.hook_h"], &[]));
    assert!(relative(&fused.value, &composed.value) < 1e-5);
    assert_eq!(fused.weights.len(), 5);
    for (name, gradient) in &fused.weights {
        assert_close(gradient, &composed.weights[name], 1e-5, name);
    }
    // Slow units begin with forget gates of 1 - 1/tau and input gates of 1/tau, tau from 2 to the longest.
    let slow = LstmConfig { longest: Some(200), ..config }.variables(3).unwrap();
    let biases = floats(&slow["lstm.bias"]);
    for (unit, tau) in [(0, 2.0f32), (2, 20.0), (4, 200.0)] {
        let gate = |bias: f32| 1.0 / (1.0 + (-bias).exp());
        assert!(
            (gate(biases[5 + unit]) - (1.0 - 1.0 / tau)).abs() < 1e-5 && (gate(biases[unit]) - 1.0 / tau).abs() < 1e-5
        );
    }
}

#[test]
fn edits_act_while_it_learns() {
    let data = trials(4, 60, 1);
    let architecture = optrode::analysis::elm::Architecture::Elm(ElmConfig { memory: 3, ..Plan::neuron(3) });
    let training = Training { updates: 2, batch: 2, rate: 1e-2 };
    let learnt = |edits: Vec<Edit>| {
        let course = Imitation { trials: &data, burn_in: 20, batch: 2, edits, seed: 1 };
        floats(&train(&architecture, &course, &training, 1).unwrap()["w_y.weight"])
    };
    let before = floats(&Plan::neuron(3).variables(DType::F32, 1).unwrap()["w_y.weight"]);
    let (free, held) = (learnt(Vec::new()), learnt(vec![edit("elm.hook_mem[neuron=1]", json!({"op": "zero"}))]));
    // Nothing is learnt of a unit that is held at 0, and all of it otherwise.
    assert!(before.iter().zip(&free).all(|(a, b)| a != b));
    assert!((0..6).all(|at| (before[at] == held[at]) == (at % 3 == 1)), "{before:?} {held:?}");
    let tau = edit("elm.hook_tau", json!({"op": "clamp", "upper": 20.0}));
    assert_ne!(learnt(vec![tau]), free);
}

#[test]
fn trials_and_sequences_are_what_they_say() {
    let (all, first) = (trials(12, 400, 3), trials(2, 400, 3));
    assert_eq!(all.rows(&[0, 1]).input, first.input);
    assert_eq!(all.input.channels, CHANNELS);
    let rate = 1000.0 * all.spikes.iter().filter(|s| **s).count() as f64 / all.spikes.len() as f64;
    assert!((1.0..15.0).contains(&rate), "{rate}");
    assert!(all.soma.iter().all(|v| *v <= 1.2701 && *v > -2.0));
    let (series, answers) = sequences(Recall::Adding, 30, 50, 1, 1);
    assert_eq!((series.steps, series.channels), (75, 33));
    assert!(answers.iter().all(|a| *a < 19) && answers.iter().any(|a| *a > 9));
    // The cue, and nothing else, fires for sure.
    assert_eq!(series.at(3, 74)[32], 1.0);
    assert_eq!(series.at(3, 69)[32], 0.0);
}

#[test]
fn the_experiment_is_repeatable() {
    let plan = Plan {
        trials: [6, 6],
        steps: 260,
        burn_in: 60,
        memory: vec![1, 2, 4],
        beside: vec![4],
        training: Training { updates: 4, batch: 3, rate: 5e-3 },
        recall: vec![(Recall::Delayed, 20)],
        recall_memory: 4,
        recall_training: Training { updates: 3, batch: 4, rate: 5e-3 },
        recall_tests: 20,
        ..Plan::quick(2)
    };
    let found = experiment(&plan, &|| ()).unwrap();
    assert_eq!((found.imitated.len(), found.remembered.len(), found.lesions.len()), (8, 4, 1));
    assert_eq!(plan.jobs().unwrap(), 12);
    assert_eq!((found.lesions[0].units.len(), found.lesions[0].branches.len()), (4, 8));
    assert!(found.verdicts().len() >= 10);
    let again = experiment(&plan, &|| ()).unwrap();
    assert_eq!(found, again);
    assert!(found.figures().iter().all(|(_, x)| x.is_finite()));
    assert!(experiment(&Plan { seeds: 0, ..plan }, &|| ()).is_err());
}

#[test]
fn impossible_neurons_are_refused() {
    for config in [
        ElmConfig { inputs: 0, ..config() },
        ElmConfig { inputs: 21, ..config() },
        ElmConfig { memory: 0, ..config() },
        ElmConfig { tau_s: -1.0, ..config() },
        ElmConfig { tau_m: (5.0, 5.0), ..config() },
    ] {
        assert!(Elm::untrained(config, 0).is_err(), "{config:?}");
    }
    let net = elm();
    assert!(outputs(&net, &spikes(1, 3, 18), &[], Output::Whole).unwrap_err().to_string().contains("18 channels"));
    let last = outputs(&net, &spikes(2, 9, 20), &[], Output::Last).unwrap();
    let whole = outputs(&net, &spikes(2, 9, 20), &[], Output::Whole).unwrap();
    assert_eq!(last, [&whole[16..18], &whole[34..36]].concat());
    let output = Pass { output: Output::Last, ..Pass::default() };
    let fused = gradients(&net, &spikes(2, 9, 20), &output, &Registry::elementary(), Values::default(), |out| {
        assert_eq!(out.dims(), [2, 1, 2]);
        Ok(out.sum_all()?)
    });
    assert!((fused.unwrap().value.to_scalar::<f32>().unwrap() - last.iter().sum::<f32>()).abs() < 1e-5);
}
