//! What an astrocyte that modulates plasticity does for a liquid ([`Liquid`]): branching factor and accuracy against static
//! weights and plain STDP, and with the astrocyte held at a constant by an edit.
//!
//! The weights form in an initialisation phase of short runs, one image each, and every sample then starts from them with
//! plasticity that fades. All arms of a seed see the same network, the same events and the same images; only what is said
//! differs. The readout is ridge regression, not the paper's softmax trained for up to 5,000 passes.

mod report;

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dynamics::branching_factor;
use super::measure::{Estimate, mean};
use super::registry;
use crate::data::ImageSet;
use crate::hook::random::{self, Stream};
use crate::hook::{Edit, Pass, Plan as Compiled, Record, Tap, Values};
use crate::models::{Input, Liquid, LiquidConfig, Network, Series, State};
use crate::nn::readout::{Ridge, read_out};
use crate::report::number;
use crate::{Error, Result};

/// Steps of a branching factor's windows.
const WINDOW: usize = 4;
/// Samples that a branching factor is the mean of.
const SHOWN: usize = 20;
/// What plasticity is multiplied by per step after the initialisation.
const DECAY: f64 = 0.99;
/// Ridges that are tried on the last fifth of the training samples.
const LAMBDAS: [f64; 5] = [0.01, 0.1, 1.0, 10.0, 100.0];
/// Digits.
const CLASSES: usize = 10;
/// Where the sites of the astrocyte's amplitude lie.
const AMPLITUDE: &str = "astro.hook_A";

/// What is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The liquid; its seed, weight, eta and astrocyte are set arm by arm, but the astrocyte of the clamped arms.
    pub config: LiquidConfig,
    /// |w| of the static arms.
    pub weights: Vec<f64>,
    /// w_astro of the other arms.
    pub astrocytes: Vec<f64>,
    /// Images of the initialisation, of training and of the test.
    pub images: [usize; 3],
    /// Steps of a run in the initialisation, and of a sample.
    pub steps: [usize; 2],
    /// Networks.
    pub seeds: usize,
    /// Seed of the seeds.
    pub seed: u64,
}

impl Plan {
    /// About two minutes.
    pub fn quick(seed: u64) -> Self {
        Self {
            config: LiquidConfig::default(),
            weights: vec![0.4, 0.8, 1.4],
            astrocytes: vec![0.002, 0.015, 0.05, 0.2],
            images: [700, 450, 200],
            steps: [20, 250],
            seeds: 1,
            seed,
        }
    }

    /// More images and arms, three networks.
    pub fn full(seed: u64) -> Self {
        Self {
            weights: vec![0.4, 0.7, 0.8, 0.9, 1.1, 1.4],
            astrocytes: vec![0.002, 0.0075, 0.015, 0.05, 0.1, 0.2],
            images: [3000, 2000, 1000],
            seeds: 3,
            ..Self::quick(seed)
        }
    }

    /// Every arm.
    fn arms(&self) -> Vec<Kind> {
        let still = self.weights.iter().map(|w| Kind::Static(*w));
        let modulated = self.astrocytes.iter().map(|w| Kind::Astrocyte(*w));
        still.chain([Kind::Stdp]).chain(modulated).chain([Kind::HeldAtRest, Kind::HeldAtMean]).collect()
    }

    /// How many networks are simulated.
    pub fn jobs(&self) -> usize {
        self.seeds * self.arms().len()
    }

    /// How many images it takes.
    pub fn needs(&self) -> usize {
        self.images.iter().sum()
    }
}

/// What is at work in an arm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// No plasticity; all weights begin and stay at this size.
    Static(f64),
    /// STDP with equal amplitudes.
    Stdp,
    /// STDP whose depression an astrocyte of this w_astro sets.
    Astrocyte(f64),
    /// The same (w_astro of the plan's config), its amplitude held at eta from the first step on by an edit.
    HeldAtRest,
    /// Its amplitude held at its own mean of the initialisation: the level without the feedback.
    HeldAtMean,
}

/// What one network did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Branching factor, mean of samples; NaN where the liquid is silent.
    #[serde(with = "number")]
    pub branching: f64,
    /// Mean rate of the liquid, Hz.
    pub rate: f64,
    /// Share of the test images that are read out as what they are.
    pub accuracy: f64,
    /// The test images that are not.
    pub wrong: Vec<u32>,
    /// The ridge that was chosen.
    pub lambda: f64,
    /// Mean of the astrocyte's amplitude in the initialisation.
    pub amplitude: f64,
    /// Its course over a sample, mean of samples, without the fading of plasticity.
    pub course: Vec<f64>,
    /// Counts of |w| in the liquid after the initialisation, in ten equal parts of 0 to 3.
    pub weights: Vec<u32>,
}

/// One arm, network by network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Which arm.
    pub kind: Kind,
    /// One entry per seed.
    pub measured: Vec<Measured>,
}

impl Arm {
    /// The mean over networks.
    fn mean(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        mean(&self.measured.iter().map(of).collect::<Vec<_>>())
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What was run.
    pub plan: Plan,
    /// What the images are.
    pub data: String,
    /// All arms.
    pub arms: Vec<Arm>,
}

/// Runs the plan on these images; `done` is told of every network that is through.
///
/// # Errors
/// A plan without networks or arms, too few images, images of another size, or without classes.
pub fn experiment(plan: &Plan, images: &ImageSet, data: &str, done: &(dyn Fn() + Sync)) -> Result<Found> {
    if plan.seeds == 0 || plan.weights.is_empty() || plan.astrocytes.is_empty() || plan.images.contains(&0) {
        return Err(Error::invalid("a plan without networks, arms or images", "give at least one of each"));
    }
    let pixels: usize = images.shape.iter().product();
    if images.len() < plan.needs() || images.labels.len() != images.len() || pixels != plan.config.inputs {
        return Err(Error::invalid(
            format!("{} images of {pixels} pixels with {} labels", images.len(), images.labels.len()),
            format!("give {} labelled images of {} pixels", plan.needs(), plan.config.inputs),
        ));
    }
    if images.labels.iter().any(|label| *label as usize >= CLASSES) {
        return Err(Error::invalid("labels beyond the ten digits", "give digits"));
    }
    let chances = chances(images, plan.needs());
    let jobs: Vec<(Kind, usize)> =
        plan.arms().into_iter().flat_map(|kind| (0..plan.seeds).map(move |seed| (kind, seed))).collect();
    let measured: Vec<Measured> = jobs
        .par_iter()
        .map(|(kind, seed)| {
            let trial = Trial { plan, labels: &images.labels, chances: &chances, seed: *seed };
            let measured = trial.measure(*kind);
            done();
            measured
        })
        .collect::<Result<_>>()?;
    let arm = |(jobs, measured): (&[(Kind, usize)], &[Measured])| Arm { kind: jobs[0].0, measured: measured.to_vec() };
    let arms = jobs.chunks(plan.seeds).zip(measured.chunks(plan.seeds)).map(arm).collect();
    Ok(Found { plan: plan.clone(), data: data.to_string(), arms })
}

/// Chance of an event per pixel and step, `[images, pixels]`: every image over its sum, all over the largest of them.
pub fn chances(images: &ImageSet, count: usize) -> Vec<f32> {
    let mut chances = Vec::new();
    for i in 0..count {
        let sum: f32 = images.image(i).iter().map(|p| f32::from(*p)).sum();
        chances.extend(images.image(i).iter().map(|p| f32::from(*p) / sum.max(1.0)));
    }
    let largest = chances.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    chances.iter_mut().for_each(|p| *p /= largest);
    chances
}

/// Events of input neurons with these chances per step; pixels without ink take no draw.
pub fn events(chances: &[f32], steps: usize, seed: u64) -> Series {
    let mut stream = Stream::new(seed, &[random::name("events")]);
    let mut draw = |p: &f32| f32::from(u8::from(*p > 0.0 && stream.uniform() < f64::from(*p)));
    let values = (0..steps).flat_map(|_| chances.iter().map(&mut draw).collect::<Vec<_>>()).collect();
    Series { rows: 1, steps, channels: chances.len(), values }
}

/// One network of a seed.
struct Trial<'a> {
    plan: &'a Plan,
    labels: &'a [u32],
    chances: &'a [f32],
    seed: usize,
}

/// What a run leaves behind.
struct Run {
    /// `[steps, neurons]`.
    spikes: Vec<f32>,
    /// `[steps]`.
    amplitude: Vec<f64>,
    state: State,
}

impl Trial<'_> {
    fn measure(&self, kind: Kind) -> Result<Measured> {
        let own = self.plan.config.astrocyte;
        let (weight, eta, astrocyte) = match kind {
            Kind::Static(weight) => (weight, 0.0, 0.0),
            Kind::Stdp => (self.plan.config.weight, self.plan.config.eta, 0.0),
            Kind::Astrocyte(w) => (self.plan.config.weight, self.plan.config.eta, w),
            Kind::HeldAtRest | Kind::HeldAtMean => (self.plan.config.weight, self.plan.config.eta, own),
        };
        let seed = self.plan.seed.wrapping_mul(1000).wrapping_add(self.seed as u64);
        let net = Liquid::new(LiquidConfig { weight, eta, astrocyte, seed, ..self.plan.config })?;
        let held = match kind {
            Kind::HeldAtRest => Some(eta),
            Kind::HeldAtMean => Some(self.initialise(&net, &[])?.1),
            _ => None,
        };
        let edits = match held {
            Some(value) => vec![Edit::new(AMPLITUDE.parse()?, "set").with("value", json!(value))],
            None => Vec::new(),
        };
        let (formed, amplitude) = self.initialise(&net, &edits)?;
        let mut weights = vec![0; 10];
        for w in formed.tensors["syn.rec.weight"].to_vec1::<f32>()? {
            weights[((w.abs() / 0.3) as usize).min(9)] += 1;
        }
        let measured = self.samples(&net.decaying(DECAY)?, &formed, &edits)?;
        Ok(Measured { amplitude, weights, ..measured })
    }

    /// The weights after one short run per image, and the astrocyte's mean amplitude meanwhile.
    fn initialise(&self, net: &Liquid, edits: &[Edit]) -> Result<(State, f64)> {
        let mut state = State::cached();
        let mut amplitudes = Vec::new();
        for image in 0..self.plan.images[0] {
            let run = self.run(net, image, self.plan.steps[0], &state, edits)?;
            state = net.weights_of(&run.state);
            amplitudes.extend(run.amplitude);
        }
        Ok((state, mean(&amplitudes)))
    }

    /// Every sample from the same weights; the readout.
    fn samples(&self, net: &Liquid, formed: &State, edits: &[Edit]) -> Result<Measured> {
        let ([init, train, test], n) = (self.plan.images, net.config().neurons());
        let steps = self.plan.steps[1];
        let (mut features, mut branching, mut spikes) = (Vec::new(), Vec::new(), 0.0);
        let mut course = vec![0.0; steps];
        let shown = SHOWN.min(train);
        for sample in 0..train + test {
            let run = self.run(net, init + sample, steps, formed, edits)?;
            let mut counts = vec![0.0f64; n];
            for step in run.spikes.chunks_exact(n) {
                counts.iter_mut().zip(step).for_each(|(c, s)| *c += f64::from(*s));
            }
            if sample < shown {
                branching.push(branching_factor(&run.spikes, net.recurrent(), WINDOW));
                course.iter_mut().zip(&run.amplitude).for_each(|(c, a)| *c += a / shown as f64);
            }
            let sum: f64 = counts.iter().sum();
            spikes += sum;
            features.extend(counts.iter().map(|c| c / sum.max(1.0)));
            features.push(0.0);
        }
        branching.retain(|b| b.is_finite());
        let largest = features[..train * (n + 1)].iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        for sample in features.chunks_exact_mut(n + 1) {
            sample.iter_mut().for_each(|x| *x /= largest);
            sample[n] = 1.0;
        }
        let labels = &self.labels[init..init + train + test];
        let (wrong, lambda) = classify(&features, n + 1, labels, train)?;
        Ok(Measured {
            branching: mean(&branching),
            rate: spikes / ((train + test) * n * steps) as f64 * 1000.0,
            accuracy: 1.0 - wrong.len() as f64 / test as f64,
            wrong,
            lambda,
            amplitude: f64::NAN,
            course,
            weights: Vec::new(),
        })
    }

    fn run(&self, net: &Liquid, image: usize, steps: usize, from: &State, edits: &[Edit]) -> Result<Run> {
        let chances = &self.chances[image * net.config().inputs..][..net.config().inputs];
        let input = Input::Series(events(chances, steps, random::key(self.plan.seed, &[image as u64])));
        let records = vec![Record::whole(AMPLITUDE.parse()?)];
        let pass = Pass { records, edits: edits.to_vec(), ..Pass::default() };
        let mut plan = Compiled::compile(net.sites(), &pass, &registry(), Values::default(), &[])?;
        let mut state = from.clone();
        let spikes = net.forward(&input, &mut state, &mut Tap::new(&mut plan))?.flatten_all()?.to_vec1()?;
        let amplitude = plan.records(net.sites())?.get(AMPLITUDE)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(Run { spikes, amplitude: amplitude.into_iter().map(f64::from).collect(), state })
    }
}

/// Ridge regression on the first `train` samples: which of the others it gets wrong, and with what ridge.
fn classify(features: &[f64], width: usize, labels: &[u32], train: usize) -> Result<(Vec<u32>, f64)> {
    let fifth = train - train / 5;
    let mut tried = BTreeMap::new();
    for (at, lambda) in LAMBDAS.iter().enumerate() {
        let wrong = misread(features, width, labels, fifth, train, *lambda)?.len();
        // The larger ridge of two that are as good.
        tried.insert((wrong, std::cmp::Reverse(at)), *lambda);
    }
    let lambda = tried.into_values().next().unwrap_or(LAMBDAS[0]);
    Ok((misread(features, width, labels, train, labels.len(), lambda)?, lambda))
}

/// Which samples from `train` to `end` a readout of those before gets wrong, counted from `train`.
fn misread(features: &[f64], width: usize, labels: &[u32], train: usize, end: usize, lambda: f64) -> Result<Vec<u32>> {
    let ridge = Ridge::new(&features[..train * width], width, lambda)?;
    let mut best = vec![(f64::NEG_INFINITY, 0u32); end - train];
    for class in 0..CLASSES as u32 {
        let targets: Vec<f64> = labels[..train].iter().map(|l| if *l == class { 1.0 } else { -1.0 }).collect();
        let scores = read_out(&features[train * width..end * width], &ridge.fit(&targets)?);
        for (best, score) in best.iter_mut().zip(scores).filter(|(best, score)| *score > best.0) {
            *best = (score, class);
        }
    }
    let right = labels[train..end].iter().zip(&best).map(|(label, best)| *label == best.1);
    Ok(right.enumerate().filter(|(_, right)| !right).map(|(i, _)| i as u32).collect())
}

/// How much more often `a` is right than `b`, with its 95 % interval over test images, each the mean over networks.
fn gain(a: &Arm, b: &Arm, test: usize) -> Estimate {
    let mut units = vec![0.0; test];
    let each = 1.0 / a.measured.len() as f64;
    for (a, b) in a.measured.iter().zip(&b.measured) {
        a.wrong.iter().for_each(|i| units[*i as usize] -= each);
        b.wrong.iter().for_each(|i| units[*i as usize] += each);
    }
    Estimate::mean(&units, 24)
}
