//! Heads whose attention and circuits are known, and circuits against the networks that have them.

use std::collections::BTreeMap;
use std::f64::consts::FRAC_PI_2;

use candle_core::{Device, Tensor};
use optrode::analysis::heads::{Options, Pool, copying_score, heads, uniform};
use optrode::analysis::{Figures, unwatched};
use optrode::models::{Decoder, Network, Side};
use optrode::report::{Report, terminal};
use serde_json::json;

use crate::common::shared::golden;
use crate::common::{assert_close, batch, config, goldens, load, normal, pass, see, text, weights};

const D: usize = 24;
const CONTEXT: usize = 20;

fn matrix(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Tensor {
    let values: Vec<f32> = (0..rows * columns).map(|i| value(i / columns, i % columns) as f32).collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

fn identity(scale: f64) -> Tensor {
    matrix(D, D, |i, j| if i == j { scale } else { 0.0 })
}

/// A turn by `angle` in every pair of coordinates.
fn turn(angle: f64) -> Tensor {
    matrix(D, D, |i, j| match (i % 2, i / 2 == j / 2, i == j) {
        (_, true, true) => angle.cos(),
        (0, true, _) => -angle.sin(),
        (1, true, _) => angle.sin(),
        _ => 0.0,
    })
}

/// GPT-2 with one head as wide as the stream, positions that stand out, and a layer per (query, value, output) weight;
/// keys are what is read, the MLP does nothing, a token's embedding is an axis of its own.
fn built(layers: &[(Tensor, Tensor, Tensor)]) -> Decoder {
    let config = json!({
        "model_type": "gpt2", "n_embd": D, "n_head": 1, "n_layer": layers.len(), "n_positions": CONTEXT,
        "vocab_size": D, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true,
    });
    let vector = |n: usize, value: f32| Tensor::full(value, n, &Device::Cpu).unwrap();
    let mut all = BTreeMap::from([
        ("transformer.wte.weight".to_string(), identity(0.01)),
        ("transformer.wpe.weight".to_string(), matrix(CONTEXT, D, |i, j| if i == j { 100.0 } else { 0.0 })),
        ("transformer.ln_f.weight".to_string(), vector(D, 1.0)),
        ("transformer.ln_f.bias".to_string(), vector(D, 0.0)),
    ]);
    for (l, (query, value, out)) in layers.iter().enumerate() {
        let joined = Tensor::cat(&[query, &identity(1.0), value], 1).unwrap(); // [d, 3 d]
        let parts = [
            ("ln_1.weight", vector(D, 1.0)),
            ("ln_1.bias", vector(D, 0.0)),
            ("ln_2.weight", vector(D, 1.0)),
            ("ln_2.bias", vector(D, 0.0)),
            ("attn.c_attn.weight", joined),
            ("attn.c_attn.bias", vector(3 * D, 0.0)),
            ("attn.c_proj.weight", out.clone()),
            ("attn.c_proj.bias", vector(D, 0.0)),
            ("mlp.c_fc.weight", matrix(D, 4 * D, |_, _| 0.0)),
            ("mlp.c_fc.bias", vector(4 * D, 0.0)),
            ("mlp.c_proj.weight", matrix(4 * D, D, |_, _| 0.0)),
            ("mlp.c_proj.bias", vector(D, 0.0)),
        ];
        all.extend(parts.map(|(name, tensor)| (format!("transformer.h.{l}.{name}"), tensor)));
    }
    Decoder::new(config.as_object().unwrap(), &all).unwrap()
}

/// Queries that look for the position `offset` before their own.
fn looks_back(offset: usize) -> Tensor {
    matrix(D, D, |i, j| if i == j + offset { 20.0 } else { 0.0 })
}

fn pool() -> Pool {
    Pool { start: None, ids: (0..D as u32).collect() }
}

#[test]
fn heads_of_known_attention_score_as_they_attend() {
    let none = identity(0.0);
    let offsets = [1, CONTEXT / 2 - 1, CONTEXT / 2];
    let layers: Vec<_> = offsets.iter().map(|o| (looks_back(*o), none.clone(), none.clone())).collect();
    let found = heads(&built(&layers), &pool(), None, &Options::default(), &mut unwatched).unwrap();
    assert_eq!((found.n, found.start), (10, false));
    for (layer, expected) in [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].iter().enumerate() {
        let head = &found.heads[layer];
        let got = [head.previous, head.induction, head.duplicate].map(|e| e.value);
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{layer}: {got} {expected}");
        }
        // These heads look at places, not at tokens: where nothing repeats they do the same.
        assert!((head.induction_unrepeated.value - head.induction.value).abs() < 1e-6);
        assert_eq!(head.copying, None);
        assert!(!head.is_induction());
    }
    assert_eq!(found.previous_token_heads(0.5).len(), 1);
    let figures: BTreeMap<String, f64> = found.figures().into_iter().collect();
    assert!((figures["induction.max"] - 1.0).abs() < 1e-6);
    assert!((figures["induction.unrepeated.max"] - 1.0).abs() < 1e-6);
    assert_eq!(figures["induction.heads"], 0.0);
    let shown = terminal::render(&found.blocks(), &terminal::Style::plain(150));
    assert!(shown.contains("strong ones (> 0.5): 0.0."), "{shown}");
}

#[test]
fn uniform_attention_scores_its_closed_form() {
    let none = identity(0.0);
    let net = built(&[(none.clone(), none.clone(), none)]);
    let start = Pool { start: Some(3), ids: (0..D as u32).collect() };
    let found =
        heads(&net, &start, None, &Options { n: 7, rows: 3, seed: 1, ..Options::default() }, &mut unwatched).unwrap();
    assert_eq!((found.n, found.start), (7, true));
    // Queries stand at 8..=14 and see 9 to 15 keys.
    let expected = (9..=15).map(|keys| 1.0 / f64::from(keys)).sum::<f64>() / 7.0;
    let head = &found.heads[0];
    let scores = [head.previous, head.duplicate, head.induction].map(|e| e.value);
    let baseline = [found.uniform.previous, found.uniform.duplicate, found.uniform.induction];
    for score in scores.iter().chain(&baseline) {
        assert!((score - expected).abs() < 1e-7, "{score} {expected}");
    }
}

#[test]
fn uniform_attention_in_a_window_sees_no_further() {
    let folder = golden("mistral");
    let mut weights = weights(&folder);
    for (name, tensor) in &mut weights {
        if name.contains("q_proj") {
            *tensor = tensor.zeros_like().unwrap();
        }
    }
    let net = Decoder::new(&config(&folder), &weights).unwrap();
    let pool = Pool { start: None, ids: (3..61).collect() };
    let found = heads(&net, &pool, None, &Options { n: 8, rows: 2, ..Options::default() }, &mut unwatched).unwrap();
    let windows: Vec<Option<usize>> = net.facts().layers.iter().map(|l| l.window).collect();
    assert!(windows.iter().flatten().any(|w| *w < 16), "{windows:?}");
    for head in &found.heads {
        let window = windows[head.layer];
        for (score, offset) in [(head.previous, 1), (head.duplicate, 8), (head.induction, 7)] {
            let expected = uniform(8, 8, offset, window);
            assert!((score.value - expected).abs() < 1e-6, "{} {offset}: {} {expected}", head.name(), score.value);
        }
    }
}

#[test]
fn copying_is_one_for_copies_minus_one_for_their_opposite_and_zero_for_a_right_angle() {
    let none = || identity(0.0);
    let layers = [
        (none(), identity(0.3), identity(2.0)),
        (none(), identity(0.3), identity(-2.0)),
        (none(), turn(FRAC_PI_2), identity(1.0)),
        // A transposed factor would turn twice instead of back.
        (none(), turn(FRAC_PI_2), turn(-FRAC_PI_2)),
        (none(), turn(FRAC_PI_2), turn(FRAC_PI_2)),
        (none(), turn(0.4), identity(1.0)),
    ];
    let found =
        heads(&built(&layers), &pool(), None, &Options { rows: 1, ..Options::default() }, &mut unwatched).unwrap();
    let expected = [1.0, -1.0, 0.0, 1.0, -1.0, 0.4f64.cos()];
    for (head, expected) in found.heads.iter().zip(expected) {
        assert!((head.copying.unwrap() - expected).abs() < 1e-5, "{}: {:?} {expected}", head.layer, head.copying);
    }
}

#[test]
fn copying_scores_of_matrices_without_symmetry() {
    let score = |rows: &[&[f64]]| copying_score(&rows.iter().map(|r| r.to_vec()).collect::<Vec<_>>()).unwrap();
    // Eigenvalues on the diagonal: (3 - 1 + 2) / 6.
    let triangle = score(&[&[3.0, 100.0, -7.0], &[0.0, -1.0, 40.0], &[0.0, 0.0, 2.0]]).unwrap();
    assert!((triangle - 4.0 / 6.0).abs() < 1e-9, "{triangle}");
    // 1 and the pair 2 -+ 3i.
    let pair = score(&[&[1.0, 5.0, 6.0], &[0.0, 2.0, -3.0], &[0.0, 3.0, 2.0]]).unwrap();
    assert!((pair - 5.0 / (1.0 + 2.0 * 13f64.sqrt())).abs() < 1e-9, "{pair}");
    // A cycle of three: the cube roots of one, whose sum is zero.
    let cycle = score(&[&[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0], &[1.0, 0.0, 0.0]]).unwrap();
    assert!(cycle.abs() < 1e-9, "{cycle}");
    assert_eq!(score(&[&[0.0, 0.0], &[0.0, 0.0]]), None);
    assert!(copying_score(&[vec![1.0], vec![2.0]]).is_err());
    assert!(copying_score(&[vec![f64::NAN]]).is_err());
}

#[test]
fn eigenvalues_add_up_to_the_trace() {
    for n in [1, 2, 7, 32, 64] {
        let x: Vec<Vec<f32>> = normal(n as u64, &[n, n]).to_vec2().unwrap();
        let rows: Vec<Vec<f64>> = x.iter().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
        let spectrum = optrode::analysis::heads::Spectrum::of(&rows).unwrap();
        let (real, imaginary) = spectrum.eigenvalues.iter().fold((0.0, 0.0), |(a, b), l| (a + l.0, b + l.1));
        let trace: f64 = (0..n).map(|i| rows[i][i]).sum();
        assert!((real - trace).abs() < 1e-9 && imaginary.abs() < 1e-9, "{n}: {real} {trace} {imaginary}");
    }
}

#[test]
fn head_weights_are_those_that_every_golden_computes_with() {
    for (name, net) in goldens() {
        let facts = net.facts();
        // OLMo clips what it computes.
        if facts.attn.clip.is_some() {
            continue;
        }
        let last = facts.layers.len() - 1;
        let read = format!("blocks.{last}.ln1.hook_out");
        let reads_norm = net.sites().find(&read).is_some() && name != "opt-350m";
        let read = if reads_norm { read } else { format!("blocks.{last}.hook_resid_pre") };
        let [v, z, result] = ["hook_v", "hook_z", "hook_result"].map(|s| format!("blocks.{last}.attn.{s}"));
        let rows = [text(1, 9)];
        let seen = see(&net, &batch(&rows, Side::Right), &pass(&[&read, &v, &z, &result], &[]));
        let differences = |x: &Tensor| {
            let x = x.get(0).unwrap();
            (x.narrow(0, 1, 8).unwrap() - x.narrow(0, 0, 8).unwrap()).unwrap() // [8, ..]; biases fall out
        };
        let weights = net.value_weights(last).unwrap();
        for head in 0..facts.n_kv_heads {
            let got = differences(seen.at(&read)).matmul(&weights.get(head).unwrap()).unwrap();
            let expected = differences(seen.at(&v)).narrow(1, head, 1).unwrap().squeeze(1).unwrap();
            assert_close(&got, &expected, 1e-4, &format!("{name}: values of head {head}"));
        }
        let weights = net.output_weights(last).unwrap();
        for head in 0..facts.n_heads {
            let own = |x: &Tensor| x.get(0).unwrap().narrow(1, head, 1).unwrap().squeeze(1).unwrap();
            let got = own(seen.at(&z)).contiguous().unwrap().matmul(&weights.get(head).unwrap()).unwrap();
            assert_close(&got, &own(seen.at(&result)), 1e-4, &format!("{name}: output of head {head}"));
        }
    }
}

#[test]
fn unembedding_times_embedding_tied_untied_and_projected() {
    let product = |name: &str, unembed: &str, embed: &str| {
        let weights = weights(&golden(name));
        weights[unembed].t().unwrap().contiguous().unwrap().matmul(&weights[embed]).unwrap()
    };
    let of = |name: &str| load(&golden(name)).unembed_embed().unwrap();
    let tied = product("gpt2", "transformer.wte.weight", "transformer.wte.weight");
    assert_close(&of("gpt2"), &tied, 1e-5, "gpt2");
    let untied = product("gpt_neox", "embed_out.weight", "gpt_neox.embed_in.weight");
    assert_close(&of("gpt_neox"), &untied, 1e-5, "gpt_neox");
    let names = ["project_in", "project_out"].map(|p| format!("model.decoder.{p}.weight"));
    let table = "model.decoder.embed_tokens.weight";
    let weights = weights(&golden("opt-350m"));
    let [up, down] = names.map(|n| weights[&n].clone()); // [d_model, width], [width, d_model]
    let middle = product("opt-350m", table, table); // [width, width]
    let whole = down.t().unwrap().contiguous().unwrap().matmul(&middle).unwrap();
    let whole = whole.matmul(&up.t().unwrap().contiguous().unwrap()).unwrap();
    assert_close(&of("opt-350m"), &whole, 1e-5, "opt-350m");
}

#[test]
fn every_golden_has_a_table_of_heads_and_repeats_it_bit_by_bit() {
    let pool = Pool { start: Some(1), ids: (3..61).collect() };
    let options = Options { n: 12, rows: 3, seed: 5, ..Options::default() };
    for (name, net) in goldens() {
        let found = heads(&net, &pool, Some(&net), &options, &mut unwatched).unwrap();
        assert_eq!(found.heads.len(), net.facts().layers.len() * net.facts().n_heads, "{name}");
        assert_eq!(found, heads(&net, &pool, Some(&net), &options, &mut unwatched).unwrap(), "{name}");
        let twin = found.untrained.unwrap();
        let most = found.heads.iter().map(|h| h.induction.value).fold(f64::MIN, f64::max);
        assert_eq!(twin.induction, most, "{name}: its own twin");
        for head in &found.heads {
            let all = head.previous.value + head.duplicate.value + head.induction.value;
            assert!((0.0..=1.0 + 1e-6).contains(&all), "{name} {}: {all}", head.name());
            assert!(head.copying.is_some_and(|c| (-1.0 - 1e-9..=1.0 + 1e-9).contains(&c)), "{name} {}", head.name());
        }
        serde_json::to_string(&found).unwrap();
    }
}

#[test]
fn requests_that_show_nothing_are_refused() {
    let net = load(&golden("llama"));
    let refused =
        |pool: Pool, options: Options| heads(&net, &pool, None, &options, &mut unwatched).unwrap_err().to_string();
    let ids = |ids: Vec<u32>| Pool { start: None, ids };
    assert!(refused(ids(vec![1, 2, 2, 2]), Options::default()).contains("no repetition"));
    assert!(refused(ids((0..61).collect()), Options { rows: 0, ..Options::default() }).contains("no repetition"));
    assert!(refused(ids(vec![1, 2, 3, 4, 999]), Options::default()).contains("999"));
    assert!(serde_json::from_value::<Options>(json!({ "rwos": 3 })).is_err());
}
