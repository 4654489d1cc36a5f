//! Which of thousands of labels are more than chance: Holm's correction, and the bootstrap over documents.

use crate::analysis::measure::middle;
use crate::hook::random;

/// Holm's step-down correction (Holm 1979): p-values that may be compared with the level of the whole family. In the
/// order given; NaN stays NaN and is no member of the family.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).filter(|i| !p[*i].is_nan()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let family = order.len();
    let mut adjusted = vec![f64::NAN; p.len()];
    let mut most = 0f64;
    for (rank, i) in order.into_iter().enumerate() {
        most = most.max((p[i] * (family - rank) as f64).min(1.0));
        adjusted[i] = most;
    }
    adjusted
}

/// P(Z > z) of a standard normal Z, to 1.2e-7 relative (the rational Chebyshev fit of erfc in Press et al., Numerical
/// Recipes, section 6.2).
pub fn normal_tail(z: f64) -> f64 {
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let sum = FIT.iter().rev().fold(0.0, |sum, c| sum * t + c);
    let upper = 0.5 * t * (-x * x + sum).exp();
    if z < 0.0 { 1.0 - upper } else { upper }
}

/// Documents drawn anew with replacement, the same draws for every unit.
#[derive(Clone, Debug)]
pub struct Redraws {
    /// How often each document was drawn, `[draws][documents]`.
    weights: Vec<Vec<u32>>,
}

impl Redraws {
    /// So many draws of as many documents as there are.
    pub fn new(documents: usize, draws: usize, seed: u64) -> Self {
        let draw = |draw: usize| {
            let mut stream = random::Stream::new(seed, &[random::name("redraws"), draw as u64]);
            let mut weights = vec![0; documents];
            (0..documents).for_each(|_| weights[stream.below(documents)] += 1);
            weights
        };
        Self { weights: (0..draws).map(draw).collect() }
    }

    /// The statistic for every draw that has one, ascending.
    pub fn values(&self, statistic: impl Fn(&[u32]) -> Option<f64>) -> Vec<f64> {
        let mut values: Vec<f64> = self.weights.iter().filter_map(|w| statistic(w)).filter(|x| !x.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

/// The spread of ascending bootstrap values: their standard deviation and 95 % interval; `None` for fewer than two.
pub fn spread(ascending: &[f64]) -> Option<(f64, (f64, f64))> {
    if ascending.len() < 2 {
        return None;
    }
    let n = ascending.len() as f64;
    let mean = ascending.iter().sum::<f64>() / n;
    let variance = ascending.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((variance.sqrt(), middle(ascending)))
}

/// Standard deviation of the AUROC of scores without ties that say nothing, sqrt((n+ + n- + 1) / (12 n+ n-)) (Mann and
/// Whitney 1947); with ties it is smaller.
pub fn null_deviation(active: u64, inactive: u64) -> f64 {
    let (a, b) = (active as f64, inactive as f64);
    ((a + b + 1.0) / (12.0 * a * b)).sqrt()
}
