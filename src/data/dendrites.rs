//! A neuron with active dendrites under random spikes, simulated here: what a phenomenological neuron is to imitate.
//!
//! Each of eight branches has a far compartment with the synapses and a near one that passes current on to the soma, an
//! exponential integrate-and-fire neuron that adapts (mV, ms, nS, pF, pA):
//!
//! ```text
//! 50 far'   = -2.5 (far + 70) - A far - N far / (1 + e^(-(far + 52)/5)) - G (far + 75) + 10 (near - far)
//! 50 near'  = -2.5 (near + 70) + 10 (far - near) + 4 (soma - near)
//! 200 soma' = -10 (soma + 70) + 20 e^((soma + 57)/2) + sum of 4 (near - soma) - w
//! ```
//!
//! A (3 ms), N (60 ms) and G (8 ms) are the conductances of fast and slow excitation and of inhibition, which a spike raises
//! by 2, 3 and 4. N is gated by the voltage as NMDA receptors are, so that inputs of one branch help each other. At -35 mV the
//! soma spikes, falls to -62, and w (120 ms) rises by 60. Steps are four of 0.25 ms.

use rayon::prelude::*;

use crate::hook::random::{self, Stream};
use crate::models::Series;

/// Branches.
pub const BRANCHES: usize = 8;
/// Synapses of a branch, half of them excitatory.
pub const SYNAPSES: usize = 10;
/// Inputs: the first half excites and is coded +1, the second inhibits and is coded -1. Branch p has five of each, from 5 p on.
pub const CHANNELS: usize = BRANCHES * SYNAPSES;

/// Highest rates of excitatory and inhibitory inputs, per ms; a branch's share of them is drawn anew every 50 ms.
const RATES: [f64; 2] = [0.012, 0.020];
const BLOCK: usize = 50;
const SUBSTEPS: usize = 4;

/// Inputs with what the neuron did.
#[derive(Clone, Debug)]
pub struct Trials {
    /// Spikes of the inputs.
    pub input: Series,
    /// `[rows, steps]`: whether the soma spiked in the step.
    pub spikes: Vec<bool>,
    /// `[rows, steps]`: (min(soma, -55 mV) + 67.7) / 10 after the step, as published for NeuronIO.
    pub soma: Vec<f32>,
}

impl Trials {
    /// These rows.
    pub fn rows(&self, rows: &[usize]) -> Self {
        let (steps, channels) = (self.input.steps, self.input.channels);
        let take = |width: usize| move |row: &usize| row * width..(row + 1) * width;
        Self {
            input: Series {
                rows: rows.len(),
                values: rows.iter().map(take(steps * channels)).flat_map(|r| self.input.values[r].to_vec()).collect(),
                ..self.input
            },
            spikes: rows.iter().map(take(steps)).flat_map(|r| self.spikes[r].to_vec()).collect(),
            soma: rows.iter().map(take(steps)).flat_map(|r| self.soma[r].to_vec()).collect(),
        }
    }
}

/// Trials of so many steps; each is drawn by its number alone.
pub fn trials(rows: usize, steps: usize, seed: u64) -> Trials {
    let drawn: Vec<_> = (0..rows as u64).into_par_iter().map(|row| trial(steps, seed, row)).collect();
    let mut all = Trials {
        input: Series { rows, steps, channels: CHANNELS, values: Vec::with_capacity(rows * steps * CHANNELS) },
        spikes: Vec::with_capacity(rows * steps),
        soma: Vec::with_capacity(rows * steps),
    };
    for (values, spikes, soma) in drawn {
        all.input.values.extend(values);
        all.spikes.extend(spikes);
        all.soma.extend(soma);
    }
    all
}

fn trial(steps: usize, seed: u64, row: u64) -> (Vec<f32>, Vec<bool>, Vec<f32>) {
    let mut draw = Stream::new(seed, &[random::name("dendrites"), row]);
    let (mut values, mut spikes, mut soma) = (Vec::new(), Vec::new(), Vec::new());
    let mut neuron = Neuron::default();
    let mut shares = [[0.0; 2]; BRANCHES];
    for t in 0..steps {
        if t % BLOCK == 0 {
            shares.iter_mut().flatten().for_each(|share| *share = draw.uniform());
        }
        let mut given = [[0.0; 2]; BRANCHES];
        for (kind, sign) in [1.0f32, -1.0].into_iter().enumerate() {
            for i in 0..CHANNELS / 2 {
                let branch = i / (SYNAPSES / 2);
                let spike = draw.uniform() < RATES[kind] * shares[branch][kind];
                values.push(if spike { sign } else { 0.0 });
                given[branch][kind] += f64::from(u8::from(spike));
            }
        }
        spikes.push(neuron.step(&given));
        soma.push(((neuron.soma.min(-55.0) + 67.7) / 10.0) as f32);
    }
    (values, spikes, soma)
}

struct Neuron {
    /// Per branch: fast and slow excitation, inhibition.
    conductance: [[f64; 3]; BRANCHES],
    far: [f64; BRANCHES],
    near: [f64; BRANCHES],
    soma: f64,
    adaptation: f64,
}

impl Default for Neuron {
    fn default() -> Self {
        let rest = [-70.0; BRANCHES];
        Self { conductance: [[0.0; 3]; BRANCHES], far: rest, near: rest, soma: -70.0, adaptation: 0.0 }
    }
}

impl Neuron {
    /// A millisecond in which these numbers of excitatory and inhibitory spikes reach the branches; whether the soma spikes.
    fn step(&mut self, given: &[[f64; 2]; BRANCHES]) -> bool {
        let h = 1.0 / SUBSTEPS as f64;
        for (g, [exc, inh]) in self.conductance.iter_mut().zip(given) {
            *g = [g[0] + 2.0 * exc, g[1] + 3.0 * exc, g[2] + 4.0 * inh];
        }
        let mut spiked = false;
        for _ in 0..SUBSTEPS {
            let mut current = 0.0;
            for p in 0..BRANCHES {
                let ([a, n, g], far, near) = (self.conductance[p], self.far[p], self.near[p]);
                let open = 1.0 / (1.0 + (-(far + 52.0) / 5.0).exp());
                let drive = -a * far - n * open * far - g * (far + 75.0);
                self.far[p] += h * (-2.5 * (far + 70.0) + drive + 10.0 * (near - far)) / 50.0;
                self.near[p] += h * (-2.5 * (near + 70.0) + 10.0 * (far - near) + 4.0 * (self.soma - near)) / 50.0;
                current += 4.0 * (near - self.soma);
                for (g, tau) in self.conductance[p].iter_mut().zip([3.0, 60.0, 8.0]) {
                    *g *= (-h / tau).exp();
                }
            }
            // The upstroke is cut off where it would outrun the step.
            let upstroke = 20.0 * ((self.soma + 57.0) / 2.0).min(10.0).exp();
            self.soma += h * (-10.0 * (self.soma + 70.0) + upstroke + current - self.adaptation) / 200.0;
            self.adaptation *= (-h / 120.0).exp();
            if self.soma > -35.0 {
                self.soma = -62.0;
                self.adaptation += 60.0;
                spiked = true;
            }
        }
        spiked
    }
}
