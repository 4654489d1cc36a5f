//! Edits that are part of a network: in every pass, before the pass's own.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use optrode::hook::{Edit, Registry, Standing};
use optrode::models::Side;
use serde_json::json;

use crate::common::shared::golden;
use crate::common::{batch, bits, edit, goldens, load, pass, see, text};

fn standing(edits: Vec<Edit>) -> Standing {
    Standing { edits, registry: Registry::elementary(), stored: BTreeMap::new() }
}

#[test]
fn a_network_with_an_edit_is_the_network_under_that_edit_in_every_pass() {
    for (name, net) in goldens() {
        let edits = vec![edit("blocks.1.mlp.hook_post[neuron=0..3]", json!({"op": "zero"}))];
        let tokens = batch(&[text(1, 9), text(2, 5)], Side::Right);
        let edited = net.edited(Some(standing(edits.clone()))).unwrap();
        let site = "blocks.1.mlp.hook_post";
        let (own, given) = (see(&edited, &tokens, &pass(&[site], &[])), see(&net, &tokens, &pass(&[site], &edits)));
        assert_eq!(bits(&own.logits), bits(&given.logits), "{name}");
        assert_eq!(bits(own.at(site)), bits(given.at(site)), "{name}");
        // Before the pass's own: what the pass sets is not zeroed.
        let two = edit("blocks.1.mlp.hook_post[neuron=0..3]", json!({"op": "set", "value": 2.0}));
        let (own, given) = (
            see(&edited, &tokens, &pass(&[site], std::slice::from_ref(&two))),
            see(&net, &tokens, &pass(&[site], &[two])),
        );
        assert_eq!(bits(own.at(site)), bits(given.at(site)), "{name}");
        let plain = edited.edited(None).unwrap();
        assert_eq!(
            bits(&see(&plain, &tokens, &pass(&[], &[])).logits),
            bits(&see(&net, &tokens, &pass(&[], &[])).logits)
        );
    }
}

#[test]
fn an_edit_that_does_not_fit_is_refused_when_it_is_made_part_of_a_network() {
    let net = load(&golden("llama"));
    let words = |edits| net.edited(Some(standing(edits))).unwrap_err().to_string();
    assert!(words(vec![edit("blocks.77.mlp.hook_post", json!({"op": "zero"}))]).contains("77"));
    let stored = edit("blocks.0.mlp.hook_post", json!({"op": "set", "value": {"tensor": "m"}}));
    assert!(words(vec![stored.clone()]).contains("the bundle lacks"));
    let tensor = || Tensor::new(0.5f32, &Device::Cpu).unwrap();
    let with = Standing { stored: [("m".to_string(), tensor())].into(), ..standing(vec![stored]) };
    assert!(net.edited(Some(with)).is_ok());
}
