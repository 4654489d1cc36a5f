//! The closed forms of the bio-inspired substrate ([`crate::nn::spiking`], [`crate::nn::readout`], [`crate::analysis::dynamics`]): what
//! each part must give, known without it.
//!
//! Spike counts of Izhikevich's neuron are golden numbers computed in f64 from the published equations.

use candle_core::{Device, Tensor, Var};

use super::Finding;
use crate::Result;
use crate::analysis::dynamics::{Driven, branching_factor, branching_multistep, lyapunov, regression_slope};
use crate::hook::random::{self, Stream};
use crate::nn::readout::{Ridge, Rls};
use crate::nn::spiking::{
    Adaptation, Conductance, Crossing, CurrentSynapse, Eligibility, Integration, Izhikevich, IzhikevichRule, Lif,
    PairStdp, Pairing, Poisson, RateUnit, Refractory, Sparse, Surrogate, TripletStdp, logistic,
};
use crate::report::Verdict;

/// One closed form.
struct ClosedForm {
    name: &'static str,
    meaning: &'static str,
    /// The largest error that counts as holding: absolute, or a count of wrong numbers.
    tolerance: f64,
    error: fn() -> Result<f64>,
}

/// Examines the substrate: one finding per closed form, always in the same order.
///
/// # Errors
/// None but defects: what does not hold is a finding.
pub fn closed_forms() -> Result<Vec<Finding>> {
    FORMS
        .iter()
        .map(|form| {
            let error = (form.error)()?;
            let holds = error <= form.tolerance;
            Ok(Finding {
                name: form.name.to_string(),
                meaning: form.meaning.to_string(),
                verdict: if holds { Verdict::Passed } else { Verdict::Failed },
                reason: None,
                tolerance: form.tolerance,
                relative: error,
                absolute: error,
                place: None,
                compared: 1,
            })
        })
        .collect()
}

const FORMS: &[ClosedForm] = &[
    ClosedForm {
        name: "sub-threshold decay",
        meaning: "V(t) = V0 e^(-t/tau) at any dt, to 1e-12",
        tolerance: 1e-12,
        error: decay,
    },
    ClosedForm {
        name: "f-I curve",
        meaning: "spikes in 1 s at dt 0.1: 26, 41, 63, 98 for I = 1.2, 1.5, 2, 3, and none for I <= threshold",
        tolerance: 0.0,
        error: f_i_curve,
    },
    ClosedForm {
        name: "f-I formula",
        meaning: "f = 1/(t_ref + tau ln(..)) is 26.43, 41.71, 63.04, 98.92 Hz",
        tolerance: 5e-3,
        error: f_i_formula,
    },
    ClosedForm {
        name: "exponential synapse",
        meaning: "halving dt leaves V at shared times unchanged (exact propagator, also at tau_s = tau_m)",
        tolerance: 1e-12,
        error: propagator,
    },
    ClosedForm {
        name: "potential's peak",
        meaning: "one spike's potential peaks at tau_m tau_s/(tau_m - tau_s) ln(tau_m/tau_s), within a step of 0.01 ms",
        tolerance: 0.0101,
        error: psp_peak,
    },
    ClosedForm {
        name: "Euler differs",
        meaning: "Euler's decay is 1 - dt/tau, the exact one less its error of (dt/tau)^2/2 to third order",
        tolerance: 5e-4,
        error: euler,
    },
    ClosedForm {
        name: "conductances bound V",
        meaning: "without a current V stays between the reversal potentials, for dt from 0.01 to 1000 ms",
        tolerance: 1e-9,
        error: conductance,
    },
    ClosedForm {
        name: "adaptation",
        meaning: "the LSNN's b tends to the rate of a regular train; a spike every k steps gives (1-rho)/(1-rho^k) after it",
        tolerance: 1e-12,
        error: adaptation,
    },
    ClosedForm {
        name: "Izhikevich counts",
        meaning: "spikes in 1 s at I = 10 of RS, IB, CH, FS, LTS, TC, RZ under half steps and Euler 0.5, 0.1, 0.01",
        tolerance: 0.0,
        error: izhikevich_counts,
    },
    ClosedForm {
        name: "Izhikevich currents",
        meaning: "regular spiking, spikes in 1 s by current (3.5 to 20) at Euler 0.5 and 0.01",
        tolerance: 0.0,
        error: izhikevich_currents,
    },
    ClosedForm {
        name: "Izhikevich rheobase",
        meaning: "saddle-node at 4.0 for b 0.2 and 1.0156 for b 0.25; rest at -70 without a current",
        tolerance: 1e-3,
        error: izhikevich_rest,
    },
    ClosedForm {
        name: "surrogates",
        meaning: "gradients through a spike are the published formulas on a grid; forward is the step",
        tolerance: 1e-12,
        error: surrogates,
    },
    ClosedForm {
        name: "surrogates' mass",
        meaning: "arctan, sigmoid, piecewise exponential, triangle and erf integrate to 1 (the step's height)",
        tolerance: 1e-2,
        error: surrogate_mass,
    },
    ClosedForm {
        name: "STDP window",
        meaning: "a pair at lag D changes w by A+ e^(-D/tau+) or -A- e^(-D/tau-), one in the same step by nothing",
        tolerance: 1e-12,
        error: stdp_window,
    },
    ClosedForm {
        name: "STDP drift",
        meaning: "Poisson pairs: E dw/dt = nu nu (A+ tau+ - A- tau-) in the limit of short steps; at 1 ms within 3 % on 4000 s",
        tolerance: 0.03,
        error: stdp_drift,
    },
    ClosedForm {
        name: "triplets",
        meaning: "post-pre-post adds r1 (A2+ + A3+ o2), o2 without the last spike's own jump",
        tolerance: 1e-15,
        error: triplet,
    },
    ClosedForm {
        name: "eligibility",
        meaning: "a reward T after a pair changes w by eta M e^(-T/tau) times the pair's term",
        tolerance: 1e-12,
        error: eligibility,
    },
    ClosedForm {
        name: "rate unit",
        meaning: "constant input: 1 - r/r_inf = (1 - leak)^t",
        tolerance: 1e-12,
        error: rate_unit,
    },
    ClosedForm {
        name: "Poisson rate",
        meaning: "trains have the rates asked for, within four standard errors",
        tolerance: 4.0,
        error: poisson,
    },
    ClosedForm {
        name: "RLS = ridge",
        meaning: "with mu = 1 both give the same weights, and P = (alpha I + X^T X)^-1",
        tolerance: 1e-8,
        error: rls_is_ridge,
    },
    ClosedForm {
        name: "RLS errors",
        meaning: "the error after an update is the one before it over 1 + x^T P x",
        tolerance: 1e-10,
        error: rls_error,
    },
    ClosedForm {
        name: "capacity of a delay line",
        meaning: "N delayed copies remember N steps and no more",
        tolerance: 1e-6,
        error: delay_line,
    },
    ClosedForm {
        name: "capacity of a leaky unit",
        meaning: "x' = a x + u has the lag curve (1 - a^2) a^(2k), within 0.02",
        tolerance: 0.02,
        error: leaky_unit,
    },
    ClosedForm {
        name: "branching",
        meaning: "a process with m = 0.9 is estimated at 0.9 (one lag and several), a quarter of it seen at 0.9 (several)",
        tolerance: 0.02,
        error: branching,
    },
    ClosedForm {
        name: "branching of a ring",
        meaning: "one spike that runs around a ring has a branching factor of 1",
        tolerance: 1e-12,
        error: branching_ring,
    },
    ClosedForm {
        name: "Lyapunov",
        meaning: "the logistic map at r = 4 has ln 2",
        tolerance: 2e-3,
        error: logistic_map,
    },
];

fn worst(errors: impl IntoIterator<Item = f64>) -> f64 {
    errors.into_iter().fold(0.0, |worst, e| if e.is_nan() { f64::INFINITY } else { worst.max(e.abs()) })
}

fn decay() -> Result<f64> {
    let run = |dt: f64| {
        let lif = Lif { dt, threshold: 9.0, ..Lif::default() };
        let v = (0..(40.0 / dt).round() as usize).fold(0.7, |v, _| lif.charge(v, 0.0));
        v - 0.7 * (-40.0f64 / 20.0).exp()
    };
    Ok(worst([0.1, 0.5, 1.0, 8.0].map(run)))
}

/// The substrate card's neuron: tau 20 ms, t_ref 2 ms, dt 0.1.
fn f_i_neuron() -> Lif {
    Lif { dt: 0.1, refractory: Refractory::Clamped(20), ..Lif::default() }
}

/// Spikes of a LIF neuron under a constant current.
fn lif_spikes(lif: &Lif, current: f64, steps: usize) -> usize {
    let (mut v, mut wait, mut count) = (0.0, 0, 0);
    for _ in 0..steps {
        if wait > 0 {
            wait -= 1;
            continue;
        }
        v = lif.charge(v, current);
        if lif.fires(v, lif.threshold) {
            v = lif.reset(v, lif.threshold);
            wait = lif.refractory.steps();
            count += 1;
        }
    }
    count
}

fn f_i_curve() -> Result<f64> {
    let cases = [(0.9, 0), (1.0, 0), (1.2, 26), (1.5, 41), (2.0, 63), (3.0, 98)];
    Ok(cases.iter().filter(|(i, n)| lif_spikes(&f_i_neuron(), *i, 10_000) != *n).count() as f64)
}

fn f_i_formula() -> Result<f64> {
    Ok(worst([(1.2, 26.43), (1.5, 41.71), (2.0, 63.04), (3.0, 98.92)].map(|(i, f)| f_i_neuron().rate(i) - f)))
}

/// The potential after one spike at 0, at every multiple of `every` ms.
fn potentials(tau_s: f64, dt: f64, every: f64, until: f64) -> Vec<f64> {
    let lif = Lif { dt, threshold: f64::INFINITY, ..Lif::default() };
    let synapse = CurrentSynapse { tau_s };
    let (kick, decay) = (synapse.kick(&lif), synapse.decay(dt));
    let (mut v, mut current, mut seen) = (0.0, 1.0, Vec::new());
    let per = (every / dt).round() as usize;
    for t in 1..=(until / dt).round() as usize {
        v = lif.charge(v, 0.0) + current * kick;
        current *= decay;
        if t % per == 0 {
            seen.push(v);
        }
    }
    seen
}

fn propagator() -> Result<f64> {
    let apart = |tau_s| {
        let (a, b) = (potentials(tau_s, 1.0, 1.0, 50.0), potentials(tau_s, 0.5, 1.0, 50.0));
        worst(a.iter().zip(&b).map(|(a, b)| a - b))
    };
    let (equal, nearly) = (potentials(20.0, 1.0, 1.0, 50.0), potentials(20.0 + 1e-12, 1.0, 1.0, 50.0));
    let limit = worst(equal.iter().zip(&nearly).map(|(a, b)| a - b));
    Ok(worst([apart(5.0), apart(20.0), apart(35.0), limit]))
}

fn psp_peak() -> Result<f64> {
    let v = potentials(5.0, 0.01, 0.01, 60.0);
    let highest = (0..v.len()).max_by(|a, b| v[*a].total_cmp(&v[*b])).unwrap_or(0);
    Ok((0.01 * (highest + 1) as f64 - CurrentSynapse { tau_s: 5.0 }.peak_time(20.0)).abs())
}

fn euler() -> Result<f64> {
    let of = |integration| Lif { integration, dt: 2.0, ..Lif::default() }.decay();
    Ok((of(Integration::Exact) - of(Integration::Euler) - 0.1f64.powi(2) / 2.0).abs())
}

fn conductance() -> Result<f64> {
    let mut stream = Stream::new(0, &[1]);
    let mut outside = 0.0f64;
    for dt in [0.01, 1.0, 30.0, 1000.0] {
        let lif = Lif { dt, rest: -70.0, ..Lif::default() };
        let mut v = -70.0;
        for _ in 0..200 {
            let g = [(5.0 * stream.uniform(), 0.0), (5.0 * stream.uniform(), -80.0)];
            v = Conductance::charge(&lif, v, 0.0, g.into_iter());
            outside = outside.max(v).max(-80.0 - v);
        }
    }
    let alone = Lif { rest: -70.0, ..Lif::default() };
    let leak = Conductance::charge(&alone, -60.0, 3.0, std::iter::empty()) - alone.charge(-60.0, 3.0);
    Ok(worst([outside.max(0.0), leak]))
}

fn adaptation() -> Result<f64> {
    let lsnn = Adaptation::lsnn(50.0, 1.0, 1.0);
    let rho = (-1.0f64 / 50.0).exp();
    let after = |every: usize| (0..5000).fold(0.0, |b, t| lsnn.step(b, f64::from(u8::from((t + 1) % every == 0)), 1.0));
    Ok(worst([1, 5, 10].map(|k| after(k) - (1.0 - rho) / (1.0 - rho.powi(k as i32)))))
}

/// Spikes in 1 s from v = -65, u = b v, in the published order: a step begins with the reset of what has fired, so that
/// what the last step lets fire is not counted.
fn izhikevich_spikes(cell: Izhikevich, current: f64, rule: IzhikevichRule) -> usize {
    let (mut v, mut u, mut count) = (-65.0, cell.b * -65.0, 0);
    for _ in 1..(1000.0 / rule.dt()).round() as usize {
        (v, u) = cell.charge(v, u, current, rule);
        if v >= Izhikevich::PEAK {
            (v, u) = (cell.c, u + cell.d);
            count += 1;
        }
    }
    count
}

fn izhikevich_counts() -> Result<f64> {
    const TABLE: [(&str, [usize; 4]); 7] = [
        ("RS", [20, 22, 23, 23]),
        ("IB", [27, 31, 34, 34]),
        ("CH", [43, 70, 86, 87]),
        ("FS", [63, 92, 125, 136]),
        ("LTS", [44, 63, 75, 78]),
        ("TC", [67, 184, 248, 274]),
        ("RZ", [80, 121, 178, 194]),
    ];
    let rules =
        [IzhikevichRule::Half, IzhikevichRule::Euler(0.5), IzhikevichRule::Euler(0.1), IzhikevichRule::Euler(0.01)];
    let mut wrong = 0;
    for (name, counts) in TABLE {
        let cell = Izhikevich::named(name);
        let got = rules.map(|rule| cell.map(|cell| izhikevich_spikes(cell, 10.0, rule)));
        wrong += got.iter().zip(counts).filter(|(got, expected)| **got != Some(*expected)).count();
    }
    Ok(wrong as f64)
}

fn izhikevich_currents() -> Result<f64> {
    let Some(cell) = Izhikevich::named("RS") else { return Ok(f64::INFINITY) };
    let table = [(3.5, 1, 1), (4.0, 7, 8), (5.0, 11, 11), (15.0, 33, 34), (20.0, 44, 46)];
    let at = |current, dt| izhikevich_spikes(cell, current, IzhikevichRule::Euler(dt));
    Ok(table.iter().filter(|(i, a, b)| at(*i, 0.5) != *a || at(*i, 0.01) != *b).count() as f64)
}

fn izhikevich_rest() -> Result<f64> {
    let (Some(rs), Some(lts)) = (Izhikevich::named("RS"), Izhikevich::named("LTS")) else { return Ok(f64::INFINITY) };
    let rest = (0..20_000).fold((-65.0, -13.0), |(v, u), _| rs.charge(v, u, 0.0, IzhikevichRule::Euler(0.1))).0;
    Ok(worst([rs.rheobase() - 4.0, lts.rheobase() - 1.0156, rest + 70.0]))
}

const SURROGATES: [Surrogate; 7] = [
    Surrogate::FastSigmoid(25.0),
    Surrogate::Arctan(2.0),
    Surrogate::Sigmoid(4.0),
    Surrogate::PiecewiseExponential(1.0),
    Surrogate::SoftSign(2.0),
    Surrogate::Triangle(1.0),
    Surrogate::Erf(2.0),
];

fn surrogates() -> Result<f64> {
    let grid: Vec<f64> = (-40..=40).map(|i| f64::from(i) * 0.05).collect();
    let mut errors = Vec::new();
    for surrogate in SURROGATES {
        for crossing in [Crossing::AtLeast, Crossing::Above] {
            let u = Var::from_tensor(&Tensor::new(grid.as_slice(), &Device::Cpu)?)?;
            let spikes = surrogate.spike(&u, crossing)?;
            let gradients = spikes.sum_all()?.backward()?;
            let got: Vec<f64> = gradients.get(&u).map_or_else(|| Ok(vec![f64::NAN; grid.len()]), Tensor::to_vec1)?;
            errors.extend(grid.iter().zip(got).map(|(u, g)| g - surrogate.derivative(*u)));
            let hard = |u: f64| f64::from(u8::from(if crossing == Crossing::AtLeast { u >= 0.0 } else { u > 0.0 }));
            errors.extend(grid.iter().zip(spikes.to_vec1::<f64>()?).map(|(u, s)| s - hard(*u)));
        }
    }
    Ok(worst(errors))
}

fn surrogate_mass() -> Result<f64> {
    let unit = [1, 2, 3, 5, 6].map(|i| SURROGATES[i]);
    let mass =
        |s: Surrogate| (-200_000..200_000).map(|i| s.derivative((f64::from(i) + 0.5) * 1e-3) * 1e-3).sum::<f64>();
    Ok(worst(unit.map(|s| mass(s) - 1.0)))
}

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

fn stdp_window() -> Result<f64> {
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
fn stdp_drift() -> Result<f64> {
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

fn triplet() -> Result<f64> {
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

fn eligibility() -> Result<f64> {
    let rule = Eligibility { tau: 40.0, eta: 0.5 };
    let e = (0..25).fold(rule.step(0.0, 0.3, 1.0), |e, _| rule.step(e, 0.0, 1.0));
    let instant = Eligibility { tau: 0.0, eta: 1.0 };
    Ok(worst([rule.change(e, 2.0) - 0.5 * 2.0 * 0.3 * (-25.0f64 / 40.0).exp(), instant.step(9.0, 0.0, 1.0)]))
}

fn rate_unit() -> Result<f64> {
    let unit = RateUnit { leak: RateUnit::leak_of(10.0, 1.0), gain: 4.0, threshold: 0.1 };
    let r = (0..30).fold(0.0, |r, _| unit.step(r, 0.3));
    Ok((r - logistic(0.8) * (1.0 - (-3.0f64).exp())).abs())
}

fn poisson() -> Result<f64> {
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

/// Random samples `[count, width]` with targets.
fn samples(count: usize, width: usize) -> (Vec<f64>, Vec<f64>) {
    let mut stream = Stream::new(3, &[]);
    let mut draw = |n: usize| -> Vec<f64> { (0..n).map(|_| random::normal(stream.bits())).collect() };
    (draw(count * width), draw(count))
}

fn rls_is_ridge() -> Result<f64> {
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

fn rls_error() -> Result<f64> {
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

fn delay_line() -> Result<f64> {
    const N: usize = 8;
    let (u, features) = driven(1200, 40, |u, t| (1..=N).map(|k| if t >= k { u[t - k] } else { 0.0 }).collect());
    let line = Driven::new(&features, N + 1, &u, 800, 1e-9)?;
    let capacity = line.capacity(30, |u| u)?;
    let beyond = capacity.curve[N..].iter().filter(|r| **r > 0.03).count() as f64;
    let curve = worst(capacity.curve[..N].iter().map(|r| r - 1.0));
    Ok(curve + beyond)
}

fn leaky_unit() -> Result<f64> {
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

fn branching() -> Result<f64> {
    let whole = branching_process(0.9, 40_000, 1.0);
    let part = branching_process(0.9, 40_000, 0.25);
    let one_lag = regression_slope(&part, 1);
    // The slope of one lag must be pulled down by what is not seen, or this control shows nothing.
    let control = if one_lag < 0.8 { 0.0 } else { 1.0 };
    let several = [branching_multistep(&whole, 10), branching_multistep(&part, 10), regression_slope(&whole, 1)];
    Ok(worst(several.map(|m| m - 0.9).into_iter().chain([control])))
}

fn branching_ring() -> Result<f64> {
    const N: usize = 10;
    let ring = Sparse::new(N, N, (0..N as u32).map(|i| (i, (i + 1) % N as u32)).collect())?;
    let spikes: Vec<f32> = (0..40 * N).map(|at| f32::from(u8::from(at % N == (at / N) % N))).collect();
    Ok((branching_factor(&spikes, &ring, 4) - 1.0).abs())
}

fn logistic_map() -> Result<f64> {
    let step = |x: &mut [f64], _: usize| {
        x[0] = 4.0 * x[0] * (1.0 - x[0]);
        Ok(())
    };
    Ok((lyapunov(step, &[0.3], 1e-9, 200_000, 1.0)? - std::f64::consts::LN_2).abs())
}
