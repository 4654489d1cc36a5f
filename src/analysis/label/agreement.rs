//! How well simulated activations agree with the true ones (Bills et al. 2023): over the tokens of all windows together,
//! not as a mean of windows.

use serde::{Deserialize, Serialize};

/// Scores of a simulation; 1 is the truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Pearson's r; 0 where one side is constant.
    pub correlation: f64,
    /// 1 - mean (a - s)^2 / mean a^2.
    pub squares: f64,
    /// 1 - mean |a - s| / mean |a|.
    pub absolute: f64,
}

impl Agreement {
    /// Of simulated `s` and true activations `a`. Zero-valued truths leave the last two 0.
    pub fn of(s: &[f64], a: &[f64]) -> Self {
        let pairs = || s.iter().zip(a);
        let left = |off: f64, all: f64| if all > 0.0 { 1.0 - off / all } else { 0.0 };
        Self {
            correlation: correlation(s, a),
            squares: left(pairs().map(|(s, a)| (a - s).powi(2)).sum(), a.iter().map(|a| a * a).sum()),
            absolute: left(pairs().map(|(s, a)| (a - s).abs()).sum(), a.iter().map(|a| a.abs()).sum()),
        }
    }
}

/// Pearson's r; 0 where one side is constant.
pub fn correlation(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len().min(y.len()).max(1) as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let sum = |f: &dyn Fn(f64, f64) -> f64| x.iter().zip(y).map(|(x, y)| f(x - mx, y - my)).sum::<f64>();
    let (xy, xx, yy) = (sum(&|x, y| x * y), sum(&|x, _| x * x), sum(&|_, y| y * y));
    if xx > 0.0 && yy > 0.0 { xy / (xx * yy).sqrt() } else { 0.0 }
}

/// A linear map from simulated to true activations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Slope.
    pub slope: f64,
    /// Intercept.
    pub intercept: f64,
}

impl Calibration {
    /// By least squares, on windows that no score is reported on; the mean where the simulation is constant.
    pub fn fit(s: &[f64], a: &[f64]) -> Self {
        let n = s.len().min(a.len()).max(1) as f64;
        let (ms, ma) = (s.iter().sum::<f64>() / n, a.iter().sum::<f64>() / n);
        let spread: f64 = s.iter().map(|s| (s - ms).powi(2)).sum();
        let joint: f64 = s.iter().zip(a).map(|(s, a)| (s - ms) * (a - ma)).sum();
        let slope = if spread > 0.0 { joint / spread } else { 0.0 };
        Self { slope, intercept: ma - slope * ms }
    }

    /// A simulated value on the true scale.
    pub fn apply(&self, s: f64) -> f64 {
        self.slope * s + self.intercept
    }
}
