//! A projection with its sites, and what it is doing.

use super::learning::{Learner, Lesson, Memory};
use super::parts::{Population, Projection};
use crate::Result;
use crate::hook::{Axis, SiteId, SiteTable, Tap};
use crate::models::State;
use crate::models::simulation::{keep, site, take, through, through_dense, weight_site};
use crate::nn::spiking::DelayRing;

/// A projection with its sites.
pub(super) struct Wire {
    pub projection: Projection,
    decay: f32,
    dt: f64,
    weight: SiteId,
    spikes: SiteId,
    current: SiteId,
    learner: Option<Learner>,
}

/// What changes of a projection in a run.
pub(super) struct Running {
    weights: Vec<f32>,
    ring: DelayRing,
    /// `[rows, pre]`.
    arriving: Vec<f32>,
    /// `[rows, post]`: the current or conductance at the beginning of the step.
    pub current: Vec<f32>,
    /// `[rows, post]`: what this step adds to it.
    jump: Vec<f32>,
    memory: Option<Memory>,
}

impl Wire {
    pub fn new(projection: Projection, populations: &[Population], table: &mut SiteTable, dt: f64) -> Self {
        let name = |part: &str| format!("syn.{}.{part}", projection.name);
        let (pre, post) = (Some(populations[projection.from].size), Some(populations[projection.to].size));
        let (b, decay) = ((Axis::Batch, None), projection.kind.decay(dt) as f32);
        let weight =
            table.push(weight_site(name("hook_weight"), &projection.synapses, "synaptic weights of this step"));
        let arriving = "spikes that arrive in this step";
        let spikes = table.push(site(name("hook_spikes"), &[b, (Axis::Pre, pre)], arriving));
        let meaning = "synaptic current (or conductance) at the beginning of the step, this step's arrivals included";
        let current = table.push(site(name("hook_current"), &[b, (Axis::Post, post)], meaning));
        Self { projection, decay, dt, weight, spikes, current, learner: None }
    }

    /// The sites that come after all populations have fired.
    pub fn add_plastic_sites(&mut self, table: &mut SiteTable) {
        let rule = self.projection.plasticity;
        self.learner = rule.map(|rule| Learner::new(&self.projection, rule, table, self.dt));
    }

    pub fn start(&self, rows: usize, state: &State) -> Result<Running> {
        let q = &self.projection;
        let name = |part: &str| format!("syn.{}.{part}", q.name);
        let (pre, post, n) = (q.synapses.pre(), q.synapses.post(), q.synapses.len());
        let zeros = |n: usize| move || vec![0.0; n];
        let mut ring = DelayRing::new(q.delay, rows * pre)?;
        ring.restore(&take(state, &name("delayed"), &[q.delay, rows, pre], zeros(q.delay * rows * pre))?)?;
        let current = take(state, &name("current"), &[rows, post], zeros(rows * post))?;
        let weights = match self.learner {
            Some(_) => take(state, &name("weight"), &[n], || q.weights.clone())?,
            None => q.weights.clone(),
        };
        let memory = self.learner.as_ref().map(|l| l.start(q, state)).transpose()?;
        let (arriving, jump) = (vec![0.0; rows * pre], vec![0.0; rows * post]);
        Ok(Running { weights, ring, arriving, current, jump, memory })
    }

    pub fn keep(&self, running: &Running, rows: usize, state: &mut State) -> Result<()> {
        let q = &self.projection;
        let name = |part: &str| format!("syn.{}.{part}", q.name);
        let (pre, post) = (q.synapses.pre(), q.synapses.post());
        keep(state, &name("delayed"), &[q.delay, rows, pre], &running.ring.contents())?;
        keep(state, &name("current"), &[rows, post], &running.current)?;
        if let (Some(learner), Some(memory)) = (&self.learner, &running.memory) {
            keep(state, &name("weight"), &[q.synapses.len()], &running.weights)?;
            learner.keep(q, memory, state)?;
        }
        Ok(())
    }

    /// Spikes arrive; the current decays and jumps.
    pub fn arrive(&self, running: &mut Running, rows: usize, tap: &mut Tap) -> Result<()> {
        let synapses = &self.projection.synapses;
        let (pre, post) = (synapses.pre(), synapses.post());
        // The weight of a static projection begins every step as the parameter that it is.
        if tap.opens(self.weight) && self.learner.is_none() {
            running.weights.copy_from_slice(&self.projection.weights);
        }
        through_dense(tap, self.weight, synapses, &mut running.weights)?;
        running.arriving.copy_from_slice(running.ring.arriving());
        through(tap, self.spikes, &mut running.arriving, &[rows, pre])?;
        running.jump.fill(0.0);
        for row in 0..rows {
            let arriving = &running.arriving[row * pre..][..pre];
            synapses.deliver(&running.weights, arriving, &mut running.jump[row * post..][..post]);
        }
        // All that arrives is one jump: a graph in which a node sums it and the next takes it gives the same bits.
        running.current.iter_mut().zip(&running.jump).for_each(|(i, jump)| *i = *i * self.decay + jump);
        through(tap, self.current, &mut running.current, &[rows, post])
    }

    /// Weights change by what arrived, what was fired and the third factor. A plastic run has one row.
    pub fn learn(&self, running: &mut Running, fired: &[f32], modulator: f32, tap: &mut Tap) -> Result<()> {
        let Running { weights, arriving, memory, .. } = running;
        match (&self.learner, memory) {
            (Some(learner), Some(memory)) => {
                learner.learn(&self.projection.synapses, weights, memory, &Lesson::new(arriving, fired, modulator), tap)
            }
            _ => Ok(()),
        }
    }

    /// What was fired sets out.
    pub fn send(&self, running: &mut Running, fired: &[f32]) {
        running.ring.send(fired);
    }
}
