//! A population with its sites, and what it is doing.

use super::parts::{Neurons, Population, Synapse};
use super::projection::{Running as Arrived, Wire};
use crate::Result;
use crate::hook::{Axis, SiteId, SiteTable, Tap};
use crate::models::State;
use crate::models::simulation::{keep, site, take, through};
use crate::nn::spiking::{Adaptation, Conductance, Izhikevich, IzhikevichRule, Lif, Refractory, ResetDelay};

/// A population with its sites.
pub(super) struct Group {
    pub population: Population,
    spikes: SiteId,
    inner: Option<Inner>,
    /// The projections that end here: their places, and what a unit of their current does.
    inputs: Vec<(usize, Effect)>,
}

/// Sites of neurons that integrate.
struct Inner {
    current: SiteId,
    mem_pre: SiteId,
    threshold: Option<SiteId>,
    mem: SiteId,
    adapt: Option<SiteId>,
    refrac: Option<SiteId>,
}

/// What a unit of a projection's current does to a membrane.
#[derive(Clone, Copy)]
enum Effect {
    /// It adds to the current of the step.
    Current,
    /// It adds this to the membrane by the end of the step.
    Kick(f64),
    /// It is a conductance towards this potential.
    Conductance(f64),
}

/// What changes of a population in a run, each `[rows, size]`.
pub(super) struct Running {
    pub spikes: Vec<f32>,
    mem: Vec<f32>,
    /// u of Izhikevich's neurons, b of a moving threshold.
    adapt: Vec<f32>,
    /// Steps until it may fire again.
    refrac: Vec<f32>,
    current: Vec<f32>,
    threshold: Vec<f32>,
    blocked: Vec<bool>,
}

/// Where Izhikevich's neurons begin, mV.
const START: f32 = -65.0;

impl Group {
    /// The population that stands at `place`, with the sites that it has.
    pub fn new(population: Population, place: usize, wires: &[Wire], table: &mut SiteTable) -> Self {
        let axes = [(Axis::Batch, None), (Axis::Neuron, Some(population.size))];
        let mut push = |part: &str, meaning| table.push(site(format!("{}.{part}", population.name), &axes, meaning));
        let (lif, moves) = match &population.neurons {
            Neurons::Source => {
                let spikes = push("hook_spikes", "spikes, as given");
                return Self { population, spikes, inner: None, inputs: Vec::new() };
            }
            Neurons::Lif { cell, adaptation } => (Some(*cell), adaptation.is_some()),
            Neurons::Izhikevich { .. } => (None, false),
        };
        let refractory = lif.is_some_and(|cell| cell.refractory.steps() > 0);
        let current = push("hook_current", "constant current of the step: external, and of instantaneous synapses");
        let mem_pre = push("hook_mem_pre", "membrane before firing");
        let threshold = moves.then(|| push("hook_threshold", "threshold of this step"));
        let spikes = push("hook_spikes", "spikes; what comes out of here resets, travels and teaches");
        let mem = push("hook_mem", "membrane after firing");
        let adapt = match lif {
            None => Some(push("hook_adapt", "recovery u")),
            Some(_) => moves.then(|| push("hook_adapt", "b, which moves the threshold")),
        };
        let refrac = refractory.then(|| push("hook_refrac", "steps until it may fire again"));
        let effect = |kind: Synapse| match (kind, lif) {
            (Synapse::Current(synapse), Some(cell)) => Effect::Kick(synapse.kick(&cell)),
            (Synapse::Conductance(synapse), Some(_)) => Effect::Conductance(synapse.reversal),
            _ => Effect::Current,
        };
        let here = wires.iter().enumerate().filter(|(_, wire)| wire.projection.to == place);
        let inputs = here.map(|(i, wire)| (i, effect(wire.projection.kind))).collect();
        let inner = Inner { current, mem_pre, threshold, mem, adapt, refrac };
        Self { population, spikes, inner: Some(inner), inputs }
    }

    fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.population.name)
    }

    /// At rest (Izhikevich's neurons at v = -65, u = b v), or as the state says.
    pub fn start(&self, rows: usize, state: &State) -> Result<Running> {
        let size = self.population.size;
        let (shape, n) = ([rows, size], rows * size);
        let (rest, threshold) = match &self.population.neurons {
            Neurons::Source => (0.0, 0.0),
            Neurons::Lif { cell, .. } => (cell.rest as f32, cell.threshold as f32),
            Neurons::Izhikevich { .. } => (START, Izhikevich::PEAK as f32),
        };
        let adapt = || match &self.population.neurons {
            Neurons::Izhikevich { cells, .. } => {
                (0..rows).flat_map(|_| cells).map(|cell| (cell.b * f64::from(START)) as f32).collect()
            }
            _ => vec![0.0; n],
        };
        Ok(Running {
            spikes: take(state, &self.name("spikes"), &shape, || vec![0.0; n])?,
            mem: take(state, &self.name("mem"), &shape, || vec![rest; n])?,
            adapt: take(state, &self.name("adapt"), &shape, adapt)?,
            refrac: take(state, &self.name("refrac"), &shape, || vec![0.0; n])?,
            current: vec![0.0; n],
            threshold: take(state, &self.name("threshold"), &shape, || vec![threshold; n])?,
            blocked: vec![false; n],
        })
    }

    pub fn keep(&self, running: &Running, rows: usize, state: &mut State) -> Result<()> {
        let shape = [rows, self.population.size];
        let parts = [
            ("spikes", &running.spikes),
            ("mem", &running.mem),
            ("adapt", &running.adapt),
            ("refrac", &running.refrac),
            ("threshold", &running.threshold),
        ];
        let parts = parts.into_iter().filter(|(part, _)| *part == "spikes" || self.inner.is_some());
        parts.into_iter().try_for_each(|(part, values)| keep(state, &self.name(part), &shape, values))
    }

    /// One step: integrate, fire, reset and adapt. `outside` gives a row's input.
    pub fn step<'s>(
        &self,
        running: &mut Running,
        rows: usize,
        outside: impl Fn(usize) -> Option<&'s [f32]>,
        arrived: &[Arrived],
        tap: &mut Tap,
    ) -> Result<()> {
        let (size, shape) = (self.population.size, [rows, self.population.size]);
        let Some(inner) = &self.inner else {
            for row in 0..rows {
                match outside(row) {
                    Some(given) => running.spikes[row * size..][..size].copy_from_slice(given),
                    None => running.spikes[row * size..][..size].fill(0.0),
                }
            }
            return through(tap, self.spikes, &mut running.spikes, &shape);
        };
        running.current.fill(0.0);
        for row in 0..rows {
            if let Some(given) = outside(row) {
                running.current[row * size..][..size].copy_from_slice(given);
            }
        }
        for (i, _) in self.inputs.iter().filter(|(_, effect)| matches!(effect, Effect::Current)) {
            running.current.iter_mut().zip(&arrived[*i].current).for_each(|(a, b)| *a += b);
        }
        through(tap, inner.current, &mut running.current, &shape)?;
        match &self.population.neurons {
            Neurons::Source => {}
            Neurons::Lif { cell, adaptation } => {
                self.charge(cell, running, arrived);
                through(tap, inner.mem_pre, &mut running.mem, &shape)?;
                let moved = |b: &f32| adaptation.map_or(0.0, |a| a.beta * f64::from(*b));
                let thresholds = running.adapt.iter().map(|b| (cell.threshold + moved(b)) as f32);
                running.threshold.iter_mut().zip(thresholds).for_each(|(th, new)| *th = new);
                if let Some(site) = inner.threshold {
                    through(tap, site, &mut running.threshold, &shape)?;
                }
                for at in 0..rows * size {
                    let crosses = cell.fires(f64::from(running.mem[at]), f64::from(running.threshold[at]));
                    running.spikes[at] = f32::from(u8::from(crosses && !running.blocked[at]));
                }
                through(tap, self.spikes, &mut running.spikes, &shape)?;
                after_lif(cell, adaptation.as_ref(), running);
            }
            Neurons::Izhikevich { rule, cells } => {
                charge_izhikevich(*rule, cells, running);
                through(tap, inner.mem_pre, &mut running.mem, &shape)?;
                for (s, v) in running.spikes.iter_mut().zip(&running.mem) {
                    *s = f32::from(u8::from(f64::from(*v) >= Izhikevich::PEAK));
                }
                through(tap, self.spikes, &mut running.spikes, &shape)?;
                for at in (0..rows * size).filter(|at| running.spikes[*at] > 0.0) {
                    let cell = &cells[at % size];
                    running.mem[at] = cell.c as f32;
                    running.adapt[at] += cell.d as f32;
                }
            }
        }
        through(tap, inner.mem, &mut running.mem, &shape)?;
        if let Some(site) = inner.adapt {
            through(tap, site, &mut running.adapt, &shape)?;
        }
        if let Some(site) = inner.refrac {
            through(tap, site, &mut running.refrac, &shape)?;
        }
        Ok(())
    }

    /// A pending reset, refractoriness, and the step of the membrane equation.
    fn charge(&self, cell: &Lif, running: &mut Running, arrived: &[Arrived]) {
        let conductances = self.inputs.iter().any(|(_, effect)| matches!(effect, Effect::Conductance(_)));
        let mut kicks = vec![0.0; running.mem.len()];
        for (i, effect) in &self.inputs {
            if let Effect::Kick(kick) = effect {
                kicks.iter_mut().zip(&arrived[*i].current).for_each(|(sum, i)| *sum += kick * f64::from(*i));
            }
        }
        for (at, kick) in kicks.into_iter().enumerate() {
            let mut v = f64::from(running.mem[at]);
            if cell.reset_delay == ResetDelay::Next && running.spikes[at] > 0.0 {
                v = cell.reset(v, f64::from(running.threshold[at]));
            }
            running.blocked[at] = running.refrac[at] > 0.0;
            if running.blocked[at] {
                running.refrac[at] -= 1.0;
            }
            if !(running.blocked[at] && matches!(cell.refractory, Refractory::Clamped(_))) {
                let current = f64::from(running.current[at]);
                v = if conductances {
                    let all = self.inputs.iter().filter_map(|(i, effect)| match effect {
                        Effect::Conductance(reversal) => Some((f64::from(arrived[*i].current[at]), *reversal)),
                        _ => None,
                    });
                    Conductance::charge(cell, v, current, all)
                } else {
                    cell.charge(v, current) + kick
                };
            }
            running.mem[at] = v as f32;
        }
    }
}

/// What a spike, as it came out of its site, does to a LIF neuron.
fn after_lif(cell: &Lif, adaptation: Option<&Adaptation>, running: &mut Running) {
    for at in (0..running.mem.len()).filter(|at| running.spikes[*at] > 0.0) {
        if cell.reset_delay == ResetDelay::Same {
            running.mem[at] = cell.reset(f64::from(running.mem[at]), f64::from(running.threshold[at])) as f32;
        }
        running.refrac[at] = cell.refractory.steps() as f32;
    }
    if let Some(rule) = adaptation {
        for (b, s) in running.adapt.iter_mut().zip(&running.spikes) {
            *b = rule.step(f64::from(*b), f64::from(*s), cell.dt) as f32;
        }
    }
}

fn charge_izhikevich(rule: IzhikevichRule, cells: &[Izhikevich], running: &mut Running) {
    let state = running.mem.iter_mut().zip(&mut running.adapt).zip(&running.current);
    for (((v, u), current), cell) in state.zip(cells.iter().cycle()) {
        let new = cell.charge(f64::from(*v), f64::from(*u), f64::from(*current), rule);
        (*v, *u) = (new.0 as f32, new.1 as f32);
    }
}
