//! How a projection learns: its rule with its sites, and what it remembers of spikes.

use super::parts::{Plasticity, Projection};
use crate::Result;
use crate::hook::{Axis, SiteId, SiteTable, Tap};
use crate::models::State;
use crate::models::simulation::{keep, site, take, through, through_dense, weight_site};
use crate::nn::spiking::{Sparse, Trace};

/// Names of the traces by their place in the rule.
const TRACES: [[&str; 2]; 2] = [["trace_pre", "trace_post"], ["trace_pre_slow", "trace_post_slow"]];

/// A rule with its sites.
pub(super) struct Learner {
    rule: Plasticity,
    dt: f64,
    /// For each trace its sites of pre and post neurons.
    traces: Vec<[SiteId; 2]>,
    elig: Option<SiteId>,
    dw: SiteId,
}

/// What a plastic projection carries from step to step, of its one row.
pub(super) struct Memory {
    /// For each trace its values of pre and post neurons.
    traces: Vec<[Vec<f32>; 2]>,
    /// `[synapses]`, of a modulated rule.
    elig: Vec<f32>,
    /// `[synapses]`: 0 between steps.
    dw: Vec<f32>,
}

/// What a step tells a rule: neurons with the spikes that they had.
pub(super) struct Lesson {
    /// Pre neurons, whose spikes arrived.
    arrived: Vec<(usize, f32)>,
    /// Post neurons, which fired.
    fired: Vec<(usize, f32)>,
    /// M, the third factor.
    modulator: f32,
}

impl Lesson {
    /// From the spikes of all neurons.
    pub fn new(arriving: &[f32], fired: &[f32], modulator: f32) -> Self {
        let events = |all: &[f32]| all.iter().copied().enumerate().filter(|(_, spike)| *spike != 0.0).collect();
        Self { arrived: events(arriving), fired: events(fired), modulator }
    }
}

impl Learner {
    pub fn new(projection: &Projection, rule: Plasticity, table: &mut SiteTable, dt: f64) -> Self {
        let synapses = &projection.synapses;
        let name = |part: &str| format!("syn.{}.hook_{part}", projection.name);
        let axes = [(Axis::Pre, Some(synapses.pre())), (Axis::Post, Some(synapses.post()))];
        let meanings = [
            ["trace of arrived spikes, as the rule reads it", "trace of post spikes, as the rule reads it"],
            ["the slow trace of arrived spikes", "the slow trace of post spikes"],
        ];
        let mut trace = |at: usize| {
            [0, 1].map(|end| {
                table.push(site(name(TRACES[at][end]), &[(Axis::Batch, None), axes[end]], meanings[at][end]))
            })
        };
        let traces = (0..rule.traces().len()).map(&mut trace).collect();
        let meaning = "eligibility e, which the third factor turns into change";
        let elig = rule.eligibility().map(|_| table.push(weight_site(name("elig"), synapses, meaning)));
        let dw = table.push(weight_site(name("dw"), synapses, "change of the weights; 0 freezes them"));
        Self { rule, dt, traces, elig, dw }
    }

    pub fn start(&self, projection: &Projection, state: &State) -> Result<Memory> {
        let (synapses, name) = (&projection.synapses, |part: &str| format!("syn.{}.{part}", projection.name));
        let n = synapses.len();
        let ends = [synapses.pre(), synapses.post()];
        let mut traces = Vec::new();
        for names in &TRACES[..self.traces.len()] {
            let values = |end: usize| take(state, &name(names[end]), &[1, ends[end]], || vec![0.0; ends[end]]);
            traces.push([values(0)?, values(1)?]);
        }
        let elig = match self.elig {
            Some(_) => take(state, &name("elig"), &[n], || vec![0.0; n])?,
            None => Vec::new(),
        };
        Ok(Memory { traces, elig, dw: vec![0.0; n] })
    }

    pub fn keep(&self, projection: &Projection, memory: &Memory, state: &mut State) -> Result<()> {
        let name = |part: &str| format!("syn.{}.{part}", projection.name);
        for (names, traces) in TRACES.iter().zip(&memory.traces) {
            for (name_of, values) in names.iter().zip(traces) {
                keep(state, &name(name_of), &[1, values.len()], values)?;
            }
        }
        match self.elig {
            Some(_) => keep(state, &name("elig"), &[memory.elig.len()], &memory.elig),
            None => Ok(()),
        }
    }

    /// Weights change by what arrived and what was fired; then the traces jump.
    pub fn learn(
        &self,
        synapses: &Sparse,
        weights: &mut [f32],
        memory: &mut Memory,
        lesson: &Lesson,
        tap: &mut Tap,
    ) -> Result<()> {
        self.decay(memory, tap)?;
        self.pair(synapses, weights, memory, lesson);
        if let (Some(rule), Some(site)) = (self.rule.eligibility(), self.elig) {
            for (e, pair) in memory.elig.iter_mut().zip(&memory.dw) {
                *e = rule.step(f64::from(*e), f64::from(*pair), self.dt) as f32;
            }
            through_dense(tap, site, synapses, &mut memory.elig)?;
            for (dw, e) in memory.dw.iter_mut().zip(&memory.elig) {
                *dw = rule.change(f64::from(*e), f64::from(lesson.modulator)) as f32;
            }
        }
        through_dense(tap, self.dw, synapses, &mut memory.dw)?;
        let bounds = self.rule.bounds();
        let apply = |w: &mut f32, dw: &mut f32| {
            if *dw != 0.0 {
                *w = f64::from(*w + *dw).clamp(bounds.0, bounds.1) as f32;
                *dw = 0.0;
            }
        };
        if self.elig.is_some() || tap.wants(self.dw) {
            weights.iter_mut().zip(&mut memory.dw).for_each(|(w, dw)| apply(w, dw));
        } else {
            // Nothing else has changed; the second visit of a synapse finds 0.
            let mut at = |s: usize| apply(&mut weights[s], &mut memory.dw[s]);
            lesson.arrived.iter().flat_map(|(source, _)| synapses.outgoing(*source)).for_each(&mut at);
            lesson.fired.iter().flat_map(|(target, _)| synapses.incoming(*target)).for_each(|s| at(*s as usize));
        }
        self.jump(memory, lesson);
        Ok(())
    }

    fn decay(&self, memory: &mut Memory, tap: &mut Tap) -> Result<()> {
        for ((rules, sites), values) in self.rule.traces().iter().zip(&self.traces).zip(&mut memory.traces) {
            for end in [0, 1] {
                let left = (-self.dt / rules[end].tau).exp() as f32;
                values[end].iter_mut().for_each(|x| *x *= left);
            }
            for end in [0, 1] {
                let shape = [1, values[end].len()];
                through(tap, sites[end], &mut values[end], &shape)?;
            }
        }
        Ok(())
    }

    /// What the pairs of this step come to, into `dw`.
    fn pair(&self, synapses: &Sparse, weights: &[f32], memory: &mut Memory, lesson: &Lesson) {
        let Memory { traces, dw, .. } = memory;
        let [fast, slow] = [traces.first(), traces.get(1)];
        let read = |end: usize, neuron: usize| {
            let value = |of: Option<&[Vec<f32>; 2]>| of.map_or(0.0, |of| f64::from(of[end][neuron]));
            (value(fast), value(slow))
        };
        for &(source, spike) in &lesson.arrived {
            let (pre, spikes) = (read(0, source), (f64::from(spike), 0.0));
            for s in synapses.outgoing(source) {
                let post = read(1, synapses.targets()[s] as usize);
                dw[s] += self.rule.change(f64::from(weights[s]), spikes, pre, post) as f32;
            }
        }
        for &(target, spike) in &lesson.fired {
            let (post, spikes) = (read(1, target), (0.0, f64::from(spike)));
            for s in synapses.incoming(target).iter().map(|s| *s as usize) {
                let pre = read(0, synapses.sources()[s] as usize);
                dw[s] += self.rule.change(f64::from(weights[s]), spikes, pre, post) as f32;
            }
        }
    }

    fn jump(&self, memory: &mut Memory, lesson: &Lesson) {
        let jumped = |values: &mut [f32], spikes: &[(usize, f32)], trace: Trace| {
            for (neuron, spike) in spikes {
                values[*neuron] = trace.jumped(f64::from(values[*neuron]), f64::from(*spike)) as f32;
            }
        };
        for (rules, [pre, post]) in self.rule.traces().iter().zip(&mut memory.traces) {
            jumped(pre, &lesson.arrived, rules[0]);
            jumped(post, &lesson.fired, rules[1]);
        }
    }
}
