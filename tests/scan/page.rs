//! The page of a unit.

use candle_core::Tensor;
use optrode::models::Network;
use serde_json::Value;

use super::{Desk, corpus, desk, run, scans};
use crate::common::shared::shared;
use crate::common::{assert_close, load};

#[track_caller]
fn page(desk: &Desk, unit: &str, more: &[&str]) -> String {
    let args = [&["neuron", "m", unit][..], more].concat();
    let ran = run(desk, &args);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    ran.out
}

#[test]
fn the_page_of_a_neuron_says_what_the_atlas_and_the_weights_know() {
    let desk = desk("gemma2");
    corpus(&desk);
    scans(&desk, "atlas", &["--heads", "--residual"]);
    let text = page(&desk, "blocks.1.mlp.hook_post[neuron=4]", &["--atlas", "atlas"]);
    let parts =
        ["excess kurtosis", "Density", "quantile 0.99", "By group", "fr", "[[w", "largest", "smallest", "raises"];
    for part in parts.iter().chain(&["read alike", "write alike", "go with it", "Direct effect"]) {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let json = page(&desk, "blocks.1.mlp.hook_post[neuron=4]", &["--atlas", "atlas", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let counts = json["histogram"][1].as_array().unwrap();
    let total: u64 = counts.iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(json["statistics"]["count"], total);
    assert_eq!(json["histogram"][0].as_array().unwrap().len(), counts.len() + 1);
    assert_eq!(json["name"], "blocks.1.mlp.hook_post[neuron=4]");
    for unit in ["blocks.0.attn.hook_result[head=1]", "blocks.1.hook_resid_post[d_model=3]"] {
        page(&desk, unit, &["--atlas", "atlas"]);
    }
}

#[test]
fn without_an_atlas_the_programs_own_texts_are_scanned() {
    let Some(model) = shared("models/stories260K") else { return };
    let desk = desk("llama");
    let ran = run(&desk, &["neuron", model.to_str().unwrap(), "blocks.{-1}.mlp.hook_post[neuron=0]"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("quick scan") && ran.out.contains("By group"), "{}", ran.out);
    // Where the tokenizer knows none of their words, there is nothing to show.
    let ran = run(&desk, &["neuron", "m", "blocks.0.mlp.hook_post[neuron=0]"]);
    assert!(ran.code == 2 && ran.err.contains("no token of text"), "{}", ran.err);
}

#[test]
fn a_request_for_no_unit_or_many_is_refused() {
    let desk = desk("llama");
    corpus(&desk);
    scans(&desk, "atlas", &[]);
    for (unit, word) in [
        ("blocks.*.mlp.hook_post[neuron=1]", "names 2 sites"),
        ("blocks.0.mlp.hook_post", "one unit"),
        ("blocks.0.mlp.hook_post[neuron=1,2]", "one unit"),
        ("blocks.0.mlp.hook_post[neuron=100]", "100"),
        ("blocks.0.hook_resid_post[d_model=1]", "no units of"),
        ("blocks.9.mlp.hook_post[neuron=1]", "9"),
    ] {
        let ran = run(&desk, &["neuron", "m", unit, "--atlas", "atlas"]);
        assert!(ran.code == 2 && ran.err.contains(word), "{unit}: {}", ran.err);
    }
}

/// The direct effect is the true difference of the logits, to first order, where the last norm's scale is held: checked
/// against the network's own lens. Post-norm families add a normed output, whose scale is left out.
#[test]
fn direct_effects_are_what_the_last_norm_and_unembedding_do() {
    for name in ["llama", "gpt2", "granite", "gpt_neox", "opt-350m"] {
        let net = load(&crate::common::shared::golden(name));
        let layer = net.facts().layers.len() - 1;
        let outputs = net.neuron_outputs(layer).unwrap();
        assert_eq!(outputs.dims(), [net.facts().d_mlp, net.facts().d_model], "{name}");
        assert_eq!(net.neuron_inputs(layer).unwrap().dims(), outputs.dims(), "{name}");
        let direction = outputs.narrow(0, 2, 1).unwrap();
        let effect = net.direct_logits(&direction).unwrap();
        // A stream far along one direction: the norm is the direction's own, so its scale is known.
        let far = |sign: f64| {
            let x = (&direction * (sign * 1e4)).unwrap().unsqueeze(0).unwrap();
            net.lens(&x, optrode::hook::Form::Differentiable).unwrap().squeeze(0).unwrap()
        };
        let difference = ((far(1.0) - far(-1.0)).unwrap() / 2.0).unwrap();
        let along = direction_scale(&direction, &net);
        assert_close(&(difference * along).unwrap(), &effect, 1e-4, name);
    }
}

/// The last norm's scale of a direction; 1 where there is no norm.
fn direction_scale(direction: &Tensor, net: &optrode::models::Decoder) -> f64 {
    if !net.facts().head.norm {
        return 1e-4;
    }
    let values = direction.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let n = values.len() as f64;
    let mean = match net.facts().norm.kind {
        optrode::nn::NormKind::Layer => values.iter().map(|x| f64::from(*x)).sum::<f64>() / n,
        optrode::nn::NormKind::Rms => 0.0,
    };
    assert!(net.sites().find("ln_final.hook_scale").is_some());
    (values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n).sqrt()
}
