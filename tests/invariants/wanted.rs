//! What nobody reads is not computed, and nothing else changes.

use std::collections::BTreeMap;

use candle_core::Tensor;
use optrode::hook::{Output, Pass, Tap};
use optrode::models::{Decoder, Input, Network, Side, State, Tokens};
use serde_json::json;

use crate::common::{AGREE, batch, bits, edit, goldens, pass, plan, relative, see, text};

fn tokens(side: Side) -> Tokens {
    batch(&[text(1, 9), text(2, 4), text(3, 1)], side)
}

fn reading(output: Output, pass: Pass) -> Pass {
    Pass { output, ..pass }
}

/// The last real token of every row.
fn at_last(logits: &Tensor, tokens: &Tokens) -> Tensor {
    let rows = tokens.real.chunks(tokens.pos).enumerate().map(|(row, real)| {
        let last = real.iter().rposition(|r| *r).unwrap();
        logits.narrow(0, row, 1).unwrap().narrow(1, last, 1).unwrap()
    });
    Tensor::cat(&rows.collect::<Vec<_>>(), 0).unwrap()
}

#[test]
fn records_are_the_same_when_the_output_is_unread() {
    let tokens = tokens(Side::Left);
    for (name, net) in goldens() {
        let whole = see(&net, &tokens, &pass(&["**"], &[]));
        for (_, site) in net.sites().iter() {
            let alone = see(&net, &tokens, &reading(Output::Unread, pass(&[&site.name], &[])));
            assert_eq!(alone.logits.dims(), [3, 0, net.facts().vocab], "{name}: {}", site.name);
            assert_eq!(bits(alone.at(&site.name)), bits(whole.at(&site.name)), "{name}: {}", site.name);
        }
    }
}

#[test]
fn the_last_logits_are_those_of_the_whole() {
    for (name, net) in goldens() {
        for side in [Side::Left, Side::Right] {
            let tokens = tokens(side);
            let expected = at_last(&see(&net, &tokens, &Pass::default()).logits, &tokens);
            for records in [&[][..], &["blocks.0.hook_resid_post"], &["logits"], &["ln_final.hook_out"]] {
                let here = |site: &&&str| net.sites().find(site).is_some();
                let records: Vec<&str> = records.iter().filter(here).copied().collect();
                let last = see(&net, &tokens, &reading(Output::Last, pass(&records, &[]))).logits;
                let error = relative(&last, &expected);
                assert!(error <= AGREE, "{name} {side:?}, recording {records:?}: {error:.1e}");
            }
        }
    }
}

#[test]
fn an_edit_of_the_logits_changes_the_last_ones_too() {
    let tokens = tokens(Side::Right);
    for (name, net) in goldens() {
        let edits = [edit("logits", json!({"op": "scale", "factor": -2.0}))];
        let whole = see(&net, &tokens, &pass(&[], &edits)).logits;
        let last = see(&net, &tokens, &reading(Output::Last, pass(&[], &edits))).logits;
        let error = relative(&last, &at_last(&whole, &tokens));
        assert!(error <= AGREE, "{name}: {error:.1e}");
    }
}

fn cached(net: &Decoder, first: Output) -> Tensor {
    let mut state = State::cached();
    let mut call = |tokens: Tokens, output: Output| {
        let mut plan = plan(net, &reading(output, pass(&["blocks.0.hook_resid_pre"], &[])), &BTreeMap::new());
        net.forward(&Input::Tokens(tokens), &mut state, &mut Tap::new(&mut plan)).unwrap()
    };
    let prompt = batch(&[text(1, 9)], Side::Left);
    call(prompt.clone(), first);
    call(prompt.next(&[7], &[true]), Output::Whole)
}

#[test]
fn a_cache_is_filled_though_the_output_is_unread() {
    for (name, net) in goldens() {
        assert_eq!(bits(&cached(&net, Output::Unread)), bits(&cached(&net, Output::Whole)), "{name}");
    }
}
