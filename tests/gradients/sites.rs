//! dMetric/dSite.

use std::collections::BTreeMap;

use candle_core::Tensor;
use optrode::hook::{Axis, Site, random};
use optrode::models::{Decoder, Network};
use serde_json::json;

use super::*;
use crate::common::edit;

const COORDINATES: u64 = 2;

/// A random real place of a site: its index along every axis, and the selector that names it.
fn place(site: &Site, seed: u64) -> (Vec<usize>, String) {
    let tokens = tokens();
    let draw = |what: &str, below: usize| {
        let parts = [random::name(&site.name), random::name(what)];
        (random::key(seed, &parts) % below as u64) as usize
    };
    let row = draw("row", tokens.rows);
    let padding = tokens.real[row * tokens.pos..].iter().take_while(|r| !**r).count();
    let position = draw("position", tokens.pos - padding);
    let mut index = Vec::new();
    let mut selector = site.name.clone();
    for (axis, size) in site.axes.iter().zip(&site.sizes) {
        let at = match axis {
            Axis::Batch => row,
            Axis::Pos | Axis::Query => padding + position,
            Axis::Key => {
                let key = draw("key", position + 1);
                selector += &format!("[key={key}]");
                padding + key
            }
            axis => {
                let i = draw(axis.name(), size.unwrap());
                selector += &format!("[{}={i}]", axis.name());
                i
            }
        };
        index.push(at);
    }
    (index, format!("{selector}@{position}@rows={row}"))
}

fn at(x: &Tensor, index: &[usize]) -> f64 {
    let flat = index.iter().zip(x.dims()).fold(0, |flat, (i, size)| flat * size + i);
    doubles(x)[flat]
}

fn difference(net: &Decoder, selector: &str) -> f64 {
    difference_behind(net, &[], selector)
}

fn difference_behind(net: &Decoder, edits: &[Edit], selector: &str) -> f64 {
    let moved = |by: f64| {
        let add = edit(selector, json!({"op": "add", "value": 1.0, "coefficient": by}));
        value(net, &[edits, &[add]].concat(), &BTreeMap::new())
    };
    (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
}

#[test]
fn gradients_of_every_site_match_finite_differences() {
    let mut largest = (0f64, String::new());
    let mut failures = Vec::new();
    for name in NETWORKS {
        let (config, weights) = wide(name);
        let net = Decoder::new(&config, &weights).unwrap();
        let found = differentiate(&net, &all_sites());
        assert_eq!(found.sites.len(), net.sites().len(), "{name}");
        for (_, site) in net.sites().iter() {
            let gradient = &found.sites[&site.name];
            let all = doubles(gradient);
            assert!(all.iter().all(|g| g.is_finite()), "{name}: {}", site.name);
            let scale = all.iter().fold(0f64, |m, g| m.max(g.abs()));
            for seed in 0..COORDINATES {
                let (index, selector) = place(site, seed);
                let (analytic, numeric) = (at(gradient, &index), difference(&net, &selector));
                let error = error(analytic, numeric, scale);
                if error > largest.0 {
                    largest = (error, format!("{name}: {selector}"));
                }
                if error > TOLERANCE {
                    failures.push(format!("{name}: {selector}: {analytic:.6e}, by differences {numeric:.6e}"));
                }
            }
        }
    }
    eprintln!("sites: {largest:?}");
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn hidden_scores_have_no_gradient_and_every_other_site_has_one() {
    for name in NETWORKS {
        let (config, weights) = wide(name);
        let net = Decoder::new(&config, &weights).unwrap();
        let mut pass = all_sites();
        pass.records = vec![optrode::hook::Record::whole("**.hook_attn_scores".parse().unwrap())];
        let found = differentiate(&net, &pass);
        for (site, gradient) in &found.sites {
            let gradient = doubles(gradient);
            assert!(gradient.iter().any(|g| *g != 0.0), "{name}: {site} has no gradient");
            let Some(scores) = found.records.tensors.get(site) else {
                continue;
            };
            let scores = doubles(&scores.tensor);
            let hidden = scores.iter().zip(&gradient).filter(|(s, _)| **s == f64::NEG_INFINITY);
            assert!(hidden.clone().count() > 0, "{name}");
            assert!(hidden.clone().all(|(_, g)| *g == 0.0), "{name}: {site}");
        }
    }
}

/// Opening gradients must not move the forward pass.
#[test]
fn opening_every_gradient_leaves_the_metric_alone() {
    for name in NETWORKS {
        let (config, weights) = wide(name);
        let net = Decoder::new(&config, &weights).unwrap();
        let plain = value(&net, &[], &BTreeMap::new());
        let opened: f64 = differentiate(&net, &all_sites()).value.to_scalar().unwrap();
        assert!((opened - plain).abs() <= 1e-12 * plain.abs().max(1.0), "{name}: {opened} {plain}");
    }
}

fn agrees_behind(net: &Decoder, edits: &[Edit], site: &str) -> bool {
    let pass = Pass { edits: edits.to_vec(), ..all_sites() };
    let found = differentiate(net, &pass);
    let site = net.sites().get(net.sites().id(site).unwrap());
    (0..4).all(|seed| {
        let (index, selector) = place(site, seed);
        let numeric = difference_behind(net, edits, &selector);
        error(at(&found.sites[&site.name], &index), numeric, 0.1) <= TOLERANCE
    })
}

#[test]
fn gradients_pass_through_edits() {
    let edits = [
        edit("blocks.0.attn.hook_z[head=1]@last", json!({"op": "scale", "factor": 0.5})),
        edit("blocks.1.mlp.hook_post[neuron=3..9]", json!({"op": "clamp", "upper": 0.02})),
        edit("blocks.1.attn.hook_pattern[head=0][key=0]", json!({"op": "scale", "factor": 1.3})),
    ];
    for name in NETWORKS {
        let (config, weights) = wide(name);
        let net = Decoder::new(&config, &weights).unwrap();
        assert!(agrees_behind(&net, &edits, "blocks.0.hook_resid_pre"), "{name}");
    }
}

#[test]
fn a_value_of_an_earlier_site_carries_its_gradient_unless_it_is_detached() {
    for name in NETWORKS {
        let (config, weights) = wide(name);
        let net = Decoder::new(&config, &weights).unwrap();
        for detach in [false, true] {
            let value = json!({"site": "blocks.0.hook_resid_pre", "detach": detach});
            let edits = [edit("blocks.1.hook_resid_pre", json!({"op": "add", "value": value}))];
            let agrees = agrees_behind(&net, &edits, "hook_embed");
            assert_eq!(agrees, !detach, "{name}, detached: {detach}");
        }
    }
}
