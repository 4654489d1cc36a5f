//! A reservoir of excitatory and inhibitory rate units, whose inhibition adapts until each has its target rate
//! (Srinivasan, Plenz and Girvan 2025, arXiv 2504.12480).
//!
//! ```text
//! V     = A_E r - A_I r + W_in u                  reservoir.hook_exc, hook_inh, hook_input, hook_pre
//! r     = (1 - leak) r + leak sigma(c (V - theta))                        reservoir.hook_state
//! A_I   = max(0, A_I + delta (r_i - rho_i))       on existing synapses    reservoir.hook_dA_inh, syn.inh.hook_weight
//! y     = W_out [r; 1]                                                    readout.hook_features, hook_out
//! ```
//!
//! In-degrees count both populations together (40 + 10 of 50), and the summed excitatory and inhibitory weights of a
//! neuron are both 1 on average, which makes it balanced. The published code takes the in-degree from each population
//! and has Omega's sign the other way round; neither is consistent with balance, and both are derived anew here.

mod config;

use candle_core::{Device, Tensor};

use super::simulation::{Call, Outputs, Simulation, keep, site, take, through, through_dense, weight_site};
use super::{Input, Network, State};
use crate::hook::random::{self, Stream};
use crate::hook::{Axis, SiteId, SiteTable, Tap};
use crate::nn::spiking::Sparse;
use crate::{Error, Result};

use config::check;
pub use config::{EiConfig, Targets};

/// Spread of weights, relative to their mean.
const SPREAD: f64 = 0.2;

/// The network.
#[derive(Clone)]
pub struct EiReservoir {
    config: EiConfig,
    table: SiteTable,
    site: Sites,
    exc: (Sparse, Vec<f32>),
    inh: (Sparse, Vec<f32>),
    /// `[neurons, inputs]`.
    input: Vec<f32>,
    /// `[neurons]`.
    targets: Vec<f32>,
    /// `[outputs, neurons + 1]`, or empty.
    readout: Vec<f32>,
    delta: f32,
    parameters: Vec<(String, Tensor)>,
}

#[derive(Clone, Copy)]
struct Sites {
    exc_weight: SiteId,
    inh_weight: SiteId,
    input: SiteId,
    exc: SiteId,
    inh: SiteId,
    pre: SiteId,
    state: SiteId,
    da_inh: SiteId,
    features: SiteId,
    out: SiteId,
}

impl EiReservoir {
    /// The network of this configuration, without plasticity and readout.
    ///
    /// # Errors
    /// Sizes and shares that no network has.
    pub fn new(config: EiConfig) -> Result<Self> {
        check(&config)?;
        let n = config.neurons;
        let n_exc = (config.excitatory * n as f64).round() as usize;
        let k_exc = (config.excitatory * config.in_degree as f64).round() as usize;
        let k_inh = config.in_degree - k_exc;
        let stream = |name: &str| Stream::new(config.seed, &[random::name(name)]);
        let normal = |mean: f64, count: usize, stream: &mut Stream| -> Vec<f32> {
            (0..count).map(|_| (mean + SPREAD * mean * random::normal(stream.bits())).abs() as f32).collect()
        };
        let exc = Sparse::in_degree(n_exc, n, k_exc, &mut stream("exc"))?;
        let inh = Sparse::in_degree(n - n_exc, n, k_inh, &mut stream("inh"))?;
        let exc_weights = normal(1.0 / k_exc as f64, exc.len(), &mut stream("exc weights"));
        let mut inh_weights = normal(1.0 / k_inh as f64, inh.len(), &mut stream("inh weights"));
        inh_weights.iter_mut().for_each(|w| *w *= config.inhibition as f32);

        let mut draw = stream("input");
        let mut reached: Vec<usize> = (0..n).collect();
        draw.shuffle(&mut reached);
        reached.truncate((config.input_share * n as f64).round() as usize);
        let mut input = vec![0.0; n * config.inputs];
        for at in reached.iter().flat_map(|i| i * config.inputs..(i + 1) * config.inputs) {
            input[at] = (config.input_scale * (draw.uniform() - 0.5)) as f32;
        }
        let targets = config.targets.draw(n, &mut stream("targets"));
        let (table, site) = table(&config, &exc, &inh, 0)?;
        let parameters = Vec::new();
        let (readout, delta) = (Vec::new(), 0.0);
        let exc = (exc, exc_weights);
        let mut net =
            Self { config, table, site, exc, inh: (inh, inh_weights), input, targets, readout, delta, parameters };
        net.set_parameters()?;
        Ok(net)
    }

    fn set_parameters(&mut self) -> Result<()> {
        let n = self.config.neurons;
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu);
        self.parameters = vec![
            ("syn.exc.weight".to_string(), tensor(&self.exc.1, &[self.exc.1.len()])?),
            ("syn.inh.weight".to_string(), tensor(&self.inh.1, &[self.inh.1.len()])?),
            ("input.weight".to_string(), tensor(&self.input, &[n, self.config.inputs])?),
            ("target".to_string(), tensor(&self.targets, &[n])?),
        ];
        if !self.readout.is_empty() {
            let weight = tensor(&self.readout, &[self.readout.len() / (n + 1), n + 1])?;
            self.parameters.push(("readout.weight".to_string(), weight));
        }
        Ok(())
    }

    /// What it was made from.
    pub fn config(&self) -> &EiConfig {
        &self.config
    }

    /// The target rates, `[neurons]`.
    pub fn targets(&self) -> &[f32] {
        &self.targets
    }

    /// Excitatory neurons; the others are inhibitory.
    pub fn excitatory(&self) -> usize {
        self.exc.0.pre()
    }

    /// The same network whose inhibition adapts in runs, at this rate per step; 0 freezes it.
    pub fn adapting(&self, delta: f64) -> Self {
        Self { delta: delta as f32, ..self.clone() }
    }

    /// The frozen network with the inhibition that a run has left in `state`.
    ///
    /// # Errors
    /// A state of another network.
    pub fn adapted(&self, state: &State) -> Result<Self> {
        let weights = take(state, "syn.inh.weight", &[self.inh.1.len()], || self.inh.1.clone())?;
        let mut net = Self { delta: 0.0, ..self.clone() };
        net.inh.1 = weights;
        net.set_parameters()?;
        Ok(net)
    }

    /// The same network with a readout, `[outputs, neurons + 1]`, the last column for the constant.
    ///
    /// # Errors
    /// Weights of another width.
    pub fn with_readout(&self, weights: &[f64]) -> Result<Self> {
        let width = self.config.neurons + 1;
        if weights.is_empty() || !weights.len().is_multiple_of(width) {
            return Err(Error::invalid(
                format!("a readout of {} weights for {width} features", weights.len()),
                "give one row of neurons + 1 weights per output",
            ));
        }
        let mut net = self.clone();
        net.readout = weights.iter().map(|w| *w as f32).collect();
        (net.table, net.site) = table(&self.config, &self.exc.0, &self.inh.0, weights.len() / width)?;
        net.set_parameters()?;
        Ok(net)
    }

    /// Adaptation in one step: the inhibition onto neuron i is multiplied by
    /// Omega_i = ((A_E rho)_i + (W_in mean input)_i - theta - logit(rho_i)/c) / (A_I rho)_i,
    /// which makes the target rates a fixed point of the mean field.
    ///
    /// # Errors
    /// A neuron whose inhibition would have to be negative.
    pub fn tuned(&self, mean_input: &[f64]) -> Result<Self> {
        let (n, unit) = (self.config.neurons, self.config.unit);
        let (mut exc, mut inh) = (vec![0.0f64; n], vec![0.0f64; n]);
        let rates = |first: usize, s: u32| f64::from(self.targets[first + s as usize]);
        for (s, w) in self.exc.1.iter().enumerate() {
            exc[self.exc.0.targets()[s] as usize] += f64::from(*w) * rates(0, self.exc.0.sources()[s]);
        }
        for (s, w) in self.inh.1.iter().enumerate() {
            inh[self.inh.0.targets()[s] as usize] += f64::from(*w) * rates(self.excitatory(), self.inh.0.sources()[s]);
        }
        let mut net = self.clone();
        for i in 0..n {
            let weights = &self.input[i * self.config.inputs..][..self.config.inputs];
            let input: f64 = weights.iter().zip(mean_input).map(|(w, u)| f64::from(*w) * u).sum();
            let rho = f64::from(self.targets[i]);
            let omega = (exc[i] + input - unit.threshold - (rho / (1.0 - rho)).ln() / unit.gain) / inh[i];
            if omega.is_nan() || omega <= 0.0 {
                return Err(Error::invalid(
                    format!("neuron {i} would need its inhibition multiplied by {omega:.3} for the rate {rho:.3}"),
                    "lower the target rates, or raise the threshold",
                ));
            }
            self.inh.0.incoming(i).iter().for_each(|s| net.inh.1[*s as usize] *= omega as f32);
        }
        net.set_parameters()?;
        Ok(net)
    }

    /// Excitatory and inhibitory weights, dense `[neurons, neurons]` in columns of their own, inhibition counted negative.
    pub fn matrix(&self) -> Vec<f64> {
        let n = self.config.neurons;
        let mut matrix = vec![0.0; n * n];
        for (synapses, weights, first, sign) in
            [(&self.exc.0, &self.exc.1, 0, 1.0), (&self.inh.0, &self.inh.1, self.excitatory(), -1.0)]
        {
            for (s, w) in weights.iter().enumerate() {
                let (i, j) = (synapses.targets()[s] as usize, synapses.sources()[s] as usize + first);
                matrix[i * n + j] = sign * f64::from(*w);
            }
        }
        matrix
    }

    fn step(&self, running: &mut Running, given: impl Fn(usize) -> Option<Vec<f32>>, tap: &mut Tap) -> Result<()> {
        let (n, rows, n_exc) = (self.config.neurons, running.rows, self.excitatory());
        let shape = [rows, n];
        through_dense(tap, self.site.exc_weight, &self.exc.0, &mut running.exc_weights)?;
        through_dense(tap, self.site.inh_weight, &self.inh.0, &mut running.inh_weights)?;
        for part in [&mut running.input, &mut running.exc, &mut running.inh] {
            part.fill(0.0);
        }
        for row in 0..rows {
            let span = row * n..(row + 1) * n;
            let rates = &running.state[span.clone()];
            self.exc.0.deliver(&running.exc_weights, &rates[..n_exc], &mut running.exc[span.clone()]);
            self.inh.0.deliver(&running.inh_weights, &rates[n_exc..], &mut running.inh[span.clone()]);
            if let Some(u) = given(row) {
                for (x, weights) in running.input[span].iter_mut().zip(self.input.chunks_exact(u.len().max(1))) {
                    *x = weights.iter().zip(&u).map(|(w, u)| w * u).sum();
                }
            }
        }
        through(tap, self.site.input, &mut running.input, &shape)?;
        through(tap, self.site.exc, &mut running.exc, &shape)?;
        through(tap, self.site.inh, &mut running.inh, &shape)?;
        for at in 0..rows * n {
            running.pre[at] = running.exc[at] - running.inh[at] + running.input[at];
        }
        through(tap, self.site.pre, &mut running.pre, &shape)?;
        for (r, v) in running.state.iter_mut().zip(&running.pre) {
            *r = self.config.unit.step(f64::from(*r), f64::from(*v)) as f32;
        }
        through(tap, self.site.state, &mut running.state, &shape)?;
        self.adapt(running, tap)
    }

    fn adapt(&self, running: &mut Running, tap: &mut Tap) -> Result<()> {
        if self.delta == 0.0 && !tap.wants(self.site.da_inh) {
            return Ok(());
        }
        let targets = self.targets.iter().cycle();
        let mut change: Vec<f32> = running.state.iter().zip(targets).map(|(r, rho)| self.delta * (r - rho)).collect();
        through(tap, self.site.da_inh, &mut change, &[running.rows, self.config.neurons])?;
        if change.iter().all(|c| *c == 0.0) {
            return Ok(());
        }
        for (w, target) in running.inh_weights.iter_mut().zip(self.inh.0.targets()) {
            *w = (*w + change[*target as usize]).max(0.0);
        }
        Ok(())
    }

    /// Features and readout of this step.
    fn read_out(&self, running: &mut Running, tap: &mut Tap) -> Result<()> {
        let (n, rows) = (self.config.neurons, running.rows);
        let outputs = self.readout.len() / (n + 1);
        if outputs == 0 && !tap.wants(self.site.features) {
            return Ok(());
        }
        let mut features = Vec::with_capacity(rows * (n + 1));
        for rates in running.state.chunks_exact(n) {
            features.extend_from_slice(rates);
            features.push(1.0);
        }
        through(tap, self.site.features, &mut features, &[rows, n + 1])?;
        running.out.clear();
        for x in features.chunks_exact(n + 1) {
            let dot = |w: &[f32]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>() as f32;
            running.out.extend(self.readout.chunks_exact(n + 1).map(dot));
        }
        if outputs > 0 {
            through(tap, self.site.out, &mut running.out, &[rows, outputs])?;
        }
        Ok(())
    }
}

/// What changes in a run, each `[rows, neurons]` where nothing else is said.
struct Running {
    rows: usize,
    /// `[synapses]`.
    exc_weights: Vec<f32>,
    /// `[synapses]`.
    inh_weights: Vec<f32>,
    input: Vec<f32>,
    exc: Vec<f32>,
    inh: Vec<f32>,
    pre: Vec<f32>,
    state: Vec<f32>,
    /// `[rows, outputs]`.
    out: Vec<f32>,
}

impl Network for EiReservoir {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    /// What the readout gives, `[rows, steps, outputs]`; without one the rates, `[rows, steps, neurons]`.
    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let n = self.config.neurons;
        let call = Call::begin(input, self.config.inputs, state, tap)?;
        let (rows, plastic) = (call.rows, self.delta != 0.0 || tap.opens(self.site.da_inh));
        if rows > 1 && plastic {
            return Err(Error::invalid(
                format!("an adapting reservoir is given {rows} rows, which would share their weights"),
                "run the rows one after the other",
            ));
        }
        let zeros = || vec![0.0; rows * n];
        let mut running = Running {
            rows,
            exc_weights: self.exc.1.clone(),
            inh_weights: take(state, "syn.inh.weight", &[self.inh.1.len()], || self.inh.1.clone())?,
            input: zeros(),
            exc: zeros(),
            inh: zeros(),
            pre: zeros(),
            state: take(state, "reservoir.state", &[rows, n], || vec![0.5; rows * n])?,
            out: Vec::new(),
        };
        let reads = !self.readout.is_empty();
        let mut outputs = Outputs::new(&call, if reads { self.readout.len() / (n + 1) } else { n }, tap);
        let edits = tap.opens(self.site.exc_weight);
        for t in 0..call.steps {
            call.tick(t, tap)?;
            if edits {
                // A static weight begins every step as the parameter that it is.
                running.exc_weights.copy_from_slice(&self.exc.1);
            }
            self.step(&mut running, |row| call.series.map(|s| s.at(row, t).to_vec()), tap)?;
            self.read_out(&mut running, tap)?;
            outputs.push(t, if reads { &running.out } else { &running.state });
        }
        keep(state, "syn.inh.weight", &[running.inh_weights.len()], &running.inh_weights)?;
        keep(state, "reservoir.state", &[rows, n], &running.state)?;
        call.end(state)?;
        outputs.tensor(rows)
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }
}

impl Simulation for EiReservoir {
    fn rules(&self) -> Vec<String> {
        let unit = self.config.unit;
        let mut rules = vec![
            "order: excitation, inhibition and input of the rates before; rates; adaptation by the new rates; readout"
                .to_string(),
            format!(
                "reservoir: {} excitatory and {} inhibitory units, r' = (1 - {}) r + {} sigma({} (V - {}))",
                self.excitatory(),
                self.config.neurons - self.excitatory(),
                unit.leak,
                unit.leak,
                unit.gain,
                unit.threshold
            ),
            "steps have no length; rates begin at 0.5; inhibitory weights are state, an edit of them lasts".to_string(),
        ];
        if self.delta != 0.0 {
            rules.push(format!("A_I = max(0, A_I + {} (r_i - rho_i)) on existing synapses", self.delta));
        }
        rules
    }

    fn dt(&self) -> Option<f64> {
        None
    }

    fn channels(&self) -> usize {
        self.config.inputs
    }

    fn synapses(&self, site: &str) -> Option<&Sparse> {
        match site {
            "syn.exc.hook_weight" => Some(&self.exc.0),
            "syn.inh.hook_weight" => Some(&self.inh.0),
            _ => None,
        }
    }
}

fn table(config: &EiConfig, exc: &Sparse, inh: &Sparse, outputs: usize) -> Result<(SiteTable, Sites)> {
    let mut table = SiteTable::default();
    let n = (Axis::Neuron, Some(config.neurons));
    let b = (Axis::Batch, None);
    let exc_weight = table.push(weight_site("syn.exc.hook_weight".into(), exc, "A_E; pre counts excitatory neurons"));
    let inh_weight =
        table.push(weight_site("syn.inh.hook_weight".into(), inh, "A_I; pre counts inhibitory neurons from 0; state"));
    let mut push = |name: &str, meaning| table.push(site(format!("reservoir.{name}"), &[b, n], meaning));
    let input = push("hook_input", "W_in u");
    let exc = push("hook_exc", "A_E r");
    let inh = push("hook_inh", "A_I r; scaled by g it is a global gain of inhibition");
    let pre = push("hook_pre", "V = A_E r - A_I r + W_in u");
    let state = push("hook_state", "rates r, excitatory neurons first");
    let da_inh =
        push("hook_dA_inh", "delta (r - rho): what every inhibitory weight of a neuron changes by; 0 freezes it");
    let features = (Axis::Width, Some(config.neurons + 1));
    let features = table.push(site("readout.hook_features".into(), &[b, features], "[r; 1]"));
    let mut out = SiteId::ABSENT;
    if outputs > 0 {
        out = table.push(site("readout.hook_out".into(), &[b, (Axis::Width, Some(outputs))], "W_out [r; 1]"));
    }
    Ok((table, Sites { exc_weight, inh_weight, input, exc, inh, pre, state, da_inh, features, out }))
}
