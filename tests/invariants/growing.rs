//! A cache that grows in place is the cache that is made anew.

use std::collections::BTreeMap;

use candle_core::Tensor;
use optrode::hook::{Form, Tap};
use optrode::models::{Decoder, Input, Network, Side, State, Tokens};

use crate::common::{AGREE, batch, bits, goldens, relative, text};

/// One more token for every row.
fn step(net: &Decoder, state: &mut State, before: &Tokens, ids: &[u32]) -> Tensor {
    let next = before.next(ids, &vec![true; ids.len()]);
    net.forward(&Input::Tokens(next), state, &mut Tap::off()).unwrap()
}

fn prompt(net: &Decoder) -> (Tokens, State) {
    let tokens = batch(&[text(1, 9), text(2, 4)], Side::Left);
    let mut state = State::cached();
    net.forward(&Input::Tokens(tokens.clone()), &mut state, &mut Tap::off()).unwrap();
    (tokens, state)
}

/// Far enough for the room to be doubled.
#[test]
fn a_long_generation_agrees_with_one_call() {
    for (name, net) in goldens() {
        let steps = net.facts().context.unwrap_or(80).min(80) - 9;
        let (tokens, mut state) = prompt(&net);
        let [a, b] = [text(3, steps), text(4, steps)];
        let last = (0..steps).map(|i| step(&net, &mut state, &tokens, &[a[i], b[i]])).last().unwrap();
        let whole = batch(&[[text(1, 9), a].concat(), [text(2, 4), b].concat()], Side::Left);
        let logits = net.forward(&Input::Tokens(whole), &mut State::none(), &mut Tap::off()).unwrap();
        if net.facts().ropes.iter().any(|r| r.scaling.depends_on_length()) {
            continue; // early tokens keep what they were computed with
        }
        let error = relative(&last, &logits.narrow(1, 8 + steps, 1).unwrap());
        assert!(error <= AGREE, "{name}: {error:.1e}");
    }
}

#[test]
fn clones_of_a_state_go_their_own_ways() {
    for (name, net) in goldens() {
        let (tokens, mut state) = prompt(&net);
        step(&net, &mut state, &tokens, &[5, 6]);
        let way = |state: &mut State, id: u32| {
            step(&net, state, &tokens, &[id, id]);
            step(&net, state, &tokens, &[8, 9])
        };
        let alone = [way(&mut state.clone(), 7), way(&mut state.clone(), 11)];
        let mut other = state.clone();
        // In turns, both beside the state that they come from.
        step(&net, &mut state, &tokens, &[7, 7]);
        step(&net, &mut other, &tokens, &[11, 11]);
        let first = step(&net, &mut state, &tokens, &[8, 9]);
        let second = step(&net, &mut other, &tokens, &[8, 9]);
        assert_eq!(bits(&first), bits(&alone[0]), "{name}");
        assert_eq!(bits(&second), bits(&alone[1]), "{name}");
    }
}

#[test]
fn a_patched_cache_is_used_and_grows() {
    for (name, net) in goldens() {
        let (tokens, mut state) = prompt(&net);
        step(&net, &mut state, &tokens, &[5, 6]);
        let mut patched = state.clone();
        for tensor in patched.tensors.values_mut() {
            *tensor = (&*tensor * 0.5).unwrap();
        }
        let expected: BTreeMap<String, Tensor> = patched.tensors.clone();
        step(&net, &mut patched, &tokens, &[7, 7]);
        for (cache, old) in &expected {
            let kept = patched.tensors[cache].narrow(1, 0, old.dim(1).unwrap()).unwrap();
            assert_eq!(bits(&kept), bits(old), "{name}: {cache}");
        }
    }
}

/// Gradients flow through what a cache keeps, so nothing is written in place there.
#[test]
fn both_forms_fill_the_same_cache() {
    for (name, net) in goldens() {
        let caches = [Form::Inference, Form::Differentiable].map(|form| {
            let tokens = batch(&[text(1, 9)], Side::Left);
            let mut state = State::cached();
            for call in [tokens.clone(), tokens.next(&[5], &[true]), tokens.next(&[6], &[true])] {
                net.forward(&Input::Tokens(call), &mut state, &mut Tap::silent(form)).unwrap();
            }
            state.tensors
        });
        for (cache, tensor) in &caches[0] {
            let error = relative(tensor, &caches[1][cache]);
            assert!(error <= AGREE, "{name}: {cache} {error:.1e}");
        }
    }
}
