//! Graphs of the Neuromorphic Intermediate Representation, simulated.
//!
//! NIR's equations are in continuous time and say neither how long a step is nor what a spike is in one. Here a step has
//! `dt` milliseconds, equations are solved exactly for what enters in the step, and a number x that enters a node means
//!
//! ```text
//! I, IF             a charge          v' = v + R x
//! LI, LIF           a held current    v' = v_inf + (v - v_inf) e^(-dt/tau),  v_inf = v_leak + R x
//! CubaLI, CubaLIF   a spike           I' = I e^(-dt/tau_syn) + (w_in dt/tau_syn) x, at the beginning of the step;
//!                                     I decays inside the step while the membrane integrates R I
//! all others        a number          y = W x, y = W x + b, ...
//! ```
//!
//! and a neuron whose membrane is above (not at) its threshold fires a 1 and is reset to `v_reset` in the same step.
//!
//! Importers do the same where they agree. Norse and snnTorch step LIF by v + dt/tau (v_leak - v + R x), which is the above to
//! first order in dt/tau; Norse steps CubaLIF's current by I + dt/tau_syn (w_in x - I), and files with w_in = tau_syn/dt
//! make a spike add its weight (snnTorch's own import scales the threshold by w_in instead); snnTorch and
//! Sinabs step IF by v + R x, whatever dt is. So weights belong to the step that they were made for: at half of dt a
//! spike carries half of the charge into LIF and CubaLIF. A file does not say its dt; give
//! it (Norse's default is 1 ms, snnTorch's 0.1 ms).
//!
//! Within a step a value passes through all nodes that have no loop. In a loop, what a neuron emits reaches the others of
//! the loop one step later; a `Delay` of at least one step counts as such, and opens the loop. A loop of neither is refused.
//! Membranes begin at `v_leak` (`I`, `IF`: at 0), currents at 0.

mod build;
mod delay;
mod export;
mod layers;
mod neurons;
mod order;
mod part;
mod shape;

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::simulation::{Call, Outputs, Simulation, keep, take};
use super::{Input, Network, State};
use crate::Result;
use crate::hook::{SiteTable, Tap};
use crate::nn::spiking::Sparse;
use crate::store::nir::{Graph, Kind};

pub use export::Exported;
pub(super) use export::{of_spiking, refused};
use order::Order;
use part::{Part, Running};

/// A graph that runs.
pub struct NirNetwork {
    graph: Graph,
    parts: Vec<Part>,
    order: Order,
    /// Nodes whose last output is read in the next step.
    remembered: Vec<usize>,
    table: SiteTable,
    parameters: Vec<(String, Tensor)>,
    channels: usize,
    width: usize,
    dt: f64,
    notes: Vec<String>,
}

impl NirNetwork {
    /// The network of a graph with steps of `dt` milliseconds.
    ///
    /// # Errors
    /// Shapes that do not fit each other or that nothing determines, a loop without a neuron or a delay, sizes beyond all
    /// use, a graph without Input or Output.
    pub fn new(graph: Graph, dt: f64) -> Result<Self> {
        build::build(graph, dt)
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What arrives at a node, added up in the order of the edges.
    fn gather(&self, at: usize, running: &mut [Running]) {
        let mut sum = std::mem::take(&mut running[at].input);
        for (i, (from, late)) in self.parts[at].inputs.iter().enumerate() {
            let values = if *late { &running[*from].before } else { &running[*from].out };
            match i {
                0 => sum.copy_from_slice(values),
                _ => sum.iter_mut().zip(values).for_each(|(a, b)| *a += b),
            }
        }
        running[at].input = sum;
    }
}

impl Network for NirNetwork {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    /// What the Output nodes give, `[rows, steps, numbers of all of them]`.
    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let call = Call::begin(input, self.channels, state, tap)?;
        let rows = call.rows;
        let mut running = self.parts.iter().map(|p| p.start(rows, state)).collect::<Result<Vec<_>>>()?;
        for at in &self.remembered {
            let (name, size) = (format!("{}.before", self.parts[*at].name), self.parts[*at].size);
            running[*at].before = take(state, &name, &[rows, size], || vec![0.0; rows * size])?;
        }
        let mut outputs = Outputs::new(&call, self.width, tap);
        let mut given = vec![0.0; rows * self.width];
        for t in 0..call.steps {
            call.tick(t, tap)?;
            for at in &self.order.delays {
                self.parts[*at].emit(&mut running[*at], rows, tap)?;
            }
            for at in &self.order.sequence {
                self.gather(*at, &mut running);
                let outside = |row: usize| call.series.map(|s| s.at(row, t));
                self.parts[*at].step(&mut running[*at], rows, outside, tap)?;
            }
            for at in &self.order.delays {
                self.gather(*at, &mut running);
                self.parts[*at].absorb(&mut running[*at], rows, tap)?;
            }
            for at in &self.remembered {
                let Running { before, out, .. } = &mut running[*at];
                before.copy_from_slice(out);
            }
            let mut first = 0;
            for (part, running) in self.parts.iter().zip(&running).filter(|(p, _)| p.kind == Kind::Output) {
                for row in 0..rows {
                    given[row * self.width + first..][..part.size]
                        .copy_from_slice(&running.out[row * part.size..][..part.size]);
                }
                first += part.size;
            }
            outputs.push(t, &given);
        }
        for (part, running) in self.parts.iter().zip(&running) {
            part.keep(running, rows, state)?;
        }
        for at in &self.remembered {
            let (name, size) = (format!("{}.before", self.parts[*at].name), self.parts[*at].size);
            keep(state, &name, &[rows, size], &running[*at].before)?;
        }
        call.end(state)?;
        outputs.tensor(rows)
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }
}

impl Simulation for NirNetwork {
    fn rules(&self) -> Vec<String> {
        let mut rules = vec!["order: delays emit, then every node after those that it takes values from".to_string()];
        let kinds: BTreeSet<&str> = self.parts.iter().map(|p| p.kind.name()).collect();
        let meanings = [
            (["I", "IF"], "a number x that enters I or IF is a charge: v + R x"),
            (["LI", "LIF"], "a number x that enters LI or LIF is a current held for the step, solved exactly"),
            (
                ["CubaLI", "CubaLIF"],
                "a number x that enters CubaLI or CubaLIF is a spike: I + (w_in dt/tau_syn) x as the step begins, then exact",
            ),
        ];
        rules
            .extend(meanings.iter().filter(|(of, _)| of.iter().any(|k| kinds.contains(k))).map(|(_, m)| m.to_string()));
        if self.parts.iter().any(|p| p.kind.fires()) {
            rules.push("neurons fire at v > v_threshold; v = v_reset in the same step; no refractoriness".to_string());
        }
        rules.push(format!("a step has {} ms; times in the file are seconds", self.dt));
        rules.extend(self.notes.iter().cloned());
        rules.extend(self.parts.iter().map(|p| format!("{}: {}", p.name, p.words())));
        rules
    }

    fn dt(&self) -> Option<f64> {
        Some(self.dt)
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn synapses(&self, _: &str) -> Option<&Sparse> {
        None
    }

    fn nir(&self) -> Result<Exported> {
        Ok(Exported { graph: self.graph.clone(), notes: Vec::new() })
    }
}
