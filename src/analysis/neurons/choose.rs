//! Which neurons are shown.

use super::scan::Scan;
use super::{Options, Why};
use crate::hook::random;

/// A selective neuron fires at this many tokens at least: fewer make any neuron look selective.
const FIRES: u64 = 10;

/// The neurons that the options name, or some drawn at random (layer after layer, from evenly spaced layers) and the
/// most selective ones.
pub(super) fn choose(scan: &Scan, options: &Options) -> Vec<(usize, usize, Why)> {
    let mut chosen: Vec<(usize, usize, Why)> = Vec::new();
    let mut take = |layer: usize, neuron: usize, why: Why| {
        let fresh = !chosen.iter().any(|(l, n, _)| (*l, *n) == (layer, neuron));
        if fresh {
            chosen.push((layer, neuron, why));
        }
        fresh
    };
    if !options.show.is_empty() {
        options.show.iter().for_each(|[layer, neuron]| {
            take(*layer, *neuron, Why::Asked);
        });
        return chosen;
    }
    let (layers, width) = scan.size();
    for i in 0..options.random.min(layers * width) {
        let layer = if options.random <= layers { (2 * i + 1) * layers / (2 * options.random) } else { i % layers };
        let drawn = (0..).map(|again| random::key(options.seed, &[i as u64, again]) % width as u64);
        // Another draw where the layer's neuron is taken; every layer has room, for draws are spread evenly.
        drawn.take(64 * width).any(|neuron| take(layer, neuron as usize, Why::Random));
    }
    let all = (0..layers).flat_map(|l| (0..width).map(move |n| (l, n)));
    let firing = all.filter(|(l, n)| scan.fired(*l, *n) >= FIRES);
    let mut by_kurtosis: Vec<(f64, usize, usize)> =
        firing.filter_map(|(l, n)| Some((scan.kurtosis(l, n)?, l, n))).collect();
    by_kurtosis.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut taken = 0;
    for (_, layer, neuron) in by_kurtosis {
        if taken == options.selective {
            break;
        }
        taken += usize::from(take(layer, neuron, Why::Selective));
    }
    chosen
}
