//! The expressive leaky memory neuron: one neuron with slow memory and a small MLP that says how inputs change it
//! (Spieler, Rahaman, Martius, Schoelkopf, Levina, ICLR 2024, arXiv 2306.16922).
//!
//! ```text
//! s = kappa_s s + w x,  w = max(0, w_proto)              per synapse                       elm.hook_synapse
//! b = sum of s over a branch                                                               elm.hook_branch
//! k = kappa_m m,  kappa_m = e^(-dt / tau_m)                                                elm.hook_tau
//! D = 1.7159 tanh(2/3 (W_2 f(W_1 [b; k] + b_1) + b_2))                elm.hook_mlp_pre, hook_mlp_post, hook_delta
//! m = k + lambda (1 - kappa_m) D                                                           elm.hook_mem
//! y = W_y m + b_y                                                                          elm.hook_out
//! ```
//!
//! That is the first published form. In the second a branch has the trace, b = kappa_b b + sum of w x (`hook_synapse` is then
//! w x), and memory moves by (1 - e^(-lambda dt / tau_m)) D. The two agree to first order in lambda dt / tau_m, and their
//! branches are equal, for all synapses here have one tau_s. Signs come with the input: an inhibitory spike is -1.
//!
//! Three ways compute it. Inference steps in plain numbers. Training runs the whole sequence as one operation where
//! nobody listens, and composes a step of operations that keep a graph where somebody does; that also takes f64.

mod composed;
mod config;
mod routing;
mod scan;
mod step;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::simulation::{Call, Outputs, Simulation, keep, site, take};
use super::transformer::WeightSource;
use super::{Input, Network, State};
use crate::hook::{Axis, Form, Output, Site, SiteId, SiteTable, Tap};
use crate::nn::spiking::Sparse;
use crate::nn::{Activation, Layout, Linear, sigmoid};
use crate::{Error, Result};

use composed::{Composed, Graph, rates};
use scan::Scan;
use step::{Running, Stepper, Weights};

pub use config::{ElmConfig, ElmVersion};
pub use routing::{ElmRouting, Routing};

/// Names of the state.
const SYNAPSE: &str = "elm.synapse";
const BRANCH: &str = "elm.branch";
const MEMORY: &str = "elm.mem";

/// The neuron with its weights.
pub struct Elm {
    config: ElmConfig,
    routing: Routing,
    table: SiteTable,
    site: Sites,
    /// `[slots]`: 1 at slots that listen.
    mask: Tensor,
    by_name: BTreeMap<&'static str, Tensor>,
    parameters: Vec<(String, Tensor)>,
}

#[derive(Clone, Copy)]
struct Sites {
    synapse: SiteId,
    branch: SiteId,
    tau: SiteId,
    pre: SiteId,
    post: SiteId,
    delta: SiteId,
    memory: SiteId,
    out: SiteId,
}

/// Weights and constants as a step uses them.
struct Parts {
    /// `[slots]`: never negative, 0 at void slots.
    w_s: Tensor,
    /// `[d]`, ms.
    tau: Tensor,
    /// `[2 d, P + d]`, `[2 d]`, `[d, 2 d]`, `[d]`.
    mlp: [Tensor; 4],
    /// `[outputs, d]`, `[outputs]`.
    w_y: Tensor,
    b_y: Tensor,
}

impl Elm {
    /// The neuron with these weights, named as in the published files (`_proto_w_s`, `_proto_tau_m`, `mlp.network.0.weight`,
    /// ..., `w_y.bias`).
    ///
    /// # Errors
    /// Sizes and constants that no neuron has, weights that are missing or of the wrong shape.
    pub fn new(config: ElmConfig, weights: &dyn WeightSource) -> Result<Self> {
        config.check()?;
        let routing = Routing::new(config.inputs, config.routing)?;
        let (mut by_name, mut parameters) = (BTreeMap::new(), Vec::new());
        for (name, shape) in config.shapes(&routing) {
            let tensor = weights.tensor(name, &shape)?;
            parameters.push((name.to_string(), tensor.clone()));
            by_name.insert(name, tensor);
        }
        let dtype = parameters[0].1.dtype();
        if let Some((name, other)) = parameters.iter().find(|(_, t)| t.dtype() != dtype) {
            return Err(Error::invalid(
                format!("the weight `{name}` is {:?}, others are {dtype:?}", other.dtype()),
                "give all weights of a neuron one type",
            ));
        }
        let mask: Vec<f32> = routing.valid.iter().map(|valid| f32::from(u8::from(*valid))).collect();
        let mask = Tensor::from_vec(mask, routing.input.len(), &Device::Cpu)?.to_dtype(dtype)?;
        let (table, site) = table(&config, &routing)?;
        Ok(Self { config, routing, table, site, mask, by_name, parameters })
    }

    /// The untrained neuron of a seed.
    ///
    /// # Errors
    /// Sizes and constants that no neuron has.
    pub fn untrained(config: ElmConfig, seed: u64) -> Result<Self> {
        let variables = config.variables(DType::F32, seed)?;
        let weights: BTreeMap<String, Tensor> =
            variables.into_iter().map(|(name, v)| (name, v.as_detached_tensor())).collect();
        Self::new(config, &weights)
    }

    /// Sizes and constants.
    pub fn config(&self) -> &ElmConfig {
        &self.config
    }

    /// Which input each synapse listens to.
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    fn weight(&self, name: &str) -> Result<Tensor> {
        let found = self.by_name.get(name).cloned();
        found.ok_or_else(|| Error::invalid(format!("no weight `{name}`"), "report this defect"))
    }

    fn parts(&self) -> Result<Parts> {
        let w_s = Activation::Relu.forward(&self.weight(config::W_S)?, Form::Differentiable)?;
        let (low, high) = self.config.tau_m;
        Ok(Parts {
            w_s: (w_s * &self.mask)?,
            tau: sigmoid(&self.weight(config::TAU_M)?)?.affine(high - low, low)?,
            mlp: [
                self.weight(config::W1)?,
                self.weight(config::B1)?,
                self.weight(config::W2)?,
                self.weight(config::B2)?,
            ],
            w_y: self.weight(config::W_Y)?,
            b_y: self.weight(config::B_Y)?,
        })
    }

    /// The time constants of memory, ms.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn time_constants(&self) -> Result<Vec<f64>> {
        Ok(self.parts()?.tau.to_dtype(DType::F64)?.to_vec1()?)
    }

    /// Steps in plain numbers.
    fn infer(&self, call: &Call, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let (rows, slots, p, d) = (call.rows, self.routing.input.len(), self.routing.branches, self.config.memory);
        let weights = Weights::of(&self.parts()?)?;
        let (config, routing, site) = (&self.config, &self.routing, &self.site);
        let stepper = Stepper { config, routing, site, weights: &weights };
        let zeros = |width: usize| move || vec![0.0; rows * width];
        let mut running = Running {
            rows,
            synapse: take(state, SYNAPSE, &[rows, slots], zeros(slots))?,
            branch: take(state, BRANCH, &[rows, p], zeros(p))?,
            memory: take(state, MEMORY, &[rows, d], zeros(d))?,
            out: Vec::new(),
        };
        let mut outputs = Outputs::new(call, config.outputs, tap);
        if rows > 1 && !tap.wants_from(site.synapse) {
            // Rows know nothing of each other: the same steps, row by row.
            let mut single: Vec<Running> = (0..rows).map(|row| running.row(row)).collect();
            let given: Vec<Vec<f32>> = (single.par_iter_mut().enumerate())
                .map(|(row, own)| {
                    let mut given = Vec::with_capacity(call.steps * config.outputs);
                    for t in 0..call.steps {
                        stepper.step(own, call.series, row, t, &mut Tap::off())?;
                        given.extend_from_slice(&own.out);
                    }
                    Ok(given)
                })
                .collect::<Result<_>>()?;
            for t in 0..call.steps {
                call.tick(t, tap)?;
                let at = t * config.outputs..(t + 1) * config.outputs;
                let step: Vec<f32> = given.iter().flat_map(|row| &row[at.clone()]).copied().collect();
                outputs.push(t, &step);
            }
            running = Running::joined(&single);
        } else {
            for t in 0..call.steps {
                call.tick(t, tap)?;
                stepper.step(&mut running, call.series, 0, t, tap)?;
                outputs.push(t, &running.out);
            }
        }
        match config.version {
            ElmVersion::V1 => keep(state, SYNAPSE, &[rows, slots], &running.synapse)?,
            ElmVersion::V2 => keep(state, BRANCH, &[rows, p], &running.branch)?,
        }
        keep(state, MEMORY, &[rows, d], &running.memory)?;
        outputs.tensor(rows)
    }

    /// Steps of operations that keep a graph.
    fn compose(&self, call: &Call, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let parts = self.parts()?;
        let (config, routing, site) = (&self.config, &self.routing, &self.site);
        let composed = Composed { config, routing, site, parts: &parts };
        let start = |name: &str, width: usize| -> Result<Tensor> {
            let shape = [call.rows, width];
            let values = take(state, name, &shape, || vec![0.0; call.rows * width])?;
            Ok(Tensor::from_vec(values, &shape, &Device::Cpu)?.to_dtype(self.mask.dtype())?)
        };
        let mut carried = Graph {
            synapse: start(SYNAPSE, routing.input.len())?,
            branch: start(BRANCH, routing.branches)?,
            memory: start(MEMORY, config.memory)?,
        };
        let mut out = Vec::with_capacity(call.steps);
        for t in 0..call.steps {
            call.tick(t, tap)?;
            out.push(composed.step(&mut carried, call.series, t, tap)?);
        }
        if state.keeps() {
            let (name, trace) = match config.version {
                ElmVersion::V1 => (SYNAPSE, carried.synapse),
                ElmVersion::V2 => (BRANCH, carried.branch),
            };
            state.tensors.insert(name.to_string(), trace.detach().to_dtype(DType::F32)?);
            state.tensors.insert(MEMORY.to_string(), carried.memory.detach().to_dtype(DType::F32)?);
        }
        let from = match tap.output() {
            Output::Whole => 0,
            Output::Last => call.steps - 1,
            Output::Unread => call.steps,
        };
        match &out[from..] {
            [] => Ok(Tensor::zeros((call.rows, 0, config.outputs), self.mask.dtype(), &Device::Cpu)?),
            read => Ok(Tensor::stack(read, 1)?), // [b, t, outputs]
        }
    }

    /// The whole sequence at once.
    fn scan(&self, call: &Call, tap: &Tap) -> Result<Tensor> {
        let parts = self.parts()?;
        let (kappa, gain) = rates(&self.config, &parts.tau)?;
        let scan = Scan {
            routing: &self.routing,
            rows: call.rows,
            steps: call.steps,
            series: call.series,
            kappa_s: self.config.kappa_s(),
            silu: self.config.silu,
            w_s: parts.w_s,
            kappa,
            gain,
            mlp: parts.mlp,
        };
        let memory = scan.run()?; // [b, t, d]
        let memory = match tap.output() {
            Output::Whole => memory,
            Output::Last => memory.narrow(1, call.steps - 1, 1)?.contiguous()?,
            Output::Unread => memory.narrow(1, 0, 0)?,
        };
        let out = Linear { weight: parts.w_y, bias: Some(parts.b_y), layout: Layout::OutIn };
        out.forward(&memory, Form::Differentiable)
    }
}

impl Network for Elm {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    /// What is read out, `[rows, steps, outputs]`.
    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let call = Call::open(input, self.config.inputs, state, tap)?;
        let fresh = !state.keeps() && state.tensors.is_empty();
        let out = match tap.form() {
            Form::Inference => self.infer(&call, state, tap)?,
            Form::Differentiable if fresh && !tap.wants_from(self.site.synapse) => self.scan(&call, tap)?,
            Form::Differentiable => self.compose(&call, state, tap)?,
        };
        call.end(state)?;
        Ok(out)
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }
}

impl Simulation for Elm {
    fn rules(&self) -> Vec<String> {
        let config = &self.config;
        let (traces, step) = match config.version {
            ElmVersion::V1 => ("synapse", "lambda (1 - kappa_m)"),
            ElmVersion::V2 => ("branch", "1 - e^(-lambda dt / tau_m)"),
        };
        vec![
            "order: synapses, branches, memory decays, MLP of branches and decayed memory, memory moves, readout"
                .to_string(),
            format!(
                "a trace per {traces}, tau {} ms, which holds the spike of its step; dt {} ms",
                config.tau_s,
                config::DT
            ),
            format!(
                "memory of tau {} to {} ms moves by {step} times 1.7159 tanh(2/3 MLP), lambda {}",
                config.tau_m.0, config.tau_m.1, config.lambda
            ),
            "inhibitory spikes are -1; weights of synapses are not negative".to_string(),
        ]
    }

    fn dt(&self) -> Option<f64> {
        Some(config::DT)
    }

    fn channels(&self) -> usize {
        self.config.inputs
    }

    fn synapses(&self, _: &str) -> Option<&Sparse> {
        None
    }
}

fn table(config: &ElmConfig, routing: &Routing) -> Result<(SiteTable, Sites)> {
    let (d, slots) = (config.memory, routing.input.len());
    let synapse = match config.version {
        ElmVersion::V1 => "trace of every synapse, with the spike of this step",
        ElmVersion::V2 => "what comes in at every synapse in this step, weighted",
    };
    let rows = |name: &str, width: usize, meaning: &'static str| -> Site {
        site(format!("elm.{name}"), &[(Axis::Batch, None), (Axis::Neuron, Some(width))], meaning)
    };
    let mut table = SiteTable::default();
    let tau =
        site("elm.hook_tau".into(), &[(Axis::Neuron, Some(d))], "time constant of every memory unit in this step, ms");
    let sites = Sites {
        synapse: table.push(rows("hook_synapse", slots, synapse)),
        branch: table.push(rows("hook_branch", routing.branches, "what the synapses of every branch add up to")),
        tau: table.push(tau),
        pre: table.push(rows("hook_mlp_pre", 2 * d, "hidden layer of the MLP before its nonlinearity")),
        post: table.push(rows("hook_mlp_post", 2 * d, "hidden layer of the MLP after it")),
        delta: table.push(rows("hook_delta", d, "proposed change of memory, within 1.7159")),
        memory: table.push(rows("hook_mem", d, "memory after this step")),
        out: table.push(rows("hook_out", config.outputs, "what is read out of memory")),
    };
    Ok((table, sites))
}
