//! Populations of spiking neurons with projections between them, stepped in the order of [`crate::nn::spiking`].
//!
//! ```text
//! arriving = what was fired `delay` steps ago                        syn.{q}.hook_weight, syn.{q}.hook_spikes
//! current  = current e^(-dt/tau_s) + W arriving                      syn.{q}.hook_current
//! V        = integrate(V, external + instantaneous currents)         {p}.hook_current, {p}.hook_mem_pre
//! s        = V >= threshold, if not refractory                       {p}.hook_threshold, {p}.hook_spikes
//! V, u     = reset and adaptation by s                               {p}.hook_mem, {p}.hook_adapt, {p}.hook_refrac
//! M        = the third factor, where a projection has one                                     neuromod.hook_m
//! e        = e e^(-dt/tau_e) + pairs(arriving, s, traces)                                     syn.{q}.hook_elig
//! W        = W + dw(arriving, s, traces) or eta M e                  syn.{q}.hook_trace_pre, hook_trace_post, hook_dw
//! ```
//!
//! Whatever comes out of `hook_spikes` resets, adapts, travels and teaches; a neuron has fired where it is positive. The
//! weight of a plastic projection is state, so an edit of it lasts; that of a static one is a parameter, and an edit acts
//! in its own steps only. With plasticity a run has one row, for the weights are its own.
//!
//! The input, one number per neuron of all populations in their order, is a current; of a [`Neurons::Source`] it is the
//! spikes themselves. Where a projection is modulated, M is one number more in every step, after those of the neurons.

mod learning;
mod networks;
mod parts;
mod population;
mod projection;

use candle_core::{Device, Tensor};

use super::nir::{Exported, of_spiking};
use super::simulation::{Call, Outputs, Simulation, site, through};
use super::{Input, Network, State};
use crate::hook::{Axis, SiteId, SiteTable, Tap};
use crate::nn::spiking::Sparse;
use crate::{Error, Result};

pub use networks::{balanced_currents, balanced_lif, izhikevich_population, thalamic_noise};
pub use parts::{Neurons, Plasticity, Population, Projection, Synapse};
use population::Group;
use projection::Wire;

/// A network of spiking populations.
pub struct Spiking {
    groups: Vec<Group>,
    modulator: Option<SiteId>,
    wires: Vec<Wire>,
    table: SiteTable,
    parameters: Vec<(String, Tensor)>,
    dt: f64,
}

impl Spiking {
    /// The network of these parts. Projections name populations by their place in the list.
    ///
    /// # Errors
    /// Names that clash, sizes that do not fit, steps of different lengths, synapses that a neuron cannot take.
    pub fn new(populations: Vec<Population>, projections: Vec<Projection>) -> Result<Self> {
        parts::check(&populations, &projections)?;
        let steps: Vec<f64> = populations.iter().filter_map(|p| p.neurons.dt()).collect();
        let dt = steps
            .first()
            .copied()
            .ok_or_else(|| Error::invalid("a network of sources alone", "give it a population that integrates"))?;
        if let Some(other) = steps.iter().find(|step| **step != dt) {
            return Err(Error::invalid(
                format!("populations with steps of {dt} ms and of {other} ms"),
                "step all of them alike",
            ));
        }
        let mut table = SiteTable::default();
        let mut parameters = Vec::new();
        let mut wires = Vec::with_capacity(projections.len());
        for projection in projections {
            let weights = Tensor::from_slice(&projection.weights, projection.weights.len(), &Device::Cpu)?;
            parameters.push((format!("syn.{}.weight", projection.name), weights));
            wires.push(Wire::new(projection, &populations, &mut table, dt));
        }
        let groups = populations.into_iter().enumerate().map(|(i, p)| Group::new(p, i, &wires, &mut table)).collect();
        let modulated = wires.iter().any(|w| w.projection.plasticity.is_some_and(|p| p.eligibility().is_some()));
        let meaning = "M, the third factor: what eligibilities are multiplied by";
        let modulator = modulated.then(|| table.push(site("neuromod.hook_m".into(), &[(Axis::Batch, None)], meaning)));
        wires.iter_mut().for_each(|wire| wire.add_plastic_sites(&mut table));
        Ok(Self { groups, modulator, wires, table, parameters, dt })
    }

    fn neurons(&self) -> usize {
        self.groups.iter().map(|g| g.population.size).sum()
    }

    /// The projections.
    pub fn projections(&self) -> impl Iterator<Item = &Projection> {
        self.wires.iter().map(|w| &w.projection)
    }

    /// The populations, in the order of the input's channels.
    pub fn populations(&self) -> impl Iterator<Item = &Population> {
        self.groups.iter().map(|g| &g.population)
    }
}

impl Network for Spiking {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    /// Spikes `[rows, steps, neurons of all populations]`.
    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let width = self.neurons();
        let call = Call::begin(input, self.channels(), state, tap)?;
        if call.rows > 1 && self.wires.iter().any(|w| w.projection.plasticity.is_some()) {
            return Err(Error::invalid(
                format!("a plastic network is given {} rows, which would share their weights", call.rows),
                "run the rows one after the other",
            ));
        }
        let mut wires = self.wires.iter().map(|w| w.start(call.rows, state)).collect::<Result<Vec<_>>>()?;
        let mut groups = self.groups.iter().map(|g| g.start(call.rows, state)).collect::<Result<Vec<_>>>()?;
        let mut outputs = Outputs::new(&call, width, tap);
        let mut fired = vec![0.0; call.rows * width];
        for t in 0..call.steps {
            call.tick(t, tap)?;
            for (wire, running) in self.wires.iter().zip(&mut wires) {
                wire.arrive(running, call.rows, tap)?;
            }
            let mut first = 0;
            for (i, group) in self.groups.iter().enumerate() {
                let outside = |row: usize| call.series.map(|s| &s.at(row, t)[first..first + group.population.size]);
                group.step(&mut groups[i], call.rows, outside, &wires, tap)?;
                for row in 0..call.rows {
                    let size = group.population.size;
                    fired[row * width + first..][..size].copy_from_slice(&groups[i].spikes[row * size..][..size]);
                }
                first += group.population.size;
            }
            let mut modulator = [0.0];
            if let Some(site) = self.modulator {
                modulator[0] = call.series.map_or(0.0, |s| s.at(0, t)[width]);
                through(tap, site, &mut modulator, &[1])?;
            }
            for (wire, running) in self.wires.iter().zip(&mut wires) {
                wire.learn(running, &groups[wire.projection.to].spikes, modulator[0], tap)?;
                wire.send(running, &groups[wire.projection.from].spikes);
            }
            outputs.push(t, &fired);
        }
        for (wire, running) in self.wires.iter().zip(&wires) {
            wire.keep(running, call.rows, state)?;
        }
        for (group, running) in self.groups.iter().zip(&groups) {
            group.keep(running, call.rows, state)?;
        }
        call.end(state)?;
        outputs.tensor(call.rows)
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }
}

impl Simulation for Spiking {
    fn rules(&self) -> Vec<String> {
        let mut rules =
            vec!["order: arrive, synapses decay and jump, integrate, fire, reset and adapt, learn, send".to_string()];
        rules.extend(self.populations().map(|p| format!("{}: {} x {}", p.name, p.size, p.neurons)));
        rules.extend(self.wires.iter().map(|w| {
            let [from, to] = [w.projection.from, w.projection.to].map(|i| &self.groups[i].population.name);
            format!("{}: {from} to {to}, {}", w.projection.name, w.projection)
        }));
        rules
    }

    fn dt(&self) -> Option<f64> {
        Some(self.dt)
    }

    fn channels(&self) -> usize {
        self.neurons() + usize::from(self.modulator.is_some())
    }

    fn synapses(&self, site: &str) -> Option<&Sparse> {
        let name = site.strip_prefix("syn.")?;
        let name = [".hook_weight", ".hook_dw", ".hook_elig"].iter().find_map(|part| name.strip_suffix(part))?;
        self.wires.iter().find(|w| w.projection.name == name).map(|w| &w.projection.synapses)
    }

    fn nir(&self) -> Result<Exported> {
        of_spiking(self, self.dt)
    }
}
