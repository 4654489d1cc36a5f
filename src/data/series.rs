//! Signals that reservoirs are tried on.

use crate::hook::random::Stream;

/// Independent uniform numbers in [low, high).
pub fn uniform(steps: usize, low: f64, high: f64, seed: u64) -> Vec<f64> {
    let mut stream = Stream::new(seed, &[crate::hook::random::name("uniform")]);
    (0..steps).map(|_| low + (high - low) * stream.uniform()).collect()
}

/// NARMA10 for an input in [0, 0.5]: y(t+1) = 0.3 y(t) + 0.05 y(t) sum_{i<10} y(t-i) + 1.5 u(t-9) u(t) + 0.1. Entry t is
/// y(t+1), what is to be known when u(t) has been seen; the first ten steps are 0.
pub fn narma10(u: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; u.len() + 1];
    for t in 9..u.len() {
        let sum: f64 = y[t - 9..=t].iter().sum();
        y[t + 1] = 0.3 * y[t] + 0.05 * y[t] * sum + 1.5 * u[t - 9] * u[t] + 0.1;
    }
    y.split_off(1)
}

/// Mackey-Glass, x' = 0.2 x(t-17) / (1 + x(t-17)^10) - 0.1 x, sampled at every unit of time (Runge-Kutta of fourth order
/// with steps of 0.1 and the delayed value held inside a step), after 1000 units from 1.2.
pub fn mackey_glass(steps: usize) -> Vec<f64> {
    const PER: usize = 10;
    let (h, delay, skip) = (1.0 / PER as f64, 17 * PER, 1000);
    let mut x: Vec<f64> = vec![1.2; delay + 1];
    for _ in 0..(skip + steps) * PER {
        let (now, past) = (x[x.len() - 1], x[x.len() - 1 - delay]);
        let slope = |v: f64| 0.2 * past / (1.0 + past.powi(10)) - 0.1 * v;
        let k1 = slope(now);
        let k2 = slope(now + h / 2.0 * k1);
        let k3 = slope(now + h / 2.0 * k2);
        let k4 = slope(now + h * k3);
        x.push(now + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4));
    }
    x[delay..].iter().skip(skip * PER).step_by(PER).take(steps).copied().collect()
}
