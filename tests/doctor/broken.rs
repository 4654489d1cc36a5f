//! What the doctor says when something is wrong.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use optrode::analysis::doctor::{self, Equality, Options, REFERENCE, Reference, compare};
use optrode::analysis::unwatched;
use optrode::models::Decoder;
use optrode::report::{Report, Verdict, json, terminal};

use crate::common::{folders, load};

fn golden(name: &str) -> std::path::PathBuf {
    folders().into_iter().find(|f| f.ends_with(name)).unwrap()
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, (1, values.len() / 2, 2), &Device::Cpu).unwrap()
}

#[test]
fn a_planted_error_is_found_with_its_place() {
    let clean = [tensor(&[1., 2., 3., 4.]), tensor(&[5., 6., 7., 8., 9., 10.])];
    let mut wrong = clean.to_vec();
    wrong[1] = tensor(&[5., 6., 7., 8.5, 9., 10.]);
    let found = compare(&wrong, &clean, 1, Equality::Close).unwrap();
    assert_eq!((found.absolute, found.text, found.position, found.compared), (0.5, Some(1), 1, 10));
    assert_eq!(found.relative(), 0.05);
    let none = compare(&clean, &clean, 1, Equality::Bits).unwrap();
    assert_eq!((none.absolute, none.relative(), none.text), (0., 0., None));
}

#[test]
fn what_is_not_a_number_differs_even_from_itself() {
    let nan = [tensor(&[1., f32::NAN])];
    assert_eq!(compare(&nan, &nan, 1, Equality::Close).unwrap().absolute, f64::INFINITY);
    assert_eq!(compare(&nan, &nan, 1, Equality::Bits).unwrap().absolute, 0.);
    assert_eq!(compare(&nan, &[tensor(&[1., 2.])], 1, Equality::Bits).unwrap().absolute, f64::INFINITY);
}

#[test]
fn equal_infinities_do_not_differ_but_others_do() {
    let hidden = [tensor(&[f32::NEG_INFINITY, 2.])];
    let found = compare(&hidden, &hidden, 1, Equality::Close).unwrap();
    assert_eq!((found.absolute, found.magnitude), (0., 2.));
    assert_eq!(compare(&hidden, &[tensor(&[-1e30, 2.])], 1, Equality::Close).unwrap().absolute, f64::INFINITY);
}

#[test]
fn bits_tell_zeros_and_neighbours_apart() {
    let (plus, minus) = ([tensor(&[0., 1.])], [tensor(&[-0., 1.])]);
    assert_eq!(compare(&plus, &minus, 1, Equality::Close).unwrap().absolute, 0.);
    assert!(compare(&plus, &minus, 1, Equality::Bits).unwrap().absolute > 0.);
    let next = [tensor(&[0., f32::from_bits(1f32.to_bits() + 1)])];
    assert!(compare(&plus, &next, 1, Equality::Bits).unwrap().absolute > 0.);
}

#[test]
fn other_shapes_and_other_numbers_of_texts_differ() {
    let (one, other) = ([tensor(&[1., 2.])], [tensor(&[1., 2., 3., 4.])]);
    assert_eq!(compare(&one, &other, 1, Equality::Close).unwrap().absolute, f64::INFINITY);
    assert_eq!(compare(&one, &[], 1, Equality::Close).unwrap().absolute, f64::INFINITY);
}

/// A golden network with one weight changed.
fn with_weight(name: &str, weight: &str, change: impl Fn(usize, f32) -> f32) -> Decoder {
    let folder = golden(name);
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let mut weights: BTreeMap<String, Tensor> =
        candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap().into_iter().collect();
    let old = &weights[weight];
    let values = old.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let values: Vec<f32> = values.into_iter().enumerate().map(|(i, v)| change(i, v)).collect();
    let new = Tensor::from_vec(values, old.shape(), &Device::Cpu).unwrap();
    weights.insert(weight.to_string(), new);
    Decoder::new(config.as_object().unwrap(), &weights).unwrap()
}

#[test]
fn a_weight_that_is_not_a_number_fails_at_the_first_site_it_reaches() {
    let net = with_weight("llama", "model.layers.1.mlp.down_proj.weight", |i, v| if i == 3 { f32::NAN } else { v });
    let found = doctor::doctor(&net, &[], &Options::default(), &mut unwatched).unwrap();
    assert!(!found.passed());
    let finite = found.finding("finite values").unwrap();
    assert_eq!(finite.verdict, Verdict::Failed);
    assert_eq!(finite.place.as_ref().unwrap().site, "blocks.1.mlp.hook_out");
    assert!(finite.reason.as_ref().unwrap().contains("NaN"));
    for name in ["residual sums", "padding", "cached = uncached", "differentiable form", "down(post)"] {
        assert_eq!(found.finding(name).unwrap().verdict, Verdict::Failed, "{name}");
    }
    assert_eq!(found.finding("pattern rows").unwrap().verdict, Verdict::Passed);

    let text = terminal::render(&found.blocks(), &terminal::Style::plain(120));
    assert!(text.contains("FAILED   finite values"), "{text}");
    let whole = json::whole(&found).unwrap();
    assert_eq!(whole["result"]["findings"][1]["relative"], "inf");
    let back: doctor::Examination = serde_json::from_value(whole["result"].clone()).unwrap();
    assert_eq!(back, found);
}

#[test]
fn a_checkpoint_of_vast_numbers_fails() {
    let net = with_weight("gpt2", "transformer.h.0.mlp.c_proj.weight", |_, v| v * 3e38);
    assert!(!doctor::doctor(&net, &[], &Options::default(), &mut unwatched).unwrap().passed());
}

#[test]
fn one_token_texts_skip_what_needs_a_cache_and_say_why() {
    let found =
        doctor::doctor(&load(&golden("llama")), &[vec![5], vec![7]], &Options::default(), &mut unwatched).unwrap();
    assert!(found.passed());
    let cached = found.finding("cached = uncached").unwrap();
    assert_eq!(cached.verdict, Verdict::Skipped);
    assert!(cached.reason.as_ref().unwrap().contains("one token"));
    let text = terminal::render(&found.blocks(), &terminal::Style::plain(120));
    assert!(text.contains("skipped  cached = uncached"), "{text}");
}

#[test]
fn cached_runs_are_cut_where_rotary_frequencies_follow_the_length_and_the_report_says_so() {
    let found = doctor::doctor(&load(&golden("llama-dynamic")), &[], &Options::default(), &mut unwatched).unwrap();
    let text = terminal::render(&found.blocks(), &terminal::Style::plain(200));
    assert!(text.contains("compared on the first 8 tokens"), "{text}");
    assert!(
        doctor::doctor(&load(&golden("llama")), &[], &Options::default(), &mut unwatched).unwrap().notes.is_empty()
    );
}

#[test]
fn texts_that_the_network_cannot_take_are_errors() {
    let net = load(&golden("gpt2"));
    for (texts, expected) in [(vec![vec![61]], "vocabulary"), (vec![vec![1; 19]], "context"), (vec![vec![]], "tokens")]
    {
        let error = doctor::doctor(&net, &texts, &Options::default(), &mut unwatched).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

fn reference(name: &str, case: &str) -> Reference {
    Reference::open(golden(name).join(format!("{case}.safetensors"))).unwrap()
}

/// Adds to one value of a site's tensor.
fn perturb(reference: &mut Reference, site: &str, at: [usize; 3], by: f32) {
    let old = &reference.sites[site];
    let (_, pos, width) = old.dims3().unwrap();
    let mut values = old.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values[(at[0] * pos + at[1]) * width + at[2]] += by;
    let new = Tensor::from_vec(values, old.shape(), &Device::Cpu).unwrap();
    reference.sites.insert(site.to_string(), new);
}

#[test]
fn a_perturbed_reference_fails_at_the_perturbed_place() {
    let net = load(&golden("llama"));
    let mut wrong = reference("llama", "left_padded");
    let (row, start) = (0..wrong.tokens.rows)
        .map(|r| (r, wrong.tokens.real[r * wrong.tokens.pos..].iter().position(|x| *x).unwrap()))
        .find(|(_, start)| *start > 0)
        .unwrap();
    perturb(&mut wrong, "blocks.1.hook_resid_post", [row, start + 2, 4], 1e-3);
    let found = doctor::against_reference(&net, &wrong, REFERENCE).unwrap();
    let failed: Vec<_> = found.sites.iter().filter(|s| !s.passed).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (failed[0].site.as_str(), failed[0].row, failed[0].position),
        ("blocks.1.hook_resid_post", Some(row), 2)
    );
    assert!((failed[0].absolute - 1e-3).abs() < 5e-5);
    assert!(!found.passed());
    let text = terminal::render(&found.blocks(), &terminal::Style::plain(120));
    assert!(text.contains("FAILED   blocks.1.hook_resid_post"), "{text}");
    json::whole(&found).unwrap();

    // What a pad position holds is nobody's business.
    let mut padding = reference("llama", "left_padded");
    perturb(&mut padding, "blocks.1.hook_resid_post", [row, start - 1, 4], 1e3);
    assert!(doctor::against_reference(&net, &padding, REFERENCE).unwrap().passed());
}

#[test]
fn a_reference_that_does_not_fit_is_an_error_that_says_why() {
    let net = load(&golden("llama"));
    let error = |reference: &Reference| doctor::against_reference(&net, reference, REFERENCE).unwrap_err().to_string();

    let mut other = reference("llama", "plain");
    let x = other.sites["hook_embed"].clone();
    for name in ["hook_pos_embed", "blocks.9.hook_resid_pre"] {
        other.sites.insert(name.to_string(), x.clone());
    }
    let said = error(&other);
    assert!(said.contains("blocks.9.hook_resid_pre, hook_pos_embed"), "{said}");

    let mut narrow = reference("llama", "plain");
    narrow.sites.insert("hook_embed".to_string(), x.narrow(2, 0, 3).unwrap());
    assert!(error(&narrow).contains("`hook_embed` of the reference has shape"), "{}", error(&narrow));

    let mut twice = reference("llama", "plain");
    let post = twice.sites["blocks.0.hook_resid_post"].clone();
    twice.sites.insert("model.layers.0".to_string(), post);
    assert!(error(&twice).contains("twice"), "{}", error(&twice));

    let missing = Reference::from_tensors(BTreeMap::from([("logits".to_string(), x.clone())])).unwrap_err();
    assert!(missing.to_string().contains("input_ids"));
    let floats = Reference::from_tensors(BTreeMap::from([("input_ids".to_string(), x.get(0).unwrap())])).unwrap_err();
    assert!(floats.to_string().contains("whole numbers"));
}
