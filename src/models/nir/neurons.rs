//! Neurons of a node: their constants, and the step of their equations.

use super::part::per_unit;
use crate::nn::spiking::{Crossing, CurrentSynapse, Integration, Lif, Refractory, Reset, ResetDelay};
use crate::store::nir::{Kind, Node};

/// A neuron. Neurons that are all alike stand for themselves once.
#[derive(Clone, Copy)]
struct Cell {
    /// Of `I` and `IF` only the resistance, the threshold and the reset.
    membrane: Lif,
    /// What is left of the current after a step.
    left: f32,
    /// What a spike adds to the current.
    gain: f32,
    /// What a current of 1 at the beginning of a step does to the membrane.
    kick: f64,
}

/// The neurons of a node.
pub(super) struct Neurons {
    kind: Kind,
    cells: Vec<Cell>,
}

/// Milliseconds of a second.
const MS: f64 = 1000.0;

impl Neurons {
    /// Neurons with the parameters of a node of `n` of them.
    pub fn new(node: &Node, n: usize, dt: f64) -> Self {
        let alike = node.arrays.values().all(|a| a.values.len() == 1);
        let of = |field: &str, i: usize| node.arrays.get(field).map_or(0.0, |a| per_unit(&a.values, i));
        let cell = |i: usize| {
            let tau_m = MS * if node.kind.has_current() { of("tau_mem", i) } else { of("tau", i) };
            let membrane = Lif {
                // Those without a leak never ask for it.
                tau_m: if tau_m == 0.0 { f64::INFINITY } else { tau_m },
                rest: of("v_leak", i),
                resistance: of("r", i),
                threshold: of("v_threshold", i),
                crossing: Crossing::Above,
                reset: Reset::To(of("v_reset", i)),
                reset_delay: ResetDelay::Same,
                refractory: Refractory::None,
                integration: Integration::Exact,
                dt,
            };
            let (mut left, mut gain, mut kick) = (0.0, 0.0, 0.0);
            if node.kind.has_current() {
                let synapse = CurrentSynapse { tau_s: MS * of("tau_syn", i) };
                left = synapse.decay(dt) as f32;
                gain = (of("w_in", i) * dt / synapse.tau_s) as f32;
                kick = synapse.kick(&membrane);
            }
            Cell { membrane, left, gain, kick }
        };
        Self { kind: node.kind, cells: (0..if alike { 1 } else { n }).map(cell).collect() }
    }

    /// The membranes that a run begins with, one row.
    pub fn rest(&self, n: usize) -> Vec<f32> {
        let leaks = !matches!(self.kind, Kind::I | Kind::If);
        self.each(n).map(|cell| if leaks { cell.membrane.rest as f32 } else { 0.0 }).collect()
    }

    fn each(&self, n: usize) -> impl Iterator<Item = &Cell> {
        self.cells.iter().cycle().take(n)
    }

    /// Currents decay and jump by what enters.
    pub fn jump(&self, input: &[f32], current: &mut [f32]) {
        for ((i, x), cell) in current.iter_mut().zip(input).zip(self.each(input.len())) {
            *i = *i * cell.left + cell.gain * x;
        }
    }

    /// Membranes integrate what enters, or their currents.
    pub fn charge(&self, input: &[f32], current: &[f32], mem: &mut [f32]) {
        let n = mem.len();
        for (at, (v, cell)) in mem.iter_mut().zip(self.each(n)).enumerate() {
            let before = f64::from(*v);
            *v = match self.kind {
                Kind::I | Kind::If => before + cell.membrane.resistance * f64::from(input[at]),
                Kind::CubaLi | Kind::CubaLif => cell.membrane.charge(before, 0.0) + cell.kick * f64::from(current[at]),
                _ => cell.membrane.charge(before, f64::from(input[at])),
            } as f32;
        }
    }

    /// Who fires.
    pub fn fire(&self, mem: &[f32], spikes: &mut [f32]) {
        for ((s, v), cell) in spikes.iter_mut().zip(mem).zip(self.each(mem.len())) {
            *s = f32::from(u8::from(cell.membrane.fires(f64::from(*v), cell.membrane.threshold)));
        }
    }

    /// Membranes after these spikes.
    pub fn reset(&self, spikes: &[f32], mem: &mut [f32]) {
        let fired = mem.iter_mut().zip(spikes).zip(self.each(spikes.len())).filter(|((_, s), _)| **s > 0.0);
        for ((v, _), cell) in fired {
            *v = cell.membrane.reset(f64::from(*v), cell.membrane.threshold) as f32;
        }
    }
}
