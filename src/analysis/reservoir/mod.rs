//! What balance and its local adaptation do for a reservoir of excitatory and inhibitory units ([`EiReservoir`]): memory,
//! NARMA10 and non-linear capacity under a global gain of inhibition, and after inhibition has adapted to target rates.
//!
//! Then what nobody could do by hand in the paper: half of the inhibitory units are silenced by an edit while the reservoir
//! runs, with and without adaptation going on; as many excitatory units are the control.
//!
//! All arms of a seed see the same network, the same signal and the same readouts; only what is said differs.

mod report;

use candle_core::Tensor;
use nalgebra::DMatrix;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::dynamics::Driven;
use super::measure::Estimate;
use super::measure::mean;
use super::registry;
use crate::data::series;
use crate::hook::{Edit, Pass, Plan as Compiled, Tap, Values};
use crate::models::{EiConfig, EiReservoir, Input, Network, Series, State, Targets};
use crate::{Error, Result};

/// Ridge of every readout.
const LAMBDA: f64 = 1e-6;
/// Steps before readouts see anything.
const WASHOUT: usize = 500;

/// What is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The reservoir; its seed, gain, targets and input scale are set arm by arm.
    pub config: EiConfig,
    /// sigma_in: scales of the input weights.
    pub input_scales: Vec<f64>,
    /// g_I: global gains of inhibition.
    pub gains: Vec<f64>,
    /// rho: target rates.
    pub rates: Vec<f64>,
    /// Steps that readouts learn from, and steps that they are tested on.
    pub steps: [usize; 2],
    /// The longest lag.
    pub lags: usize,
    /// Steps of adaptation with their rates delta.
    pub adaptation: Vec<(usize, f64)>,
    /// Networks.
    pub seeds: usize,
    /// Seed of the seeds.
    pub seed: u64,
}

impl Plan {
    /// About a minute.
    pub fn quick(seed: u64) -> Self {
        Self {
            config: EiConfig { neurons: 300, ..EiConfig::default() },
            input_scales: vec![0.1, 0.5],
            gains: vec![0.7, 0.85, 1.0, 1.15, 1.3, 1.45, 1.6],
            rates: vec![0.3, 0.4, 0.5, 0.6],
            steps: [3000, 1000],
            lags: 60,
            adaptation: vec![(4000, 2e-3), (3000, 3e-4)],
            seeds: 3,
            seed,
        }
    }

    /// The paper's size, ten networks.
    pub fn full(seed: u64) -> Self {
        let finer = vec![0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.45, 1.6];
        Self {
            config: EiConfig::default(),
            gains: finer,
            rates: vec![0.3, 0.4, 0.5, 0.6, 0.7],
            steps: [5000, 5000],
            lags: 100,
            seeds: 10,
            ..Self::quick(seed)
        }
    }

    /// Every arm at one input scale.
    fn arms(&self) -> Vec<Kind> {
        let gains = self.gains.iter().map(|g| Kind::Gain(*g));
        let rates = self.rates.iter().map(|rate| Kind::Adapted(*rate));
        gains.chain(rates).chain([Kind::Heterogeneous]).collect()
    }

    /// How many networks are simulated.
    pub fn jobs(&self) -> usize {
        self.seeds * (self.input_scales.len() * self.arms().len() + 1)
    }
}

/// How an arm's inhibition came about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Multiplied by a global gain.
    Gain(f64),
    /// Adapted to one target rate.
    Adapted(f64),
    /// Adapted to target rates drawn from Beta(2, 2).
    Heterogeneous,
}

/// What one network can do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Capacity for the Legendre polynomials of degree 1 (the memory capacity), 2 and 3 of the input k steps ago, each
    /// summed over lags.
    pub capacity: [f64; 3],
    /// NRMSE of NARMA10.
    pub narma: f64,
    /// Mean rate.
    pub rate: f64,
    /// Mean over neurons of |mean rate - target|.
    pub off_target: f64,
}

/// One arm, network by network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// sigma_in.
    pub input_scale: f64,
    /// Which arm.
    pub kind: Kind,
    /// One entry per seed.
    pub measured: Vec<Measured>,
}

impl Arm {
    /// A number of every network, with its mean and 95 % interval over networks.
    pub fn estimate(&self, of: impl Fn(&Measured) -> f64) -> Estimate {
        over_networks(&self.measured.iter().map(of).collect::<Vec<_>>())
    }
}

/// What silencing half of a population did to a network that had adapted to a rate of 0.5, at the smallest input scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesion {
    /// Before.
    pub intact: Measured,
    /// Half of the inhibitory units at 0.
    pub silenced: Measured,
    /// The same after inhibition has adapted with them at 0.
    pub adapted_again: Measured,
    /// As many excitatory units at 0.
    pub control: Measured,
    /// And after adaptation.
    pub control_adapted: Measured,
    /// Mean rate of the excitatory units in every tenth step of one run: 100 steps intact, 200 with all inhibitory units
    /// at 0, 200 released.
    pub trace: Vec<f64>,
    /// Spectral radius of diag(c r (1 - r)) (A_E - A_I) at the targets, computed.
    pub radius: f64,
    /// The same from random matrix theory: c rho (1 - rho) sqrt(1.04/(k f_E) + 1.04 a^2/(k f_I)).
    pub radius_theory: f64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What was run.
    pub plan: Plan,
    /// All arms, by input scale.
    pub arms: Vec<Arm>,
    /// One entry per seed.
    pub lesions: Vec<Lesion>,
}

/// Mean and Student's interval over networks.
pub(in crate::analysis) fn over_networks(values: &[f64]) -> Estimate {
    let total: f64 = values.iter().sum();
    let n = values.len() as f64;
    let without: Vec<f64> = values.iter().map(|x| (total - x) / (n - 1.0)).collect();
    Estimate::jackknife(total / n, &without)
}

/// Runs the plan; `done` is told of every network that is through.
///
/// # Errors
/// A plan that no reservoir fits.
pub fn experiment(plan: &Plan, done: &(dyn Fn() + Sync)) -> Result<Found> {
    if plan.seeds == 0 || plan.input_scales.is_empty() || plan.gains.is_empty() || plan.rates.is_empty() {
        return Err(Error::invalid("a plan without networks or arms", "give at least one of each"));
    }
    let kinds = plan.arms();
    let mut jobs: Vec<(f64, Kind, usize)> = Vec::new();
    for scale in &plan.input_scales {
        jobs.extend(kinds.iter().flat_map(|kind| (0..plan.seeds).map(move |seed| (*scale, *kind, seed))));
    }
    let measured: Vec<Measured> = jobs
        .par_iter()
        .map(|(scale, kind, seed)| {
            let net = plan.network(*scale, *kind, *seed)?;
            let measured = plan.measure(&net, *seed, &[]);
            done();
            measured
        })
        .collect::<Result<_>>()?;
    let arm = |(jobs, measured): (&[(f64, Kind, usize)], &[Measured])| Arm {
        input_scale: jobs[0].0,
        kind: jobs[0].1,
        measured: measured.to_vec(),
    };
    let arms = jobs.chunks(plan.seeds).zip(measured.chunks(plan.seeds)).map(arm).collect();
    let lesion = |seed: usize| {
        let lesion = plan.lesion(seed);
        done();
        lesion
    };
    let lesions = (0..plan.seeds).into_par_iter().map(lesion).collect::<Result<_>>()?;
    Ok(Found { plan: plan.clone(), arms, lesions })
}

impl Plan {
    /// The network of an arm, adapted where the arm says so.
    fn network(&self, input_scale: f64, kind: Kind, seed: usize) -> Result<EiReservoir> {
        let (inhibition, targets) = match kind {
            Kind::Gain(gain) => (gain, Targets::Uniform(0.5)),
            Kind::Adapted(rate) => (1.0, Targets::Uniform(rate)),
            Kind::Heterogeneous => (1.0, Targets::Beta(2, 2)),
        };
        let seed = self.seed.wrapping_mul(1000).wrapping_add(seed as u64);
        let net = EiReservoir::new(EiConfig { input_scale, inhibition, targets, seed, ..self.config })?;
        match kind {
            Kind::Gain(_) => Ok(net),
            _ => self.adapt(&net, &[]),
        }
    }

    /// The network after its inhibition has adapted, with edits at work.
    fn adapt(&self, net: &EiReservoir, edits: &[Edit]) -> Result<EiReservoir> {
        let mut net = net.clone();
        for (phase, (steps, delta)) in self.adaptation.iter().enumerate() {
            let u = series::uniform(*steps, -1.0, 1.0, net.config().seed ^ (phase as u64 + 1) << 32);
            let mut state = State::cached();
            states(&net.adapting(*delta), &u, edits, &mut state)?;
            net = net.adapted(&state)?;
        }
        Ok(net)
    }

    /// What a network can do, with edits at work in training and test alike.
    fn measure(&self, net: &EiReservoir, seed: usize, edits: &[Edit]) -> Result<Measured> {
        let [train, test] = self.steps;
        let u = series::uniform(WASHOUT + train + test, -1.0, 1.0, self.seed ^ (seed as u64 + 1) << 40);
        let rates = states(net, &u, edits, &mut State::none())?;
        let n = net.config().neurons;
        let mut features = Vec::with_capacity((train + test) * (n + 1));
        for row in rates.chunks_exact(n).skip(WASHOUT) {
            features.extend(row.iter().map(|r| f64::from(*r)));
            features.push(1.0);
        }
        let driven = Driven::new(&features, n + 1, &u, train, LAMBDA)?;
        let legendre: [fn(f64) -> f64; 3] = [|u| u, |u| 1.5 * u * u - 0.5, |u| 2.5 * u.powi(3) - 1.5 * u];
        let mut capacity = [0.0; 3];
        for (total, target) in capacity.iter_mut().zip(legendre) {
            *total = driven.capacity(self.lags, target)?.total;
        }
        let halves: Vec<f64> = u.iter().map(|u| (u + 1.0) / 4.0).collect();
        let narma = driven.error(&series::narma10(&halves)[WASHOUT..])?;
        let steps = (train + test) as f64;
        let per_neuron = |i: usize| features.chunks_exact(n + 1).map(|x| x[i]).sum::<f64>() / steps;
        let means: Vec<f64> = (0..n).map(per_neuron).collect();
        let off: Vec<f64> = means.iter().zip(net.targets()).map(|(r, rho)| (r - f64::from(*rho)).abs()).collect();
        Ok(Measured { capacity, narma, rate: mean(&means), off_target: mean(&off) })
    }

    /// Half of the inhibitory units, or as many excitatory ones, at 0.
    fn lesion(&self, seed: usize) -> Result<Lesion> {
        let net = self.network(self.input_scales[0], Kind::Adapted(0.5), seed)?;
        let (n, n_exc) = (net.config().neurons, net.excitatory());
        let half = (n - n_exc) / 2;
        let zero = |from: usize, to: usize, scope: &str| -> Result<Vec<Edit>> {
            Ok(vec![Edit::new(format!("reservoir.hook_state[neuron={from}..{to}]{scope}").parse()?, "zero")])
        };
        let (inhibitory, excitatory) = (zero(n_exc, n_exc + half, "")?, zero(0, half, "")?);
        let u = series::uniform(500, -1.0, 1.0, self.seed ^ 7);
        let run = states(&net, &u, &zero(n_exc, n, "@t=100..300")?, &mut State::none())?;
        let excited = |rates: &[f32]| mean(&rates[..n_exc].iter().map(|r| f64::from(*r)).collect::<Vec<_>>());
        let (radius, radius_theory) = radii(&net)?;
        Ok(Lesion {
            intact: self.measure(&net, seed, &[])?,
            silenced: self.measure(&net, seed, &inhibitory)?,
            adapted_again: self.measure(&self.adapt(&net, &inhibitory)?, seed, &inhibitory)?,
            control: self.measure(&net, seed, &excitatory)?,
            control_adapted: self.measure(&self.adapt(&net, &excitatory)?, seed, &excitatory)?,
            trace: run.chunks_exact(n).step_by(10).map(excited).collect(),
            radius,
            radius_theory,
        })
    }
}

/// The rates `[steps, neurons]` of a run.
fn states(net: &EiReservoir, u: &[f64], edits: &[Edit], state: &mut State) -> Result<Vec<f32>> {
    let pass = Pass { edits: edits.to_vec(), ..Pass::default() };
    let mut plan = Compiled::compile(net.sites(), &pass, &registry(), Values::default(), &[])?;
    let input = Input::Series(Series::of(u.iter().map(|x| *x as f32).collect()));
    let rates: Tensor = net.forward(&input, state, &mut Tap::new(&mut plan))?;
    Ok(rates.flatten_all()?.to_vec1()?)
}

/// The spectral radius of the linearised network at its targets, computed and from the variance of its weights.
fn radii(net: &EiReservoir) -> Result<(f64, f64)> {
    let (config, n) = (net.config(), net.config().neurons);
    let slope = |i: usize| {
        let rho = f64::from(net.targets()[i]);
        config.unit.gain * rho * (1.0 - rho)
    };
    let matrix = net.matrix();
    let jacobian = DMatrix::from_fn(n, n, |i, j| slope(i) * matrix[i * n + j]);
    let radius = jacobian.complex_eigenvalues().iter().map(|e| e.norm()).fold(0.0, f64::max);
    // a: the summed inhibition of a neuron.
    let inhibition: f64 = matrix.iter().filter(|w| **w < 0.0).sum::<f64>() / -(n as f64);
    let k = config.in_degree as f64;
    let (k_exc, k_inh) = (k * config.excitatory, k * (1.0 - config.excitatory));
    let theory = slope(0) * (1.04 / k_exc + 1.04 * inhibition.powi(2) / k_inh).sqrt();
    Ok((radius, theory))
}
