//! A recurrent network whose units have time constants that are trained with its weights (Khajehabdollahi et al. 2023,
//! arXiv 2309.12927).
//!
//! ```text
//! a_t = W h_{t-1} + b + w_in x_t + b_in          diag(W) = 0, tau = max(tau, 1)
//! around:  h_t = f((1 - 1/tau) h_{t-1} + a_t/tau)                               rnn.hook_pre: what f is applied to
//! inside:  h_t = (1 - 1/tau) h_{t-1} + f(a_t)/tau                               rnn.hook_state: h_t
//! y_t = head i of h_t, two classes                                              heads.{i}.hook_logits
//! ```
//!
//! f is the leaky rectifier of slope 0.01 and x a number per step. The network is simulated in time, and it is
//! differentiable: in that form a step is one fused operation, opened where somebody listens within it.

mod step;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::simulation::{Call, Outputs, Simulation, keep, site, take, through};
use super::transformer::WeightSource;
use super::{Input, Network, State};
use crate::hook::random::{self, Stream};
use crate::hook::{Axis, Form, SiteId, SiteTable, Tap};
use crate::nn::spiking::Sparse;
use crate::nn::{Layout, Linear, kernel};
use crate::{Error, Result};

use step::{Step, rectify};

/// f'(x) below 0.
const SLOPE: f32 = 0.01;
/// States begin uniform in 0..0.1.
const BEGIN: f64 = 0.1;
/// Classes of a head.
pub const CLASSES: usize = 2;

/// Where the rectifier stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leak {
    /// Around the leak, the paper's default.
    #[default]
    Around,
    /// Inside it, on the drive alone.
    Inside,
}

/// Sizes and draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimescaleConfig {
    /// Units.
    pub neurons: usize,
    /// Readouts of two classes.
    pub heads: usize,
    /// Where the rectifier stands.
    pub leak: Leak,
    /// Seed of weights, time constants and the state that runs begin with.
    pub seed: u64,
}

impl Default for TimescaleConfig {
    /// The paper's: 500 units, 100 heads.
    fn default() -> Self {
        Self { neurons: 500, heads: 100, leak: Leak::Around, seed: 0 }
    }
}

/// The network.
#[derive(Clone)]
pub struct TimescaleRnn {
    config: TimescaleConfig,
    table: SiteTable,
    site: Sites,
    weights: Weights,
    parameters: Vec<(String, Tensor)>,
}

/// The parameters, which may be variables.
#[derive(Clone)]
struct Weights {
    /// `[n, n]`, post by pre; its diagonal is never used.
    recurrent: Tensor,
    /// `[n]`.
    bias: Tensor,
    /// `[n]`.
    w_in: Tensor,
    /// `[n]`.
    bias_in: Tensor,
    /// `[n]`.
    tau: Tensor,
    /// `[2 heads, n]`.
    heads: Tensor,
    /// `[2 heads]`.
    heads_bias: Tensor,
}

#[derive(Clone)]
struct Sites {
    prev: SiteId,
    tau: SiteId,
    input: SiteId,
    pre: SiteId,
    state: SiteId,
    heads: Vec<SiteId>,
}

/// Names, shapes and bounds of the weights, by name; time constants are drawn in bounds of their own.
fn shapes(config: &TimescaleConfig) -> [(&'static str, Vec<usize>, f64); 7] {
    let (n, outputs) = (config.neurons, CLASSES * config.heads);
    let bound = (n as f64).sqrt().recip();
    [
        ("heads.bias", vec![outputs], bound),
        ("heads.weight", vec![outputs, n], bound),
        ("rnn.bias", vec![n], bound),
        ("rnn.bias_in", vec![n], 1.0),
        ("rnn.tau", vec![n], 1.0),
        ("rnn.weight", vec![n, n], bound),
        ("rnn.weight_in", vec![n], 1.0),
    ]
}

impl TimescaleRnn {
    /// The network with these weights.
    ///
    /// # Errors
    /// Weights that are missing or of the wrong shape; a network without units or heads.
    pub fn new(config: TimescaleConfig, weights: &dyn WeightSource) -> Result<Self> {
        if !(1..=20_000).contains(&config.neurons) || !(1..=10_000).contains(&config.heads) {
            return Err(Error::invalid(
                format!("a network of {} units and {} heads", config.neurons, config.heads),
                "give 1 to 20,000 units and 1 to 10,000 heads",
            ));
        }
        let mut parameters = Vec::new();
        for (name, shape, _) in shapes(&config) {
            parameters.push((name.to_string(), weights.tensor(name, &shape)?));
        }
        let [heads_bias, heads, bias, bias_in, tau, recurrent, w_in] =
            [0, 1, 2, 3, 4, 5, 6].map(|i: usize| parameters[i].1.clone());
        let weights = Weights { recurrent, bias, w_in, bias_in, tau, heads, heads_bias };
        let (table, site) = table(&config);
        Ok(Self { config, table, site, weights, parameters })
    }

    /// The untrained network of the configuration's seed.
    ///
    /// # Errors
    /// As [`TimescaleRnn::new`].
    pub fn untrained(config: TimescaleConfig) -> Result<Self> {
        Self::new(config, &Self::draw(&config)?)
    }

    /// Weights and biases uniform within 1 / sqrt(inputs), time constants uniform in 1..2.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn draw(config: &TimescaleConfig) -> Result<BTreeMap<String, Tensor>> {
        let mut drawn = BTreeMap::new();
        for (name, shape, bound) in shapes(config) {
            let mut stream = Stream::new(config.seed, &[random::name(name)]);
            let count: usize = shape.iter().product();
            let mut one = || match name {
                "rnn.tau" => 1.0 + stream.uniform(),
                _ => bound * (2.0 * stream.uniform() - 1.0),
            };
            let values: Vec<f32> = (0..count).map(|_| one() as f32).collect();
            drawn.insert(name.to_string(), Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        Ok(drawn)
    }

    /// The same as variables, for a network that learns.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn variables(config: &TimescaleConfig) -> Result<BTreeMap<String, Var>> {
        Self::draw(config)?.into_iter().map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor)?))).collect()
    }

    /// Its sizes.
    pub fn config(&self) -> &TimescaleConfig {
        &self.config
    }

    /// What a run begins with where no state is handed on, the same for every row: `[rows, n]`.
    fn begin(&self, rows: usize) -> Vec<f32> {
        let mut stream = Stream::new(self.config.seed, &[random::name("begin")]);
        let one: Vec<f32> = (0..self.config.neurons).map(|_| (BEGIN * stream.uniform()) as f32).collect();
        one.repeat(rows)
    }

    /// The run that keeps a graph.
    fn differentiable(&self, call: &Call, begin: Vec<f32>, tap: &mut Tap) -> Result<(Tensor, Tensor)> {
        let (n, rows, weights, form) = (self.config.neurons, call.rows, &self.weights, tap.form());
        let others =
            Tensor::ones((n, n), DType::F32, self.device())?.sub(&Tensor::eye(n, DType::F32, self.device())?)?;
        let recurrent = Linear { weight: (&weights.recurrent * others)?, bias: None, layout: Layout::OutIn };
        let heads =
            Linear { weight: weights.heads.clone(), bias: Some(weights.heads_bias.clone()), layout: Layout::OutIn };
        let bias = (&weights.bias + &weights.bias_in)?; // [n]
        let floor = weights.tau.maximum(1.0)?; // [n]
        let unit = |tau: &Tensor| Tensor::stack(&[tau, &bias, &weights.w_in], 0); // [3, n]
        let usual = unit(&floor)?;
        let outputs = Outputs::new(call, CLASSES * self.config.heads, tap);
        let mut h = Tensor::from_vec(begin, (rows, n), self.device())?;
        let mut logits = Vec::new();
        for t in 0..call.steps {
            call.tick(t, tap)?;
            h = tap.at(self.site.prev, h)?.contiguous()?;
            let units = match tap.wants(self.site.tau) {
                false => usual.clone(),
                true => unit(&tap.at(self.site.tau, floor.clone())?.maximum(1.0)?)?,
            };
            let drive = recurrent.forward(&h, form)?; // [rows, n]
            let x: Vec<f32> = (0..rows).map(|row| call.series.map_or(0.0, |s| s.at(row, t)[0])).collect();
            h = if tap.wants(self.site.input) || tap.wants(self.site.pre) {
                self.open(&h, &drive, &units, x, tap)?
            } else {
                h.apply_op3(&drive.contiguous()?, &units, Step { leak: self.config.leak, x })?
            };
            h = tap.at(self.site.state, h)?;
            let listened = tap.wants_from(self.site.heads[0]);
            if !outputs.reads(t) && !listened {
                continue;
            }
            let mut read = heads.forward(&h, form)?; // [rows, 2 heads]
            if listened {
                let head = |(i, site): (usize, &SiteId)| tap.at(*site, read.narrow(1, CLASSES * i, CLASSES)?);
                read = Tensor::cat(&self.site.heads.iter().enumerate().map(head).collect::<Result<Vec<_>>>()?, 1)?;
            }
            if outputs.reads(t) {
                logits.push(read);
            }
        }
        let read = match logits.is_empty() {
            true => Tensor::zeros((rows, 0, CLASSES * self.config.heads), DType::F32, self.device())?,
            false => Tensor::stack(&logits, 1)?, // [rows, steps, 2 heads]
        };
        Ok((read, h))
    }

    /// A step in operations of its own, with its sites: `[rows, n]`.
    fn open(&self, h: &Tensor, drive: &Tensor, units: &Tensor, x: Vec<f32>, tap: &mut Tap) -> Result<Tensor> {
        let [tau, bias, w_in] = [units.narrow(0, 0, 1)?, units.narrow(0, 1, 1)?, units.narrow(0, 2, 1)?]; // [1, n]
        let x = tap.at(self.site.input, Tensor::from_vec(x, (h.dim(0)?, 1), h.device())?)?; // [rows, 1]
        let total = (drive.broadcast_add(&bias)? + x.broadcast_mul(&w_in)?)?; // [rows, n]
        let share = tau.recip()?;
        let kept = h.broadcast_mul(&share.affine(-1.0, 1.0)?)?;
        match self.config.leak {
            Leak::Around => leaky(&tap.at(self.site.pre, (kept + total.broadcast_mul(&share)?)?)?),
            Leak::Inside => Ok((kept + leaky(&tap.at(self.site.pre, total)?)?.broadcast_mul(&share)?)?),
        }
    }

    /// The run on plain numbers.
    fn simulate(&self, call: &Call, mut h: Vec<f32>, tap: &mut Tap) -> Result<(Tensor, Vec<f32>)> {
        let plain = Plain::of(&self.weights)?;
        let (n, rows) = (self.config.neurons, call.rows);
        let mut outputs = Outputs::new(call, CLASSES * self.config.heads, tap);
        let (mut total, mut pre) = (vec![0f32; rows * n], vec![0f32; rows * n]);
        let mut x = vec![0f32; rows];
        for t in 0..call.steps {
            call.tick(t, tap)?;
            through(tap, self.site.prev, &mut h, &[rows, n])?;
            let mut tau = plain.tau.clone();
            through(tap, self.site.tau, &mut tau, &[n])?;
            let share: Vec<f32> = tau.iter().map(|tau| 1.0 / tau.max(1.0)).collect();
            for (row, x) in x.iter_mut().enumerate() {
                *x = call.series.map_or(0.0, |s| s.at(row, t)[0]);
            }
            through(tap, self.site.input, &mut x, &[rows, 1])?;
            for (row, (total, h)) in total.chunks_exact_mut(n).zip(h.chunks_exact(n)).enumerate() {
                for ((i, total), weights) in total.iter_mut().enumerate().zip(plain.recurrent.chunks_exact(n)) {
                    *total = kernel::dot(weights, h) + plain.bias[i] + plain.w_in[i] * x[row];
                }
            }
            for (at, pre) in pre.iter_mut().enumerate() {
                let share = share[at % n];
                *pre = match self.config.leak {
                    Leak::Around => h[at] * (1.0 - share) + total[at] * share,
                    Leak::Inside => total[at],
                };
            }
            through(tap, self.site.pre, &mut pre, &[rows, n])?;
            for (at, h) in h.iter_mut().enumerate() {
                let share = share[at % n];
                *h = match self.config.leak {
                    Leak::Around => rectify(pre[at]),
                    Leak::Inside => *h * (1.0 - share) + rectify(pre[at]) * share,
                };
            }
            through(tap, self.site.state, &mut h, &[rows, n])?;
            let read = self.read(&plain, &h, outputs.reads(t), tap)?;
            outputs.push(t, &read);
        }
        Ok((outputs.tensor(rows)?, h))
    }

    /// What the heads say, `[rows, 2 heads]`; only where somebody reads or listens, else 0.
    fn read(&self, plain: &Plain, h: &[f32], all: bool, tap: &mut Tap) -> Result<Vec<f32>> {
        let (n, outputs) = (self.config.neurons, CLASSES * self.config.heads);
        let rows = h.len() / n;
        if !all && !tap.wants_from(self.site.heads[0]) {
            return Ok(Vec::new());
        }
        let mut read = vec![0f32; rows * outputs];
        for (head, site) in self.site.heads.iter().enumerate() {
            if !all && !tap.wants(*site) {
                continue;
            }
            let classes = CLASSES * head..CLASSES * (head + 1);
            let say = |h: &[f32], o: usize| kernel::dot(&plain.heads[o * n..][..n], h) + plain.heads_bias[o];
            let mut own: Vec<f32> =
                h.chunks_exact(n).flat_map(|h| classes.clone().map(move |o| (h, o))).map(|(h, o)| say(h, o)).collect();
            through(tap, *site, &mut own, &[rows, CLASSES])?;
            for (read, own) in read.chunks_exact_mut(outputs).zip(own.chunks_exact(CLASSES)) {
                read[classes.clone()].copy_from_slice(own);
            }
        }
        Ok(read)
    }
}

/// The parameters as numbers: biases of recurrence and input together, time constants at least 1, no self-connections.
struct Plain {
    recurrent: Vec<f32>,
    bias: Vec<f32>,
    w_in: Vec<f32>,
    tau: Vec<f32>,
    heads: Vec<f32>,
    heads_bias: Vec<f32>,
}

impl Plain {
    fn of(weights: &Weights) -> Result<Self> {
        let read = |tensor: &Tensor| -> Result<Vec<f32>> { Ok(tensor.flatten_all()?.to_vec1()?) };
        let (mut recurrent, bias, bias_in) = (read(&weights.recurrent)?, read(&weights.bias)?, read(&weights.bias_in)?);
        recurrent.iter_mut().step_by(bias.len() + 1).for_each(|w| *w = 0.0);
        Ok(Self {
            recurrent,
            bias: bias.iter().zip(bias_in).map(|(b, b_in)| b + b_in).collect(),
            w_in: read(&weights.w_in)?,
            tau: read(&weights.tau)?.into_iter().map(|tau| tau.max(1.0)).collect(),
            heads: read(&weights.heads)?,
            heads_bias: read(&weights.heads_bias)?,
        })
    }
}

/// The leaky rectifier of a tensor.
fn leaky(x: &Tensor) -> Result<Tensor> {
    Ok(x.gt(0.0)?.where_cond(x, &x.affine(f64::from(SLOPE), 0.0)?)?)
}

impl Network for TimescaleRnn {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    /// The logits of all heads side by side, `[rows, steps, 2 heads]`.
    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let call = Call::open(input, 1, state, tap)?;
        let shape = [call.rows, self.config.neurons];
        let begin = take(state, "rnn.state", &shape, || self.begin(call.rows))?;
        let (read, h) = match tap.form() {
            Form::Inference => self.simulate(&call, begin, tap)?,
            Form::Differentiable => {
                let (read, h) = self.differentiable(&call, begin, tap)?;
                let h = if state.keeps() { h.flatten_all()?.to_vec1()? } else { Vec::new() };
                (read, h)
            }
        };
        keep(state, "rnn.state", &shape, &h)?;
        call.end(state)?;
        Ok(read)
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }
}

impl Simulation for TimescaleRnn {
    fn rules(&self) -> Vec<String> {
        let update = match self.config.leak {
            Leak::Around => "h' = f((1 - 1/tau) h + (W h + b + w_in x + b_in)/tau)",
            Leak::Inside => "h' = (1 - 1/tau) h + f(W h + b + w_in x + b_in)/tau",
        };
        vec![
            "order: time constants, input, all units from the states before, heads from the new ones".to_string(),
            format!("rnn: {} units, {update}, f a leaky rectifier of slope {SLOPE} below 0", self.config.neurons),
            "no unit is connected to itself; a time constant below 1 acts as 1, whatever an edit says".to_string(),
            format!("steps have no length; states begin uniform in 0..{BEGIN}, alike in every row"),
        ]
    }

    fn dt(&self) -> Option<f64> {
        None
    }

    fn channels(&self) -> usize {
        1
    }

    fn synapses(&self, _: &str) -> Option<&Sparse> {
        None
    }
}

fn table(config: &TimescaleConfig) -> (SiteTable, Sites) {
    let mut table = SiteTable::default();
    let (b, n) = ((Axis::Batch, None), (Axis::Neuron, Some(config.neurons)));
    let mut push =
        |name: &str, axes: &[(Axis, Option<usize>)], meaning| table.push(site(name.to_string(), axes, meaning));
    let prev =
        push("rnn.hook_prev", &[b, n], "h_{t-1}, from which the step goes on; at t = 0 what the run begins with");
    let tau = push("rnn.hook_tau", &[n], "time constants tau, in steps, as they act: at least 1");
    let input = push("rnn.hook_input", &[b, (Axis::One, Some(1))], "x_t");
    let pre = push("rnn.hook_pre", &[b, n], "what the rectifier is applied to");
    let state = push("rnn.hook_state", &[b, n], "h_t");
    let class = (Axis::Class, Some(CLASSES));
    let head = |i: usize| push(&format!("heads.{i}.hook_logits"), &[b, class], "logits of a head's two classes");
    let heads = (0..config.heads).map(head).collect();
    (table, Sites { prev, tau, input, pre, state, heads })
}
