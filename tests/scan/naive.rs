//! A scan equals plain loops over documents, one at a time.

use std::collections::BTreeMap;

use optrode::hook::random;
use optrode::models::{Side, Tokens};
use optrode::store::atlas::{DATABASE, Database};

use super::{corpus, desk, options, scan_with};
use crate::common::{floats, pass, see, shared::open};

/// One value of a unit: document, group, position, value, and whether it fired.
struct Value {
    document: u64,
    group: usize,
    position: u32,
    x: f64,
    fired: bool,
}

#[test]
fn a_scan_equals_plain_loops() {
    for name in ["llama", "gpt2"] {
        let desk = desk(name);
        let root = corpus(&desk);
        let (read, wanted) = options();
        let scanned = scan_with(&desk.path("m"), &root, &desk.path("atlas"), read, &wanted);
        assert_eq!(scanned.documents, 44, "{name}");
        let database = Database::open(&desk.path("atlas").join(DATABASE)).unwrap();
        let groups = database.groups().unwrap();
        let names: Vec<&str> = groups.iter().map(|g| g.name.as_str()).collect();
        assert_eq!(names, ["de", "en", "fr"]);
        assert_eq!(groups.iter().map(|g| g.documents).collect::<Vec<_>>(), [13, 22, 9]);

        let values = values(&desk.path("m"), &root, &names);
        let sites = database.sites().unwrap();
        let mut known: Vec<&String> = sites.iter().map(|s| &s.name).collect();
        known.sort();
        assert_eq!(known, values.keys().collect::<Vec<_>>());
        for (index, site) in sites.iter().enumerate() {
            let units = &values[&site.name];
            assert_eq!(site.units, units.len());
            for (number, expected) in units.iter().enumerate() {
                check_unit(&database, index, number, expected, site.unit != "head", &format!("{name} {}", site.name));
            }
        }
        assert_eq!(scanned.tokens as usize, values.values().next().unwrap()[0].len());
    }
}

/// Every counted value of every unit, by site, from single windows of single documents.
fn values(model: &std::path::Path, root: &std::path::Path, groups: &[&str]) -> BTreeMap<String, Vec<Vec<Value>>> {
    let model = open(model);
    let net = &model.decoder;
    let patterns =
        ["blocks.*.mlp.hook_post", "blocks.*.mlp.hook_pre", "blocks.*.attn.hook_result", "blocks.*.hook_resid_post"];
    let mut all: BTreeMap<String, Vec<Vec<Value>>> = BTreeMap::new();
    let mut document = 0;
    for file in ["a/de", "a/en", "b/en", "b/fr"] {
        let group = groups.iter().position(|g| file.ends_with(g)).unwrap();
        for line in std::fs::read_to_string(root.join(format!("{file}.txt"))).unwrap().lines() {
            let whole = model.encode(line).unwrap();
            for (piece, ids) in whole[1..].chunks(15).enumerate() {
                let row = [&whole[..1], ids].concat();
                let batch = Tokens::from_rows(std::slice::from_ref(&row), Side::Right, 0).unwrap();
                let seen = see(net, &batch, &pass(&patterns, &[]));
                for layer in 0..net.facts().layers.len() {
                    let at = |part: &str| floats(seen.block(layer, part));
                    let (post, pre, resid) = (at("mlp.hook_post"), at("mlp.hook_pre"), at("hook_resid_post"));
                    let result = at("attn.hook_result");
                    let (heads, d) = (net.facts().n_heads, net.facts().d_model);
                    let norms = result.chunks(d).map(|v| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt());
                    let norms: Vec<f64> = norms.collect();
                    let wide = |v: &[f32]| v.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
                    let sites = [
                        ("mlp.hook_post", wide(&post), wide(&pre)),
                        ("attn.hook_result", norms.clone(), norms),
                        ("hook_resid_post", wide(&resid), wide(&resid)),
                    ];
                    assert_eq!(sites[1].1.len(), row.len() * heads);
                    for (part, x, fires) in sites {
                        let width = x.len() / row.len();
                        let units = all.entry(format!("blocks.{layer}.{part}")).or_default();
                        units.resize_with(width, Vec::new);
                        for (p, id) in row.iter().enumerate().filter(|(_, id)| **id != 1) {
                            assert_eq!(*id, row[p]);
                            for (u, unit) in units.iter_mut().enumerate() {
                                let at = p * width + u;
                                let position = (piece * 15 + p) as u32;
                                unit.push(Value { document, group, position, x: x[at], fired: fires[at] > 0.0 });
                            }
                        }
                    }
                }
            }
            document += 1;
        }
    }
    all
}

fn check_unit(database: &Database, site: usize, number: usize, values: &[Value], fires: bool, name: &str) {
    let (id, unit) = database.unit(site, number).unwrap();
    let scale = values.iter().fold(1e-3f64, |m, v| m.max(v.x.abs()));
    let near = |got: Option<f64>, want: f64, what: &str| {
        let got = got.unwrap();
        assert!((got - want).abs() <= 2e-5 * scale, "{name} {number} {what}: {got}, expected {want}");
    };
    let n = values.len() as f64;
    let mean = values.iter().map(|v| v.x).sum::<f64>() / n;
    let var = values.iter().map(|v| (v.x - mean).powi(2)).sum::<f64>() / n;
    assert_eq!(unit.count as usize, values.len());
    near(unit.mean, mean, "mean");
    near(unit.std, var.sqrt(), "std");
    near(unit.min, values.iter().map(|v| v.x).fold(f64::INFINITY, f64::min), "min");
    near(unit.max, values.iter().map(|v| v.x).fold(f64::NEG_INFINITY, f64::max), "max");
    // Where a value is within rounding of zero, either is right.
    let fired = |of: &dyn Fn(&Value) -> bool| values.iter().filter(|v| of(v) && v.fired).count() as u64;
    if fires {
        assert!(unit.fired.unwrap().abs_diff(fired(&|_| true)) <= 1, "{name} {number}");
        assert_eq!(unit.rate.unwrap(), unit.fired.unwrap() as f64 / n);
    } else {
        assert_eq!((unit.fired, unit.rate), (None, None));
    }
    let mut sorted: Vec<f64> = values.iter().map(|v| v.x).collect();
    sorted.sort_by(f64::total_cmp);
    for (q, got) in optrode::store::atlas::QUANTILES.iter().zip(unit.quantiles) {
        let want = sorted[((q * n).ceil() as usize).clamp(1, sorted.len()) - 1];
        assert!((got.unwrap() - want).abs() <= want.abs() / 16.0 + 1e-4, "{name} {number} q{q}");
    }
    for p in database.profile(id).unwrap() {
        let own: Vec<&Value> = values.iter().filter(|v| v.group == p.group).collect();
        assert_eq!(p.count as usize, own.len());
        near(p.mean, own.iter().map(|v| v.x).sum::<f64>() / own.len() as f64, "mean of a group");
        if fires {
            assert!(p.fired.unwrap().abs_diff(fired(&|v| v.group == p.group)) <= 1);
        }
    }
    check_examples(database, id, values, scale, name);
}

fn check_examples(database: &Database, id: i64, values: &[Value], scale: f64, name: &str) {
    let examples = database.examples(id).unwrap();
    let value_at = |document: u64, position: u32| {
        values.iter().find(|v| (v.document, v.position) == (document, position)).map(|v| v.x)
    };
    for (kind, sign) in [("top", 1.0), ("bottom", -1.0)] {
        let mut best: BTreeMap<u64, f64> = BTreeMap::new();
        for v in values {
            let old = best.entry(v.document).or_insert(f64::NEG_INFINITY);
            *old = old.max(v.x * sign);
        }
        let mut best: Vec<f64> = best.into_values().collect();
        best.sort_by(|a, b| b.total_cmp(a));
        let got: Vec<_> = examples.iter().filter(|e| e.kind == kind).collect();
        assert_eq!(got.len(), 3);
        for (rank, example) in got.iter().enumerate() {
            assert_eq!(example.rank, rank);
            assert!((example.value * sign - best[rank]).abs() <= 2e-5 * scale, "{name} {kind} {rank}");
        }
        let mut documents: Vec<u64> = got.iter().map(|e| e.context.document).collect();
        documents.dedup();
        assert_eq!(documents.len(), 3, "one per document");
    }
    let mut bands = 0;
    for example in &examples {
        let context = &example.context;
        let own = value_at(context.document, context.position).unwrap();
        assert!((own - example.value).abs() <= 2e-5 * scale, "{name} {}", example.kind);
        assert!(
            context.tokens.len() <= 25 && context.words[context.focus] == format!("w{}", context.tokens[context.focus])
        );
        bands += usize::from(example.kind.starts_with('q'));
    }
    assert!(bands >= 10, "{bands}");
    // The sample has the smallest hashes of (seed, document with its group, position).
    let key = |v: &&Value| random::key(7, &[v.document << 10 | v.group as u64, u64::from(v.position)]);
    let mut keys: Vec<(u64, u64, u32)> = values.iter().map(|v| (key(&v), v.document, v.position)).collect();
    keys.sort_unstable();
    let sample: Vec<(u64, u32)> = keys.into_iter().take(50).map(|(_, d, p)| (d, p)).collect();
    for example in examples.iter().filter(|e| e.kind.starts_with('q')) {
        assert!(sample.contains(&(example.context.document, example.context.position)));
    }
}
