//! Means with standard errors and intervals.

use crate::analysis::measure::{middle, ratio, redrawn};

/// The normal quantile of a 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// A figure with its standard error (NaN for a single value) and its 95 % interval (`None` where there is none).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub value: f64,
    pub stderr: f64,
    pub interval: Option<(f64, f64)>,
}

/// Wilson's score interval of a share of `n` (Wilson 1927), 95 %.
pub(in crate::analysis) fn wilson(share: f64, n: usize) -> (f64, f64) {
    let n = n as f64;
    let denominator = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / denominator;
    let half = Z / denominator * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At the ends the two halves cancel, but for rounding.
    let low = if share == 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if share == 1.0 { 1.0 } else { (centre + half).min(1.0) };
    (low, high)
}

/// The mean of values between 0 and 1. If all are 0 or 1 the interval is Wilson's, else the bootstrap's.
pub(super) fn mean(values: &[f64], draws: usize, seed: u64) -> Estimate {
    let n = values.len();
    let value = values.iter().sum::<f64>() / n as f64;
    let spread = values.iter().map(|x| (x - value).powi(2)).sum::<f64>();
    let stderr = if n > 1 { (spread / (n - 1) as f64).sqrt() / (n as f64).sqrt() } else { f64::NAN };
    let interval = match values.iter().all(|x| *x == 0.0 || *x == 1.0) {
        true => Some(wilson(value, n)),
        false => {
            let pairs: Vec<(f64, f64)> = values.iter().map(|x| (*x, 1.0)).collect();
            bootstrap(&pairs, |x| x, draws, seed).interval
        }
    };
    Estimate { value, stderr, interval }
}

/// `f(sum of the firsts / sum of the seconds)` for a rising `f`, with items drawn anew, with replacement, for error and
/// interval.
pub(super) fn bootstrap(pairs: &[(f64, f64)], f: impl Fn(f64) -> f64, draws: usize, seed: u64) -> Estimate {
    let value = f(ratio(pairs, 0..pairs.len()));
    let drawn = if pairs.len() < 2 { Vec::new() } else { redrawn(pairs, draws as u64, seed) };
    if drawn.len() < 2 {
        return Estimate { value, stderr: f64::NAN, interval: None };
    }
    let drawn: Vec<f64> = drawn.into_iter().map(f).collect();
    let centre = drawn.iter().sum::<f64>() / drawn.len() as f64;
    let spread = drawn.iter().map(|x| (x - centre).powi(2)).sum::<f64>();
    let stderr = (spread / (drawn.len() - 1) as f64).sqrt();
    Estimate { value, stderr, interval: Some(middle(&drawn)) }
}
