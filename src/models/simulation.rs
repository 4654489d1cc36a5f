//! What simulated networks share: they are stepped in time, keep their state in plain f32 arrays and hand them to the tap
//! only where somebody listens, so that recording costs nothing else and changes no bit.

use candle_core::{Device, Tensor};

use super::nir::{Exported, refused};
use super::{Input, Network, Series, State};
use crate::hook::{Axis, Context, Form, Kind, Moment, Output, Site, SiteId, Tap};
use crate::nn::spiking::Sparse;
use crate::{Error, Result};

/// The name of the tensor that counts the steps of a state.
const TIME: &str = "time";

/// A network that is simulated in time.
pub trait Simulation: Network {
    /// What a step computes, a line each: integration, reset, delays, order.
    fn rules(&self) -> Vec<String>;

    /// Length of a step, ms; `None` where steps have no length.
    fn dt(&self) -> Option<f64>;

    /// Numbers that an [`Input::Series`] gives it in every step; 0 where it takes none.
    fn channels(&self) -> usize;

    /// The synapses behind a site of weights, `[post, pre]`.
    fn synapses(&self, site: &str) -> Option<&Sparse>;

    /// The network as a graph of the Neuromorphic Intermediate Representation.
    ///
    /// # Errors
    /// What of the network such a graph cannot hold.
    fn nir(&self) -> Result<Exported> {
        Err(refused("this network: its units are no integrate-and-fire neurons"))
    }
}

/// A call of a simulation.
pub(super) struct Call<'a> {
    pub rows: usize,
    pub steps: usize,
    pub series: Option<&'a Series>,
    start: usize,
}

impl<'a> Call<'a> {
    /// Checks the input and says to the tap what it works on.
    pub fn begin(input: &'a Input, channels: usize, state: &State, tap: &mut Tap) -> Result<Self> {
        if tap.form() == Form::Differentiable {
            return Err(Error::invalid(
                "a gradient is asked of a simulation, which keeps no graph",
                "compare a run with an edit with one without",
            ));
        }
        Self::open(input, channels, state, tap)
    }

    /// The same for networks that keep a graph where one is asked for.
    pub fn open(input: &'a Input, channels: usize, state: &State, tap: &mut Tap) -> Result<Self> {
        let (rows, steps, series) = input.series(channels)?;
        let start = match state.tensors.get(TIME) {
            Some(time) => time.to_vec1::<u32>()?.first().map_or(0, |t| *t as usize),
            None => 0,
        };
        tap.enter(Context::simulation(rows));
        Ok(Self { rows, steps, series, start })
    }

    /// Says to the tap which step comes; `t` counts from the beginning of the call.
    ///
    /// # Errors
    /// Whoever watches ends the run.
    pub fn tick(&self, t: usize, tap: &mut Tap) -> Result<()> {
        tap.tick(Moment { step: self.start + t, end: self.start + self.steps })
    }

    /// Steps since the beginning of the simulation, in step `t` of this call.
    pub fn time(&self, t: usize) -> usize {
        self.start + t
    }

    /// Leaves the time in the state.
    pub fn end(&self, state: &mut State) -> Result<()> {
        if state.keeps() {
            let time = u32::try_from(self.start + self.steps).unwrap_or(u32::MAX);
            state.tensors.insert(TIME.to_string(), Tensor::new(&[time], &Device::Cpu)?);
        }
        Ok(())
    }
}

/// The values of a state, or what a simulation begins with.
pub(super) fn take(state: &State, name: &str, shape: &[usize], begin: impl FnOnce() -> Vec<f32>) -> Result<Vec<f32>> {
    let Some(tensor) = state.tensors.get(name) else { return Ok(begin()) };
    if tensor.dims() != shape {
        return Err(Error::invalid(
            format!("the state's `{name}` has shape {:?}, expected {shape:?}", tensor.dims()),
            "go on with the state of the same network with as many rows",
        ));
    }
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// Leaves values in the state, if it keeps any.
pub(super) fn keep(state: &mut State, name: &str, shape: &[usize], values: &[f32]) -> Result<()> {
    if state.keeps() {
        state.tensors.insert(name.to_string(), Tensor::from_slice(values, shape, &Device::Cpu)?);
    }
    Ok(())
}

/// Passes values through a site; they change only where an edit acts.
pub(super) fn through(tap: &mut Tap, site: SiteId, values: &mut [f32], shape: &[usize]) -> Result<()> {
    if let Some(edited) = tap.at_with(site, || Ok(Tensor::from_slice(values, shape, &Device::Cpu)?))? {
        values.copy_from_slice(&edited.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(())
}

/// Passes the weights of a projection through their dense site; values where there is no synapse are left out.
pub(super) fn through_dense(tap: &mut Tap, site: SiteId, synapses: &Sparse, values: &mut [f32]) -> Result<()> {
    let shape = [synapses.post(), synapses.pre()];
    let edited = tap.at_with(site, || Ok(Tensor::from_vec(synapses.to_dense(values), &shape, &Device::Cpu)?))?;
    if let Some(edited) = edited {
        synapses.of_dense(&edited.flatten_all()?.to_vec1::<f32>()?, values);
    }
    Ok(())
}

/// What a simulation gives back: one vector per row and step, as much of it as is read.
pub(super) struct Outputs {
    kept: Output,
    steps: usize,
    width: usize,
    /// `[steps, rows, width]`.
    values: Vec<f32>,
}

impl Outputs {
    pub fn new(call: &Call, width: usize, tap: &Tap) -> Self {
        let kept = tap.output();
        let steps = match kept {
            Output::Whole => call.steps,
            Output::Last => 1,
            Output::Unread => 0,
        };
        Self { kept, steps: call.steps, width, values: Vec::with_capacity(steps * call.rows * width) }
    }

    /// Whether somebody reads what is given in step `t` of the call.
    pub fn reads(&self, t: usize) -> bool {
        self.kept == Output::Whole || (self.kept == Output::Last && t + 1 == self.steps)
    }

    /// Takes what all rows give in a step, `[rows, width]` in parts per row.
    pub fn push(&mut self, t: usize, values: &[f32]) {
        if self.reads(t) {
            self.values.extend_from_slice(values);
        }
    }

    /// `[rows, steps, width]`.
    pub fn tensor(self, rows: usize) -> Result<Tensor> {
        let steps = self.values.len() / (rows * self.width).max(1);
        let all = Tensor::from_vec(self.values, (steps, rows, self.width), &Device::Cpu)?;
        Ok(all.transpose(0, 1)?.contiguous()?)
    }
}

/// A site that is visited in every step.
pub(super) fn site(name: String, axes: &[(Axis, Option<usize>)], meaning: &'static str) -> Site {
    Site {
        name,
        layer: None,
        axes: axes.iter().map(|a| a.0).collect(),
        sizes: axes.iter().map(|a| a.1).collect(),
        timed: true,
        kind: Kind::Raw,
        on_demand: false,
        meaning,
    }
}

/// A site of weights `[post, pre]`, made dense when somebody asks.
pub(super) fn weight_site(name: String, synapses: &Sparse, meaning: &'static str) -> Site {
    let axes = [(Axis::Post, Some(synapses.post())), (Axis::Pre, Some(synapses.pre()))];
    Site { on_demand: true, ..site(name, &axes, meaning) }
}
