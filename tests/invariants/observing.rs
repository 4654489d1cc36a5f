//! Watching a network changes nothing, and neither does the form of its arithmetic.

use std::collections::BTreeMap;

use optrode::hook::{Form, Pass, Record, Tap};
use optrode::models::{Decoder, Input, Network, Side, State, Tokens};
use serde_json::json;

use crate::common::{AGREE, batch, bits, goldens, pass, plan, relative, see_with, text};

fn tokens() -> Tokens {
    batch(&[text(1, 9), text(2, 4), text(3, 1)], Side::Left)
}

fn silent(net: &Decoder, form: Form) -> Vec<u32> {
    let input = Input::Tokens(tokens());
    bits(&net.forward(&input, &mut State::none(), &mut Tap::silent(form)).unwrap())
}

/// Every site whole, before edits too, and reduced where it can be.
fn everything(net: &Decoder) -> Pass {
    let mut all = pass(&["**", "**@raw"], &[]);
    for (_, site) in net.sites().iter().filter(|(_, s)| s.by_position()) {
        for (kind, raw) in [("moments", ""), ("top", "@raw")] {
            let spec = if kind == "top" { json!({"kind": kind, "k": 2}) } else { json!({"kind": kind}) };
            let selector = format!("{}{raw}", site.name).parse().unwrap();
            all.records.push(Record::reduced(selector, serde_json::from_value(spec).unwrap()));
        }
    }
    all
}

#[test]
fn recording_everything_leaves_the_logits_bit_identical_in_both_forms() {
    for (name, net) in goldens() {
        for form in [Form::Inference, Form::Differentiable] {
            let mut plan = plan(&net, &everything(&net), &BTreeMap::new());
            if form == Form::Differentiable {
                plan = plan.differentiable();
            }
            let seen = see_with(&net, &tokens(), plan);
            assert_eq!(bits(&seen.logits), silent(&net, form), "{name} {form:?}");
            assert_eq!(seen.records.tensors.len(), 2 * net.sites().len(), "{name}");
            assert!(seen.records.reducers.len() > net.sites().len(), "{name}");
        }
    }
}

#[test]
fn recording_any_single_site_leaves_the_logits_bit_identical() {
    for (name, net) in goldens() {
        let expected = silent(&net, Form::Inference);
        for (_, site) in net.sites().iter() {
            let seen = see_with(&net, &tokens(), plan(&net, &pass(&[&site.name], &[]), &BTreeMap::new()));
            assert_eq!(bits(&seen.logits), expected, "{name}: {}", site.name);
        }
    }
}

#[test]
fn the_two_forms_agree_at_every_site() {
    let mut largest = (0f32, String::new());
    for (name, net) in goldens() {
        let plan = || plan(&net, &pass(&["**"], &[]), &BTreeMap::new());
        let fused = see_with(&net, &tokens(), plan());
        let composed = see_with(&net, &tokens(), plan().differentiable());
        for (site, recorded) in &composed.records.tensors {
            let error = relative(fused.at(site), &recorded.tensor);
            assert!(error <= AGREE, "{name}: {site} differs by {error:.1e}");
            if error > largest.0 {
                largest = (error, format!("{name}: {site}"));
            }
        }
    }
    eprintln!("the forms: {largest:?}");
}
