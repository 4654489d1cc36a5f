//! What a liquid is made from: its constants, its lattice and its synapses.

use serde::{Deserialize, Serialize};

use crate::hook::random::{self, Stream};
use crate::nn::spiking::Sparse;
use crate::{Error, Result};

/// Largest |w|.
pub(super) const LARGEST: f32 = 3.0;
/// How far connections reach, in distances of neighbours.
const REACH: f64 = 3.0;
/// C: chance of a connection at distance 0, by source then target, excitatory first.
const CHANCE: [[f64; 2]; 2] = [[0.2, 0.1], [0.3, 0.05]];
/// Share of excitatory neurons.
const EXCITATORY: f64 = 0.8;

/// Sizes and constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiquidConfig {
    /// Neurons along each side of the lattice.
    pub lattice: [usize; 3],
    /// M: input neurons.
    pub inputs: usize,
    /// Share of the input neurons that each neuron of the liquid hears.
    pub input_share: f64,
    /// |w| of every synapse at the start, at most 3.
    pub weight: f64,
    /// eta: amplitude of potentiation, and what the astrocyte's amplitude of depression rests at; 0 for no plasticity.
    pub eta: f64,
    /// w_astro: what a spike more in the liquid than in the input adds to the amplitude of depression; 0 for plain STDP.
    pub astrocyte: f64,
    /// What all plasticity is multiplied by from step to step.
    pub decay: f64,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for LiquidConfig {
    /// The paper's: 10 x 10 x 10 neurons, 784 inputs of which each hears 15 %, |w| 3, eta 0.15, w_astro 0.015, no decay.
    fn default() -> Self {
        Self {
            lattice: [10; 3],
            inputs: 784,
            input_share: 0.15,
            weight: 3.0,
            eta: 0.15,
            astrocyte: 0.015,
            decay: 1.0,
            seed: 0,
        }
    }
}

impl LiquidConfig {
    /// N.
    pub fn neurons(&self) -> usize {
        self.lattice.iter().product()
    }

    /// Excitatory neurons, which come first.
    pub fn excitatory(&self) -> usize {
        (EXCITATORY * self.neurons() as f64).round() as usize
    }

    pub(super) fn check(&self) -> Result<()> {
        let side = |n: &usize| (1..=40).contains(n);
        let good = self.lattice.iter().all(side)
            && self.neurons() >= 5
            && (1..=100_000).contains(&self.inputs)
            && self.input_share > 0.0
            && self.input_share <= 1.0
            && self.weight > 0.0
            && self.weight <= f64::from(LARGEST)
            && (0.0..=10.0).contains(&self.eta)
            && (-10.0..=10.0).contains(&self.astrocyte)
            && (0.0..=1.0).contains(&self.decay);
        if good {
            return Ok(());
        }
        Err(Error::invalid(
            format!("a liquid of {self:?}"),
            "give sides of 1 to 40 with at least 5 neurons, 1 to 100,000 inputs, shares and decay in 0 to 1, |w| in 0 to 3, \
             eta in 0 to 10 and w_astro in -10 to 10",
        ))
    }
}

/// Synapses with their weights; the sign of a weight is for life.
#[derive(Clone)]
pub(super) struct Projection {
    pub synapses: Sparse,
    /// `[synapses]`.
    pub weights: Vec<f32>,
    /// `[synapses]`: whether the weight lies in -3..0 rather than in 0..3.
    pub negative: Vec<bool>,
    /// Sources from this one on are inhibitory neurons, for which potentiation and depression change places.
    pub inhibitory: usize,
}

impl Projection {
    /// The weight after a change.
    pub fn bounded(&self, synapse: usize, w: f32) -> f32 {
        if self.negative[synapse] { w.clamp(-LARGEST, 0.0) } else { w.clamp(0.0, LARGEST) }
    }
}

/// The synapses between the neurons of the liquid.
pub(super) fn recurrent(config: &LiquidConfig) -> Result<Projection> {
    let (n, n_exc) = (config.neurons(), config.excitatory());
    let mut places: Vec<usize> = (0..n).collect();
    // Without it excitatory and inhibitory neurons would lie in slabs.
    Stream::new(config.seed, &[random::name("lattice")]).shuffle(&mut places);
    let [_, height, depth] = config.lattice;
    let place = |i: usize| [places[i] / (height * depth), places[i] / depth % height, places[i] % depth];
    let places: Vec<[usize; 3]> = (0..n).map(place).collect();
    let mut stream = Stream::new(config.seed, &[random::name("recurrent")]);
    let mut pairs = Vec::new();
    for j in 0..n {
        for i in (0..n).filter(|i| *i != j) {
            let squared: f64 = (0..3).map(|k| (places[j][k] as f64 - places[i][k] as f64).powi(2)).sum();
            let chance = CHANCE[usize::from(j >= n_exc)][usize::from(i >= n_exc)] * (-squared / (REACH * REACH)).exp();
            if stream.uniform() < chance {
                pairs.push((j as u32, i as u32));
            }
        }
    }
    let synapses = Sparse::new(n, n, pairs)?;
    let negative: Vec<bool> = synapses.sources().iter().map(|j| *j as usize >= n_exc).collect();
    Ok(Projection { weights: signed(config, &negative), synapses, negative, inhibitory: n_exc })
}

/// The synapses of the input neurons: so many random ones onto each neuron, of random sign.
pub(super) fn afferent(config: &LiquidConfig) -> Result<Projection> {
    let degree = (config.input_share * config.inputs as f64).round() as usize;
    let mut stream = Stream::new(config.seed, &[random::name("afferent")]);
    let synapses = Sparse::in_degree(config.inputs, config.neurons(), degree, &mut stream)?;
    let mut stream = Stream::new(config.seed, &[random::name("signs")]);
    let negative: Vec<bool> = (0..synapses.len()).map(|_| stream.uniform() < 0.5).collect();
    Ok(Projection { weights: signed(config, &negative), synapses, negative, inhibitory: config.inputs })
}

fn signed(config: &LiquidConfig, negative: &[bool]) -> Vec<f32> {
    let weight = config.weight as f32;
    negative.iter().map(|negative| if *negative { -weight } else { weight }).collect()
}
