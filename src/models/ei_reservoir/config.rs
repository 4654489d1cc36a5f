//! What an E/I reservoir is made of.

use serde::{Deserialize, Serialize};

use crate::hook::random::Stream;
use crate::nn::spiking::RateUnit;
use crate::{Error, Result};

/// Target rates of the neurons.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Targets {
    /// The same for all.
    Uniform(f64),
    /// Each drawn from Beta(a, b), whole numbers: the a-th smallest of a + b - 1 uniform numbers.
    Beta(u32, u32),
}

/// Sizes and constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EiConfig {
    /// N.
    pub neurons: usize,
    /// f_E: share of excitatory ones.
    pub excitatory: f64,
    /// k: mean in-degree, from both populations together.
    pub in_degree: usize,
    /// Leak, gain c and threshold theta of a neuron.
    pub unit: RateUnit,
    /// Numbers of the input.
    pub inputs: usize,
    /// f_in: share of neurons that the input reaches.
    pub input_share: f64,
    /// sigma_in: input weights are uniform in +-sigma_in/2.
    pub input_scale: f64,
    /// g_I: what all inhibitory weights are multiplied by; 1 is balance.
    pub inhibition: f64,
    /// rho.
    pub targets: Targets,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for EiConfig {
    /// The paper's: N 500, 80 % excitatory, k 50, c 10, theta 0, a third of the neurons reached with +-0.25, balanced.
    fn default() -> Self {
        Self {
            neurons: 500,
            excitatory: 0.8,
            in_degree: 50,
            unit: RateUnit { leak: 1.0, gain: 10.0, threshold: 0.0 },
            inputs: 1,
            input_share: 0.3,
            input_scale: 0.5,
            inhibition: 1.0,
            targets: Targets::Uniform(0.5),
            seed: 0,
        }
    }
}

impl Targets {
    /// One of each neuron.
    pub(super) fn draw(self, n: usize, stream: &mut Stream) -> Vec<f32> {
        let mut one = || match self {
            Self::Uniform(rate) => rate as f32,
            Self::Beta(a, b) => {
                let mut drawn: Vec<f64> = (0..a + b - 1).map(|_| stream.uniform()).collect();
                drawn.sort_by(f64::total_cmp);
                drawn[a as usize - 1] as f32
            }
        };
        (0..n).map(|_| one()).collect()
    }
}

/// Refuses what no reservoir can be made of.
pub(super) fn check(config: &EiConfig) -> Result<()> {
    let share = |x: f64| (0.0..=1.0).contains(&x);
    let k_exc = config.excitatory * config.in_degree as f64;
    let exc = config.excitatory * config.neurons as f64;
    let targets = match config.targets {
        Targets::Uniform(rate) => rate > 0.0 && rate < 1.0,
        Targets::Beta(a, b) => (1..=1000).contains(&a) && (1..=1000).contains(&b),
    };
    let good = share(config.excitatory)
        && share(config.input_share)
        && (1..=20_000).contains(&config.neurons)
        && config.inputs >= 1
        && k_exc.round() >= 1.0
        && (k_exc.round() as usize) < config.in_degree
        && k_exc.round() <= exc.round()
        && config.in_degree - k_exc.round() as usize <= config.neurons - exc.round() as usize
        && config.inhibition >= 0.0
        && share(config.unit.leak)
        && targets;
    if good {
        return Ok(());
    }
    Err(Error::invalid(
        format!("a reservoir of {config:?}"),
        "give shares and rates between 0 and 1, at most 20,000 neurons, and an in-degree that both populations can serve",
    ))
}
