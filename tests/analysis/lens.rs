//! The lens against the logits and against a naive loop.

use candle_core::D;
use optrode::analysis::lens::{Options, lens};
use optrode::analysis::{Corpus, Figures};
use optrode::hook::Form;
use optrode::models::Side;
use optrode::report::{Report, terminal};

use super::{SPECIAL, texts};
use crate::common::shared::golden;
use crate::common::{batch, goldens, load, pass, see};

#[test]
fn the_last_layer_of_every_golden_is_the_final_prediction() {
    let corpus = Corpus::of_ids(&texts(), &[SPECIAL]).unwrap();
    for (name, net) in goldens() {
        let found = lens(&net, &corpus, &Options::default()).unwrap();
        let last = found.layers.last().unwrap();
        assert!(found.last_error < 1e-5, "{name}: {:.1e}", found.last_error);
        assert!(last.kl.value.abs() < 1e-9, "{name}: {:.1e}", last.kl.value);
        assert_eq!(last.agreement.value, 1.0, "{name}");
        assert_eq!(found.layers.len(), net.facts().layers.len() + 1, "{name}");
        for layer in &found.layers {
            assert!(layer.kl.value > -1e-9 && layer.kl_elsewhere.value > 0.0, "{name} {layer:?}");
        }
    }
}

/// log softmax in f64.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let total: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
    logits.iter().map(|x| f64::from(*x) - total.ln()).collect()
}

fn best(x: &[f64]) -> usize {
    (0..x.len()).max_by(|a, b| x[*a].total_cmp(&x[*b])).unwrap()
}

#[test]
fn every_layer_equals_a_naive_loop_over_single_texts() {
    // Gemma 2 caps its logits, OPT-350m projects to another width.
    for name in ["gemma2", "opt-350m"] {
        let net = load(&golden(name));
        let texts = texts();
        let corpus = Corpus::of_ids(&texts, &[SPECIAL]).unwrap();
        let found = lens(&net, &corpus, &Options::default()).unwrap();
        for (layer, measured) in found.layers.iter().enumerate() {
            let (mut kl, mut agree, mut n) = (0.0, 0.0, 0.0);
            let (mut hits, mut nats, mut predicted) = (0.0, 0.0, 0.0);
            for text in &texts {
                let seen = see(&net, &batch(std::slice::from_ref(text), Side::Right), &pass(&[&measured.site], &[]));
                let ends = seen.logits.get(0).unwrap().to_vec2::<f32>().unwrap();
                let stream = seen.at(&measured.site);
                let early = net.lens(stream, Form::Differentiable).unwrap().get(0).unwrap().to_vec2::<f32>().unwrap();
                for position in (0..text.len()).filter(|p| text[*p] != SPECIAL) {
                    let (p, q) = (log_softmax(&ends[position]), log_softmax(&early[position]));
                    kl += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
                    agree += f64::from(u8::from(best(&p) == best(&q)));
                    n += 1.0;
                    if let Some(next) = text.get(position + 1).filter(|id| **id != SPECIAL) {
                        hits += f64::from(u8::from(best(&q) == *next as usize));
                        nats -= q[*next as usize];
                        predicted += 1.0;
                    }
                }
            }
            assert_eq!((found.positions as f64, found.predicted as f64), (n, predicted));
            let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-5, "{name} {layer}: {a} {b}");
            close(measured.kl.value, kl / n);
            close(measured.agreement.value, agree / n);
            close(measured.accuracy.value, hits / predicted);
            close(measured.loss.value, nats / predicted);
        }
    }
}

#[test]
fn the_grid_shows_the_networks_own_predictions_at_the_end() {
    let net = load(&golden("llama"));
    let texts = texts();
    let corpus = Corpus::of_ids(&texts, &[SPECIAL]).unwrap();
    let found = lens(&net, &corpus, &Options { grid_text: 3, grid_tokens: 5, seed: 0 }).unwrap();
    let grid = found.grid.as_ref().unwrap();
    let seen = see(&net, &batch(&[texts[3].clone()], Side::Right), &pass(&["logits"], &[]));
    let likeliest = seen.logits.argmax(D::Minus1).unwrap().get(0).unwrap().to_vec1::<u32>().unwrap();
    let shown: Vec<String> = grid.predictions.last().unwrap().iter().map(|p| p.token.clone()).collect();
    let expected: Vec<String> = likeliest[..5].iter().map(|id| format!("<id {id}>")).collect();
    assert_eq!(shown, expected);
    let text = terminal::render(&found.blocks(), &terminal::Style::plain(150));
    assert!(text.contains("blocks.0.hook_resid_pre"), "{text}");
    assert_eq!(found.figures()[0].0, "last_layer.accuracy");
    let refused = lens(&net, &corpus, &Options { grid_text: 99, ..Options::default() }).unwrap_err().to_string();
    assert!(refused.contains("99"), "{refused}");
}
