//! Timescales from autocorrelations: one exponential or two, whichever Akaike's criterion prefers.
//!
//! ```text
//! C(k) = sum_t x_t x_{t+k} / (T - k),  x without its mean        averaged over trials, then divided by C(0)
//! one:  a exp(-k/t)                    two:  a [c exp(-k/t1) + (1 - c) exp(-k/t2)],  a and c in 0..1, t in 0..100
//! AIC = 2 p + n ln(RSS/n),  p = 2 or 4
//! ```
//!
//! The criterion takes the errors at different lags for independent. Those of a sampled autocorrelation are not, so that of
//! one process it often prefers two, the slower too slow: the single fit is given beside it.
//!
//! For given time constants the best amplitudes are a linear problem of one or two unknowns, so that what is searched is
//! one or two time constants: on a grid, then on finer ones around the best. Nothing is drawn, nothing depends on a start.

/// The largest lag that is fitted: beyond it the bias of the mean decides.
pub const LAGS: usize = 30;
/// The longest time constant.
const LONGEST: f64 = 100.0;
/// The shortest: exp(-1/0.05) is nothing.
const SHORTEST: f64 = 0.05;
/// Time constants of the first grid.
const GRID: usize = 36;
/// Finer grids.
const ROUNDS: usize = 12;
/// How much finer each is than the last.
const FINER: f64 = 2.5;
/// How many of its steps it reaches to both sides.
const REACH: i32 = 4;
/// The least mean square that counts: below it two fits of exact data are equally good.
const EXACT: f64 = 1e-10;

/// A fit to an autocorrelation.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Amplitudes with their time constants, the slowest first.
    pub parts: Vec<(f64, f64)>,
    /// Sum of squared errors.
    pub rss: f64,
    /// Akaike's criterion.
    pub aic: f64,
}

/// The autocorrelation of a unit at lags 0 to [`LAGS`], over trials of one length; `None` for a unit that never moves.
pub fn autocorrelation(trials: &[Vec<f64>]) -> Option<Vec<f64>> {
    let mut total = vec![0.0; LAGS + 1];
    for trial in trials {
        let mean = trial.iter().sum::<f64>() / trial.len() as f64;
        let x: Vec<f64> = trial.iter().map(|x| x - mean).collect();
        for (lag, total) in total.iter_mut().enumerate().take(x.len()) {
            let products: f64 = x.iter().zip(&x[lag..]).map(|(a, b)| a * b).sum();
            *total += products / (x.len() - lag) as f64;
        }
    }
    let variance = total[0];
    // A variance of f32 rounding is none.
    (variance > 1e-12).then(|| total.into_iter().map(|c| c / variance).collect())
}

/// The fit that Akaike's criterion prefers; the single one where they are equally good.
pub fn fit(correlation: &[f64]) -> Fit {
    let (one, two) = (single(correlation), double(correlation));
    if two.aic < one.aic { two } else { one }
}

/// The timescale of an autocorrelation: the slower constant of the preferred fit.
pub fn timescale(correlation: &[f64]) -> f64 {
    fit(correlation).parts.first().map_or(f64::NAN, |part| part.1)
}

/// One exponential.
pub fn single(correlation: &[f64]) -> Fit {
    let one = |t: f64| {
        let e = decay(t, correlation.len());
        let a = (dot(correlation, &e) / dot(&e, &e)).clamp(0.0, 1.0);
        Tried { rss: squares(correlation, &[(a, &e)]), parts: vec![(a, t)] }
    };
    let mut best = least(grid().into_iter().map(one));
    for round in 0..ROUNDS {
        let center = best.parts[0].1;
        best = least([best].into_iter().chain(around(center, round).into_iter().map(one)));
    }
    best.fit(correlation.len(), 2)
}

/// Two exponentials.
pub fn double(correlation: &[f64]) -> Fit {
    let n = correlation.len();
    let known: Vec<(f64, Vec<f64>)> = grid().into_iter().map(|t| (t, decay(t, n))).collect();
    let pairs = known.iter().enumerate().flat_map(|(i, slow)| known[..i].iter().map(move |fast| (slow, fast)));
    let mut best = least(pairs.map(|((t1, e1), (t2, e2))| two(correlation, (*t1, e1), (*t2, e2))));
    for round in 0..ROUNDS {
        let [slow, fast] = [0, 1].map(|i: usize| best.parts[i].1);
        let of = |center: f64| -> Vec<(f64, Vec<f64>)> {
            around(center, round).into_iter().map(|t| (t, decay(t, n))).collect()
        };
        let (slow, fast) = (of(slow), of(fast));
        let pairs = slow.iter().flat_map(|slow| fast.iter().map(move |fast| (slow, fast)));
        let tried = pairs.map(|((t1, e1), (t2, e2))| two(correlation, (*t1, e1), (*t2, e2)));
        best = least([best].into_iter().chain(tried));
    }
    best.fit(n, 4)
}

/// Amplitudes with their time constants, and the sum of squared errors.
struct Tried {
    parts: Vec<(f64, f64)>,
    rss: f64,
}

impl Tried {
    fn fit(self, n: usize, p: usize) -> Fit {
        let mut parts: Vec<(f64, f64)> = self.parts.into_iter().filter(|(a, _)| *a > 0.0).collect();
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        let aic = 2.0 * p as f64 + n as f64 * (self.rss / n as f64).max(EXACT).ln();
        Fit { parts, rss: self.rss, aic }
    }
}

/// The best of what was tried, the first of equals.
fn least(tried: impl Iterator<Item = Tried>) -> Tried {
    let none = Tried { parts: vec![(0.0, SHORTEST), (0.0, SHORTEST)], rss: f64::INFINITY };
    tried.fold(none, |best, new| if new.rss < best.rss { new } else { best })
}

/// The best amplitudes of two exponentials: in the triangle of amplitudes that are not negative and add to at most 1 the
/// least of a convex function lies inside, or on one of the three sides.
fn two(y: &[f64], (t1, e1): (f64, &[f64]), (t2, e2): (f64, &[f64])) -> Tried {
    let (y1, y2) = (dot(y, e1), dot(y, e2));
    let (s11, s12, s22) = (dot(e1, e1), dot(e1, e2), dot(e2, e2));
    let determinant = s11 * s22 - s12 * s12;
    let free = ((y1 * s22 - y2 * s12) / determinant, (y2 * s11 - y1 * s12) / determinant);
    let tried = |(a, b): (f64, f64)| Tried { rss: squares(y, &[(a, e1), (b, e2)]), parts: vec![(a, t1), (b, t2)] };
    if determinant > 0.0 && free.0 >= 0.0 && free.1 >= 0.0 && free.0 + free.1 <= 1.0 {
        return tried(free);
    }
    // On the third side y - e2 = a (e1 - e2).
    let apart = s11 - 2.0 * s12 + s22;
    let a = if apart > 0.0 { ((y1 - y2 - s12 + s22) / apart).clamp(0.0, 1.0) } else { 0.0 };
    let sides = [(0.0, (y2 / s22).clamp(0.0, 1.0)), ((y1 / s11).clamp(0.0, 1.0), 0.0), (a, 1.0 - a)];
    least(sides.into_iter().map(tried))
}

fn squares(y: &[f64], parts: &[(f64, &[f64])]) -> f64 {
    let error = |(k, y): (usize, &f64)| y - parts.iter().map(|(a, e)| a * e[k]).sum::<f64>();
    y.iter().enumerate().map(|at| error(at).powi(2)).sum()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// exp(-k/t) at lags 0, 1, ...
fn decay(t: f64, n: usize) -> Vec<f64> {
    (0..n).map(|k| (-(k as f64) / t).exp()).collect()
}

/// The first time constants that are tried, in equal ratios.
fn grid() -> Vec<f64> {
    (0..GRID).map(|i| SHORTEST * (i as f64 * ratio()).exp()).collect()
}

/// The logarithm of the ratio of neighbours of the grid.
fn ratio() -> f64 {
    (LONGEST / SHORTEST).ln() / (GRID - 1) as f64
}

/// Time constants around one, a finer round than the last.
fn around(center: f64, round: usize) -> Vec<f64> {
    let step = ratio() / FINER.powi(round as i32 + 1);
    (-REACH..=REACH).map(|k| (center * (f64::from(k) * step).exp()).clamp(SHORTEST, LONGEST)).collect()
}
