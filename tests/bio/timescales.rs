//! The network with trainable time constants, and the experiment on it.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use optrode::analysis::Figures;
use optrode::analysis::timescales::fit::{LAGS, double, fit, single, timescale};
use optrode::analysis::timescales::learn::{self, Arm, Curriculum, Options, train};
use optrode::analysis::timescales::probe::{hold_each, lengthened, long_run, perturbed, silence, timescales};
use optrode::analysis::timescales::task::{Task, length};
use optrode::analysis::timescales::{Damage, Plan, experiment};
use optrode::hook::random::{self, Stream};
use optrode::hook::{Pass, Plan as Compiled, Record, Registry, Tap, Values};
use optrode::models::{Input, Leak, Network, Series, State, TimescaleConfig, TimescaleRnn, gradients};
use optrode::report::Report;

use super::run;
use crate::common::{assert_close, bits, floats};

type Weights = BTreeMap<String, Tensor>;

/// A network of a few units.
pub fn network(leak: Leak) -> TimescaleRnn {
    TimescaleRnn::untrained(config(leak)).unwrap()
}

fn config(leak: Leak) -> TimescaleConfig {
    TimescaleConfig { neurons: 9, heads: 2, leak, seed: 4 }
}

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

fn bit_series(rows: usize, steps: usize) -> Series {
    Task::Parity.trials(rows, steps, 0, &mut Stream::new(8, &[])).series
}

/// Units that stay above 0, where they are linear: the input alone moves them, and each other's states.
fn linear(tau: &[f32], recurrent: &[f32]) -> TimescaleRnn {
    let n = tau.len();
    let config = TimescaleConfig { neurons: n, heads: 1, ..TimescaleConfig::default() };
    let mut weights = TimescaleRnn::draw(&config).unwrap();
    weights.insert("rnn.tau".into(), tensor(tau, &[n]));
    weights.insert("rnn.weight".into(), tensor(recurrent, &[n, n]));
    weights.insert("rnn.weight_in".into(), tensor(&vec![1.0; n], &[n]));
    for bias in ["rnn.bias", "rnn.bias_in"] {
        weights.insert(bias.into(), tensor(&vec![0.0; n], &[n]));
    }
    TimescaleRnn::new(config, &weights).unwrap()
}

#[test]
fn a_unit_alone_has_the_timescale_of_its_time_constant() {
    let tau = [1.0f32, 2.0, 4.0, 8.0];
    let net = linear(&tau, &[0.0; 16]);
    let scales = timescales(&net, Task::Dms, &[], (4, 8000), 1).unwrap();
    assert_eq!(scales.tau, tau.map(f64::from));
    assert!(scales.single[0] < 0.3, "{}", scales.single[0]); // AC(k) = 0 for k > 0
    for (tau, net) in tau.iter().zip(&scales.single).skip(1) {
        let expected = -1.0 / (1.0 - 1.0 / f64::from(*tau)).ln();
        assert!((net / expected - 1.0).abs() < 0.1, "tau {tau}: {net} instead of {expected}");
    }
}

#[test]
fn a_loop_of_two_units_is_slower_than_either() {
    // (1 - 1/2) I + W/2 has the eigenvalues 0.9 and 0.1, and equal inputs move the first alone.
    let net = linear(&[2.0, 2.0], &[0.0, 0.8, 0.8, 0.0]);
    let scales = timescales(&net, Task::Dms, &[], (4, 8000), 2).unwrap();
    let expected = -1.0 / 0.9f64.ln();
    assert!(scales.single.iter().all(|net| (net / expected - 1.0).abs() < 0.15), "{scales:?} instead of {expected}");
    assert_eq!(scales.dimension, 1);
}

#[test]
fn fits_find_one_exponential_or_two() {
    let sum = |parts: &[(f64, f64)]| -> Vec<f64> {
        (0..=LAGS).map(|k| parts.iter().map(|(a, t)| a * (-(k as f64) / t).exp()).sum()).collect()
    };
    let exact = fit(&sum(&[(0.6, 2.0), (0.4, 15.0)]));
    assert!((timescale(&sum(&[(0.6, 2.0), (0.4, 15.0)])) - 15.0).abs() < 0.1, "{exact:?}");
    assert!((exact.parts[1].1 - 2.0).abs() < 0.05 && (exact.parts[1].0 - 0.6).abs() < 0.01, "{exact:?}");
    // Of one without noise both fits are exact, and the one with fewer parameters is taken.
    for t in [0.4, 1.0, 7.3, 40.0] {
        let found = fit(&sum(&[(1.0, t)]));
        assert!(found.parts.len() == 1 && (found.parts[0].1 / t - 1.0).abs() < 1e-3, "{t}: {found:?}");
    }
    let mut stream = Stream::new(3, &[]);
    let draws = 150;
    let one = (0..draws).filter(|_| {
        let (a, t) = (0.8 + 0.2 * stream.uniform(), 1.0 + 14.0 * stream.uniform());
        let noisy: Vec<f64> = sum(&[(a, t)]).iter().map(|c| c + 0.02 * random::normal(stream.bits())).collect();
        let (one, two) = (single(&noisy), double(&noisy));
        assert!(two.rss <= one.rss + 1e-9, "{one:?} {two:?}");
        one.aic <= two.aic
    });
    let share = one.count() as f64 / f64::from(draws);
    // Two more parameters win where they lower n ln RSS by 4: in at most exp(-2) of draws (chi-square, 2 degrees of freedom).
    assert!(share >= 0.865, "{share}");
}

#[test]
fn tasks_are_what_they_say() {
    let parity = Task::Parity;
    assert_eq!([1, 2, 3].map(|n| parity.label(&[1.0, 1.0, 0.0, 1.0], n)), [1, 1, 0]);
    assert_eq!([1, 2, 3].map(|n| Task::Dms.label(&[1.0, 1.0, 0.0, 1.0], n)), [1, 0, 1]);
    // Whoever knows p says the likelier of even, (1 + (1 - 2p)^N)/2, and odd.
    for n in [2, 3, 5, 10] {
        let even = |p: f64| (1.0 + (1.0 - 2.0 * p).powi(n as i32)) / 2.0;
        let ps = (0..20_000).map(|i| (f64::from(i) + 0.5) / 20_000.0);
        let right: f64 = ps.map(|p| even(p).max(1.0 - even(p))).sum::<f64>() / 20_000.0;
        assert!((right - parity.guess(n)).abs() < 1e-6, "{n}");
    }
    // The chance of ones is uniform over sequences: parity is even with (1 + 1/(N + 1))/2 for an even N, 1/2 for an odd one.
    let mut stream = Stream::new(5, &[]);
    let share = |task: Task, n: usize, stream: &mut Stream| {
        let trials = task.trials(6000, 10, 0, stream);
        let ones = trials.series.values.chunks_exact(10).filter(|seen| task.label(seen, n) == 1);
        ones.count() as f64 / 6000.0
    };
    for (n, odd) in [(2, 1.0 / 3.0), (3, 0.5), (4, 0.4)] {
        assert!((share(parity, n, &mut stream) - odd).abs() < 0.03, "{n}");
    }
    assert_eq!(share(Task::Dms, 1, &mut stream), 1.0);
    assert!((share(Task::Dms, 4, &mut stream) - 0.5).abs() < 0.03);
    let mut lengths: Vec<usize> = (0..2000).map(|_| length(4, &mut stream)).collect();
    lengths.sort_unstable();
    lengths.dedup();
    assert_eq!(lengths, (6..=17).collect::<Vec<_>>()); // 3 N of them
    assert_eq!(
        Curriculum::Sliding { heads: 5, forgotten: 2 }.next(&vec![(0, 2), (1, 3), (2, 4), (3, 5), (4, 6)]),
        [(2, 4), (3, 5), (4, 6), (5, 7), (6, 8)]
    );
}

fn with(weights: &Weights, name: &str, change: impl Fn(usize, f32) -> f32) -> Weights {
    let mut weights = weights.clone();
    let values: Vec<f32> = floats(&weights[name]).into_iter().enumerate().map(|(i, w)| change(i, w)).collect();
    let changed = tensor(&values, weights[name].dims());
    weights.insert(name.to_string(), changed);
    weights
}

fn as_variables(config: TimescaleConfig, weights: &Weights) -> TimescaleRnn {
    let variables: Weights =
        weights.iter().map(|(k, w)| (k.clone(), Var::from_tensor(w).unwrap().into_inner())).collect();
    TimescaleRnn::new(config, &variables).unwrap()
}

/// A smooth number of the outputs of all steps, and its gradients; opened by a record or fused.
fn metric(net: &TimescaleRnn, opened: bool) -> (f64, Weights) {
    let record = |site: &str| Record::whole(site.parse().unwrap());
    let records = if opened { vec![record("rnn.hook_pre")] } else { Vec::new() };
    let pass = Pass { records, ..Pass::default() };
    let input = Input::Series(bit_series(3, 12));
    let of = |y: &Tensor| -> optrode::Result<Tensor> {
        let weights = crate::common::normal(6, y.dims());
        Ok(((y * weights)? + y.sqr()?)?.sum_all()?)
    };
    let given = gradients(net, &input, &pass, &Registry::elementary(), Values::default(), of).unwrap();
    (f64::from(floats(&given.value)[0]), given.weights)
}

#[test]
fn gradients_are_those_of_the_composed_step_and_of_finite_differences() {
    for leak in [Leak::Around, Leak::Inside] {
        let drawn = TimescaleRnn::draw(&config(leak)).unwrap();
        let net = as_variables(config(leak), &drawn);
        let ((fused, grads), (opened, composed)) = (metric(&net, false), metric(&net, true));
        assert!((fused - opened).abs() < 1e-5 * fused.abs(), "{leak:?}: {fused} and {opened}");
        assert_eq!(grads.keys().collect::<Vec<_>>(), drawn.keys().collect::<Vec<_>>());
        for (name, gradient) in &grads {
            assert_close(gradient, &composed[name], 1e-5, name);
        }
        for (name, gradient) in &grads {
            let direction = crate::common::normal(random::name(name), gradient.dims());
            let slope: f64 = floats(&(gradient * &direction).unwrap()).iter().map(|x| f64::from(*x)).sum();
            let along = |step: f64| {
                let mut moved = drawn.clone();
                moved.insert(name.clone(), (&drawn[name] + (&direction * step).unwrap()).unwrap());
                metric(&as_variables(config(leak), &moved), false).0
            };
            let differences = (along(2e-3) - along(-2e-3)) / 4e-3;
            assert!((slope - differences).abs() < 0.02 * slope.abs() + 0.02, "{leak:?} {name}: {slope}, {differences}");
        }
        // Both forms compute one network.
        let input = Input::Series(bit_series(3, 12));
        let mut plan =
            Compiled::compile(net.sites(), &Pass::default(), &Registry::elementary(), Values::default(), &[])
                .unwrap()
                .differentiable();
        let learned = net.forward(&input, &mut State::none(), &mut Tap::new(&mut plan)).unwrap();
        assert_close(&run(&net, &input, &[], &[]).output, &learned, 1e-5, "both forms");
    }
}

#[test]
fn no_unit_is_connected_to_itself_and_none_is_faster_than_a_step() {
    let (own, drawn) = (config(Leak::Around), TimescaleRnn::draw(&config(Leak::Around)).unwrap());
    let input = Input::Series(bit_series(2, 20));
    let output = |weights: &Weights| bits(&run(&TimescaleRnn::new(own, weights).unwrap(), &input, &[], &[]).output);
    let looped = with(&drawn, "rnn.weight", |i, w| if i % 10 == 0 { 5.0 } else { w });
    assert_eq!(output(&drawn), output(&looped));
    let fast = with(&drawn, "rnn.tau", |i, tau| if i == 3 { 0.2 } else { tau });
    assert_eq!(output(&fast), output(&with(&fast, "rnn.tau", |_, tau| tau.max(1.0))));
    let (value, grads) = metric(&as_variables(own, &fast), false);
    let tau = floats(&grads["rnn.tau"]);
    assert!(tau[3] == 0.0 && tau.iter().enumerate().all(|(i, g)| i == 3 || *g != 0.0), "{tau:?}");
    let diagonal: Vec<f32> = floats(&grads["rnn.weight"]).into_iter().step_by(10).collect();
    assert_eq!(diagonal, [0.0; 9]);
    assert_eq!(
        metric(&as_variables(own, &with(&fast, "rnn.weight", |i, w| if i % 10 == 0 { 2.0 } else { w })), false).0,
        value
    );
}

#[test]
fn a_silenced_unit_is_one_without_weights() {
    let (own, drawn) = (config(Leak::Around), TimescaleRnn::draw(&config(Leak::Around)).unwrap());
    let unit = 4;
    let biasless = ["rnn.bias", "rnn.bias_in"]
        .iter()
        .fold(drawn, |w, name| with(&w, name, |i, b| if i == unit { 0.0 } else { b }));
    let cut = with(&biasless, "rnn.weight", |i, w| if i / 9 == unit || i % 9 == unit { 0.0 } else { w });
    let cut = with(&cut, "rnn.weight_in", |i, w| if i == unit { 0.0 } else { w });
    let cut = with(&cut, "heads.weight", |i, w| if i % 9 == unit { 0.0 } else { w });
    let [whole, cut] = [&biasless, &cut].map(|w| TimescaleRnn::new(own, w).unwrap());
    let input = Input::Series(bit_series(2, 30));
    let edits = silence(&[unit]).unwrap();
    let silenced = run(&whole, &input, &["rnn.hook_state"], &edits);
    let ablated = run(&cut, &input, &["rnn.hook_state"], &edits[..1]); // without the unit's own beginning
    assert_eq!(bits(&silenced.output), bits(&ablated.output));
    let state = |ran: &super::Ran| floats(ran.records.get("rnn.hook_state").unwrap());
    assert_eq!(state(&silenced), state(&ablated));
    assert_ne!(bits(&silenced.output), bits(&run(&whole, &input, &[], &[]).output));
}

#[test]
fn damage_of_no_size_changes_no_bit() {
    let net = network(Leak::Around);
    let input = Input::Series(bit_series(2, 30));
    let plain = bits(&run(&net, &input, &[], &[]).output);
    let mut stream = Stream::new(1, &[]);
    assert!(silence(&[]).unwrap().is_empty());
    let moved =
        |size: f64, stream: &mut Stream| bits(&run(&perturbed(&net, size, stream).unwrap(), &input, &[], &[]).output);
    assert_eq!(plain, moved(0.0, &mut stream));
    assert_ne!(plain, moved(0.1, &mut stream));
    let own = run(&net, &input, &["rnn.hook_tau@t=0"], &[]);
    let tau: Vec<f64> = floats(own.records.get("rnn.hook_tau").unwrap()).into_iter().map(f64::from).collect();
    let mut frozen =
        |size: f64| bits(&run(&net, &input, &[], &[hold_each(&lengthened(&tau, size, &mut stream)).unwrap()]).output);
    assert_eq!(plain, frozen(0.0));
    assert_ne!(plain, frozen(0.5));
    let right = |edits: &[optrode::hook::Edit]| long_run(&net, Task::Parity, (0, 2), edits, 50, 7).unwrap();
    assert_eq!(right(&[]).to_bits(), right(&silence(&[]).unwrap()).to_bits());
    // An edit cannot make a time constant shorter than a step.
    let held = |tau: f64| bits(&run(&net, &input, &[], &[learn::hold(tau).unwrap()]).output);
    assert_eq!(held(0.0), held(1.0));
    assert_ne!(held(1.0), plain);
}

fn options(updates: u64, epochs: usize) -> Options {
    Options { neurons: 32, batch: 32, updates, tests: 8, epochs, until: 2, rate: 0.05 }
}

#[test]
fn an_edit_acts_while_the_network_learns() {
    let arm = |held| Arm { task: Task::Parity, curriculum: Curriculum::Cumulative, held, seed: 1 };
    let [free, again, held] = [None, None, Some(1.0)].map(|held| train(&arm(held), &options(10, 1)).unwrap());
    assert_eq!(free.epochs, again.epochs);
    assert_ne!(free.epochs, held.epochs);
    assert!(free.epochs[0].loss.is_finite());
}

#[test]
fn the_experiment_learns_measures_and_tells() {
    let damage = Damage {
        steps: 30,
        silenced: vec![1, 16],
        extremes: 2,
        sizes: vec![0.1, 10.0],
        held: vec![1.0, 50.0],
        draws: 2,
        beyond: 1,
        samples: (300, 200),
    };
    let plan = Plan { options: options(150, 8), simulation: (2, 300), damage, ..Plan::quick(3) };
    let found = experiment(&plan, &|| ()).unwrap();
    assert_eq!(found.learned.len(), plan.trainings());
    for learned in &found.learned {
        let last = learned.passed.last().unwrap_or_else(|| panic!("{:?}: {:?}", learned.arm, learned.epochs));
        assert!(last.n == 2 && last.knows[0].1 > 0.95, "{last:?}");
        // Held time constants are what acts; trained ones have moved from what was drawn.
        let (tau, net) = learned.last.as_ref().unwrap();
        assert_eq!(tau.iter().all(|tau| *tau == 1.0), learned.arm.held.is_some());
        assert!(!net.is_empty() && net.iter().all(|t| (0.04..=100.1).contains(t)));
    }
    let damaged = &found.damaged[0];
    assert_eq!((found.damaged.len(), damaged.n), (1, 2));
    for borne in &damaged.borne {
        assert!(borne.intact > 0.9, "{borne:?}");
        // Ten times its norm in noise, half of the units at 0 and time constants of 50 steps leave little.
        assert!([borne.weights[1].1, borne.held[1].1].iter().all(|right| *right < borne.intact - 0.1), "{borne:?}");
        assert!(borne.beyond[0].1 > 0.9, "{borne:?}"); // a fresh readout of the N that was learned
    }
    assert_eq!(found.verdicts().len(), 10);
    assert!(found.figures().iter().any(|(name, _)| name == "parity.many.tau_net"));
    assert!(found.blocks().len() > 8);
}
