//! One layer of long short-term memory on numbers over time, with a readout: what other recurrent networks are compared with.
//!
//! ```text
//! h, c = LSTM(x, h, c)                                   lstm.hook_h, lstm.hook_c
//! y = W_out h + b                                        lstm.hook_out
//! ```

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::simulation::{Call, site};
use super::transformer::WeightSource;
use super::{Input, Network, State};
use crate::hook::{Axis, Form, Output, SiteId, SiteTable, Tap, random};
use crate::nn::{Layout, Linear, Lstm};
use crate::{Error, Result};

/// Sizes of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmConfig {
    /// Numbers of the input.
    pub inputs: usize,
    /// Units.
    pub hidden: usize,
    /// Numbers that are read out.
    pub outputs: usize,
    /// Steps that the slowest unit keeps to begin with; others are spaced logarithmically down to 2 (Tallec and Ollivier 2018).
    /// Where it is left out all forget gates begin with a bias of 1.
    pub longest: Option<usize>,
}

impl LstmConfig {
    /// The largest network with at most so many weights, of one unit at least.
    pub fn within(count: usize, inputs: usize, outputs: usize) -> Self {
        let of = |hidden| Self { inputs, hidden, outputs, longest: None };
        let fits = (1..).map(of).take_while(|config| config.count() <= count);
        fits.last().unwrap_or(of(1))
    }

    /// How many numbers are learnt.
    pub fn count(&self) -> usize {
        self.shapes().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    fn shapes(&self) -> [(&'static str, Vec<usize>); 5] {
        let Self { inputs, hidden, outputs, .. } = *self;
        [
            ("lstm.weight_ih", vec![4 * hidden, inputs]),
            ("lstm.weight_hh", vec![4 * hidden, hidden]),
            ("lstm.bias", vec![4 * hidden]),
            ("out.weight", vec![outputs, hidden]),
            ("out.bias", vec![outputs]),
        ]
    }

    /// Variables to begin training with: maps uniform within 1 / sqrt(hidden), biases 0 but those of the forget gates, and
    /// of the input gates where units are slow, which are their negatives.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn variables(&self, seed: u64) -> Result<BTreeMap<String, Var>> {
        let bound = (self.hidden as f64).sqrt().recip();
        let mut variables = BTreeMap::new();
        for (name, shape) in self.shapes() {
            let count: usize = shape.iter().product();
            let key = random::key(seed, &[random::name(name)]);
            let value = |i: usize| match name {
                "lstm.bias" => self.gate_bias(i),
                "out.bias" => 0.0,
                _ => (bound * (2.0 * random::uniform(random::key(key, &[i as u64])) - 1.0)) as f32,
            };
            let tensor = Tensor::from_vec((0..count).map(value).collect(), shape, &Device::Cpu)?;
            variables.insert(name.to_string(), Var::from_tensor(&tensor)?);
        }
        Ok(variables)
    }

    /// The bias that gate `i` of input, forget, cell and output gates begins with.
    fn gate_bias(&self, i: usize) -> f32 {
        let forgets = self.longest.map_or(1.0, |longest| {
            let share = (i % self.hidden) as f64 / (self.hidden.max(2) - 1) as f64;
            let kept = 2.0 * (longest.max(2) as f64 / 2.0).powf(share);
            (kept - 1.0).ln()
        });
        match (i / self.hidden, self.longest) {
            (0, Some(_)) => -forgets as f32,
            (1, _) => forgets as f32,
            _ => 0.0,
        }
    }
}

/// The network with its weights.
pub struct LstmNetwork {
    config: LstmConfig,
    table: SiteTable,
    lstm: Lstm,
    out: Linear,
    parameters: Vec<(String, Tensor)>,
    /// h, c, out.
    site: [SiteId; 3],
}

impl LstmNetwork {
    /// The network with these weights.
    ///
    /// # Errors
    /// Sizes of 0, weights that are missing or of the wrong shape.
    pub fn new(config: LstmConfig, weights: &dyn WeightSource) -> Result<Self> {
        if config.inputs == 0 || config.hidden == 0 || config.outputs == 0 {
            return Err(Error::invalid(format!("an LSTM of {config:?}"), "give at least one of each"));
        }
        let mut parameters = Vec::new();
        for (name, shape) in config.shapes() {
            parameters.push((name.to_string(), weights.tensor(name, &shape)?));
        }
        let part = |i: usize| parameters[i].1.clone();
        let lstm = Lstm::new(part(0), part(1), part(2));
        let out = Linear { weight: part(3), bias: Some(part(4)), layout: Layout::OutIn };
        let mut table = SiteTable::default();
        let mut push = |name: &str, width: usize, meaning: &'static str| {
            table.push(site(name.into(), &[(Axis::Batch, None), (Axis::Neuron, Some(width))], meaning))
        };
        let site = [
            push("lstm.hook_h", config.hidden, "hidden state after the step"),
            push("lstm.hook_c", config.hidden, "cell after the step"),
            push("lstm.hook_out", config.outputs, "what is read out of the hidden state"),
        ];
        Ok(Self { config, table, lstm, out, parameters, site })
    }

    /// Its sizes.
    pub fn config(&self) -> &LstmConfig {
        &self.config
    }
}

impl Network for LstmNetwork {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    /// What is read out, `[rows, steps, outputs]`.
    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let LstmConfig { inputs, hidden, outputs, .. } = self.config;
        let call = Call::open(input, inputs, state, tap)?;
        let (rows, steps, form) = (call.rows, call.steps, tap.form());
        let x = match call.series {
            Some(series) => Tensor::from_slice(&series.values, (rows, steps, inputs), &Device::Cpu)?,
            None => Tensor::zeros((rows, steps, inputs), DType::F32, &Device::Cpu)?,
        };
        let from = match tap.output() {
            Output::Whole => 0,
            Output::Last => steps - 1,
            Output::Unread => steps,
        };
        let silent = !tap.wants_from(self.site[0]);
        if silent && form == Form::Differentiable && !state.keeps() && state.tensors.is_empty() {
            let h = self.lstm.scan(&x)?.narrow(1, from, steps - from)?.contiguous()?; // [b, t, hidden]
            return self.out.forward(&h, form);
        }
        let zero = || Tensor::zeros((rows, hidden), DType::F32, &Device::Cpu);
        let start = |name: &str| state.tensors.get(name).cloned().map_or_else(zero, Ok);
        let (mut h, mut c) = (start("lstm.h")?, start("lstm.c")?);
        let mut out = Vec::with_capacity(steps);
        for t in 0..steps {
            call.tick(t, tap)?;
            (h, c) = self.lstm.step(&x.narrow(1, t, 1)?.squeeze(1)?.contiguous()?, &h, &c, form)?;
            h = tap.at(self.site[0], h)?;
            c = tap.at(self.site[1], c)?;
            out.push(tap.at(self.site[2], self.out.forward(&h, form)?)?);
        }
        if state.keeps() {
            state.tensors.insert("lstm.h".into(), h.detach());
            state.tensors.insert("lstm.c".into(), c.detach());
        }
        call.end(state)?;
        match &out[from..] {
            [] => Ok(Tensor::zeros((rows, 0, outputs), DType::F32, &Device::Cpu)?),
            read => Ok(Tensor::stack(read, 1)?), // [b, t, outputs]
        }
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }
}
