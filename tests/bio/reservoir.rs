//! The reservoir of excitatory and inhibitory units.

use optrode::analysis::Figures;
use optrode::analysis::reservoir::{Kind, Plan, experiment};
use optrode::models::{EiConfig, EiReservoir, Input, Series, Targets};
use optrode::nn::spiking::RateUnit;
use serde_json::json;

use super::networks::{reservoir, signal};
use super::{run, state_bits};
use crate::common::{bits, edit, floats, relative};

fn noise(steps: usize) -> Input {
    let draw = |i| (2.0 * optrode::hook::random::uniform(optrode::hook::random::key(4, &[i])) - 1.0) as f32;
    Input::Series(Series::of((0..steps as u64).map(draw).collect()))
}

fn mean_rates(net: &EiReservoir, steps: usize) -> Vec<f64> {
    let ran = run(net, &noise(steps), &[], &[]);
    let n = net.config().neurons;
    let rates = floats(&ran.output);
    let half = steps / 2;
    (0..n).map(|i| (half..steps).map(|t| f64::from(rates[t * n + i])).sum::<f64>() / half as f64).collect()
}

#[test]
fn adaptation_brings_every_neuron_to_its_target() {
    for inhibition in [0.7, 1.4] {
        let config = EiConfig { neurons: 100, in_degree: 40, inhibition, ..EiConfig::default() };
        let net = EiReservoir::new(EiConfig { targets: Targets::Uniform(0.4), ..config }).unwrap();
        let adapted = net.adapted(&run(&net.adapting(2e-3), &noise(4000), &[], &[]).state).unwrap();
        let adapted = adapted.adapted(&run(&adapted.adapting(3e-4), &noise(2000), &[], &[]).state).unwrap();
        let worst = |net: &EiReservoir| mean_rates(net, 1000).iter().map(|r| (r - 0.4).abs()).fold(0.0, f64::max);
        assert!(worst(&adapted) < 0.03, "{inhibition}: {} from {}", worst(&adapted), worst(&net));
        assert!(worst(&net) > 0.1);
    }
}

#[test]
fn mean_field_rates_solve_their_equation() {
    // logit(r) = c ((1 - g) r - theta)
    for (g, rate) in [(1.0, 0.5), (0.7, 0.94), (1.3, 0.293)] {
        let net = EiReservoir::new(EiConfig { neurons: 400, inhibition: g, ..EiConfig::default() }).unwrap();
        let rates = mean_rates(&net, 300);
        let mean = rates.iter().sum::<f64>() / 400.0;
        assert!((mean - rate).abs() < 0.03, "{g}: {mean}");
    }
}

#[test]
fn one_step_tuning_makes_the_targets_a_fixed_point() {
    let config = EiConfig {
        neurons: 100,
        in_degree: 50,
        targets: Targets::Beta(4, 4),
        unit: RateUnit { leak: 1.0, gain: 4.0, threshold: -0.3 },
        ..EiConfig::default()
    };
    let net = EiReservoir::new(config).unwrap().tuned(&[0.2]).unwrap();
    let targets = net.targets().to_vec();
    let input = Input::Series(Series::of(vec![0.2; 2]));
    // Put the rates at their targets once; the next step must give them again.
    let put = edit("reservoir.hook_state@t=0", json!({"op": "set", "value": targets}));
    let ran = run(&net, &input, &["reservoir.hook_state"], &[put]);
    let rates = floats(&ran.records.get("reservoir.hook_state").unwrap().narrow(0, 1, 1).unwrap());
    let error = rates.iter().zip(&targets).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error < 2e-6, "{error}");
    let low = EiReservoir::new(EiConfig { targets: Targets::Uniform(0.999), ..config }).unwrap();
    assert!(low.tuned(&[0.2]).err().unwrap().to_string().contains("neuron 0"));
}

#[test]
fn a_gain_at_the_inhibitory_site_is_the_global_gain() {
    let net = reservoir();
    let rebuilt = EiReservoir::new(EiConfig { inhibition: 1.3, ..*net.config() }).unwrap();
    let scaled = run(&net, &noise(6), &[], &[edit("reservoir.hook_inh", json!({"op": "scale", "factor": 1.3}))]);
    let built = run(&rebuilt, &noise(6), &[], &[]);
    assert!(relative(&scaled.output, &built.output) < 1e-5);
    assert!(relative(&run(&net, &noise(6), &[], &[]).output, &built.output) > 1e-2);
}

#[test]
fn without_a_rate_of_adaptation_nothing_moves() {
    let (net, input) = (reservoir(), noise(50));
    let frozen = run(&net, &input, &[], &[]);
    let zeroed = run(&net.adapting(0.01), &input, &[], &[edit("reservoir.hook_dA_inh", json!({"op": "zero"}))]);
    assert_eq!(state_bits(&frozen.state), state_bits(&zeroed.state));
    let adapting = run(&net.adapting(0.01), &input, &["syn.inh.hook_weight"], &[]);
    assert_ne!(state_bits(&frozen.state), state_bits(&adapting.state));
    // Weights stay non-negative, and where there is no synapse none is made.
    let weights = adapting.records.get("syn.inh.hook_weight").unwrap();
    let (first, last) = (floats(&weights.narrow(0, 0, 1).unwrap()), floats(&weights.narrow(0, 49, 1).unwrap()));
    assert!(last.iter().all(|w| *w >= 0.0));
    assert!(first.iter().zip(&last).all(|(a, b)| *a != 0.0 || *b == 0.0));
}

#[test]
fn threshold_and_input_shift_alike() {
    let net = |threshold| {
        let unit = RateUnit { leak: 0.7, gain: 10.0, threshold };
        EiReservoir::new(EiConfig { unit, ..*reservoir().config() }).unwrap()
    };
    let shifted = edit("reservoir.hook_pre", json!({"op": "add", "value": 0.25}));
    let moved = run(&net(0.25), &noise(20), &[], &[shifted]);
    assert!(relative(&moved.output, &run(&net(0.0), &noise(20), &[], &[]).output) < 1e-4);
}

#[test]
fn the_readout_reads_rates_and_a_constant() {
    let net = reservoir();
    let mut weights = vec![0.0; 41];
    (weights[3], weights[40]) = (2.0, -1.0);
    let reads = net.with_readout(&weights).unwrap();
    let (out, rates) = (run(&reads, &noise(8), &[], &[]), run(&net, &noise(8), &[], &[]));
    let expected: Vec<f32> = floats(&rates.output).chunks(40).map(|r| 2.0 * r[3] - 1.0).collect();
    assert_eq!(floats(&out.output), expected);
    assert_eq!(state_bits(&out.state), state_bits(&rates.state));
    assert!(net.with_readout(&weights[1..]).is_err());
    assert_eq!(bits(&signal_out(&net)), bits(&signal_out(&net)));
}

fn signal_out(net: &EiReservoir) -> candle_core::Tensor {
    run(net, &Input::Series(signal(3, 5, 1, 0.5, 0.0)), &[], &[]).output
}

#[test]
fn impossible_reservoirs_are_refused() {
    for config in [
        EiConfig { neurons: 0, ..EiConfig::default() },
        EiConfig { in_degree: 501, ..EiConfig::default() },
        EiConfig { excitatory: 1.2, ..EiConfig::default() },
        EiConfig { targets: Targets::Uniform(1.0), ..EiConfig::default() },
        EiConfig { targets: Targets::Beta(0, 2), ..EiConfig::default() },
    ] {
        assert!(EiReservoir::new(config).is_err(), "{config:?}");
    }
}

#[test]
fn the_experiment_is_repeatable_and_shows_what_it_must() {
    let plan = Plan {
        config: EiConfig { neurons: 80, in_degree: 40, ..EiConfig::default() },
        input_scales: vec![0.3],
        gains: vec![0.6, 1.0],
        rates: vec![0.4],
        steps: [600, 300],
        lags: 20,
        adaptation: vec![(1500, 4e-3)],
        seeds: 2,
        seed: 1,
    };
    let found = experiment(&plan, &|| ()).unwrap();
    assert_eq!(found.arms.len(), 4);
    let memory = |kind: Kind| {
        let arm = found.arms.iter().find(|a| a.kind == kind).unwrap();
        arm.estimate(|m| m.capacity[0]).value
    };
    assert!(memory(Kind::Gain(0.6)) < 0.6 * memory(Kind::Gain(1.0)));
    assert!(memory(Kind::Adapted(0.4)) > 3.0);
    let again = experiment(&plan, &|| ()).unwrap();
    assert_eq!(found.figures(), again.figures());
    // Each silenced population raises or lowers the rates as its sign says.
    for lesion in &found.lesions {
        assert!(lesion.silenced.rate > lesion.intact.rate && lesion.control.rate < lesion.intact.rate);
        assert_eq!(lesion.trace.len(), 50);
        assert!(lesion.trace[20] > 0.9 && lesion.trace[5] < 0.7 && lesion.trace[45] < 0.7);
    }
    assert!(experiment(&Plan { seeds: 0, ..plan }, &|| ()).is_err());
}
