//! Errors planted into what a run showed, site by site: which of them an identity finds, and that comparing two runs
//! finds them all. A network that breaks its own sums cannot be made from weights, so the recordings are broken.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};
use optrode::analysis::doctor::compare::magnitude;
use optrode::analysis::doctor::parts::{
    Group, RowError, Scene, Seen, TABLE, Tally, Way, groups, observe, row_error, values,
};
use optrode::analysis::doctor::probe;
use optrode::hook::Axis;
use optrode::models::{Decoder, Network};

use crate::common::folders;

/// Every placement of norms, and norms of queries and keys of every kind.
const GOLDENS: &[&str] = &["llama", "gpt2", "gptj", "gpt_neox", "opt-350m", "gemma2", "olmo2", "qwen3", "bloom"];

/// What no identity ties to other sites (it takes the weights): runs are compared on these, and references.
const UNTIED: &[&str] = &[
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_rot_q",
    "attn.hook_rot_k",
    "attn.q_norm.hook_out",
    "attn.k_norm.hook_out",
    "hook_q_input",
    "hook_k_input",
    "hook_v_input",
    "ln1.hook_out",
    "ln2.hook_out",
    "ln_final.hook_out",
    "mlp.hook_pre",
    "mlp.hook_pre_linear",
    "embed.ln.hook_scale",
    "embed.ln.hook_normalized",
    "unembed.hook_out",
];

fn load(name: &str) -> Decoder {
    crate::common::load(&folders().into_iter().find(|folder| folder.ends_with(name)).unwrap())
}

/// Names of the invariants that fail in this way of running the texts.
fn failures(net: &Decoder, texts: &[Vec<u32>], group: &Group, seen: &Seen, alone: &Seen) -> Vec<&'static str> {
    let scene = Scene { net, texts, group, seen, alone };
    let mut failed = Vec::new();
    for invariant in TABLE.iter().filter(|i| i.on.contains(&seen.way)) {
        let mut tally = Tally::default();
        (invariant.check)(&scene, &mut tally).unwrap();
        if tally.problem.is_some() || tally.relative > invariant.tolerance {
            failed.push(invariant.name);
        }
    }
    failed
}

/// A thousandth of the site's size, added to the last visible value of the longest text.
fn plant(seen: &Seen, site: &str) -> Seen {
    let mut broken = seen.clone();
    let tensors = broken.sites.get_mut(site).unwrap();
    let size = magnitude(tensors).unwrap() as f32;
    let mut values = values(&tensors[1]).unwrap();
    let at = values.iter().rposition(|v| v.is_finite()).unwrap();
    values[at] += 1e-3 * size;
    tensors[1] = Tensor::from_vec(values, tensors[1].shape(), &Device::Cpu).unwrap();
    broken
}

#[test]
fn a_planted_error_is_found_at_every_site() {
    for name in GOLDENS {
        let net = load(name);
        let texts = probe::texts(net.facts(), 3, 9);
        let group = groups(&net, &texts).unwrap().remove(0);
        assert!(group.last);
        let alone = observe(&net, Way::Alone, &texts, &group).unwrap();
        let left = observe(&net, Way::Left, &texts, &group).unwrap();
        assert!(failures(&net, &texts, &group, &alone, &alone).is_empty());
        let mut untied = BTreeSet::new();
        for (_, site) in net.sites().iter() {
            if failures(&net, &texts, &group, &plant(&alone, &site.name), &alone).is_empty() {
                let part = site.name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
                untied.insert(part.map_or(site.name.as_str(), |(_, part)| part));
            }
            let found = failures(&net, &texts, &group, &plant(&left, &site.name), &alone);
            assert!(found.contains(&"padding"), "{name}: {} {found:?}", site.name);
        }
        let surprises: Vec<_> = untied.iter().filter(|site| !UNTIED.contains(site)).collect();
        assert!(surprises.is_empty(), "{name}: no identity finds an error at {surprises:?}");
    }
}

#[test]
fn each_identity_finds_its_own_error() {
    let net = load("llama");
    let texts = probe::texts(net.facts(), 3, 9);
    let group = groups(&net, &texts).unwrap().remove(0);
    let alone = observe(&net, Way::Alone, &texts, &group).unwrap();
    for (site, expected) in [
        ("blocks.1.attn.hook_pattern", "pattern rows"),
        ("blocks.1.attn.hook_attn_scores", "softmax"),
        ("blocks.1.attn.hook_v", "pattern x v = z"),
        ("blocks.1.attn.hook_z", "pattern x v = z"),
        ("blocks.1.attn.hook_result", "heads sum"),
        ("blocks.0.mlp.hook_post", "down(post)"),
        ("blocks.0.hook_mlp_out", "contributions"),
        ("blocks.1.hook_resid_mid", "residual sums"),
        ("hook_embed", "residual sums"),
        ("blocks.1.ln2.hook_scale", "norms"),
        ("ln_final.hook_normalized", "norms"),
        ("blocks.1.hook_resid_post", "lens of last layer"),
    ] {
        let found = failures(&net, &texts, &group, &plant(&alone, site), &alone);
        assert!(found.contains(&expected), "{site}: {found:?}");
    }
    let mut unvisited = alone.clone();
    unvisited.problems.push(("hook_embed".to_string(), "it was not visited".to_string()));
    assert_eq!(failures(&net, &texts, &group, &unvisited, &alone), ["sites visited"]);
    let mut off = alone.clone();
    off.output[0] = (&off.output[0] * (1.0 + 1e-6)).unwrap();
    assert!(failures(&net, &texts, &group, &off, &alone).contains(&"hooks on = off"));
}

#[test]
fn any_weight_on_a_hidden_key_is_wrong() {
    let fine = RowError { total: 0.0, hidden: 0.0 };
    assert_eq!(row_error(&[0.25, 0.75, 0.0], 1, None), fine);
    assert_eq!(row_error(&[0.25, 0.75, 1e-30], 1, None).hidden, f64::from(1e-30f32));
    assert_eq!(row_error(&[0.0, 0.75, 0.25], 2, Some(2)), fine);
    assert!(row_error(&[0.5, 0.25, 0.25], 2, Some(2)).hidden > 0.0);
    assert_eq!(row_error(&[0.5, 0.25, 0.0], 1, None).total, 0.25);
    assert_eq!(row_error(&[f32::NAN, 1.0, 0.0], 1, None).total, f64::INFINITY);
    assert_eq!(row_error(&[-0.5, 1.5, 0.0], 1, None).total, f64::INFINITY);
}

#[test]
fn a_network_is_examined_in_groups_of_layers_that_cover_every_site() {
    let net = load("gemma2");
    let long = vec![vec![1; 2000]; 4]; // attention maps alone exceed what is recorded at a time
    let groups = groups(&net, &long).unwrap();
    assert_eq!(groups.len(), net.facts().layers.len());
    let covered: BTreeSet<usize> = groups.iter().flat_map(|g| g.sites.iter().map(|id| id.index())).collect();
    assert_eq!(covered.len(), net.sites().len());
    assert_eq!(groups.iter().filter(|g| g.last).count(), 1);
}

#[test]
fn texts_are_cut_only_where_lengths_change_the_rotary_frequencies() {
    let steady = |name| probe::steady_length(load(name).facts(), 12).unwrap();
    assert_eq!(steady("llama"), None);
    assert_eq!(steady("llama-dynamic"), Some(8));
    assert_eq!(steady("phi3-longrope-long"), Some(8));
    assert_eq!(steady("phi3-longrope-short"), None);
}

#[test]
fn rows_are_cut_to_real_positions() {
    let texts = [vec![1, 2, 3], vec![4]];
    let batch = Way::Left.batches(&texts).unwrap().remove(0);
    assert_eq!(batch.tokens.pos, 5);
    let ids = Tensor::from_vec(batch.tokens.ids.clone(), (2, 5), &Device::Cpu).unwrap();
    let rows = batch.rows(&ids, &[Axis::Batch, Axis::Pos]).unwrap();
    let rows: Vec<Vec<u32>> = rows.iter().map(|r| r.flatten_all().unwrap().to_vec1().unwrap()).collect();
    assert_eq!(rows, texts);
}
