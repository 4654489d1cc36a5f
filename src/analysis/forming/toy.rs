//! The toy model of three factors: why a product of smooth parts learns with a plateau and a drop.
//!
//! ```text
//! T = a (x) b (x) c, the truth;  T^ = a^ (x) b^ (x) c^;  loss = 0.5 mean (T^ - T)^2 over n^3 entries
//! dloss/da^ = (|b^|^2 |c^|^2 a^ - (b . b^)(c . c^) a) / n^3, and so on
//! ```
//!
//! With b and c clamped to the truth, a^ - a shrinks by 1 - rate |b|^2 |c|^2 / n^3 at every step, from the first one on.

use serde::{Deserialize, Serialize};

use crate::hook::random;
use crate::report::number;

/// Which factors are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clamped {
    /// None of them.
    None,
    /// The third.
    C,
    /// The second and the third.
    BAndC,
}

/// A run of gradient descent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Toy {
    /// What was given.
    pub clamped: Clamped,
    /// The loss before each step.
    #[serde(with = "number::nested")]
    pub loss: Vec<f64>,
    /// |a^ - a| before each step.
    #[serde(with = "number::nested")]
    pub distance: Vec<f64>,
    /// 1 - rate |b|^2 |c|^2 / n^3.
    #[serde(with = "number")]
    pub shrinks: f64,
}

/// Gradient descent on the three factors, all in `n` dimensions; the truth is Gaussian, the start Gaussian of size
/// `start`.
pub fn toy(clamped: Clamped, n: usize, rate: f64, start: f64, steps: usize, seed: u64) -> Toy {
    let gaussian = |which: u64, size: f64| -> Vec<f64> {
        (0..n as u64).map(|i| size * random::normal(random::key(seed, &[which, i]))).collect()
    };
    let truth = [gaussian(0, 1.0), gaussian(1, 1.0), gaussian(2, 1.0)];
    let mut fit = [gaussian(3, start), gaussian(4, start), gaussian(5, start)];
    let given = match clamped {
        Clamped::None => 3,
        Clamped::C => 2,
        Clamped::BAndC => 1,
    };
    fit[given..].clone_from_slice(&truth[given..]);
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let entries = (n as f64).powi(3);
    let (mut loss, mut distance) = (Vec::with_capacity(steps), Vec::with_capacity(steps));
    for _ in 0..steps {
        // |T^ - T|^2 = |T^|^2 - 2 T . T^ + |T|^2, each a product over the factors.
        let product = |of: &dyn Fn(usize) -> f64| (0..3).map(of).product::<f64>();
        let square = product(&|i| dot(&fit[i], &fit[i])) - 2.0 * product(&|i| dot(&truth[i], &fit[i]))
            + product(&|i| dot(&truth[i], &truth[i]));
        loss.push(0.5 * square / entries);
        distance.push(fit[0].iter().zip(&truth[0]).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt());
        let before = fit.clone();
        for i in 0..given {
            let others: Vec<usize> = (0..3).filter(|j| *j != i).collect();
            let own: f64 = others.iter().map(|j| dot(&before[*j], &before[*j])).product();
            let shared: f64 = others.iter().map(|j| dot(&truth[*j], &before[*j])).product();
            for (x, true_x) in fit[i].iter_mut().zip(&truth[i]) {
                *x -= rate * (own * *x - shared * true_x) / entries;
            }
        }
    }
    let shrinks = 1.0 - rate * dot(&truth[1], &truth[1]) * dot(&truth[2], &truth[2]) / entries;
    Toy { clamped, loss, distance, shrinks }
}
