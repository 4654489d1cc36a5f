//! Sweeps of patches against the naive loop, one whole forward pass for each patch.

mod agree;
mod patching;
mod refused;
mod repeatable;

use candle_core::Tensor;
use optrode::analysis::sweep::{Patched, Sweep, TOKENS, Work};
use optrode::hook::Selector;
use optrode::models::{Decoder, Side};
use serde_json::json;

use crate::common::{batch, floats, job};

/// The last logits of every patch and prompt.
pub fn swept(net: &Decoder, pairs: [&[Vec<u32>]; 2], patches: &[String], tokens: usize) -> (Vec<Vec<Vec<f32>>>, Work) {
    let selectors: Vec<Selector> = patches.iter().map(|p| p.parse().unwrap()).collect();
    let sweep = Sweep::new(net, pairs[0], pairs[1], &selectors).unwrap();
    let mut all = vec![vec![Vec::new(); pairs[0].len()]; patches.len()];
    let work = sweep.run(tokens, &mut |p: Patched| {
        assert!(all[p.patch][p.prompt].is_empty(), "{} was patched twice", patches[p.patch]);
        all[p.patch][p.prompt] = p.logits.to_vec();
        Ok(())
    });
    let work = work.unwrap();
    assert!(all.iter().flatten().all(|logits| !logits.is_empty()));
    (all, work)
}

/// The sites of a selector that has some.
pub fn sites(net: &Decoder, selector: &str) -> Vec<String> {
    use optrode::models::Network;
    let selector: Selector = selector.parse().unwrap();
    selector.resolve(net.sites()).map_or_else(|_| Vec::new(), |s| s.sites.into_iter().map(|s| s.name).collect())
}

/// The same by a job of passes; rows on the right of their padding.
pub fn naive(net: &Decoder, pairs: [&[Vec<u32>]; 2], patch: &str) -> Vec<Vec<f32>> {
    let selector: Selector = patch.parse().unwrap();
    let suffix = patch.strip_prefix(selector.name().as_str()).unwrap();
    let from = |site: String| {
        let value = json!({"pass": "source", "site": site});
        json!({"site": format!("{site}{suffix}"), "op": "replace", "value": value})
    };
    let edits: Vec<_> = sites(net, &selector.name()).into_iter().map(from).collect();
    let passes = json!([{"name": "source"}, {"name": "patched", "edits": edits}]);
    let inputs = [batch(pairs[1], Side::Left), batch(pairs[0], Side::Left)];
    let outcome = job(net, passes, &inputs).unwrap();
    let logits = &outcome.pass("patched").unwrap().output;
    (0..pairs[0].len()).map(|row| last(logits, row)).collect()
}

fn last(logits: &Tensor, row: usize) -> Vec<f32> {
    floats(&logits.narrow(0, row, 1).unwrap().narrow(1, logits.dim(1).unwrap() - 1, 1).unwrap())
}

/// Largest difference over the largest magnitude.
pub fn apart(got: &[f32], expected: &[f32]) -> f32 {
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let errors = got.iter().zip(expected).map(|(a, b)| (a - b).abs() / scale);
    errors.fold(0.0, |m, e| if e.is_nan() { f32::INFINITY } else { m.max(e) })
}

/// The whole sweep at once.
pub const ALL: usize = TOKENS;
