//! Batch = single = padded = cached, with and without edits.

use std::cell::RefCell;
use std::collections::BTreeMap;

use optrode::hook::{Edit, Pass};
use optrode::models::{Decoder, Side};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use super::edits::{SCOPES, Scoped, kinds, stored};
use super::layouts::{Layout, Text, alone, trace};
use crate::common::{AGREE, edit, goldens, pass, stretches, text as random_text};

/// Edits in one case; the cases of a network together hold every kind.
const AT_ONCE: usize = 3;

fn text(longest: usize) -> impl Strategy<Value = Text> {
    let token = 3u32..61;
    let prompt = prop::collection::vec(token.clone(), 1..=longest);
    let generated = prop::collection::vec(token, 0..=3);
    (prompt, generated).prop_map(|(prompt, generated)| Text { prompt, generated })
}

/// Rotary tables that depend on the length are compared within the length that they were trained for.
fn texts(net: &Decoder) -> impl Strategy<Value = Vec<Text>> + use<> {
    prop::collection::vec(text(if stretches(net) { 5 } else { 7 }), 3)
}

fn deterministic(cases: u32, seed: usize) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 40, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed as u8; 32]))
}

fn everything(edits: Vec<Edit>) -> Pass {
    Pass { seed: 5, ..pass(&["**"], &edits) }
}

/// The largest relative error of any site of any row in any layout against the texts one by one.
fn compare(net: &Decoder, texts: &[Text], chunk: usize, edits: &[Scoped]) -> Result<f32, TestCaseError> {
    let stored = stored(net);
    let references: Vec<_> = (0..texts.len())
        .map(|row| {
            let edits = edits.iter().filter_map(|e| e.alone(row)).collect();
            trace(net, &[alone(texts, row)], &everything(edits), &stored)
        })
        .collect();
    let pass = everything(edits.iter().map(Scoped::in_batch).collect());
    let mut largest = 0f32;
    for layout in [
        Layout::Left,
        Layout::Right,
        Layout::Both,
        Layout::Cached(Side::Left),
        Layout::Cached(Side::Right),
        Layout::Chunked(Side::Left, chunk),
        Layout::Chunked(Side::Right, chunk),
    ] {
        let batch = trace(net, &layout.calls(texts), &pass, &stored);
        for (row, reference) in references.iter().enumerate() {
            let (error, site) = batch.worst(row, reference);
            prop_assert!(error <= AGREE, "{layout:?} row {row}: {site} differs by {error:.1e}");
            largest = largest.max(error);
        }
    }
    Ok(largest)
}

#[test]
fn a_text_is_the_same_alone_in_a_batch_padded_and_cached() {
    let largest = RefCell::new((0f32, String::new()));
    for (n, (name, net)) in goldens().enumerate() {
        let strategy = (texts(&net), 0usize..8);
        let outcome = deterministic(3, n).run(&strategy, |(texts, chunk)| {
            let error = compare(&net, &texts, chunk, &[])?;
            keep_larger(&largest, error, || name.clone());
            Ok(())
        });
        outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    eprintln!("without edits: {largest:?}");
}

fn keep_larger(largest: &RefCell<(f32, String)>, error: f32, place: impl FnOnce() -> String) {
    if error > largest.borrow().0 {
        largest.replace((error, place()));
    }
}

fn edited(share: usize) {
    let largest = RefCell::new((0f32, String::new()));
    let mut failures = Vec::new();
    for (n, (name, net)) in goldens().enumerate().filter(|(n, _)| n % 2 == share) {
        let count = kinds(&net, 0).len();
        for first in (0..count).step_by(AT_ONCE) {
            let scopes = prop::collection::vec((0..SCOPES.len(), prop::option::weighted(0.25, 0usize..3)), AT_ONCE);
            let strategy = (texts(&net), 0usize..8, 0usize..60, scopes);
            let outcome = deterministic(1, n).run(&strategy, |(texts, chunk, seed, scopes)| {
                let kinds = kinds(&net, seed + n).into_iter().skip(first);
                let scoped = kinds.zip(scopes).map(|(kind, (scope, row))| Scoped {
                    kind,
                    scope: SCOPES[(scope + first + n) % SCOPES.len()],
                    row,
                });
                let error = compare(&net, &texts, chunk, &scoped.collect::<Vec<_>>())?;
                keep_larger(&largest, error, || format!("{name}, edits from {first} on"));
                Ok(())
            });
            failures.extend(outcome.err().map(|e| format!("{name}, edits from {first} on: {e:?}")));
        }
    }
    eprintln!("with edits: {largest:?}");
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn an_edited_text_is_the_same_alone_in_a_batch_padded_and_cached() {
    edited(0);
}

#[test]
fn an_edited_text_is_the_same_in_every_layout_in_the_other_half_of_the_networks() {
    edited(1);
}

/// Tables that depend on the length, longer than the length of training: rows of a batch still stand alone.
#[test]
fn rows_keep_their_own_rotary_tables_beyond_the_length_of_training() {
    let lengths = [(5, 0), (11, 0), (9, 3)];
    let texts: Vec<Text> = lengths
        .iter()
        .map(|(prompt, generated)| Text {
            prompt: random_text(*prompt as u64, *prompt),
            generated: random_text(99, *generated),
        })
        .collect();
    for (name, net) in goldens().filter(|(_, net)| stretches(net)) {
        let plain = everything(Vec::new());
        for layout in [Layout::Left, Layout::Right, Layout::Both] {
            let batch = trace(&net, &layout.calls(&texts), &plain, &BTreeMap::new());
            for row in 0..texts.len() {
                let single = trace(&net, &[alone(&texts, row)], &plain, &BTreeMap::new());
                let (error, site) = batch.worst(row, &single);
                assert!(error <= AGREE, "{name} {layout:?} row {row}: {site} differs by {error:.1e}");
            }
        }
    }
}

/// The documented exception: such a network caches keys before their rotation.
#[test]
fn an_edit_of_rotated_keys_lasts_for_its_call_where_tables_depend_on_the_length() {
    let texts = [Text { prompt: random_text(1, 4), generated: random_text(2, 2) }];
    let halved = edit("blocks.0.attn.hook_rot_k", json!({"op": "scale", "factor": 0.5}));
    let cached = Layout::Cached(Side::Left);
    for (name, net) in goldens().filter(|(_, net)| !net.facts().ropes.is_empty()) {
        let none = BTreeMap::new();
        let edited = everything(vec![halved.clone()]);
        let single = trace(&net, &[alone(&texts, 0)], &edited, &none);
        let (error, _) = trace(&net, &cached.calls(&texts), &edited, &none).worst(0, &single);
        assert_eq!(error <= AGREE, !stretches(&net), "{name}: {error:.1e}");
    }
}
