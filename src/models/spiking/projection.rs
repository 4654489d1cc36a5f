//! A projection with its sites, and what it is doing.

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
    /// trace_pre, trace_post, dw.
    plastic: Option<[SiteId; 3]>,
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
    trace_pre: Vec<f32>,
    trace_post: Vec<f32>,
    dw: Vec<f32>,
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
        Self { projection, decay, dt, weight, spikes, current, plastic: None }
    }

    /// The sites that come after all populations have fired.
    pub fn add_plastic_sites(&mut self, table: &mut SiteTable) {
        if self.projection.plasticity.is_none() {
            return;
        }
        let name = |part: &str| format!("syn.{}.{part}", self.projection.name);
        let (pre, post) = (Some(self.projection.synapses.pre()), Some(self.projection.synapses.post()));
        let b = (Axis::Batch, None);
        let trace_pre =
            site(name("hook_trace_pre"), &[b, (Axis::Pre, pre)], "trace of arrived spikes, as the rule reads it");
        let trace_post =
            site(name("hook_trace_post"), &[b, (Axis::Post, post)], "trace of post spikes, as the rule reads it");
        let dw = weight_site(name("hook_dw"), &self.projection.synapses, "change of the weights; 0 freezes them");
        self.plastic = Some([table.push(trace_pre), table.push(trace_post), table.push(dw)]);
    }

    pub fn start(&self, rows: usize, state: &State) -> Result<Running> {
        let q = &self.projection;
        let name = |part: &str| format!("syn.{}.{part}", q.name);
        let (pre, post, n) = (q.synapses.pre(), q.synapses.post(), q.synapses.len());
        let zeros = |n: usize| move || vec![0.0; n];
        let mut ring = DelayRing::new(q.delay, rows * pre)?;
        ring.restore(&take(state, &name("delayed"), &[q.delay, rows, pre], zeros(q.delay * rows * pre))?)?;
        let current = take(state, &name("current"), &[rows, post], zeros(rows * post))?;
        let (mut weights, mut traces) = (q.weights.clone(), [Vec::new(), Vec::new()]);
        let mut dw = Vec::new();
        if q.plasticity.is_some() {
            weights = take(state, &name("weight"), &[n], || weights)?;
            traces[0] = take(state, &name("trace_pre"), &[rows, pre], zeros(rows * pre))?;
            traces[1] = take(state, &name("trace_post"), &[rows, post], zeros(rows * post))?;
            dw = vec![0.0; n];
        }
        let [trace_pre, trace_post] = traces;
        let (arriving, jump) = (vec![0.0; rows * pre], vec![0.0; rows * post]);
        Ok(Running { weights, ring, arriving, current, jump, trace_pre, trace_post, dw })
    }

    pub fn keep(&self, running: &Running, rows: usize, state: &mut State) -> Result<()> {
        let q = &self.projection;
        let name = |part: &str| format!("syn.{}.{part}", q.name);
        let (pre, post) = (q.synapses.pre(), q.synapses.post());
        keep(state, &name("delayed"), &[q.delay, rows, pre], &running.ring.contents())?;
        keep(state, &name("current"), &[rows, post], &running.current)?;
        if q.plasticity.is_some() {
            keep(state, &name("weight"), &[q.synapses.len()], &running.weights)?;
            keep(state, &name("trace_pre"), &[rows, pre], &running.trace_pre)?;
            keep(state, &name("trace_post"), &[rows, post], &running.trace_post)?;
        }
        Ok(())
    }

    /// Spikes arrive; the current decays and jumps.
    pub fn arrive(&self, running: &mut Running, rows: usize, tap: &mut Tap) -> Result<()> {
        let synapses = &self.projection.synapses;
        let (pre, post) = (synapses.pre(), synapses.post());
        // The weight of a static projection begins every step as the parameter that it is.
        if tap.opens(self.weight) && self.plastic.is_none() {
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

    /// Weights change by what arrived and what was fired; then the traces jump. A plastic run has one row.
    pub fn learn(&self, running: &mut Running, fired: &[f32], tap: &mut Tap) -> Result<()> {
        let (Some(rule), Some([trace_pre, trace_post, dw])) = (&self.projection.plasticity, self.plastic) else {
            return Ok(());
        };
        let synapses = &self.projection.synapses;
        let decayed = |traces: &mut [f32], tau: f64| {
            let left = (-self.dt / tau).exp() as f32;
            traces.iter_mut().for_each(|x| *x *= left);
        };
        decayed(&mut running.trace_pre, rule.tau_plus);
        decayed(&mut running.trace_post, rule.tau_minus);
        through(tap, trace_pre, &mut running.trace_pre, &[1, synapses.pre()])?;
        through(tap, trace_post, &mut running.trace_post, &[1, synapses.post()])?;
        running.dw.fill(0.0);
        let change = |s: usize, spikes: (f32, f32), running: &Running| {
            let [i, j] = [synapses.sources()[s] as usize, synapses.targets()[s] as usize];
            let traces = (f64::from(running.trace_pre[i]), f64::from(running.trace_post[j]));
            let spikes = (f64::from(spikes.0), f64::from(spikes.1));
            rule.change(f64::from(running.weights[s]), spikes, traces) as f32
        };
        for source in (0..synapses.pre()).filter(|i| running.arriving[*i] != 0.0) {
            for s in synapses.outgoing(source) {
                running.dw[s] += change(s, (running.arriving[source], 0.0), running);
            }
        }
        for target in (0..synapses.post()).filter(|j| fired[*j] != 0.0) {
            for s in synapses.incoming(target) {
                running.dw[*s as usize] += change(*s as usize, (0.0, fired[target]), running);
            }
        }
        through_dense(tap, dw, synapses, &mut running.dw)?;
        for (w, dw) in running.weights.iter_mut().zip(&running.dw).filter(|(_, dw)| **dw != 0.0) {
            *w = rule.bounded(f64::from(*w + dw)) as f32;
        }
        let jumped = |traces: &mut [f32], spikes: &[f32], trace: crate::nn::spiking::Trace| {
            for (x, s) in traces.iter_mut().zip(spikes).filter(|(_, s)| **s != 0.0) {
                *x = trace.jumped(f64::from(*x), f64::from(*s)) as f32;
            }
        };
        jumped(&mut running.trace_pre, &running.arriving, rule.pre());
        jumped(&mut running.trace_post, fired, rule.post());
        Ok(())
    }

    /// What was fired sets out.
    pub fn send(&self, running: &mut Running, fired: &[f32]) {
        running.ring.send(fired);
    }
}
