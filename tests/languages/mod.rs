//! Language neurons: both scores against hand-computed answers and an independent reference, counting against naive
//! loops, the null on planted and on exchangeable counts.

mod alignment;
mod causal;
mod commands;
mod counting;
mod files;
mod reference;
mod scores;

use optrode::analysis::languages::{Counts, Part};
use optrode::hook::random;

/// Counts of probabilities `[N][K]`, with so many tokens of every language.
pub fn counts(layers: usize, p: &[Vec<f64>], tokens: &[u64]) -> Counts {
    let column = |k: usize| Part {
        tokens: tokens[k],
        fired: p.iter().map(|row| (row[k] * tokens[k] as f64).round() as u64).collect(),
    };
    Counts {
        languages: (0..tokens.len()).map(|k| format!("l{k}")).collect(),
        layers,
        neurons: p.len() / layers,
        model: None,
        parts: (0..tokens.len()).map(|k| vec![column(k)]).collect(),
    }
}

/// Random probabilities: most neurons fire seldom, some for one language, some for all.
pub fn random_rates(seed: u64, units: usize, languages: usize) -> Vec<Vec<f64>> {
    let draw = |parts: &[u64]| random::uniform(random::key(seed, parts));
    let row = |unit: u64| -> Vec<f64> {
        let (kind, home) = (draw(&[unit, 1000]), (draw(&[unit, 1001]) * languages as f64) as usize);
        (0..languages)
            .map(|k| {
                let noise = 0.3 * draw(&[unit, k as u64]);
                match kind {
                    x if x < 0.1 && k == home => 0.9 - noise,
                    x if x < 0.2 && k == (home + 1) % languages => 0.8 - noise,
                    x if (0.2..0.23).contains(&x) => 0.95 - noise / 3.0,
                    _ => noise,
                }
            })
            .collect()
    };
    (0..units as u64).map(row).collect()
}
