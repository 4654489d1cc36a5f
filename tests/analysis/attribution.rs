//! Attribution: parts that add up, estimates that are exact where theory says so, paths in closed form; steering.

use std::collections::BTreeMap;

use candle_core::Tensor;
use optrode::analysis::attribution::{PathForm, Receiver, attribution_patching, direct, integrated, path_run, paths};
use optrode::analysis::heads::Reader;
use optrode::analysis::patching::{Component, Direction, Pair};
use optrode::analysis::registry;
use optrode::analysis::steering::{Question, VECTOR, act_add, caa, difference};
use optrode::hook::{Form, Pass, Record, Run};
use optrode::models::transformer::facts::Placement;
use optrode::models::{Decoder, Input, Job, Side, execute};
use serde_json::json;

use crate::common::shared::golden;
use crate::common::{assert_close, batch, config, edit, floats, goldens, load, pass, see, text, weights};

fn pair(seed: u64) -> Pair {
    let clean = text(seed, 8);
    let mut corrupted = clean.clone();
    corrupted[3] = if clean[3] == 9 { 10 } else { 9 };
    Pair { clean, corrupted, correct: 7, wrong: 11 }
}

fn logit_difference(pair: &Pair, logits: &Tensor) -> f64 {
    let all = floats(logits);
    f64::from(all[pair.correct as usize]) - f64::from(all[pair.wrong as usize])
}

#[test]
fn direct_attribution_adds_up_to_the_logits_in_every_family() {
    let pairs = [pair(1), pair(2)];
    let mut split = 0;
    for (name, net) in goldens() {
        let found = match direct(&net, &pairs) {
            Ok(found) => found,
            Err(e) => {
                assert_eq!(net.facts().placement, Placement::AfterAdd, "{name}: {e}");
                continue;
            }
        };
        assert!(found.error < 1e-4 * found.logits.abs().max(1.0), "{name}: {}", found.error);
        let sum: f64 = found.embed
            + found.positions.unwrap_or(0.0)
            + found.bias
            + found.attn.iter().chain(&found.mlp).sum::<f64>();
        assert!((sum - found.logits).abs() < 1e-4 * found.logits.abs().max(1.0), "{name}: {sum} {}", found.logits);
        if found.heads.is_some() {
            split += 1;
            assert!(found.inner_error < 1e-4, "{name}: {}", found.inner_error);
            assert_eq!(found.neurons.len(), 16.min(net.facts().layers.len() * net.facts().d_mlp), "{name}");
        }
        // The logits of the run itself, where no softcap bends them.
        if net.facts().head.softcap.is_none() {
            let seen = see(&net, &batch(&[pairs[0].clean.clone()], Side::Right), &pass(&[], &[]));
            let own = logit_difference(&pairs[0], &seen.logits.get(0).unwrap().get(7).unwrap());
            let alone = direct(&net, &pairs[..1]).unwrap();
            assert!((alone.logits - own).abs() < 1e-4, "{name}: {} {own}", alone.logits);
        }
    }
    assert!(split > 15, "{split}");
    assert!(direct(&load(&golden("llama")), &[]).is_err());
}

#[test]
fn logit_directions_are_the_transpose_of_direct_logits() {
    for (name, net) in goldens() {
        let x = crate::common::normal(1, &[3, net.facts().d_model]);
        let tokens = [5, 17, 40];
        let ids = Tensor::new(&tokens[..], x.device()).unwrap();
        let expected = net.direct_logits(&x).unwrap().index_select(&ids, 1).unwrap();
        let got = x.matmul(&net.logit_directions(&tokens).unwrap().t().unwrap()).unwrap();
        assert_close(&got, &expected, 1e-5, &name);
        assert!(net.logit_directions(&[10_000]).is_err());
    }
}

#[test]
fn gradients_tell_the_whole_effect_where_the_metric_is_linear_and_along_the_way_elsewhere() {
    let pair = pair(3);
    for name in ["gpt2", "llama", "gpt_neox", "qwen3"] {
        let net = load(&golden(name));
        for direction in [Direction::Denoise, Direction::Noise] {
            let linear = integrated(&net, &pair, direction, "ln_final.hook_normalized", 1).unwrap();
            assert!((linear.estimate - linear.exact).abs() < 1e-4, "{name}: {linear:?}");
            let at = |steps| integrated(&net, &pair, direction, "blocks.0.hook_resid_pre", steps).unwrap();
            let (few, many) = (at(4), at(32));
            let error = |i: &optrode::analysis::attribution::Integrated| (i.estimate - i.exact).abs();
            let scale = many.exact.abs().max(0.01);
            assert!(error(&many) < 0.02 * scale + 1e-4, "{name}: {many:?}");
            assert!(error(&many) <= error(&few) + 1e-4, "{name}: {few:?} {many:?}");
        }
        assert!(integrated(&net, &pair, Direction::Noise, "blocks.0.hook_resid_pre", 0).is_err());
    }
}

#[test]
fn estimates_have_the_shape_of_exact_effects_and_agree_on_small_changes() {
    let pairs = [pair(4)];
    for name in ["gpt2", "llama", "gpt_neox"] {
        let net = load(&golden(name));
        let found = attribution_patching(&net, &pairs, &Component::of(&net), Direction::Denoise).unwrap();
        for (scatter, map) in found.estimated.iter().zip(&found.exact.maps) {
            assert_eq!(scatter.component, map.component);
            let shape = |m: &Vec<Vec<f64>>| m.iter().map(Vec::len).collect::<Vec<_>>();
            assert_eq!(shape(&scatter.effect), shape(&map.effect), "{name}");
            // Where both prompts agree so far there is nothing to attribute but the rounding of the two forms.
            if scatter.component == Component::ResidPre {
                assert!(scatter.effect.iter().all(|row| row[..3].iter().all(|x| x.abs() < 1e-4)), "{name}");
            }
            // Late sites are close to linear.
            if scatter.component == Component::MlpOut {
                assert!(scatter.correlation > 0.9, "{name} {:?}: {}", scatter.component, scatter.correlation);
            }
        }
    }
}

#[test]
fn a_strict_path_to_the_logits_is_its_closed_form() {
    let pair = pair(5);
    for name in ["gpt2", "llama", "falcon-new"] {
        let net = load(&golden(name));
        let last = net.facts().layers.len() - 1;
        let sites = ["blocks.0.attn.hook_z", &format!("blocks.{last}.hook_resid_post")].map(str::to_string);
        let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
        let clean = see(&net, &batch(std::slice::from_ref(&pair.clean), Side::Right), &pass(&sites, &[]));
        let corrupted = see(&net, &batch(std::slice::from_ref(&pair.corrupted), Side::Right), &pass(&sites, &[]));
        let found = paths(&net, std::slice::from_ref(&pair), Receiver::Logits, PathForm::Replace, true).unwrap();
        let span = logit_difference(&pair, &clean.logits.get(0).unwrap().get(7).unwrap())
            - logit_difference(&pair, &corrupted.logits.get(0).unwrap().get(7).unwrap());
        for head in 0..net.facts().n_heads {
            let change = (corrupted.at(sites[0]) - clean.at(sites[0])).unwrap(); // [1, t, h, d]
            let own = change.narrow(2, head, 1).unwrap().squeeze(2).unwrap().get(0).unwrap().contiguous().unwrap();
            let written = own.matmul(&net.output_weights(0).unwrap().get(head).unwrap()).unwrap();
            let written = (written * net.facts().residual_multiplier).unwrap();
            let stream = (clean.at(sites[1]) + written.unsqueeze(0).unwrap()).unwrap();
            let logits = net.lens(&stream, Form::Inference).unwrap().get(0).unwrap().get(7).unwrap();
            let clean_ld = logit_difference(&pair, &clean.logits.get(0).unwrap().get(7).unwrap());
            let expected = (clean_ld - logit_difference(&pair, &logits)) / span;
            let got = found.effect[0][head];
            assert!((got - expected).abs() < 1e-3 * expected.abs().max(1.0), "{name} {head}: {got} {expected}");
        }
    }
}

#[test]
fn a_sender_does_nothing_through_a_reader_before_it() {
    let net = load(&golden("llama"));
    let receiver = Receiver::Head { layer: 0, head: 1, reader: Reader::Q };
    let found = paths(&net, &[pair(6)], receiver, PathForm::Replace, false).unwrap();
    assert!(found.effect.iter().flatten().all(|x| x.abs() < 1e-6), "{:?}", found.effect);
    assert_eq!("1.2.k".parse::<Receiver>().unwrap(), Receiver::Head { layer: 1, head: 2, reader: Reader::K });
    assert!("1.2".parse::<Receiver>().unwrap_err().to_string().contains("5.2.k"));
}

#[test]
fn all_edges_of_a_sender_add_up_to_patching_it() {
    // Without MLPs, whose inputs are no receivers here, later heads and the logits are all that reads.
    for name in ["gpt2", "llama"] {
        let folder = golden(name);
        let mut weights = weights(&folder);
        for (key, tensor) in &mut weights {
            if key.contains("mlp.c_proj") || key.contains("mlp.down_proj") {
                *tensor = tensor.zeros_like().unwrap();
            }
        }
        let net = Decoder::new(&config(&folder), &weights).unwrap();
        let pair = pair(7);
        let facts = net.facts();
        let group = facts.n_heads / facts.n_kv_heads;
        let mut receivers = vec![Receiver::Logits];
        for layer in 1..facts.layers.len() {
            for head in 0..facts.n_heads {
                for reader in Reader::ALL {
                    if reader == Reader::Q || head % group == 0 {
                        receivers.push(Receiver::Head { layer, head, reader });
                    }
                }
            }
        }
        assert_eq!(facts.layers.len(), 2, "edges between later layers would count twice");
        let run = path_run(&net, (0, 1), &receivers, PathForm::Edge, true).unwrap();
        let input = |ids: &[u32]| Input::Tokens(batch(&[ids.to_vec()], Side::Right));
        let clean = input(&pair.clean);
        let inputs = [input(&pair.corrupted), clean.clone(), clean.clone(), clean.clone()];
        let registry = registry();
        let job = Job { run: &run, inputs: &inputs, stored: BTreeMap::new(), registry: &registry };
        let outcome = execute(&net, job).unwrap();
        let value = json!({ "pass": "corrupted", "site": "blocks.0.attn.hook_z" });
        let patch = edit("blocks.0.attn.hook_z[head=1]", json!({ "op": "replace", "value": value }));
        let whole = Run {
            passes: vec![
                Pass { name: "corrupted".into(), ..Pass::default() },
                Pass { name: "patched".into(), edits: vec![patch], ..Pass::default() },
            ],
        };
        let inputs = [input(&pair.corrupted), clean];
        let job = Job { run: &whole, inputs: &inputs, stored: BTreeMap::new(), registry: &registry };
        let patched = execute(&net, job).unwrap().pass("patched").unwrap().output.get(0).unwrap().get(7).unwrap();
        let edges = outcome.pass("final").unwrap().output.get(0).unwrap().get(0).unwrap();
        assert_close(&edges, &patched, 1e-4, name);
        let clean = outcome.pass("clean").unwrap().output.get(0).unwrap().get(0).unwrap();
        assert!(floats(&(clean - edges).unwrap()).iter().any(|x| x.abs() > 1e-5), "{name}: something changed");
    }
}

#[test]
fn steering_by_nothing_changes_nothing_and_at_the_last_layer_it_is_linear() {
    let net = load(&golden("llama"));
    let last = net.facts().layers.len() - 1;
    let question = Question { prompt: text(8, 7), positive: 4, negative: 19 };
    let pairs = vec![(text(9, 5), text(10, 6)), (text(11, 6), text(12, 4))];
    let vector = caa(&net, &pairs, last).unwrap();
    let at = |c: f64| difference(&net, &question, &vector, c).unwrap();
    let seen = see(&net, &batch(std::slice::from_ref(&question.prompt), Side::Right), &pass(&[], &[]));
    let plain = floats(&seen.logits.get(0).unwrap().get(6).unwrap());
    assert!((at(0.0) - f64::from(plain[4] - plain[19])).abs() < 1e-6);
    let (up, down) = (at(1e-3) - at(0.0), at(-1e-3) - at(0.0));
    assert!((up + down).abs() < 0.05 * up.abs() + 1e-5, "opposite to first order: {up} {down}");
    // With the last norm's scale held, c v W_U / s exactly.
    let input = Input::Tokens(batch(std::slice::from_ref(&question.prompt), Side::Right));
    let steered = |c: f64| {
        let held = edit(
            "ln_final.hook_scale",
            json!({ "op": "replace", "value": { "pass": "clean", "site": "ln_final.hook_scale" } }),
        );
        let passes = vec![
            Pass {
                name: "clean".into(),
                records: vec![Record::whole("ln_final.hook_scale@last".parse().unwrap())],
                ..Pass::default()
            },
            Pass { name: "steered".into(), edits: vec![vector.edit(c).unwrap(), held], ..Pass::default() },
        ];
        let registry = registry();
        let stored = BTreeMap::from([(VECTOR.to_string(), vector.values.clone())]);
        let run = Run { passes };
        let job = Job { run: &run, inputs: std::slice::from_ref(&input), stored, registry: &registry };
        let outcome = execute(&net, job).unwrap();
        let scale = floats(outcome.pass("clean").unwrap().records.get("ln_final.hook_scale").unwrap())[0];
        (outcome.pass("steered").unwrap().output.get(0).unwrap().get(6).unwrap(), scale)
    };
    let ((zero, scale), (two, _)) = (steered(0.0), steered(2.0));
    let direct = net.direct_logits(&vector.values.unsqueeze(0).unwrap()).unwrap().squeeze(0).unwrap();
    let expected = (direct * (2.0 / f64::from(scale))).unwrap();
    assert_close(&(two - zero).unwrap(), &expected, 1e-4, "c v W_U / s");
    // Pairs or sets: the mean of differences is the difference of means.
    let swapped = vec![(pairs[0].0.clone(), pairs[1].1.clone()), (pairs[1].0.clone(), pairs[0].1.clone())];
    assert_close(&caa(&net, &swapped, last).unwrap().values, &vector.values, 1e-5, "sets");
    let none = act_add(&net, &pairs[0].0, &pairs[0].0, 1).unwrap();
    assert!(floats(&none.values).iter().all(|x| *x == 0.0));
    assert!(act_add(&net, &pairs[0].0, &pairs[0].1, 1).err().unwrap().to_string().contains("token by token"));
    assert!(caa(&net, &pairs, 99).err().unwrap().to_string().contains("99"));
    let random = vector.random(3).unwrap();
    let length = |x: &Tensor| floats(x).iter().map(|v| v * v).sum::<f32>().sqrt();
    assert!((length(&random.values) - length(&vector.values)).abs() < 1e-4 * length(&vector.values));
}
