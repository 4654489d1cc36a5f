//! The choice of a setting, and the shares that it is made by.

use super::reach::Reach;
use super::result::Tried;
use super::score::Unit;
use crate::analysis::Estimate;

/// Settings of alpha that are tried in a layer.
const ALPHAS: usize = 40;

/// The setting that the criterion of [`unlearn`](super::unlearn()) chooses.
pub fn choose(tried: &[Tried], forgotten: usize, tolerance: f64) -> Option<&Tried> {
    let harmless: Vec<&Tried> = tried.iter().filter(|t| t.worst(forgotten) <= tolerance).collect();
    let gain = |t: &Tried| match harmless.is_empty() {
        true => t.drop(forgotten) - t.worst(forgotten),
        false => t.drop(forgotten),
    };
    let pool: Vec<&Tried> = if harmless.is_empty() { tried.iter().collect() } else { harmless.clone() };
    let best = pool.iter().map(|t| gain(t)).filter(|x| x.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    let mut equal: Vec<&Tried> = pool.into_iter().filter(|t| gain(t) >= best - 1e-12).collect();
    let least = equal.iter().map(|t| t.worst(forgotten)).fold(f64::INFINITY, f64::min);
    equal.retain(|t| t.worst(forgotten) <= least + 1e-12);
    // The layer in which the knob may move farthest leaves most room for what was not seen.
    let room = |layer: Option<usize>| {
        let knobs = || equal.iter().filter(|t| t.setting.layer == layer).map(|t| t.setting.knob);
        knobs().fold(0.0, f64::max) / knobs().fold(f64::INFINITY, f64::min)
    };
    let roomiest = |a: &&&Tried, b: &&&Tried| room(a.setting.layer).total_cmp(&room(b.setting.layer));
    let roomy = equal.iter().rev().max_by(roomiest)?.setting.layer;
    equal.retain(|t| t.setting.layer == roomy);
    equal.get(equal.len().saturating_sub(1) / 2).copied()
}

/// Alphas from the nearest key of all groups to the farthest, evenly spaced on a logarithmic axis. A finer grid, with every
/// key as a threshold, chose settings that did worse on other data.
pub(super) fn spread(near: &[&[Reach]]) -> Vec<f64> {
    let all = || near.iter().copied().flatten().map(Reach::alpha).filter(|x| x.is_finite() && *x > 0.0);
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if high == 0.0 {
        return vec![1.0];
    }
    let step = |i: usize| (low.ln() + (high / low).ln() * i as f64 / (ALPHAS - 1) as f64).exp();
    (0..ALPHAS).map(step).collect()
}

/// value / original value; NaN where the original is 0.
pub(super) fn share(units: &[Unit], base: &[Unit]) -> f64 {
    let sum = |units: &[Unit]| units.iter().map(|u| u.right).sum::<f64>();
    if sum(base) == 0.0 { f64::NAN } else { sum(units) / sum(base) }
}

/// The same with its interval: units drawn anew, both runs together.
pub(super) fn kept_share(units: &[Unit], base: &[Unit], seed: u64) -> Estimate {
    if base.iter().all(|b| b.right == 0.0) {
        return Estimate::exact(f64::NAN);
    }
    // A unit that was wrong before may be right after: it must be drawn too, so that no weight is quite 0.
    let pairs: Vec<(f64, f64)> = units.iter().zip(base).map(|(u, b)| (u.right, b.right.max(1e-12))).collect();
    Estimate::ratio(&pairs, seed)
}
