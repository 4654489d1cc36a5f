//! Template detectors against closed forms and against TransformerLens's own numbers; composition.

use std::path::Path;

use optrode::analysis::heads::{Excluded, Link, Measure, Reader, Template, compositions, similarity};
use optrode::models::{OpenOptions, Side};
use serde_json::Value;

use crate::common::shared::{golden, open, shared_model};
use crate::common::{batch, floats, goldens, load, pass, see};

fn ideal(matrix: &[bool]) -> Vec<f32> {
    matrix.iter().map(|d| f32::from(u8::from(*d))).collect()
}

#[test]
fn an_exact_previous_token_head_scores_its_closed_form() {
    let t = 7;
    let tokens: Vec<u32> = (0..t as u32).collect();
    let template = Template::Previous.matrix(&tokens);
    let mut pattern = ideal(&template);
    pattern[0] = 1.0; // the first token sees itself alone
    let score = |measure, excluded| similarity(&pattern, &template, measure, excluded);
    let none = Excluded::default();
    assert!((score(Measure::Mul, none) - 6.0 / 7.0).abs() < 1e-12);
    assert!((score(Measure::Abs, none) - (1.0 - 1.0 / 7.0)).abs() < 1e-12);
    let current = Excluded { current: true, ..none };
    assert!((score(Measure::Mul, current) - 1.0).abs() < 1e-12);
    assert!((score(Measure::Abs, current) - 1.0).abs() < 1e-12);
    let bos = Excluded { bos: true, ..none };
    assert!((score(Measure::Mul, bos) - 1.0).abs() < 1e-12, "row 1 looks at the first token too");
}

#[test]
fn uniform_attention_scores_the_mean_of_its_weights() {
    let t = 9;
    let tokens = [3, 1, 4, 1, 5, 9, 2, 6, 5];
    let pattern: Vec<f32> =
        (0..t * t).map(|at| if at % t <= at / t { 1.0 / (at / t + 1) as f32 } else { 0.0 }).collect();
    for template in Template::ALL {
        let matrix = template.matrix(&tokens);
        let row = |i: usize| (0..t).filter(|j| matrix[i * t + j]).count() as f64 / (i + 1) as f64;
        let expected = (0..t).map(row).sum::<f64>() / t as f64;
        let got = similarity(&pattern, &matrix, Measure::Mul, Excluded::default());
        assert!((got - expected).abs() < 1e-6, "{template:?}: {got} {expected}");
    }
    let lone = Template::Induction.matrix(&[1, 2, 3]);
    assert!(lone.iter().all(|d| !d), "nothing repeats");
}

#[test]
fn templates_allow_what_transformer_lens_s_allow() {
    let tokens = [7, 8, 7, 8, 8];
    let at = |template: Template| -> Vec<(usize, usize)> {
        template.matrix(&tokens).iter().enumerate().filter(|(_, d)| **d).map(|(i, _)| (i / 5, i % 5)).collect()
    };
    assert_eq!(at(Template::Previous), [(1, 0), (2, 1), (3, 2), (4, 3)]);
    assert_eq!(at(Template::Duplicate), [(2, 0), (3, 1), (4, 1), (4, 3)]);
    assert_eq!(at(Template::Induction), [(2, 1), (3, 2), (4, 2), (4, 4)]);
}

/// `fixtures/detect_heads.py` had TransformerLens's own `detect_head` compute these numbers.
#[test]
fn scores_are_those_that_transformer_lens_computes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/detect_heads.json");
    let all: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(all["versions"]["transformer_lens"], "4.3.0");
    for (name, rows) in all["networks"].as_object().unwrap() {
        let net = match name.as_str() {
            "stories260K" => match shared_model(name) {
                Some(model) => model.decoder,
                None => continue,
            },
            golden_name => load(&golden(golden_name)),
        };
        let mut compared = 0;
        for row in rows.as_array().unwrap() {
            let tokens: Vec<u32> = serde_json::from_value(row["tokens"].clone()).unwrap();
            let seen = see(&net, &batch(std::slice::from_ref(&tokens), Side::Right), &pass(&["**.hook_pattern"], &[]));
            for score in row["scores"].as_array().unwrap() {
                let template: Template = serde_json::from_value(score["template"].clone()).unwrap();
                let measure: Measure = serde_json::from_value(score["measure"].clone()).unwrap();
                let excluded: Excluded = serde_json::from_value(score["excluded"].clone()).unwrap();
                let expected: Vec<Vec<Option<f64>>> = serde_json::from_value(score["heads"].clone()).unwrap();
                // TransformerLens rounds "abs" to three digits.
                let bound = if measure == Measure::Abs { 5.1e-4 } else { 1e-5 };
                for (layer, heads) in expected.iter().enumerate() {
                    for (head, expected) in heads.iter().enumerate() {
                        let pattern = seen.block(layer, "attn.hook_pattern").get(0).unwrap().get(head).unwrap();
                        let got = similarity(&floats(&pattern), &template.matrix(&tokens), measure, excluded);
                        let agrees = expected.map_or(got.is_nan(), |expected| (got - expected).abs() < bound);
                        assert!(
                            agrees,
                            "{name} {layer}.{head} {template:?} {measure:?} {excluded:?}: {got} {expected:?}"
                        );
                        compared += 1;
                    }
                }
            }
        }
        // Three templates, two measures, four ways to leave attention out.
        assert_eq!(
            compared,
            rows.as_array().unwrap().len() * 24 * net.facts().layers.len() * net.facts().n_heads,
            "{name}"
        );
    }
}

#[test]
fn composition_scores_are_those_of_the_products() {
    for (name, net) in goldens().filter(|(name, _)| ["gpt2", "llama", "falcon-new"].contains(&name.as_str())) {
        let links = compositions(&net).unwrap();
        let (layers, heads) = (net.facts().layers.len(), net.facts().n_heads);
        assert_eq!(links.len(), 3 * heads * heads * layers * (layers - 1) / 2, "{name}");
        let group = heads / net.facts().n_kv_heads;
        for link in links.iter().step_by(5) {
            let Link { reader, from, to, score } = *link;
            let out = net.output_weights(from.0).unwrap().get(from.1).unwrap();
            let read = match reader {
                Reader::Q => net.query_weights(to.0).unwrap().get(to.1).unwrap(),
                Reader::K => net.key_weights(to.0).unwrap().get(to.1 / group).unwrap(),
                Reader::V => net.value_weights(to.0).unwrap().get(to.1 / group).unwrap(),
            };
            let norm = |x: &candle_core::Tensor| floats(x).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let expected = norm(&out.matmul(&read.contiguous().unwrap()).unwrap()) / (norm(&out) * norm(&read));
            assert!((score - expected).abs() < 1e-5, "{name} {link:?}: {expected}");
            assert!((0.0..=1.0 + 1e-9).contains(&score));
        }
    }
}

#[test]
fn a_shuffled_model_has_the_same_numbers_in_another_order() {
    let model = open(&golden("llama"));
    let options = OpenOptions::default();
    let shuffled = model.shuffled(&options, 1).unwrap();
    let sorted = |x: &candle_core::Tensor| {
        let mut values = floats(x);
        values.sort_by(f32::total_cmp);
        values
    };
    use optrode::models::Network;
    let mut moved = 0;
    for ((name, own), (other_name, other)) in model.decoder.parameters().iter().zip(shuffled.parameters()) {
        assert_eq!(name, other_name);
        assert_eq!(sorted(own), sorted(other), "{name}");
        moved += usize::from(floats(own) != floats(other));
        assert!(own.rank() > 1 || floats(own) == floats(other), "{name}");
    }
    assert!(moved > 5);
    let again = model.shuffled(&options, 1).unwrap();
    assert!(shuffled.parameters().iter().zip(again.parameters()).all(|(a, b)| floats(&a.1) == floats(&b.1)));
}
