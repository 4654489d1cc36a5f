//! A liquid of spiking neurons whose plasticity one astrocyte modulates: NALSM (Ivanov and Michmizos, NeurIPS 2021).
//!
//! ```text
//! s      = V >= 20 and not refractory; V = 0 where s          input.hook_spikes, liquid.hook_mem_pre, hook_spikes
//! kappa  = s where s, else kappa / e                          input.hook_kappa, liquid.hook_kappa
//! V      = V + sum_j w_ij kappa_j - V / 64                    liquid.hook_current, hook_mem
//! dw     = f (eta s_i x_j - A s_j x_i)                        stdp.hook_dw_in, hook_dw_rec; weights: syn.in|rec.hook_weight
//! x      = 0.90477 (x + 0.1 s)                                input.hook_trace, liquid.hook_trace
//! A      = A + (w_astro (sum s_liquid - sum s_input) + eta - A) / 100          astro.hook_drive, hook_A
//! f      = decay f
//! logits = W_out [counts / sum counts; 1]                     readout.hook_features, hook_logits
//! ```
//!
//! In that order, a millisecond a step. Synapses whose source is an inhibitory neuron of the liquid have eta and A change
//! places with the sign turned: their potentiation leads to 0. dw reads the traces and A of the step before.
//!
//! The published code differs in how it writes, not in what it computes, but for the last two:
//! - It multiplies eta, A, w_astro and the astrocyte's bias by 0.99 in each step of the main phase. With A = 0.99^t a the
//!   rule for a has no decay in it, so that all four decays are the one factor f of dw. So `astro.hook_A` held at eta is
//!   plain STDP in both phases; of the decayed A this would be true in the first alone.
//! - It keeps the time since a source's last spike, from 20 ms on, and takes exp(-t). kappa is that number itself, 0 from
//!   20 ms on, where exp(-20) times the largest weight is 6e-9 of a threshold of 20.
//! - It leaves the traces running from sample to sample. Here a new run begins with traces at 0, so that samples do not
//!   depend on their order.

mod wiring;

use candle_core::{Device, Tensor};

use super::nir::{Exported, refused};
use super::simulation::{Call, Outputs, Simulation, keep, site, take, through, through_dense, weight_site};
use super::{Input, Network, State};
use crate::hook::{Axis, SiteId, SiteTable, Tap};
use crate::nn::spiking::Sparse;
use crate::{Error, Result};
use wiring::Projection;

pub use wiring::LiquidConfig;

/// V_th.
const THRESHOLD: f32 = 20.0;
/// tau_v, ms.
const TAU_MEM: f32 = 64.0;
/// Steps after a spike without another.
const REFRACTORY: f32 = 2.0;
/// What an event of the input adds to its neuron.
const EVENT: f32 = 100.0;
/// kappa below it is 0: between exp(-19) and exp(-20).
const SILENT: f32 = 3.4e-9;
/// What a spike adds to a trace, and what is left of a trace a step later.
const TRACE: (f32, f32) = (0.1, 0.90477);
/// tau_a, ms.
const TAU_ASTROCYTE: f32 = 100.0;

/// The network. It takes events of its input neurons (0 or 1 each) and gives the spikes of the liquid.
#[derive(Clone)]
pub struct Liquid {
    config: LiquidConfig,
    table: SiteTable,
    site: Sites,
    afferent: Projection,
    recurrent: Projection,
    /// `[classes, neurons + 1]`, or empty.
    readout: Vec<f32>,
    parameters: Vec<(String, Tensor)>,
}

#[derive(Clone, Copy)]
struct Sites {
    weight_in: SiteId,
    weight_rec: SiteId,
    input: LayerSites,
    mem_pre: SiteId,
    liquid: LayerSites,
    current: SiteId,
    mem: SiteId,
    dw_in: SiteId,
    dw_rec: SiteId,
    drive: SiteId,
    a: SiteId,
    features: SiteId,
    logits: SiteId,
}

#[derive(Clone, Copy)]
struct LayerSites {
    spikes: SiteId,
    kappa: SiteId,
    trace: SiteId,
}

impl Liquid {
    /// The network of this configuration, without readout.
    ///
    /// # Errors
    /// Sizes and constants that no liquid has.
    pub fn new(config: LiquidConfig) -> Result<Self> {
        config.check()?;
        let (afferent, recurrent) = (wiring::afferent(&config)?, wiring::recurrent(&config)?);
        let (table, site) = table(&config, &afferent.synapses, &recurrent.synapses, 0);
        let mut net = Self { config, table, site, afferent, recurrent, readout: Vec::new(), parameters: Vec::new() };
        net.set_parameters()?;
        Ok(net)
    }

    fn set_parameters(&mut self) -> Result<()> {
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu);
        self.parameters = vec![
            ("syn.in.weight".to_string(), tensor(&self.afferent.weights, &[self.afferent.weights.len()])?),
            ("syn.rec.weight".to_string(), tensor(&self.recurrent.weights, &[self.recurrent.weights.len()])?),
        ];
        if !self.readout.is_empty() {
            let width = self.config.neurons() + 1;
            let weight = tensor(&self.readout, &[self.readout.len() / width, width])?;
            self.parameters.push(("readout.weight".to_string(), weight));
        }
        Ok(())
    }

    /// What it was made from.
    pub fn config(&self) -> &LiquidConfig {
        &self.config
    }

    /// The synapses between the neurons of the liquid.
    pub fn recurrent(&self) -> &Sparse {
        &self.recurrent.synapses
    }

    /// The same network with another decay of plasticity per step.
    ///
    /// # Errors
    /// A decay outside 0 to 1.
    pub fn decaying(&self, decay: f64) -> Result<Self> {
        let config = LiquidConfig { decay, ..self.config };
        config.check()?;
        Ok(Self { config, ..self.clone() })
    }

    /// A state that begins anew but for the weights that a run has left in `state`.
    pub fn weights_of(&self, state: &State) -> State {
        let mut fresh = State::cached();
        for name in ["syn.in.weight", "syn.rec.weight"] {
            if let Some(weight) = state.tensors.get(name) {
                fresh.tensors.insert(name.to_string(), weight.clone());
            }
        }
        fresh
    }

    /// The same network with a readout, `[classes, neurons + 1]`, the last column for the constant.
    ///
    /// # Errors
    /// Weights of another width.
    pub fn with_readout(&self, weights: &[f64]) -> Result<Self> {
        let width = self.config.neurons() + 1;
        if weights.is_empty() || !weights.len().is_multiple_of(width) {
            return Err(Error::invalid(
                format!("a readout of {} weights for {width} features", weights.len()),
                "give one row of neurons + 1 weights per class",
            ));
        }
        let mut net = self.clone();
        net.readout = weights.iter().map(|w| *w as f32).collect();
        let classes = weights.len() / width;
        (net.table, net.site) = table(&self.config, &self.afferent.synapses, &self.recurrent.synapses, classes);
        net.set_parameters()?;
        Ok(net)
    }

    fn step(&self, running: &mut Running, events: Option<&[f32]>, fade: f32, tap: &mut Tap) -> Result<()> {
        let Running { input, liquid, weights_in, weights_rec, current, .. } = running;
        let (n, m) = ([1, self.config.neurons()], [1, self.config.inputs]);
        through_dense(tap, self.site.weight_in, &self.afferent.synapses, weights_in)?;
        through_dense(tap, self.site.weight_rec, &self.recurrent.synapses, weights_rec)?;
        input.fire();
        through(tap, self.site.input.spikes, &mut input.spikes, &m)?;
        through(tap, self.site.mem_pre, &mut liquid.mem, &n)?;
        liquid.fire();
        through(tap, self.site.liquid.spikes, &mut liquid.spikes, &n)?;
        for (layer, site, shape) in [(&mut *input, &self.site.input, &m), (&mut *liquid, &self.site.liquid, &n)] {
            layer.after_spikes();
            through(tap, site.kappa, &mut layer.kappa, shape)?;
        }
        current.fill(0.0);
        self.afferent.synapses.deliver(weights_in, &input.kappa, current);
        self.recurrent.synapses.deliver(weights_rec, &liquid.kappa, current);
        through(tap, self.site.current, current, &n)?;
        liquid.integrate(current.iter().copied());
        through(tap, self.site.mem, &mut liquid.mem, &n)?;
        match events {
            Some(events) => input.integrate(events.iter().map(|e| EVENT * e)),
            None => input.integrate(std::iter::repeat_n(0.0, m[1])),
        }
        let amplitudes = (fade * self.config.eta as f32, fade * running.a);
        learn(&self.afferent, weights_in, (input, liquid), amplitudes, self.site.dw_in, tap)?;
        learn(&self.recurrent, weights_rec, (liquid, liquid), amplitudes, self.site.dw_rec, tap)?;
        for (layer, site, shape) in [(input, &self.site.input, &m), (liquid, &self.site.liquid, &n)] {
            for (x, s) in layer.trace.iter_mut().zip(&layer.spikes) {
                *x = TRACE.1 * (*x + TRACE.0 * s);
            }
            through(tap, site.trace, &mut layer.trace, shape)?;
        }
        self.modulate(running, tap)
    }

    /// The astrocyte after this step's spikes.
    fn modulate(&self, running: &mut Running, tap: &mut Tap) -> Result<()> {
        let mut drive = [running.liquid.spikes.iter().sum::<f32>() - running.input.spikes.iter().sum::<f32>()];
        through(tap, self.site.drive, &mut drive, &[1, 1])?;
        let (eta, w) = (self.config.eta as f32, self.config.astrocyte as f32);
        let mut a = [running.a + (w * drive[0] + eta - running.a) / TAU_ASTROCYTE];
        through(tap, self.site.a, &mut a, &[1, 1])?;
        running.a = a[0];
        Ok(())
    }

    /// Features and readout of the spikes so far.
    fn read_out(&self, running: &mut Running, tap: &mut Tap) -> Result<()> {
        for (count, s) in running.counts.iter_mut().zip(&running.liquid.spikes) {
            *count += s;
        }
        let width = self.config.neurons() + 1;
        let classes = self.readout.len() / width;
        if classes == 0 && !tap.wants(self.site.features) {
            return Ok(());
        }
        let sum = running.counts.iter().map(|c| c.abs()).sum::<f32>().max(1.0);
        let mut features: Vec<f32> = running.counts.iter().map(|c| c / sum).chain([1.0]).collect();
        through(tap, self.site.features, &mut features, &[1, width])?;
        let dot = |w: &[f32]| w.iter().zip(&features).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>() as f32;
        running.logits = self.readout.chunks_exact(width).map(dot).collect();
        if classes > 0 {
            through(tap, self.site.logits, &mut running.logits, &[1, classes])?;
        }
        Ok(())
    }
}

/// One step of STDP on a projection. Only synapses of neurons that spike are looked at, unless somebody listens.
fn learn(
    projection: &Projection,
    weights: &mut [f32],
    (pre, post): (&Layer, &Layer),
    (eta, a): (f32, f32),
    site: SiteId,
    tap: &mut Tap,
) -> Result<()> {
    let mut seen = tap.wants(site).then(|| vec![0.0f32; weights.len()]);
    if eta == 0.0 && a == 0.0 && seen.is_none() {
        return Ok(());
    }
    let synapses = &projection.synapses;
    let mut change = |synapse: usize, j: usize, i: usize| {
        let (up, down) = (post.spikes[i] * pre.trace[j], pre.spikes[j] * post.trace[i]);
        let dw = if j < projection.inhibitory { eta * up - a * down } else { eta * down - a * up };
        match &mut seen {
            Some(seen) => seen[synapse] = dw,
            None => weights[synapse] = projection.bounded(synapse, weights[synapse] + dw),
        }
    };
    for i in post.spiking() {
        synapses.incoming(i).iter().for_each(|s| change(*s as usize, synapses.sources()[*s as usize] as usize, i));
    }
    for j in pre.spiking() {
        for s in synapses.outgoing(j) {
            let i = synapses.targets()[s] as usize;
            // The others have had both of their terms.
            if post.spikes[i] == 0.0 {
                change(s, j, i);
            }
        }
    }
    if let Some(mut dw) = seen {
        through(tap, site, &mut dw, &[1, weights.len()])?;
        for (s, dw) in dw.iter().enumerate().filter(|(_, dw)| **dw != 0.0) {
            weights[s] = projection.bounded(s, weights[s] + dw);
        }
    }
    Ok(())
}

/// What changes in a run.
struct Running {
    input: Layer,
    liquid: Layer,
    weights_in: Vec<f32>,
    weights_rec: Vec<f32>,
    current: Vec<f32>,
    a: f32,
    counts: Vec<f32>,
    logits: Vec<f32>,
}

/// LIF neurons with what their synapses know of their spikes; each `[neurons]`.
struct Layer {
    mem: Vec<f32>,
    /// Steps left without firing.
    refrac: Vec<f32>,
    spikes: Vec<f32>,
    kappa: Vec<f32>,
    trace: Vec<f32>,
}

impl Layer {
    fn take(state: &State, name: &str, n: usize) -> Result<Self> {
        let begin = |part: &str| take(state, &format!("{name}.{part}"), &[n], || vec![0.0; n]);
        Ok(Self {
            mem: begin("mem")?,
            refrac: begin("refrac")?,
            spikes: vec![0.0; n],
            kappa: begin("kappa")?,
            trace: begin("trace")?,
        })
    }

    fn keep(&self, state: &mut State, name: &str) -> Result<()> {
        let parts = [("mem", &self.mem), ("refrac", &self.refrac), ("kappa", &self.kappa), ("trace", &self.trace)];
        parts.iter().try_for_each(|(part, values)| keep(state, &format!("{name}.{part}"), &[values.len()], values))
    }

    fn fire(&mut self) {
        for ((s, v), refrac) in self.spikes.iter_mut().zip(&self.mem).zip(&self.refrac) {
            *s = f32::from(u8::from(*v >= THRESHOLD && *refrac <= 0.0));
        }
    }

    /// Reset, refractoriness and kappa, all of the spikes as they have become.
    fn after_spikes(&mut self) {
        let decay = (-1.0f32).exp();
        for i in 0..self.spikes.len() {
            let s = self.spikes[i];
            if s != 0.0 {
                self.mem[i] = 0.0;
                self.refrac[i] = REFRACTORY;
                self.kappa[i] = s;
            } else {
                self.refrac[i] = (self.refrac[i] - 1.0).max(0.0);
                let kappa = self.kappa[i] * decay;
                self.kappa[i] = if kappa.abs() < SILENT { 0.0 } else { kappa };
            }
        }
    }

    /// Goes on in the refractory time too; only firing is blocked there.
    fn integrate(&mut self, current: impl Iterator<Item = f32>) {
        for (v, i) in self.mem.iter_mut().zip(current) {
            *v += i - *v / TAU_MEM;
        }
    }

    fn spiking(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.spikes.len()).filter(|i| self.spikes[*i] != 0.0)
    }
}

impl Network for Liquid {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    /// What the readout gives, `[1, steps, classes]`; without one the spikes of the liquid, `[1, steps, neurons]`.
    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let (n, m) = (self.config.neurons(), self.config.inputs);
        let call = Call::begin(input, m, state, tap)?;
        if call.rows > 1 {
            return Err(Error::invalid(
                format!("a liquid is given {} rows, which would share their weights", call.rows),
                "run the rows one after the other",
            ));
        }
        let begin = |name: &str, weights: &Vec<f32>| take(state, name, &[weights.len()], || weights.clone());
        let mut running = Running {
            input: Layer::take(state, "input", m)?,
            liquid: Layer::take(state, "liquid", n)?,
            weights_in: begin("syn.in.weight", &self.afferent.weights)?,
            weights_rec: begin("syn.rec.weight", &self.recurrent.weights)?,
            current: vec![0.0; n],
            a: take(state, "astro.a", &[1], || vec![self.config.eta as f32])?[0],
            counts: take(state, "liquid.counts", &[n], || vec![0.0; n])?,
            logits: Vec::new(),
        };
        let reads = !self.readout.is_empty();
        let mut outputs = Outputs::new(&call, if reads { self.readout.len() / (n + 1) } else { n }, tap);
        for t in 0..call.steps {
            call.tick(t, tap)?;
            let fade = self.config.decay.powf(call.time(t) as f64) as f32;
            self.step(&mut running, call.series.map(|s| s.at(0, t)), fade, tap)?;
            self.read_out(&mut running, tap)?;
            outputs.push(t, if reads { &running.logits } else { &running.liquid.spikes });
        }
        running.input.keep(state, "input")?;
        running.liquid.keep(state, "liquid")?;
        keep(state, "syn.in.weight", &[running.weights_in.len()], &running.weights_in)?;
        keep(state, "syn.rec.weight", &[running.weights_rec.len()], &running.weights_rec)?;
        keep(state, "astro.a", &[1], &[running.a])?;
        keep(state, "liquid.counts", &[n], &running.counts)?;
        call.end(state)?;
        outputs.tensor(1)
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }
}

impl Simulation for Liquid {
    fn rules(&self) -> Vec<String> {
        let LiquidConfig { eta, astrocyte, decay, .. } = self.config;
        let (n, n_exc) = (self.config.neurons(), self.config.excitatory());
        vec![
            "order: spikes of the V before, reset, synapses, V, plasticity by the traces and A before, traces, astrocyte, readout"
                .to_string(),
            format!(
                "liquid: {n_exc} excitatory and {} inhibitory LIF neurons, Euler, dt 1 ms, tau 64 ms, fires at V >= 20, reset to 0",
                n - n_exc
            ),
            "refractory for 2 ms, in which V goes on; input neurons are the same, an event adds 100".to_string(),
            "a synapse's current is w exp(-t) since the last spike of its source alone; |w| <= 3, signs are fixed".to_string(),
            format!("STDP with potentiation {eta} and depression A on all synapses, multiplied by {decay} per step"),
            format!("A' = A + ({astrocyte} (spikes of liquid - of input) + {eta} - A) / 100; weights are state, edits last"),
        ]
    }

    fn dt(&self) -> Option<f64> {
        Some(1.0)
    }

    fn channels(&self) -> usize {
        self.config.inputs
    }

    fn synapses(&self, site: &str) -> Option<&Sparse> {
        match site {
            "syn.in.hook_weight" => Some(&self.afferent.synapses),
            "syn.rec.hook_weight" => Some(&self.recurrent.synapses),
            _ => None,
        }
    }

    fn nir(&self) -> Result<Exported> {
        Err(refused("this network: STDP changes its weights, and an astrocyte sets the depression"))
    }
}

fn table(config: &LiquidConfig, afferent: &Sparse, recurrent: &Sparse, classes: usize) -> (SiteTable, Sites) {
    let mut table = SiteTable::default();
    let (n, m) = ((Axis::Neuron, config.neurons()), (Axis::Neuron, config.inputs));
    let wide = |width: usize| (Axis::Width, width);
    let weight_in = table.push(weight_site("syn.in.hook_weight".into(), afferent, "weights of the input; state"));
    let weight_rec =
        table.push(weight_site("syn.rec.hook_weight".into(), recurrent, "weights in the liquid, by sign; state"));
    let mut push = |name: &str, axis: (Axis, usize), meaning| {
        table.push(site(name.to_string(), &[(Axis::Batch, None), (axis.0, Some(axis.1))], meaning))
    };
    let input_spikes = push("input.hook_spikes", m, "spikes of the input neurons, one step after their events");
    let mem_pre = push("liquid.hook_mem_pre", n, "V that the threshold is compared with");
    let spikes = push("liquid.hook_spikes", n, "spikes, excitatory neurons first");
    let input_kappa = push("input.hook_kappa", m, "exp(-t), t ms since the last spike; multiplies the weights");
    let kappa = push("liquid.hook_kappa", n, "exp(-t), t ms since the last spike; multiplies the weights");
    let current = push("liquid.hook_current", n, "sum of w kappa over input and liquid");
    let mem = push("liquid.hook_mem", n, "V after reset and input");
    let dw_in =
        push("stdp.hook_dw_in", wide(afferent.len()), "change of every input weight before its bounds; 0 freezes");
    let dw_rec = push("stdp.hook_dw_rec", wide(recurrent.len()), "change of every weight in the liquid; 0 freezes");
    let input_trace = push("input.hook_trace", m, "traces of spikes, as the next step's plasticity reads them");
    let trace = push("liquid.hook_trace", n, "traces of spikes, as the next step's plasticity reads them");
    let drive = push("astro.hook_drive", wide(1), "spikes of the liquid less those of the input");
    let a = push("astro.hook_A", wide(1), "the amplitude of depression of the next step; held at eta it is plain STDP");
    let features = push("readout.hook_features", wide(config.neurons() + 1), "[spike counts / their sum; 1]");
    let logits = match classes {
        0 => SiteId::ABSENT,
        _ => push("readout.hook_logits", wide(classes), "W_out [counts; 1]"),
    };
    let input = LayerSites { spikes: input_spikes, kappa: input_kappa, trace: input_trace };
    let liquid = LayerSites { spikes, kappa, trace };
    let sites = Sites {
        weight_in,
        weight_rec,
        input,
        mem_pre,
        liquid,
        current,
        mem,
        dw_in,
        dw_rec,
        drive,
        a,
        features,
        logits,
    };
    (table, sites)
}
