//! NIR graphs: files, equations, order, exports.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use optrode::hook::random::Stream;
use optrode::models::spiking::{
    Neurons, Population, Projection, Synapse, balanced_currents, balanced_lif, izhikevich_population,
};
use optrode::models::{Input, NirNetwork, Series, Simulation, Spiking};
use optrode::nn::spiking::{Crossing, CurrentSynapse, Lif, Refractory, Reset, Sparse};
use optrode::store::nir::Graph;
use optrode::store::{read_array, read_npz};
use serde_json::{Value, json};

use super::liquid::liquid;
use super::networks::{reservoir, signal};
use super::spiking::{lif_network, plastic_network};
use super::{Ran, run};
use crate::cli::{refuses, succeeds};
use crate::common::{bits, edit, floats};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nir").join(name)
}

pub fn open(name: &str) -> NirNetwork {
    NirNetwork::new(Graph::open(fixture(name)).unwrap(), 1.0).unwrap()
}

/// Nodes and edges as a file.
fn write(folder: &Path, nodes: Value, edges: Value) -> PathBuf {
    let path = folder.join("net.nir.json");
    let file = json!({"node": {"type": "NIRGraph", "nodes": nodes, "edges": edges}});
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

fn graph(nodes: Value, edges: Value) -> optrode::Result<Graph> {
    let here = tempfile::tempdir().unwrap();
    Graph::open(write(here.path(), nodes, edges))
}

/// `input` of `width` channels, the node `n`, `output`.
fn single(node: Value, width: usize, dt: f64) -> NirNetwork {
    let shape = json!([width]);
    let nodes =
        json!({"input": {"type": "Input", "shape": shape}, "n": node, "output": {"type": "Output", "shape": shape}});
    NirNetwork::new(graph(nodes, json!([["input", "n"], ["n", "output"]])).unwrap(), dt).unwrap()
}

fn series(channels: usize, values: Vec<f32>) -> Input {
    Input::Series(Series { rows: 1, steps: values.len() / channels, channels, values })
}

/// What a network of one channel gives.
fn course(net: &NirNetwork, values: Vec<f32>) -> Vec<f32> {
    floats(&run(net, &series(1, values), &[], &[]).output)
}

fn impulse(steps: usize) -> Vec<f32> {
    (0..steps).map(|t| f32::from(u8::from(t == 0))).collect()
}

#[track_caller]
fn assert_near(got: &[f32], want: impl IntoIterator<Item = f64>, tolerance: f64) {
    for (t, (a, b)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*a) - b).abs() <= tolerance * b.abs().max(1.0), "step {t}: {a}, expected {b}");
    }
}

#[test]
fn both_forms_of_a_graph_that_python_wrote_are_one_graph() {
    let graph = Graph::open(fixture("small.nir")).unwrap();
    assert_eq!(graph, Graph::open(fixture("small.nir.json")).unwrap());
    assert_eq!(graph.nodes.len(), 8);
    // Written and read again, arrays in an archive or not, it is the same, and the same bytes.
    for name in ["small.nir", "maps.nir"] {
        let (here, graph) = (tempfile::tempdir().unwrap(), Graph::open(fixture(name)).unwrap());
        let path = here.path().join("again.nir.json");
        graph.write(&path).unwrap();
        let bytes = || (std::fs::read(&path).unwrap(), std::fs::read(path.with_extension("npz")).ok());
        let before = bytes();
        assert_eq!(before.1.is_some(), name == "maps.nir");
        let again = Graph::open(&path).unwrap();
        assert_eq!(graph, again);
        again.write(&path).unwrap();
        assert!(before == bytes());
    }
}

#[test]
fn runs_agree_with_numpys_of_the_same_equations() {
    let reference = read_npz(fixture("reference.npz")).unwrap();
    for name in ["small", "maps"] {
        let net = open(&format!("{name}.nir"));
        let of = |key: &str| &reference.iter().find(|(k, _)| k == key).unwrap().1;
        let input = of(&format!("{name}.input")).values.iter().map(|x| *x as f32).collect();
        let ran = run(&net, &series(net.channels(), input), &["**"], &[]);
        let prefix = format!("{name}.");
        let mut compared = 0;
        for (key, array) in reference.iter().filter(|(k, _)| k.starts_with(&prefix) && !k.ends_with("input")) {
            let site = key.strip_prefix(&prefix).unwrap();
            let got = floats(ran.records.get(site).unwrap());
            assert_eq!(got.len(), array.values.len(), "{key}");
            let tolerance = if site.ends_with("hook_spikes") { 0.0 } else { 2e-5 };
            assert_near(&got, array.values.iter().copied(), tolerance);
            assert!(array.values.iter().any(|x| *x != 0.0), "{key}");
            compared += 1;
        }
        assert!(compared >= 5);
    }
}

#[test]
fn membranes_follow_their_closed_forms() {
    let leaky = json!({"type": "LI", "tau": 0.02, "r": 2.0, "v_leak": 0.5});
    // A current of 1 in the first step, then the decay to v_leak, at any dt.
    for dt in [1.0, 0.25] {
        let first = 2.0 * (1.0 - (-dt / 20.0f64).exp());
        let want = (0..100).map(|t| 0.5 + first * (-dt * f64::from(t) / 20.0).exp());
        assert_near(&course(&single(leaky.clone(), 1, dt), impulse(100)), want, 1e-6);
    }
    let constant = course(&single(leaky, 1, 1.0), vec![1.0; 100]);
    assert_near(&constant, (1..=100).map(|t| 0.5 + 2.0 * (1.0 - (-f64::from(t) / 20.0).exp())), 1e-6);
    // I and IF count in charges, whatever dt is; a membrane at its threshold is not above it.
    for dt in [1.0, 0.1] {
        let total = course(&single(json!({"type": "I", "r": 0.5}), 1, dt), vec![1.0; 6]);
        assert_eq!(total, [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
        let fires = course(&single(json!({"type": "IF", "r": 1, "v_threshold": 1}), 1, dt), vec![0.25; 11]);
        assert_eq!(fires, [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }
    let above = single(json!({"type": "Threshold", "threshold": 0.5}), 1, 1.0);
    assert_eq!(course(&above, vec![0.4, 0.5, 0.6, -1.0]), [0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn firing_rates_follow_the_f_i_curve() {
    let node = json!({"type": "LIF", "tau": 0.02, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0});
    let net = single(node, 1, 0.1);
    for current in [0.9f32, 1.0, 1.2, 1.5, 2.0, 3.0] {
        let count = course(&net, vec![current; 10_000]).iter().sum::<f32>();
        let expected = Lif::default().rate(f64::from(current));
        // In steps of 0.1 ms every interval is rounded up: at 3, by up to 1 % of 8 ms.
        assert!((f64::from(count) - expected).abs() <= 1.0 + 0.012 * expected, "{current}: {count}, {expected}");
    }
}

#[test]
fn postsynaptic_potentials_are_differences_of_exponentials() {
    for (tau_s, tau_m) in [(0.005, 0.02), (0.02, 0.02), (0.03, 0.01)] {
        let mut at_4_ms = Vec::new();
        for dt in [1.0, 0.5] {
            // w_in = tau_syn / dt: a spike adds its weight to the current.
            let node = json!({"type": "CubaLI", "tau_syn": tau_s, "tau_mem": tau_m, "r": 1.5, "v_leak": 0.0,
                "w_in": tau_s * 1000.0 / dt});
            let potential = |t: f64| match tau_s == tau_m {
                true => 1.5 * t / tau_m * (-t / tau_m).exp(),
                false => 1.5 * tau_s / (tau_s - tau_m) * ((-t / tau_s).exp() - (-t / tau_m).exp()),
            };
            let got = course(&single(node, 1, dt), impulse(80));
            assert_near(&got, (1..=80).map(|t| potential(f64::from(t) * dt / 1000.0)), 1e-6);
            at_4_ms.push(got[(4.0 / dt) as usize - 1]);
        }
        assert!((at_4_ms[0] - at_4_ms[1]).abs() < 1e-6, "{at_4_ms:?}");
    }
}

#[test]
fn delays_are_counted_in_steps_for_every_number() {
    let net = single(json!({"type": "Delay", "delay": [0.0, 0.001, 0.0034]}), 3, 1.0);
    assert!(net.rules().iter().any(|r| r.contains("`n` are rounded")), "{:?}", net.rules());
    let got = floats(&run(&net, &series(3, (1..=18).map(|x| x as f32).collect()), &[], &[]).output);
    assert_eq!(got[..12], [1.0, 0.0, 0.0, 4.0, 2.0, 0.0, 7.0, 5.0, 0.0, 10.0, 8.0, 3.0]);
}

fn looped(between: Value) -> optrode::Result<NirNetwork> {
    let nodes = json!({"input": {"type": "Input", "shape": [1]}, "sum": {"type": "Linear", "weight": [[1.0]]},
        "n": between, "back": {"type": "Scale", "scale": [0.5]}, "output": {"type": "Output", "shape": [1]}});
    let edges = json!([["input", "sum"], ["sum", "n"], ["n", "back"], ["back", "sum"], ["n", "output"]]);
    NirNetwork::new(graph(nodes, edges)?, 1.0)
}

#[test]
fn a_loop_waits_a_step_behind_its_neuron_or_in_its_delay() {
    let net = looped(json!({"type": "I", "r": [1.0]})).unwrap();
    let waits = "what `n` emits reaches `back` one step later";
    assert!(net.rules().iter().any(|r| r.contains(waits)), "{:?}", net.rules());
    // v_t = v_{t-1} + x_t + v_{t-1} / 2.
    assert_eq!(course(&net, impulse(4)), [1.0, 1.5, 2.25, 3.375]);
    let net = looped(json!({"type": "Delay", "delay": [0.001]})).unwrap();
    assert_eq!(course(&net, impulse(5)), [0.0, 1.0, 0.5, 0.25, 0.125]);
    for node in [json!({"type": "Scale", "scale": [1.0]}), json!({"type": "Delay", "delay": [0.0001]})] {
        let words = looped(node).err().unwrap().to_string();
        assert!(["back", "sum", "n", "without a neuron or a delay"].iter().all(|w| words.contains(w)), "{words}");
    }
}

#[test]
fn subgraphs_are_taken_in() {
    let inner = |gain: f64| {
        json!({"type": "NIRGraph", "edges": [["in", "s"], ["in", "out"], ["s", "out"]], "nodes": {
            "in": {"type": "Input", "shape": [2]}, "s": {"type": "Scale", "scale": gain},
            "out": {"type": "Output", "shape": [2]}}})
    };
    let outer = json!({"type": "NIRGraph", "edges": [["a", "deep"], ["deep", "b"]], "nodes": {
        "a": {"type": "Input", "shape": [2]}, "deep": inner(2.0), "b": {"type": "Output", "shape": [2]}}});
    let nodes = json!({"input": {"type": "Input", "shape": [2]}, "one": inner(3.0), "two": outer,
        "output": {"type": "Output", "shape": [2]}});
    let graph = graph(nodes, json!([["input", "one"], ["one", "two"], ["two", "output"]])).unwrap();
    let names: Vec<&str> = graph.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["input", "one.s", "two.deep.s", "output"]);
    let net = NirNetwork::new(graph, 1.0).unwrap();
    // (1 + 3) (1 + 2).
    assert_eq!(floats(&run(&net, &series(2, vec![1.0, -0.5]), &[], &[]).output), [12.0, -6.0]);
}

#[test]
fn edits_at_a_node_reach_what_lies_behind_it() {
    let net = open("small.nir");
    let input = Input::Series(signal(1, 80, 4, 0.5, 0.5));
    let last = |ran: &Ran, site: &str| floats(ran.records.get(site).unwrap());
    let sites = ["hidden.hook_spikes", "fc2.hook_out", "rec.hook_in"];
    let silenced = run(&net, &input, &sites, &[edit("hidden.hook_spikes", json!({"op": "zero"}))]);
    assert!(sites.iter().all(|site| last(&silenced, site).iter().all(|x| *x == 0.0)));
    // Weights and biases of a step.
    let plain = run(&net, &input, &["fc.hook_in", "fc.hook_out"], &[]);
    let (x, y) = (last(&plain, "fc.hook_in"), last(&plain, "fc.hook_out"));
    let zeroed = [
        edit("fc.hook_weight[post=1]", json!({"op": "zero"})),
        edit("fc.hook_bias", json!({"op": "set", "value": 2.0})),
    ];
    let edited = last(&run(&net, &input, &["fc.hook_out"], &zeroed), "fc.hook_out");
    assert!(x.iter().any(|x| *x != 0.0));
    for (t, row) in edited.chunks(3).enumerate() {
        assert_eq!(row[1], 2.0);
        assert!((row[0] - y[t * 3] - 1.7).abs() < 1e-5);
    }
}

fn exported(net: &dyn Simulation) -> (NirNetwork, Vec<String>) {
    let here = tempfile::tempdir().unwrap();
    let (path, exported) = (here.path().join("out.nir.json"), net.nir().unwrap());
    exported.graph.write(&path).unwrap();
    let graph = Graph::open(&path).unwrap();
    assert_eq!(graph, exported.graph);
    (NirNetwork::new(graph, net.dt().unwrap()).unwrap(), exported.notes)
}

#[test]
fn an_exported_network_gives_the_same_spikes_bit_for_bit() {
    for seed in [1, 2] {
        let net = balanced_lif(seed).unwrap();
        let (again, notes) = exported(&net);
        assert_eq!(notes, Vec::<String>::new());
        let input = Input::Series(balanced_currents(400, seed));
        let spikes = run(&net, &input, &[], &[]).output;
        let rate = floats(&spikes).iter().sum::<f32>() / 40_000.0;
        assert!(rate > 0.005 && rate < 0.2, "{rate}");
        assert_eq!(bits(&run(&again, &input, &[], &[]).output), bits(&spikes));
        // What was imported is exported as it is.
        assert_eq!(&again.nir().unwrap().graph, again.graph());
    }
}

/// Sources, exponential currents, both comparisons, delays, a population on itself.
fn currents(tau_s: f64) -> Spiking {
    let lif = |cell| Neurons::Lif { cell, adaptation: None };
    let population = |name: &str, size, neurons| Population { name: name.into(), size, neurons };
    let below = Lif { tau_m: 12.5, rest: 0.25, resistance: 1.5, reset: Reset::To(-0.5), ..Lif::default() };
    let above = Lif { crossing: Crossing::Above, threshold: 0.5, ..Lif::default() };
    let populations = vec![
        population("src", 20, Neurons::Source),
        population("a", 12, lif(below)),
        population("b", 8, lif(above)),
        population("c", 6, lif(Lif::default())),
    ];
    let mut draw = Stream::new(5, &[]);
    let mut projection = |name: &str, ends: [usize; 2], sizes: [usize; 2], weight: f32, delay, kind| {
        let synapses = Sparse::bernoulli(sizes[0], sizes[1], 0.5, &mut draw).unwrap();
        let weights = (0..synapses.len()).map(|s| weight * (1.0 + (s % 7) as f32 * 0.13)).collect();
        Projection { name: name.into(), from: ends[0], to: ends[1], synapses, weights, delay, kind, plasticity: None }
    };
    let exponential = Synapse::Current(CurrentSynapse { tau_s });
    let projections = vec![
        projection("in", [0, 1], [20, 12], 0.31, 1, exponential),
        projection("ab", [1, 2], [12, 8], 0.57, 3, exponential),
        projection("bc", [2, 3], [8, 6], 4.1, 2, Synapse::Jump),
        projection("cc", [3, 3], [6, 6], -1.3, 1, Synapse::Jump),
        projection("ac", [1, 3], [12, 6], 1.7, 1, Synapse::Jump),
    ];
    Spiking::new(populations, projections).unwrap()
}

#[test]
fn exponential_currents_sources_and_delays_are_exported_too() {
    let net = currents(5.0);
    let (again, notes) = exported(&net);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes.iter().all(|n| n.contains("no current from outside")));
    // Channels: src, and c, which takes a current from outside.
    assert_eq!((net.channels(), again.channels()), (46, 26));
    let drive = signal(1, 500, 26, 1.0, 0.3).values;
    let source = |x: f32| f32::from(u8::from(x > 0.9));
    let (mut all, mut some) = (Vec::new(), Vec::new());
    for step in drive.chunks(26) {
        let spikes: Vec<f32> = step[..20].iter().map(|x| source(*x)).collect();
        all.extend([&spikes[..], &[0.0; 20], &step[20..]].concat());
        some.extend([&spikes[..], &step[20..]].concat());
    }
    let spikes = run(&net, &series(46, all), &[], &[]).output;
    assert_eq!(bits(&run(&again, &series(26, some), &[], &[]).output), bits(&spikes));
    for (name, units) in [("a", 20..32), ("b", 32..40), ("c", 40..46)] {
        let count: f32 = floats(&spikes).chunks(46).map(|step| step[units.clone()].iter().sum::<f32>()).sum();
        assert!(count > 20.0, "{name} fired {count} times");
    }
}

#[test]
fn what_a_graph_cannot_hold_is_refused_by_name() {
    let says = |net: &dyn Simulation, words: &[&str]| {
        let text = net.nir().err().unwrap().to_string();
        assert!(text.contains("NIR graph cannot hold") && words.iter().all(|w| text.contains(w)), "{text}");
    };
    says(&izhikevich_population(0).unwrap(), &["Izhikevich's neurons (`exc`)"]);
    says(&plastic_network(), &["STDP"]);
    says(&lif_network(), &["moving threshold of `exc`"]);
    says(&liquid(), &["astrocyte"]);
    says(&reservoir(), &["integrate-and-fire"]);
    let one = |cell: Lif| {
        let neurons = Neurons::Lif { cell, adaptation: None };
        Spiking::new(vec![Population { name: "p".into(), size: 1, neurons }], Vec::new()).unwrap()
    };
    says(&one(Lif { refractory: Refractory::Silent(2), ..Lif::default() }), &["refractoriness of `p`"]);
    says(&one(Lif { reset: Reset::Subtract, ..Lif::default() }), &["reset", "`p`"]);
    // No float times 1000 is 3.97.
    let notes = one(Lif { tau_m: 3.97, ..Lif::default() }).nir().unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("`p` (3.97 ms)"), "{notes:?}");
}

#[test]
fn files_that_make_no_sense_are_refused_with_the_node() {
    let lif = json!({"type": "LIF", "tau": [0.02, 0.02], "r": 1, "v_leak": 0, "v_threshold": 1});
    let with = |key: &str, value: Value| {
        let mut node = lif.clone();
        node[key] = value;
        node
    };
    let chain = json!([["input", "n"], ["n", "output"]]);
    let says = |node: Value, edges: &Value, words: &[&str]| {
        let nodes =
            json!({"input": {"type": "Input", "shape": [2]}, "n": node, "output": {"type": "Output", "shape": [2]}});
        let text = graph(nodes, edges.clone()).and_then(|g| NirNetwork::new(g, 1.0)).err().unwrap().to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
    };
    says(json!({"type": "LIFF"}), &chain, &["`n`", "LIFF", "CubaLIF", "NIRGraph"]);
    says(json!({"tau": 1}), &chain, &["`n`", "no `type`"]);
    says(with("tau", json!([0.02, 0.0])), &chain, &["`n` (LIF)", "`tau`", "above 0"]);
    says(with("tau", Value::Null), &chain, &["`n` (LIF)", "has no `tau`"]);
    says(with("r", json!("much")), &chain, &["`r` is a text"]);
    says(with("r", json!([[1, 2], [3]])), &chain, &["nested lists of 2 and of 1"]);
    says(with("beta", json!(1)), &chain, &["`n` (LIF)", "`beta`", "v_threshold"]);
    says(with("tau", json!([0.02, 0.02, 0.02])), &chain, &["`n` (LIF)", "`tau` has 3 numbers", "1 or 2"]);
    says(lif.clone(), &json!([["input", "m"]]), &["`m`", "no node", "nearest: n"]);
    says(lif.clone(), &json!([["input", "n", "output"]]), &["pairs of names"]);
    says(lif.clone(), &json!([["n", "input"]]), &["`n`", "`input`"]);
    says(json!({"type": "Linear", "weight": [[1, 2, 3]]}), &chain, &["`input` gives [2]", "`n`", "takes [3]"]);
    says(json!({"type": "Linear", "weight": [1, 2]}), &chain, &["`n` (Linear)", "two axes"]);
    says(json!({"type": "Delay", "delay": [1e9, 1e9]}), &chain, &["`n`", "on their way"]);
    says(json!({"type": "SumPool2d", "kernel_size": 2, "stride": 1, "padding": 0}), &chain, &["`n`", "maps", "[2]"]);
    let wide = json!({"input": {"type": "Input", "shape": [4e9, 4e9]}, "output": {"type": "Output", "shape": [1]}});
    let text = graph(wide, json!([])).and_then(|g| NirNetwork::new(g, 1.0)).err().unwrap().to_string();
    assert!(text.contains("`input`") && text.contains("1048576"), "{text}");
    let lost = json!({"input": {"type": "Input", "shape": [1]}, "n": {"type": "I", "r": 1}, "output": {"type": "Output", "shape": [1]}});
    let text =
        graph(lost, json!([["input", "output"]])).and_then(|g| NirNetwork::new(g, 1.0)).err().unwrap().to_string();
    assert!(text.contains("nothing determines the shape of node `n`"), "{text}");
    for dt in [0.0, -1.0, f64::NAN] {
        assert!(NirNetwork::new(Graph::open(fixture("small.nir")).unwrap(), dt).is_err());
    }
}

#[test]
fn not_a_number_is_refused_in_either_form() {
    let here = tempfile::tempdir().unwrap();
    let node = json!({"type": "NIRGraph", "edges": [], "nodes": {"n": {"type": "Scale", "scale": {"npz": "n.scale"}}}});
    let file = |arrays: &str| json!({"arrays": arrays, "node": node}).to_string();
    let path = here.path().join("a.nir.json");
    let says = |arrays: &str, words: &[&str]| {
        std::fs::write(&path, file(arrays)).unwrap();
        let text = Graph::open(&path).err().unwrap().to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
    };
    let scale = Tensor::new(&[1.0f32, f32::NAN], &Device::Cpu).unwrap();
    optrode::store::write_npz(here.path().join("a.npz"), &[("n.scale", scale.clone())]).unwrap();
    says("a.npz", &["`n` (Scale)", "NaN"]);
    optrode::store::write_npz(here.path().join("b.npz"), &[("other", scale)]).unwrap();
    says("b.npz", &["no array `n.scale`"]);
    says("../b.npz", &["beside it"]);
    says("missing.npz", &["missing.npz", "no such file"]);
    // A header that claims more than there is.
    let mut bytes = std::fs::read(here.path().join("b.npz")).unwrap();
    let at = bytes.windows(4).position(|w| w == b"(2,)").unwrap();
    bytes[at..at + 4].copy_from_slice(b"(9,)");
    std::fs::write(here.path().join("c.npz"), &bytes).unwrap();
    says("c.npz", &["c.npz"]);
}

#[test]
fn damaged_files_are_errors() {
    let here = tempfile::tempdir().unwrap();
    let mut draw = Stream::new(11, &[]);
    for (name, times) in [("small.nir.json", 1500), ("small.nir", 400)] {
        let (whole, path) = (std::fs::read(fixture(name)).unwrap(), here.path().join(name));
        let live: Vec<usize> = (0..whole.len()).filter(|i| whole[*i] != 0).collect();
        let mut refused = 0;
        for _ in 0..times {
            let mut bytes = whole.clone();
            for _ in 0..=draw.below(3) {
                let at = live[draw.below(live.len())];
                bytes[at] = match draw.below(3) {
                    0 => b"0919e-[]{},\""[draw.below(12)],
                    1 => draw.below(256) as u8,
                    _ => bytes[at] ^ (1 << draw.below(8)),
                };
            }
            bytes.truncate(if draw.below(10) == 0 { draw.below(bytes.len()) } else { bytes.len() });
            std::fs::write(&path, &bytes).unwrap();
            refused += usize::from(Graph::open(&path).and_then(|g| NirNetwork::new(g, 1.0)).is_err());
        }
        assert!(refused > times / 4, "{name}: {refused}");
    }
}

#[test]
fn the_commands_take_graphs() {
    let here = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(fixture(""), here.path().join("nir")).unwrap();
    let small = "nir/small.nir";
    let sites = succeeds(here.path(), &["sites", small]);
    assert!(sites.contains("readout.hook_current") && sites.contains("`hidden` emits reaches `rec`"), "{sites}");
    let proof: Value = serde_json::from_str(&succeeds(here.path(), &["doctor", "nir/maps.nir", "--json"])).unwrap();
    assert_eq!(proof["passed"], true);
    // An input of one's own, and an edit beside its control.
    let reference = read_npz(fixture("reference.npz")).unwrap();
    let input = &reference.iter().find(|(name, _)| name == "small.input").unwrap().1;
    let tensor = Tensor::from_slice(&input.values, input.shape.as_slice(), &Device::Cpu).unwrap();
    tensor.write_npy(here.path().join("in.npy")).unwrap();
    let file = json!({"version": 1, "edits": [{"site": "hidden.hook_spikes@t=50..", "op": "zero"}]});
    std::fs::write(here.path().join("late.json"), file.to_string()).unwrap();
    let args = ["bio", "run", small, "--input", "in.npy", "--edit", "late.json", "--json", "--out", "run.npz"];
    let ran: Value = serde_json::from_str(&succeeds(here.path(), &args)).unwrap();
    assert_eq!(ran["result"]["steps"], 200);
    let of = |name: &str| {
        let want = &reference.iter().find(|(key, _)| key == name).unwrap().1.values;
        want.iter().sum::<f64>() / want.len() as f64
    };
    for site in ["hidden.hook_spikes", "readout.hook_spikes"] {
        let shown = ran["result"]["sites"].as_array().unwrap().iter().find(|s| s["name"] == site).unwrap();
        assert!((shown["unedited"].as_f64().unwrap() - of(&format!("small.{site}"))).abs() < 1e-9, "{shown}");
        assert!(shown["mean"].as_f64() < shown["unedited"].as_f64());
    }
    let rows = tensor.narrow(0, 0, 120).unwrap().reshape((2, 60, 4)).unwrap();
    optrode::store::write_npz(here.path().join("rows.npz"), &[("input", rows)]).unwrap();
    let args = ["bio", "run", small, "--input", "rows.npz", "--steps", "50", "--record", "hidden.hook_mem", "--json"];
    let ran: Value = serde_json::from_str(&succeeds(here.path(), &args)).unwrap();
    assert_eq!(ran["result"]["sites"][0]["shape"], json!([50, 2, 3]));
    // A folder, a graph without spikes, an export and a run of what was exported.
    std::fs::create_dir(here.path().join("own")).unwrap();
    let node = json!({"type": "LI", "tau": 0.01, "r": 1, "v_leak": 0});
    let nodes =
        json!({"input": {"type": "Input", "shape": [3]}, "n": node, "output": {"type": "Output", "shape": [3]}});
    write(&here.path().join("own"), nodes, json!([["input", "n"], ["n", "output"]]));
    let out = succeeds(here.path(), &["bio", "run", "own", "--steps", "20", "--dt", "0.5"]);
    assert!(out.contains("output.hook_output") && out.contains("a step has 0.5 ms"), "{out}");
    let out = succeeds(here.path(), &["bio", "export", "lif-balanced", "--out", "b.nir.json", "--seed", "4"]);
    assert!(out.contains("13 nodes"), "{out}");
    assert!(here.path().join("b.nir.npz").is_file());
    succeeds(here.path(), &["bio", "run", "b.nir.json", "--steps", "20"]);
    refuses(here.path(), &["bio", "export", "izhikevich", "--out", "i.nir.json"], &["Izhikevich's neurons"]);
    refuses(here.path(), &["bio", "export", "lif-balanced", "--out", "b.json"], &[".nir.json"]);
    refuses(here.path(), &["bio", "run", "izhikevich", "--dt", "0.5"], &["steps of its own length"]);
    refuses(here.path(), &["bio", "run", "gone.nir"], &["gone.nir"]);
    refuses(here.path(), &["bio", "run", small, "--input", "in.npy", "--steps", "201"], &["201 steps are asked for"]);
    refuses(here.path(), &["bio", "run", "nir/maps.nir", "--input", "in.npy"], &["[200, 4]", "60"]);
}

#[test]
fn arrays_of_either_order_and_type_are_read() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("a.npy");
    let file = |descr: &str, fortran: &str, shape: &str, data: &[u8]| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(data);
        std::fs::write(&path, bytes).unwrap();
        read_array(&path)
    };
    assert_eq!(file("|u1", "False", "(2, 3)", &[1, 2, 3, 4, 5, 6]).unwrap().values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(file("|i1", "True", "(2, 3)", &[1, 4, 2, 5, 3, 255]).unwrap().values, [1.0, 2.0, 3.0, 4.0, 5.0, -1.0]);
    assert_eq!(file("<i2", "False", "(2,)", &[1, 0, 0, 1]).unwrap().values, [1.0, 256.0]);
    for (descr, shape) in [("|u1", "(3,)"), ("|u1", "(99999999999999999999,)"), ("<c8", "(2,)"), ("|u1", "2")] {
        assert!(file(descr, "False", shape, &[1, 2]).is_err(), "{descr} {shape}");
    }
}
