//! Neurons, synapses, rate units, surrogate gradients.

use candle_core::{Device, Tensor, Var};

use super::worst;
use crate::Result;
use crate::hook::random::Stream;
use crate::nn::spiking::{
    Adaptation, Conductance, Crossing, CurrentSynapse, Integration, Izhikevich, IzhikevichRule, Lif, RateUnit,
    Refractory, Surrogate, logistic,
};

pub(super) fn decay() -> Result<f64> {
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

pub(super) fn f_i_curve() -> Result<f64> {
    let cases = [(0.9, 0), (1.0, 0), (1.2, 26), (1.5, 41), (2.0, 63), (3.0, 98)];
    Ok(cases.iter().filter(|(i, n)| lif_spikes(&f_i_neuron(), *i, 10_000) != *n).count() as f64)
}

pub(super) fn f_i_formula() -> Result<f64> {
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

pub(super) fn propagator() -> Result<f64> {
    let apart = |tau_s| {
        let (a, b) = (potentials(tau_s, 1.0, 1.0, 50.0), potentials(tau_s, 0.5, 1.0, 50.0));
        worst(a.iter().zip(&b).map(|(a, b)| a - b))
    };
    let (equal, nearly) = (potentials(20.0, 1.0, 1.0, 50.0), potentials(20.0 + 1e-12, 1.0, 1.0, 50.0));
    let limit = worst(equal.iter().zip(&nearly).map(|(a, b)| a - b));
    Ok(worst([apart(5.0), apart(20.0), apart(35.0), limit]))
}

pub(super) fn psp_peak() -> Result<f64> {
    let v = potentials(5.0, 0.01, 0.01, 60.0);
    let highest = (0..v.len()).max_by(|a, b| v[*a].total_cmp(&v[*b])).unwrap_or(0);
    Ok((0.01 * (highest + 1) as f64 - CurrentSynapse { tau_s: 5.0 }.peak_time(20.0)).abs())
}

pub(super) fn euler() -> Result<f64> {
    let of = |integration| Lif { integration, dt: 2.0, ..Lif::default() }.decay();
    Ok((of(Integration::Exact) - of(Integration::Euler) - 0.1f64.powi(2) / 2.0).abs())
}

pub(super) fn conductance() -> Result<f64> {
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

pub(super) fn adaptation() -> Result<f64> {
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

pub(super) fn izhikevich_counts() -> Result<f64> {
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

pub(super) fn izhikevich_currents() -> Result<f64> {
    let Some(cell) = Izhikevich::named("RS") else { return Ok(f64::INFINITY) };
    let table = [(3.5, 1, 1), (4.0, 7, 8), (5.0, 11, 11), (15.0, 33, 34), (20.0, 44, 46)];
    let at = |current, dt| izhikevich_spikes(cell, current, IzhikevichRule::Euler(dt));
    Ok(table.iter().filter(|(i, a, b)| at(*i, 0.5) != *a || at(*i, 0.01) != *b).count() as f64)
}

pub(super) fn izhikevich_rest() -> Result<f64> {
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

pub(super) fn surrogates() -> Result<f64> {
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

pub(super) fn surrogate_mass() -> Result<f64> {
    let unit = [1, 2, 3, 5, 6].map(|i| SURROGATES[i]);
    let mass =
        |s: Surrogate| (-200_000..200_000).map(|i| s.derivative((f64::from(i) + 0.5) * 1e-3) * 1e-3).sum::<f64>();
    Ok(worst(unit.map(|s| mass(s) - 1.0)))
}

pub(super) fn rate_unit() -> Result<f64> {
    let unit = RateUnit { leak: RateUnit::leak_of(10.0, 1.0), gain: 4.0, threshold: 0.1 };
    let r = (0..30).fold(0.0, |r, _| unit.step(r, 0.3));
    Ok((r - logistic(0.8) * (1.0 - (-3.0f64).exp())).abs())
}
