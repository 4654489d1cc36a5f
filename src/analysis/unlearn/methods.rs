//! From statistics to edits: every method as a list of edits with the tensors that they refer to.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::neuron_adjust::{FLOOR, Variant};
use super::statistics::{Keys, Statistics};
use crate::hook::random::Stream;
use crate::hook::{Edit, Selector};
use crate::report::number;
use crate::{Error, Result};

/// A way to unlearn, or a control of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Key Space Detection in the layer that serves best; its knob is alpha.
    Ksd,
    /// Key Space Detection in the last layer, where the paper has it; its knob is alpha.
    KsdLast,
    /// Neuron Adjust; its knob is the percentage of neurons.
    Na,
    /// Selective pruning: zero, by the ratio of mean |k|; its knob is the percentage of neurons.
    Sp,
    /// Zero ablation of Neuron Adjust's neurons.
    Zero,
    /// Ablation of Neuron Adjust's neurons to their mean on retained text.
    Mean,
    /// Directional ablation along the difference of means before a layer; its knob is the layer.
    Directional,
    /// Neuron Adjust of random neurons, as many in each layer: the control of `na`.
    NaRandom,
    /// Pruning of random neurons, as many in each layer: the control of `sp`.
    SpRandom,
}

impl Method {
    /// All of them, methods before controls.
    pub const ALL: [Self; 9] = [
        Self::Ksd,
        Self::KsdLast,
        Self::Na,
        Self::Sp,
        Self::Zero,
        Self::Mean,
        Self::Directional,
        Self::NaRandom,
        Self::SpRandom,
    ];

    /// Its word on the command line and in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ksd => "ksd",
            Self::KsdLast => "ksd_last",
            Self::Na => "na",
            Self::Sp => "sp",
            Self::Zero => "zero",
            Self::Mean => "mean",
            Self::Directional => "directional",
            Self::NaRandom => "na_random",
            Self::SpRandom => "sp_random",
        }
    }

    /// What its knob is.
    pub fn knob(self) -> &'static str {
        match self {
            Self::Ksd | Self::KsdLast => "alpha",
            Self::Directional => "layer",
            _ => "% of neurons",
        }
    }

    /// The method on random neurons, where neurons are chosen.
    pub fn control(self) -> Option<Self> {
        match self {
            Self::Na => Some(Self::NaRandom),
            Self::Sp | Self::Zero => Some(Self::SpRandom),
            _ => None,
        }
    }

    /// Whether it abstains rather than edits.
    pub fn abstains(self) -> bool {
        matches!(self, Self::Ksd | Self::KsdLast)
    }

    /// Whether its edits draw random numbers.
    pub fn is_stochastic(self) -> bool {
        matches!(self, Self::Na | Self::NaRandom)
    }
}

/// A method at a setting of its knob.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The method.
    pub method: Method,
    /// The layer whose keys Key Space Detection looks at; `None` of other methods.
    pub layer: Option<usize>,
    /// The knob, as [`Method::knob`] says.
    #[serde(with = "number")]
    pub knob: f64,
}

impl Setting {
    /// A method that looks at no layer's keys.
    pub fn new(method: Method, knob: f64) -> Self {
        Self { method, layer: None, knob }
    }
}

/// Edits with the tensors that they refer to.
#[derive(Clone, Debug, Default)]
pub struct Fitted {
    /// In the order in which they act.
    pub edits: Vec<Edit>,
    /// By name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The neurons that they change, (layer, neuron), ascending; empty where they change none or all.
    pub neurons: Vec<(usize, usize)>,
}

/// What the methods are fitted to.
#[derive(Clone, Copy, Debug)]
pub struct Fit<'a> {
    /// Of the text that is to be forgotten.
    pub forget: &'a Statistics,
    /// Of the text that is to stay.
    pub retain: &'a Statistics,
    /// Whose Neuron Adjust.
    pub variant: Variant,
    /// Which keys Key Space Detection and directional ablation look at.
    pub keys: Keys,
    /// Seed of the random controls.
    pub seed: u64,
}

/// The units whose score is at least that of rank floor(N (1 - p/100)), counted from 0 in ascending order: N minus that
/// many of them where no two scores are equal. Ascending.
///
/// # Errors
/// A percentage outside (0, 100], no scores, a score that is no number.
pub fn top_percent(scores: &[f64], percent: f64) -> Result<Vec<usize>> {
    if !(percent > 0.0 && percent <= 100.0) {
        return Err(Error::invalid(format!("{percent} % of the neurons"), "name a percentage above 0, at most 100"));
    }
    if scores.is_empty() || scores.iter().any(|x| x.is_nan()) {
        return Err(Error::invalid("neurons without a score to choose by", "run `doctor` on the model"));
    }
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (scores.len() as f64 * (1.0 - percent / 100.0)).floor() as usize;
    let threshold = sorted[rank.min(scores.len() - 1)];
    Ok((0..scores.len()).filter(|i| scores[*i] >= threshold).collect())
}

impl Fit<'_> {
    /// The edits of a method at a setting of its knob. Key Space Detection looks at the last layer unless told.
    ///
    /// # Errors
    /// A knob outside its range, constant activations, statistics without finite values.
    pub fn edits(&self, setting: Setting) -> Result<Fitted> {
        let knob = setting.knob;
        match setting.method {
            Method::Ksd | Method::KsdLast => {
                self.key_space(setting.layer.unwrap_or(self.forget.size().0.saturating_sub(1)), knob)
            }
            Method::Na => self.adjust(self.more_active(knob)?),
            Method::Sp => self.zero(self.important(knob)?),
            Method::Zero => self.zero(self.more_active(knob)?),
            Method::Mean => self.mean(self.more_active(knob)?),
            Method::Directional => self.directional(knob),
            Method::NaRandom => self.adjust(self.matched(&self.more_active(knob)?)),
            Method::SpRandom => self.zero(self.matched(&self.important(knob)?)),
        }
    }

    /// Neuron Adjust's neurons: those whose mean pre-activation rises most on the forgotten text, over all layers.
    ///
    /// # Errors
    /// As [`top_percent`].
    pub fn more_active(&self, percent: f64) -> Result<Vec<(usize, usize)>> {
        self.select(percent, |layer, neuron| Ok(self.forget.pre(layer, neuron)?.0 - self.retain.pre(layer, neuron)?.0))
    }

    /// Selective pruning's neurons: those with the largest ratio of mean |k|.
    ///
    /// # Errors
    /// As [`top_percent`].
    pub fn important(&self, percent: f64) -> Result<Vec<(usize, usize)>> {
        self.select(percent, |layer, neuron| {
            Ok(self.forget.magnitude(layer, neuron) / (self.retain.magnitude(layer, neuron) + 1e-8))
        })
    }

    fn select(&self, percent: f64, score: impl Fn(usize, usize) -> Result<f64>) -> Result<Vec<(usize, usize)>> {
        let (layers, width) = self.forget.size();
        let place = |i: usize| (i / width, i % width);
        let scores: Vec<f64> =
            (0..layers * width).map(place).map(|(layer, neuron)| score(layer, neuron)).collect::<Result<_>>()?;
        Ok(top_percent(&scores, percent)?.into_iter().map(place).collect())
    }

    /// Random neurons, as many in each layer as `neurons` has; others than these while there are enough.
    fn matched(&self, neurons: &[(usize, usize)]) -> Vec<(usize, usize)> {
        let (layers, width) = self.forget.size();
        let mut out = Vec::with_capacity(neurons.len());
        for layer in 0..layers {
            let taken: Vec<usize> = neurons.iter().filter(|n| n.0 == layer).map(|n| n.1).collect();
            let mut free: Vec<usize> = (0..width).filter(|n| !taken.contains(n)).collect();
            if free.len() < taken.len() {
                free = (0..width).collect();
            }
            Stream::new(self.seed, &[layer as u64]).shuffle(&mut free);
            free.truncate(taken.len());
            free.sort_unstable();
            out.extend(free.into_iter().map(|neuron| (layer, neuron)));
        }
        out
    }

    fn adjust(&self, neurons: Vec<(usize, usize)>) -> Result<Fitted> {
        let mut fitted = Fitted::default();
        for (layer, of_layer) in by_layer(&neurons) {
            let mut columns: [Vec<f32>; 4] = Default::default();
            for neuron in &of_layer {
                let (retain_mean, retain_std) = self.retain.pre(layer, *neuron)?;
                let (forget_mean, forget_std) = self.forget.pre(layer, *neuron)?;
                let each = match self.variant {
                    Variant::Paper => [retain_mean, retain_std.max(FLOOR), forget_mean, forget_std.max(FLOOR)],
                    Variant::Released => [retain_mean, retain_std.powi(2), forget_mean, forget_mean],
                };
                columns.iter_mut().zip(each).for_each(|(column, value)| column.push(value as f32));
            }
            let mut edit = Edit::new(at(layer, "mlp.hook_pre", &of_layer)?, "neuron_adjust");
            for (name, column) in ["retain_mean", "retain_std", "forget_mean", "forget_std"].into_iter().zip(columns) {
                let stored = format!("na.{layer}.{name}");
                edit = edit.with(name, json!({ "tensor": stored }));
                fitted.tensors.insert(stored, Tensor::new(column, &Device::Cpu)?);
            }
            fitted.edits.push(edit);
        }
        fitted.neurons = neurons;
        Ok(fitted)
    }

    fn zero(&self, neurons: Vec<(usize, usize)>) -> Result<Fitted> {
        let edit =
            |(layer, of_layer): (usize, Vec<usize>)| Ok(Edit::new(at(layer, "mlp.hook_post", &of_layer)?, "zero"));
        let edits = by_layer(&neurons).into_iter().map(edit).collect::<Result<_>>()?;
        Ok(Fitted { edits, tensors: BTreeMap::new(), neurons })
    }

    fn mean(&self, neurons: Vec<(usize, usize)>) -> Result<Fitted> {
        let mut fitted = Fitted::default();
        for (layer, of_layer) in by_layer(&neurons) {
            let means: Vec<f32> =
                of_layer.iter().map(|n| Ok(self.retain.post(layer, *n)? as f32)).collect::<Result<_>>()?;
            let stored = format!("mean.{layer}");
            let edit = Edit::new(at(layer, "mlp.hook_post", &of_layer)?, "set");
            fitted.edits.push(edit.with("value", json!({ "tensor": stored })));
            fitted.tensors.insert(stored, Tensor::new(means, &Device::Cpu)?);
        }
        fitted.neurons = neurons;
        Ok(fitted)
    }

    /// Difference of means before a layer, ablated in everything that is written to the stream (Arditi et al. 2024).
    fn directional(&self, layer: f64) -> Result<Fitted> {
        let layers = self.forget.size().0;
        if layer.fract() != 0.0 || !(0.0..layers as f64).contains(&layer) {
            return Err(Error::invalid(
                format!("there is no layer {layer}"),
                format!("name one from 0 to {}", layers - 1),
            ));
        }
        let layer = layer as usize;
        let (forget, retain) = (self.forget.stream(layer, self.keys)?, self.retain.stream(layer, self.keys)?);
        let gap: Vec<f64> = forget.iter().zip(&retain).map(|(f, r)| f - r).collect();
        let norm = gap.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 {
            return Err(Error::invalid(
                format!("forgotten and retained text have the same mean stream before layer {layer}"),
                "check that the two sets differ",
            ));
        }
        let direction: Vec<f32> = gap.iter().map(|x| (x / norm) as f32).collect();
        let tensors = BTreeMap::from([("direction".to_string(), Tensor::new(direction, &Device::Cpu)?)]);
        let edit = |site: &str| -> Result<Edit> {
            let edit = Edit::new(format!("blocks.*.{site}").parse()?, "project_out");
            Ok(edit.with("direction", json!({ "tensor": "direction" })))
        };
        let edits = ["hook_resid_pre", "hook_attn_out", "hook_mlp_out"].into_iter().map(edit);
        Ok(Fitted { edits: edits.collect::<Result<_>>()?, tensors, neurons: Vec::new() })
    }

    fn key_space(&self, layer: usize, alpha: f64) -> Result<Fitted> {
        let cube = self.forget.cube(layer, self.keys)?;
        let edit = Edit::new(format!("blocks.{layer}.mlp.hook_post@last").parse()?, "key_space")
            .with("center", json!({ "tensor": "key.center" }))
            .with("spread", json!({ "tensor": "key.spread" }))
            .with("kappa", cube.kappa)
            .with("alpha", alpha);
        let tensors = BTreeMap::from([
            ("key.center".to_string(), Tensor::new(cube.center, &Device::Cpu)?),
            ("key.spread".to_string(), Tensor::new(cube.spread, &Device::Cpu)?),
        ]);
        Ok(Fitted { edits: vec![edit], tensors, neurons: Vec::new() })
    }
}

/// The neurons of each layer that has any.
fn by_layer(neurons: &[(usize, usize)]) -> Vec<(usize, Vec<usize>)> {
    let runs = neurons.chunk_by(|a, b| a.0 == b.0);
    runs.map(|run| (run[0].0, run.iter().map(|n| n.1).collect())).collect()
}

fn at(layer: usize, site: &str, neurons: &[usize]) -> Result<Selector> {
    let list: Vec<String> = neurons.iter().map(usize::to_string).collect();
    format!("blocks.{layer}.{site}[neuron={}]", list.join(",")).parse()
}
