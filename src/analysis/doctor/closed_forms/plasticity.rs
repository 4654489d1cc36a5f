//! Plasticity, and the trains that it is tried on.

use super::worst;
use crate::Result;
use crate::nn::spiking::{Eligibility, PairStdp, Pairing, Poisson, TripletStdp};

fn pair_rule() -> PairStdp {
    PairStdp {
        a_plus: 0.01,
        a_minus: 0.012,
        tau_plus: 20.0,
        tau_minus: 30.0,
        pairing: Pairing::AllToAll,
        bounds: (f64::NEG_INFINITY, f64::INFINITY),
        mu: 0.0,
    }
}

/// The change of one synapse over two trains, by a step of 1 ms.
fn pair_change(rule: &PairStdp, pre: &[f64], post: &[f64]) -> f64 {
    let (mut w, mut x, mut y) = (0.0, 0.0, 0.0);
    for (a, b) in pre.iter().zip(post) {
        (x, y) = (rule.pre().decayed(x, 1.0), rule.post().decayed(y, 1.0));
        w += rule.change(w, (*a, *b), (x, y));
        (x, y) = (rule.pre().jumped(x, *a), rule.post().jumped(y, *b));
    }
    w
}

pub(super) fn stdp_window() -> Result<f64> {
    let train = |at: usize| -> Vec<f64> { (0..100).map(|t| f64::from(u8::from(t == at))).collect() };
    let error = |lag: i64| {
        let got = pair_change(&pair_rule(), &train(40), &train((40 + lag) as usize));
        let expected = match lag {
            0 => 0.0,
            d if d > 0 => 0.01 * (-(d as f64) / 20.0).exp(),
            d => -0.012 * (d as f64 / 30.0).exp(),
        };
        got - expected
    };
    Ok(worst([-30, -7, -1, 0, 1, 7, 30].map(error)))
}

/// With p spikes per step and traces that are read before they jump, the past of a train holds p/(e^(dt/tau) - 1) spikes;
/// the formula of the rates is its limit for short steps.
pub(super) fn stdp_drift() -> Result<f64> {
    let rule = pair_rule();
    let train = |seed: u64| -> Vec<f64> {
        let poisson = Poisson { dt: 1.0, seed };
        (0..4_000_000).map(|t| f64::from(poisson.step(&[25.0], 0, t)[0])).collect()
    };
    let got = pair_change(&rule, &train(1), &train(2)) / 4_000_000.0;
    let expected = |p: f64, dt: f64| {
        let past = |tau: f64| 1.0 / (dt / tau).exp_m1();
        p * p * (rule.a_plus * past(rule.tau_plus) - rule.a_minus * past(rule.tau_minus))
    };
    let limit = expected(25.0 * 1e-7, 1e-4) / (rule.drift(25.0, 25.0) * 1e-7) - 1.0;
    Ok(worst([got / expected(-(-0.025f64).exp_m1(), 1.0) - 1.0, limit]))
}

pub(super) fn triplet() -> Result<f64> {
    let rule = TripletStdp::default();
    // Post at 0, pre at 10, post at 25 ms.
    let r1 = (-15.0f64 / rule.pre.0).exp();
    let (o1, o2) = ((-10.0f64 / rule.post.0).exp(), (-25.0f64 / rule.post.1).exp());
    let expected = -o1 * rule.minus.0 + r1 * (rule.plus.0 + rule.plus.1 * o2);
    let (mut w, mut r, mut o) = (0.0, (0.0, 0.0), (0.0, 0.0));
    for t in 0..30 {
        let (pre, post) = (f64::from(u8::from(t == 10)), f64::from(u8::from(t == 0 || t == 25)));
        let decay = |x: f64, tau: f64| x * (-1.0 / tau).exp();
        r = (decay(r.0, rule.pre.0), decay(r.1, rule.pre.1));
        o = (decay(o.0, rule.post.0), decay(o.1, rule.post.1));
        w += rule.change((pre, post), r, o);
        r = (r.0 + pre, r.1 + pre);
        o = (o.0 + post, o.1 + post);
    }
    Ok((w - expected).abs())
}

pub(super) fn eligibility() -> Result<f64> {
    let rule = Eligibility { tau: 40.0, eta: 0.5 };
    let e = (0..25).fold(rule.step(0.0, 0.3, 1.0), |e, _| rule.step(e, 0.0, 1.0));
    let instant = Eligibility { tau: 0.0, eta: 1.0 };
    Ok(worst([rule.change(e, 2.0) - 0.5 * 2.0 * 0.3 * (-25.0f64 / 40.0).exp(), instant.step(9.0, 0.0, 1.0)]))
}

pub(super) fn poisson() -> Result<f64> {
    let (rates, steps) = ([5.0, 40.0, 200.0], 50_000);
    let poisson = Poisson { dt: 1.0, seed: 7 };
    let mut counts = [0.0; 3];
    for t in 0..steps {
        let spikes = poisson.step(&rates, 0, t);
        counts.iter_mut().zip(spikes).for_each(|(c, s)| *c += f64::from(s));
    }
    Ok(worst((0..3).map(|i| {
        let p = 1.0 - (-rates[i] / 1000.0f64).exp();
        (counts[i] - p * steps as f64) / (steps as f64 * p * (1.0 - p)).sqrt()
    })))
}
