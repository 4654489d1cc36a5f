//! What can be run: a network of the program's, or a graph of the user's.

use std::path::{Path, PathBuf};

use super::{Named, find};
use crate::hook::random;
use crate::models::{Input, NirNetwork, Series, Simulation};
use crate::nn::spiking::Poisson;
use crate::store::nir::{Graph, locate};
use crate::store::read_array;
use crate::{Error, Result};

/// Spikes per second in every channel of a graph that is given nothing else.
const RATE: f64 = 100.0;
/// Steps of a run of a graph where none are asked for.
const STEPS: usize = 1000;
/// Length of a step of a graph where none is asked for, ms.
const DT: f64 = 1.0;
/// Most numbers of an input that the program draws.
const MAX_DRAWN: usize = 1 << 28;

/// Something that can be simulated.
pub trait Subject {
    /// Its name.
    fn name(&self) -> &str;

    /// Steps of a run where none are asked for.
    fn steps(&self) -> usize;

    /// The network of a seed.
    ///
    /// # Errors
    /// None but defects.
    fn build(&self, seed: u64) -> Result<Box<dyn Simulation>>;

    /// What it is given where the user gives nothing.
    ///
    /// # Errors
    /// More numbers than can be drawn.
    fn input(&self, steps: usize, seed: u64) -> Result<Input>;
}

impl Subject for Named {
    fn name(&self) -> &str {
        self.name
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn build(&self, seed: u64) -> Result<Box<dyn Simulation>> {
        (self.build)(seed)
    }

    fn input(&self, steps: usize, seed: u64) -> Result<Input> {
        Ok((self.input)(steps, seed))
    }
}

/// A NIR graph from a file.
pub struct GraphFile {
    name: String,
    graph: Graph,
    dt: f64,
    channels: usize,
}

impl GraphFile {
    /// Opens a graph, to be run with steps of `dt` ms.
    ///
    /// # Errors
    /// A file that cannot be read, a graph that cannot be run.
    pub fn open(path: impl AsRef<Path>, dt: f64) -> Result<Self> {
        let path = path.as_ref();
        let file = locate(path).ok_or_else(|| {
            Error::file(path, "no NIR graph", "name a FILE.nir.json, a FILE.nir, or a folder with one of them")
        })?;
        let graph = Graph::open(file)?;
        let channels = NirNetwork::new(graph.clone(), dt)?.channels();
        Ok(Self { name: path.display().to_string(), graph, dt, channels })
    }
}

impl Subject for GraphFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn steps(&self) -> usize {
        STEPS
    }

    fn build(&self, _: u64) -> Result<Box<dyn Simulation>> {
        Ok(Box::new(NirNetwork::new(self.graph.clone(), self.dt)?))
    }

    /// Independent Poisson trains of 100 Hz.
    fn input(&self, steps: usize, seed: u64) -> Result<Input> {
        let (channels, dt) = (self.channels, self.dt);
        if channels.saturating_mul(steps) > MAX_DRAWN {
            return Err(Error::invalid(
                format!("an input of {steps} steps and {channels} channels is to be drawn"),
                "run it for fewer steps, or give its input as a file",
            ));
        }
        let (trains, rates) = (Poisson { dt, seed: random::key(seed, &[random::name("input")]) }, vec![RATE; channels]);
        let values = (0..steps as u64).flat_map(|t| trains.step(&rates, 0, t)).collect();
        Ok(Input::Series(Series { rows: 1, steps, channels, values }))
    }
}

/// Whether a model's name means a NIR graph.
pub fn is_graph(model: &str) -> bool {
    Path::new(model).exists() && locate(model).is_some()
}

/// The network of a name, or the graph of a file; only a graph may be told the length of its steps, in ms.
///
/// # Errors
/// No such network, a graph that cannot be read or run, a length for a network that has one.
pub fn open(name: &str, dt: Option<f64>) -> Result<Box<dyn Subject>> {
    // A name that ends as a graph's does is meant to be one: the message is then about the file.
    if locate(name).is_some() {
        return Ok(Box::new(GraphFile::open(name, dt.unwrap_or(DT))?));
    }
    if dt.is_some() {
        return Err(Error::invalid(
            format!("`{name}` has steps of its own length"),
            "leave --dt out: only a NIR graph does not say how long its steps are",
        ));
    }
    Ok(Box::new(*find(name)?))
}

/// The input that a file holds: `[time, channels..]` or `[rows, time, channels..]`, as many steps of it as are asked for.
pub(super) fn given(path: &PathBuf, channels: usize, steps: Option<usize>) -> Result<Series> {
    let array = read_array(path)?;
    let shape = &array.shape;
    let wide = |from: usize| shape.len() >= from && shape[from..].iter().product::<usize>() == channels;
    let (rows, time) = match shape.len() {
        1.. if wide(1) => (1, shape[0]),
        2.. if wide(2) => (shape[0], shape[1]),
        _ => {
            let what = format!("shape {shape:?}, expected [time, {channels}] or [rows, time, {channels}]");
            return Err(Error::file(path, what, "`optrode sites` shows the network's inputs"));
        }
    };
    let steps = steps.unwrap_or(time);
    if steps > time || rows == 0 || steps == 0 {
        let what = format!("{rows} rows of {time} steps, {steps} steps are asked for");
        return Err(Error::file(path, what, "ask for fewer --steps, or give a longer input"));
    }
    if let Some(wrong) = array.values.iter().find(|x| !x.is_finite()) {
        return Err(Error::file(path, format!("an input of {wrong}"), "give finite numbers"));
    }
    let row = |r: usize| array.values[r * time * channels..][..steps * channels].iter().map(|x| *x as f32);
    Ok(Series { rows, steps, channels, values: (0..rows).flat_map(row).collect() })
}
