//! Published networks of spiking neurons.

use super::{Neurons, Population, Projection, Spiking, Synapse};
use crate::Result;
use crate::hook::random::{self, Stream};
use crate::models::Series;
use crate::nn::spiking::{Izhikevich, IzhikevichRule, Lif, Sparse};

/// Excitatory and inhibitory neurons of Izhikevich's population.
const SIZES: [usize; 2] = [800, 200];

/// The population of 1000 neurons of Izhikevich 2003, as its script has it: 800 excitatory cells (a 0.02, b 0.2,
/// c -65 + 15 r^2, d 8 - 6 r^2, r uniform), 200 inhibitory ones (a 0.02 + 0.08 r, b 0.25 - 0.05 r, c -65, d 2), every pair
/// connected, weights uniform in [0, 0.5) and (-1, 0], two half steps of v of 1 ms.
///
/// The script resets at the beginning of a step what the step before let fire; here it is reset at that step's end, and
/// arrives one step later, which is the same.
///
/// # Errors
/// None but defects.
pub fn izhikevich_population(seed: u64) -> Result<Spiking> {
    let mut draw = Stream::new(seed, &[random::name("cells")]);
    let mut cells = |inhibitory: bool, n: usize| -> Vec<Izhikevich> {
        let cell = |r: f64| match inhibitory {
            false => Izhikevich { a: 0.02, b: 0.2, c: -65.0 + 15.0 * r * r, d: 8.0 - 6.0 * r * r },
            true => Izhikevich { a: 0.02 + 0.08 * r, b: 0.25 - 0.05 * r, c: -65.0, d: 2.0 },
        };
        (0..n).map(|_| cell(draw.uniform())).collect()
    };
    let population = |name: &str, size: usize, cells: Vec<Izhikevich>| Population {
        name: name.to_string(),
        size,
        neurons: Neurons::Izhikevich { rule: IzhikevichRule::Half, cells },
    };
    let populations =
        vec![population("exc", SIZES[0], cells(false, SIZES[0])), population("inh", SIZES[1], cells(true, SIZES[1]))];
    let mut projections = Vec::new();
    for (from, to, name) in [(0, 0, "exc_exc"), (0, 1, "exc_inh"), (1, 0, "inh_exc"), (1, 1, "inh_inh")] {
        let mut draw = Stream::new(seed, &[random::name(name)]);
        let synapses = Sparse::dense(SIZES[from], SIZES[to])?;
        let largest = if from == 0 { 0.5 } else { -1.0 };
        let weights = (0..synapses.len()).map(|_| (largest * draw.uniform()) as f32).collect();
        let kind = Synapse::Jump;
        projections.push(Projection {
            name: name.into(),
            from,
            to,
            synapses,
            weights,
            delay: 1,
            kind,
            plasticity: None,
        });
    }
    Spiking::new(populations, projections)
}

/// The thalamic input of that population: in every step 5 N(0, 1) to each excitatory neuron, 2 N(0, 1) to each inhibitory
/// one, drawn by (seed, row, step, neuron).
pub fn thalamic_noise(rows: usize, steps: usize, seed: u64) -> Series {
    let channels = SIZES.iter().sum();
    let mut values = Vec::with_capacity(rows * steps * channels);
    for row in 0..rows as u64 {
        for step in 0..steps as u64 {
            let key = random::key(seed, &[random::name("thalamus"), row, step]);
            let scale = |i: usize| if i < SIZES[0] { 5.0 } else { 2.0 };
            let draw = |i: usize| (scale(i) * random::normal(random::key(key, &[i as u64]))) as f32;
            values.extend((0..channels).map(draw));
        }
    }
    Series { rows, steps, channels, values }
}

/// Excitatory and inhibitory neurons of the balanced network.
const BALANCED: [usize; 2] = [80, 20];

/// A small network of leaky integrate-and-fire neurons (tau 20 ms, threshold 1), 80 excitatory and 20 inhibitory, with all
/// that a NIR graph can hold and nothing else: every pair is connected with a chance of 0.1, spikes are currents of 1 (after
/// 2 ms) and of -5 (after 1 ms) for one step of 1 ms.
///
/// # Errors
/// None but defects.
pub fn balanced_lif(seed: u64) -> Result<Spiking> {
    let neurons = || Neurons::Lif { cell: Lif::default(), adaptation: None };
    let population = |name: &str, size| Population { name: name.to_string(), size, neurons: neurons() };
    let populations = vec![population("exc", BALANCED[0]), population("inh", BALANCED[1])];
    let mut projections = Vec::new();
    for (from, to, name) in [(0, 0, "exc_exc"), (0, 1, "exc_inh"), (1, 0, "inh_exc"), (1, 1, "inh_inh")] {
        let mut draw = Stream::new(seed, &[random::name("balanced"), random::name(name)]);
        let synapses = Sparse::bernoulli(BALANCED[from], BALANCED[to], 0.1, &mut draw)?;
        let (weight, delay) = if from == 0 { (1.0, 2) } else { (-5.0, 1) };
        let (weights, kind) = (vec![weight; synapses.len()], Synapse::Jump);
        projections.push(Projection { name: name.into(), from, to, synapses, weights, delay, kind, plasticity: None });
    }
    Spiking::new(populations, projections)
}

/// The currents of that network: in every step 1 + 2 N(0, 1) to each neuron, drawn by (seed, step, neuron).
pub fn balanced_currents(steps: usize, seed: u64) -> Series {
    let channels = BALANCED.iter().sum();
    let draw = |i: u64| 1.0 + 2.0 * random::normal(random::key(seed, &[random::name("currents"), i])) as f32;
    let values = (0..(steps * channels) as u64).map(draw).collect();
    Series { rows: 1, steps, channels, values }
}
