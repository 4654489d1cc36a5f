//! Trained checkpoints of the folder `shared` beside the repository (or in `OPTRODE_SHARED`), where there is one.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{D, Device, Tensor};
use optrode::analysis::doctor::{self, Examination, Options, REFERENCE, Reference};
use optrode::analysis::unwatched;
use optrode::hook::{Pass, Record, Records, Registry, Tap};
use optrode::models::{Decoder, Input, Network, Side, State, Tokens, execute::observe};
use optrode::report::{Report, terminal};

use crate::common::load;
use crate::common::shared::shared;

fn healthy(name: &str, net: &Decoder, texts: &[Vec<u32>]) -> Examination {
    let found = doctor::doctor(net, texts, &Options::default(), &mut unwatched).unwrap();
    let text = terminal::render(&found.blocks(), &terminal::Style::plain(150));
    eprintln!("{name}\n{text}");
    assert!(found.passed(), "{name}\n{text}");
    found
}

#[test]
fn the_doctor_passes_stories260k() {
    let Some(folder) = shared("models/stories260K") else { return };
    let reference = reference(&folder);
    healthy("stories260K, random", &load(&folder), &[]);
    let found = healthy("stories260K, its prompt", &load(&folder), &[ids(&reference, "token_ids")]);
    assert_eq!((found.seed, found.lengths, found.parameters), (None, vec![16], 260_032));
}

#[test]
fn the_doctor_passes_a_context_of_11_and_a_vocabulary_of_3() {
    let Some(folder) = shared("models/mingpt-sort-nano") else {
        return;
    };
    let long = Options { tokens: 64, seed: 7 };
    let net = load(&folder);
    assert_eq!(doctor::doctor(&net, &[], &long, &mut unwatched).unwrap().lengths, [6, 11, 3]);
    healthy("mingpt-sort-nano", &net, &[]);
}

#[test]
fn the_doctor_passes_weights_kept_as_bf16() {
    let Some(folder) = shared("models/polyglot-6m") else { return };
    healthy("polyglot-6m", &load(&folder), &[]);
}

fn reference(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder.join("reference.json")).unwrap()).unwrap()
}

fn ids(reference: &serde_json::Value, key: &str) -> Vec<u32> {
    serde_json::from_value(reference[key].clone()).unwrap()
}

fn numbers(reference: &serde_json::Value, key: &str) -> Vec<f32> {
    serde_json::from_value(reference[key].clone()).unwrap()
}

fn single(ids: &[u32]) -> Input {
    Input::Tokens(Tokens::from_rows(&[ids.to_vec()], Side::Left, 0).unwrap())
}

fn record(net: &Decoder, input: &Input, sites: &[&str]) -> (Tensor, Records) {
    let records = sites.iter().map(|s| Record::whole(s.parse().unwrap())).collect();
    let pass = Pass { records, ..Pass::default() };
    let outcome = observe(net, input, &pass, &Registry::elementary()).unwrap();
    (outcome.output, outcome.records)
}

/// The last position of the only row.
fn last(x: &Tensor) -> Vec<f32> {
    let x = x.get(0).unwrap();
    x.get(x.dim(0).unwrap() - 1).unwrap().to_vec1().unwrap()
}

fn assert_close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    eprintln!("{what}: largest difference {worst:.1e}");
    assert!(worst <= tolerance, "{what} differs by {worst:.1e}");
}

#[test]
fn stories260k_gives_the_published_figures() {
    let Some(folder) = shared("models/stories260K") else { return };
    let (net, reference) = (load(&folder), reference(&folder));
    let ids = ids(&reference, "token_ids");
    let norms = numbers(&reference, "resid_post_l2_norm_last_position");
    let streams: Vec<String> = (0..norms.len()).map(|l| format!("blocks.{l}.hook_resid_post")).collect();
    let mut sites: Vec<&str> = streams.iter().map(String::as_str).collect();
    sites.push("ln_final.hook_out");
    let (logits, records) = record(&net, &single(&ids), &sites);

    // The figures come from another program in another layout of the weights: 1.6e-5 apart by its own account.
    assert_close(&last(&logits), &numbers(&reference, "logits_last_position"), 5e-5, "logits");
    let got = last(records.get("ln_final.hook_out").unwrap());
    assert_close(&got, &numbers(&reference, "final_norm_output_last_position"), 5e-5, "final norm");
    let norm = |site: &String| last(records.get(site).unwrap()).iter().map(|x| x * x).sum::<f32>().sqrt();
    assert_close(&streams.iter().map(norm).collect::<Vec<_>>(), &norms, 5e-5, "norms of the stream");

    let rows: Vec<Vec<f32>> = logits.get(0).unwrap().to_vec2().unwrap();
    let loss = |(row, next): (&Vec<f32>, &u32)| {
        let most = row.iter().copied().fold(f32::MIN, f32::max);
        let total: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
        total.ln() - f64::from(row[*next as usize] - most)
    };
    let losses: Vec<f64> = rows.iter().zip(&ids[1..]).map(loss).collect();
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    let expected = reference["mean_loss_nats_per_token"].as_f64().unwrap();
    assert!((mean - expected).abs() < 1e-5, "mean loss {mean}, expected {expected}");
}

/// Greedy continuation of `ids` to `length` tokens, with a cache.
fn greedy(net: &Decoder, ids: &[u32], length: usize) -> Vec<u32> {
    let mut all = ids.to_vec();
    let mut state = State::cached();
    let mut input = single(ids);
    while all.len() < length {
        let logits = net.forward(&input, &mut state, &mut Tap::off()).unwrap();
        let best = Tensor::new(last(&logits), &Device::Cpu).unwrap().argmax(D::Minus1).unwrap();
        all.push(best.to_scalar().unwrap());
        input = single(&all[all.len() - 1..]);
    }
    all
}

#[test]
fn stories260k_continues_as_llama2_c_does() {
    let Some(folder) = shared("models/stories260K") else { return };
    let (net, reference) = (load(&folder), reference(&folder));
    let expected = ids(&reference, "greedy_60_token_ids");
    assert_eq!(greedy(&net, &ids(&reference, "token_ids"), expected.len()), expected);
    let expected = ids(&reference, "greedy_from_bos_200_token_ids");
    assert_eq!(greedy(&net, &expected[..1], expected.len()), expected);
}

/// The published file has other layouts: heads before positions in q, k and v, joined heads in z, norm outputs under
/// another name, one row of position embeddings, probabilities, -1e30 for hidden scores, and no mask.
#[test]
fn mingpt_gives_all_22_published_activations() {
    let Some(folder) = shared("models/mingpt-sort-nano") else {
        return;
    };
    let net = load(&folder);
    let published =
        candle_core::safetensors::load(folder.join("reference_activations.safetensors"), &Device::Cpu).unwrap();
    let (batch, pos) = published["input_ids"].dims2().unwrap();
    let (heads, d_head) = (net.facts().n_heads, net.facts().d_head);
    let mut tensors = BTreeMap::new();
    for (name, x) in &published {
        let (name, x) = match name.rsplit('.').next().unwrap() {
            "hook_q" | "hook_k" | "hook_v" => (name.clone(), x.transpose(1, 2).unwrap().contiguous().unwrap()),
            "hook_z_concat" => (name.replace("_concat", ""), x.reshape((batch, pos, heads, d_head)).unwrap()),
            "hook_normalized_affine" => (name.replace("normalized_affine", "out"), x.clone()),
            "hook_pos_embed" => (name.clone(), x.broadcast_as((batch, pos, 48)).unwrap().contiguous().unwrap()),
            "hook_attn_scores" => {
                let hidden = x.le(-1e29).unwrap();
                let infinity = Tensor::full(f32::NEG_INFINITY, x.shape(), &Device::Cpu).unwrap();
                (name.clone(), hidden.where_cond(&infinity, x).unwrap())
            }
            "probs" => continue,
            _ => (name.clone(), x.clone()),
        };
        assert!(tensors.insert(name, x).is_none());
    }
    let reference = Reference::from_tensors(tensors).unwrap();
    let found = doctor::against_reference(&net, &reference, REFERENCE).unwrap();
    let text = terminal::render(&found.blocks(), &terminal::Style::plain(150));
    eprintln!("{text}");
    assert!(found.passed(), "{text}");
    assert_eq!(found.sites.len(), 21);

    let (logits, _) = record(&net, &Input::Tokens(reference.tokens), &[]);
    let probs = candle_nn::ops::softmax(&logits, D::Minus1).unwrap();
    let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_close(&flat(&probs), &flat(&published["probs"]), REFERENCE as f32, "probs");
}
