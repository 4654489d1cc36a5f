//! A node with its sites, and what it is doing.

use super::delay::{Delay, Ring};
use super::layers::{Conv, Linear, Pool};
use super::neurons::Neurons;
use crate::Result;
use crate::hook::{SiteId, Tap};
use crate::models::State;
use crate::models::simulation::{keep, take, through};
use crate::store::nir::Kind;

/// A node with its sites.
pub(super) struct Part {
    pub name: String,
    pub kind: Kind,
    /// Numbers that enter, and that leave.
    pub entering: usize,
    pub size: usize,
    /// Where values come from, and whether from the step before.
    pub inputs: Vec<(usize, bool)>,
    pub op: Op,
    pub site: Sites,
}

/// What a node does.
pub(super) enum Op {
    /// It is given values from this channel on.
    Given(usize),
    /// It hands on what enters.
    Same,
    Linear(Linear, Vec<f32>),
    Conv(Conv, Vec<f32>),
    Pool(Pool),
    Scale(Vec<f32>),
    Threshold(Vec<f32>),
    Delay(Delay),
    Neurons(Neurons),
}

/// The sites of a node, as far as its kind has them.
#[derive(Clone, Copy, Default)]
pub(super) struct Sites {
    pub input: Option<SiteId>,
    pub weight: Option<SiteId>,
    pub bias: Option<SiteId>,
    pub current: Option<SiteId>,
    pub mem_pre: Option<SiteId>,
    pub spikes: Option<SiteId>,
    pub mem: Option<SiteId>,
    pub output: Option<SiteId>,
}

/// What changes of a node in a run.
#[derive(Default)]
pub(super) struct Running {
    /// `[rows, entering]`.
    pub input: Vec<f32>,
    /// `[rows, size]`.
    pub out: Vec<f32>,
    /// `[rows, size]`, of the step before; empty where nobody reads it.
    pub before: Vec<f32>,
    mem: Vec<f32>,
    current: Vec<f32>,
    ring: Ring,
}

/// The number of a unit; a single one stands for all.
pub(super) fn per_unit<T: Copy>(values: &[T], unit: usize) -> T {
    values[unit % values.len()]
}

impl Part {
    /// At rest, or as the state says.
    pub fn start(&self, rows: usize, state: &State) -> Result<Running> {
        let n = rows * self.size;
        let mut running = Running { input: vec![0.0; rows * self.entering], out: vec![0.0; n], ..Running::default() };
        let named = |part: &str| format!("{}.{part}", self.name);
        match &self.op {
            Op::Neurons(neurons) => {
                let rest = || neurons.rest(self.size).repeat(rows);
                running.mem = take(state, &named("mem"), &[rows, self.size], rest)?;
                if self.kind.has_current() {
                    running.current = take(state, &named("current"), &[rows, self.size], || vec![0.0; n])?;
                }
            }
            Op::Delay(delay) => {
                let shape = [delay.longest(), rows, self.size];
                running.ring = delay.ring(take(state, &named("delayed"), &shape, || vec![0.0; delay.longest() * n])?);
            }
            _ => {}
        }
        Ok(running)
    }

    pub fn keep(&self, running: &Running, rows: usize, state: &mut State) -> Result<()> {
        let shape = [rows, self.size];
        let named = |part: &str| format!("{}.{part}", self.name);
        match &self.op {
            Op::Neurons(_) => {
                keep(state, &named("mem"), &shape, &running.mem)?;
                if self.kind.has_current() {
                    keep(state, &named("current"), &shape, &running.current)?;
                }
            }
            Op::Delay(delay) => {
                let contents = running.ring.contents(rows * self.size);
                keep(state, &named("delayed"), &[delay.longest(), rows, self.size], &contents)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What a delay of at least one step gives, before anything else happens.
    pub fn emit(&self, running: &mut Running, rows: usize, tap: &mut Tap) -> Result<()> {
        let Op::Delay(delay) = &self.op else { return Ok(()) };
        delay.emit(&running.ring, &[], self.size, &mut running.out);
        self.pass(self.site.output, &mut running.out, rows, tap)
    }

    /// What has reached such a delay sets out.
    pub fn absorb(&self, running: &mut Running, rows: usize, tap: &mut Tap) -> Result<()> {
        let Op::Delay(delay) = &self.op else { return Ok(()) };
        self.pass(self.site.input, &mut running.input, rows, tap)?;
        delay.send(&mut running.ring, &running.input);
        Ok(())
    }

    /// One step. `outside` gives a row's input to the graph.
    pub fn step<'s>(
        &self,
        running: &mut Running,
        rows: usize,
        outside: impl Fn(usize) -> Option<&'s [f32]>,
        tap: &mut Tap,
    ) -> Result<()> {
        self.pass(self.site.input, &mut running.input, rows, tap)?;
        let Running { input, out, .. } = running;
        match &self.op {
            Op::Given(first) => {
                for (row, out) in out.chunks_exact_mut(self.size).enumerate() {
                    match outside(row) {
                        Some(given) => out.copy_from_slice(&given[*first..][..self.size]),
                        None => out.fill(0.0),
                    }
                }
            }
            Op::Same => out.copy_from_slice(input),
            Op::Linear(linear, bias) => {
                if let Some(site) = self.site.weight {
                    linear.apply(site, input, out, tap)?;
                }
                self.add_bias(bias, 1, out, tap)?;
            }
            Op::Conv(conv, bias) => {
                if let Some(site) = self.site.weight {
                    conv.apply(site, input, out, tap)?;
                }
                self.add_bias(bias, self.size / bias.len().max(1), out, tap)?;
            }
            Op::Pool(pool) => pool.apply(input, out),
            Op::Scale(scale) => {
                let mut edited = Vec::new();
                if let Some(site) = self.site.weight.filter(|site| tap.wants(*site)) {
                    edited.clone_from(scale);
                    through(tap, site, &mut edited, &[self.size])?;
                }
                let scale = if edited.is_empty() { scale } else { &edited };
                out.iter_mut().zip(input.iter()).zip(scale.iter().cycle()).for_each(|((y, x), s)| *y = *x * s);
            }
            Op::Threshold(threshold) => {
                for (i, (y, x)) in out.iter_mut().zip(input.iter()).enumerate() {
                    *y = f32::from(u8::from(*x > per_unit(threshold, i % self.size)));
                }
            }
            Op::Delay(delay) => {
                delay.emit(&running.ring, input, self.size, out);
                delay.send(&mut running.ring, input);
            }
            Op::Neurons(neurons) => return self.integrate(neurons, running, rows, tap),
        }
        self.pass(self.site.spikes, &mut running.out, rows, tap)?;
        self.pass(self.site.output, &mut running.out, rows, tap)
    }

    /// Currents, membranes, spikes, resets.
    fn integrate(&self, neurons: &Neurons, running: &mut Running, rows: usize, tap: &mut Tap) -> Result<()> {
        let Running { input, out, mem, current, .. } = running;
        if self.kind.has_current() {
            neurons.jump(input, current);
            self.pass(self.site.current, current, rows, tap)?;
        }
        neurons.charge(input, current, mem);
        if self.kind.fires() {
            self.pass(self.site.mem_pre, mem, rows, tap)?;
            neurons.fire(mem, out);
            self.pass(self.site.spikes, out, rows, tap)?;
            neurons.reset(out, mem);
        }
        self.pass(self.site.mem, mem, rows, tap)?;
        if !self.kind.fires() {
            out.copy_from_slice(mem);
        }
        Ok(())
    }

    /// Adds a bias, every number of it to so many neighbours.
    fn add_bias(&self, bias: &[f32], times: usize, out: &mut [f32], tap: &mut Tap) -> Result<()> {
        let Some(site) = self.site.bias else { return Ok(()) };
        let mut bias = bias.to_vec();
        let size = [bias.len()];
        through(tap, site, &mut bias, &size)?;
        for row in out.chunks_exact_mut(self.size) {
            for (part, b) in row.chunks_exact_mut(times).zip(&bias) {
                part.iter_mut().for_each(|y| *y += b);
            }
        }
        Ok(())
    }

    fn pass(&self, site: Option<SiteId>, values: &mut [f32], rows: usize, tap: &mut Tap) -> Result<()> {
        let width = values.len() / rows.max(1);
        site.map_or(Ok(()), |site| through(tap, site, values, &[rows, width]))
    }

    /// What it is, in words.
    pub fn words(&self) -> String {
        match self.kind {
            Kind::Linear | Kind::Affine | Kind::Conv1d | Kind::Conv2d | Kind::SumPool2d | Kind::AvgPool2d => {
                format!("{} {} to {}", self.kind.name(), self.entering, self.size)
            }
            kind => format!("{} x {}", kind.name(), self.size),
        }
    }
}
