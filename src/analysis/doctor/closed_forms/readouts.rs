//! Readouts and measures.

use super::worst;
use crate::Result;
use crate::analysis::dynamics::{Driven, branching_factor, branching_multistep, lyapunov, regression_slope};
use crate::hook::random::{self, Stream};
use crate::nn::readout::{Ridge, Rls};
use crate::nn::spiking::Sparse;

/// Random samples `[count, width]` with targets.
fn samples(count: usize, width: usize) -> (Vec<f64>, Vec<f64>) {
    let mut stream = Stream::new(3, &[]);
    let mut draw = |n: usize| -> Vec<f64> { (0..n).map(|_| random::normal(stream.bits())).collect() };
    (draw(count * width), draw(count))
}

pub(super) fn rls_is_ridge() -> Result<f64> {
    let (width, alpha) = (12, 0.3);
    let (x, y) = samples(400, width);
    let ridge = Ridge::new(&x, width, alpha)?.fit(&y)?;
    let mut rls = Rls::new(width, 1, alpha, 1.0)?;
    for (x, y) in x.chunks_exact(width).zip(&y) {
        rls.step(x, &[*y])?;
    }
    let mut errors: Vec<f64> = ridge.iter().zip(rls.weights(0)).map(|(a, b)| a - b).collect();
    // P (alpha I + X^T X) = I.
    let p = rls.covariance();
    for i in 0..width {
        for j in 0..width {
            let gram = |k: usize| {
                x.chunks_exact(width).map(|row| row[k] * row[j]).sum::<f64>() + if k == j { alpha } else { 0.0 }
            };
            let product: f64 = (0..width).map(|k| p[i * width + k] * gram(k)).sum();
            errors.push(product - if i == j { 1.0 } else { 0.0 });
        }
    }
    Ok(worst(errors))
}

pub(super) fn rls_error() -> Result<f64> {
    let width = 6;
    let (x, y) = samples(50, width);
    let mut rls = Rls::new(width, 1, 1.0, 1.0)?;
    let mut errors = Vec::new();
    for (x, y) in x.chunks_exact(width).zip(&y) {
        let p = rls.covariance();
        let quadratic: f64 = (0..width * width).map(|at| x[at / width] * p[at] * x[at % width]).sum();
        let before = rls.step(x, &[*y])?[0];
        let after = x.iter().zip(rls.weights(0)).map(|(a, b)| a * b).sum::<f64>() - y;
        errors.push(after - before / (1.0 + quadratic));
    }
    Ok(worst(errors))
}

/// A signal, and the features that `state` makes of it, step by step, with a constant.
fn driven(steps: usize, past: usize, mut state: impl FnMut(&[f64], usize) -> Vec<f64>) -> (Vec<f64>, Vec<f64>) {
    let mut stream = Stream::new(11, &[]);
    let u: Vec<f64> = (0..past + steps).map(|_| 2.0 * stream.uniform() - 1.0).collect();
    let mut features = Vec::new();
    for t in 0..past + steps {
        let x = state(&u, t);
        if t >= past {
            features.extend(x);
            features.push(1.0);
        }
    }
    (u, features)
}

pub(super) fn delay_line() -> Result<f64> {
    const N: usize = 8;
    let (u, features) = driven(1200, 40, |u, t| (1..=N).map(|k| if t >= k { u[t - k] } else { 0.0 }).collect());
    let line = Driven::new(&features, N + 1, &u, 800, 1e-9)?;
    let capacity = line.capacity(30, |u| u)?;
    let beyond = capacity.curve[N..].iter().filter(|r| **r > 0.03).count() as f64;
    let curve = worst(capacity.curve[..N].iter().map(|r| r - 1.0));
    Ok(curve + beyond)
}

pub(super) fn leaky_unit() -> Result<f64> {
    let a: f64 = 0.8;
    let mut x = 0.0;
    let (u, features) = driven(40_000, 40, |u, t| {
        x = a * x + u[t];
        vec![x]
    });
    let unit = Driven::new(&features, 2, &u, 20_000, 1e-9)?;
    let curve = unit.capacity(10, |u| u)?.curve;
    Ok(worst(curve.iter().enumerate().map(|(i, r)| r - (1.0 - a * a) * a.powi(2 * (i as i32 + 1)))))
}

/// A branching process with immigration, and what is left of it if each unit is seen with chance `seen`.
fn branching_process(m: f64, steps: usize, seen: f64) -> Vec<f64> {
    let mut stream = Stream::new(5, &[]);
    let mut active = 100.0;
    (0..steps)
        .map(|_| {
            // Poisson offspring and immigrants of these large means, as their normal limit.
            let expected: f64 = m * active + 10.0;
            active = (expected + expected.sqrt() * random::normal(stream.bits())).round().max(0.0);
            if seen == 1.0 {
                return active;
            }
            let (mean, spread) = (active * seen, (active * seen * (1.0 - seen)).sqrt());
            (mean + spread * random::normal(stream.bits())).round().max(0.0)
        })
        .collect()
}

pub(super) fn branching() -> Result<f64> {
    let whole = branching_process(0.9, 40_000, 1.0);
    let part = branching_process(0.9, 40_000, 0.25);
    let one_lag = regression_slope(&part, 1);
    // The slope of one lag must be pulled down by what is not seen, or this control shows nothing.
    let control = if one_lag < 0.8 { 0.0 } else { 1.0 };
    let several = [branching_multistep(&whole, 10), branching_multistep(&part, 10), regression_slope(&whole, 1)];
    Ok(worst(several.map(|m| m - 0.9).into_iter().chain([control])))
}

pub(super) fn branching_ring() -> Result<f64> {
    const N: usize = 10;
    let ring = Sparse::new(N, N, (0..N as u32).map(|i| (i, (i + 1) % N as u32)).collect())?;
    let spikes: Vec<f32> = (0..40 * N).map(|at| f32::from(u8::from(at % N == (at / N) % N))).collect();
    Ok((branching_factor(&spikes, &ring, 4) - 1.0).abs())
}

pub(super) fn logistic_map() -> Result<f64> {
    let step = |x: &mut [f64], _: usize| {
        x[0] = 4.0 * x[0] * (1.0 - x[0]);
        Ok(())
    };
    Ok((lyapunov(step, &[0.3], 1e-9, 200_000, 1.0)? - std::f64::consts::LN_2).abs())
}
