//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) with groups of parameters and a state that can be saved.
//!
//! With g the gradient of update t (counted from 1), per element and in f32:
//!
//! ```text
//! m := b1 m + (1 - b1) g          v := b2 v + (1 - b2) g^2
//! w := w - rate decay w           w := w - rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
//! ```
//!
//! which is PyTorch's `AdamW`.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Parameters from which on their updates are worth several threads: a tenth of a millisecond.
const PARALLEL: usize = 1 << 18;

/// The constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWOptions {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

/// Parameters that share a weight decay and a factor on the learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Names of the parameters.
    pub members: Vec<String>,
    /// Decay per update, as a share of the learning rate.
    pub weight_decay: f64,
    /// Factor on the learning rate; 0 freezes the group.
    pub rate: f64,
}

impl Group {
    /// The usual two groups: matrices decay, vectors (gains and biases) do not.
    pub fn usual(parameters: &BTreeMap<String, Var>, weight_decay: f64) -> Vec<Self> {
        let (matrices, vectors): (Vec<_>, Vec<_>) = parameters.iter().partition(|(_, p)| p.rank() > 1);
        let names = |part: Vec<(&String, &Var)>| part.into_iter().map(|(name, _)| name.clone()).collect();
        vec![
            Self { members: names(matrices), weight_decay, rate: 1.0 },
            Self { members: names(vectors), weight_decay: 0.0, rate: 1.0 },
        ]
    }
}

/// The optimiser: parameters, their groups and moments.
#[derive(Debug)]
pub struct AdamW {
    options: AdamWOptions,
    slots: Vec<Slot>,
    updates: u64,
}

#[derive(Debug)]
struct Slot {
    name: String,
    parameter: Var,
    weight_decay: f64,
    rate: f64,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl AdamW {
    /// An optimiser with moments of zero. Parameters in no group stay as they are.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a group member that is no parameter or stands in two groups, and for parameters that
    /// are not f32.
    pub fn new(parameters: &BTreeMap<String, Var>, groups: &[Group], options: AdamWOptions) -> Result<Self> {
        let mut slots: Vec<Slot> = Vec::new();
        for group in groups {
            for name in &group.members {
                let parameter = parameters.get(name).ok_or_else(|| {
                    let hint = "name a parameter of the network (`Network::parameters`)";
                    Error::invalid(format!("an optimiser's group names `{name}`, which is no parameter"), hint)
                })?;
                if parameter.dtype() != DType::F32 {
                    let what = format!("the parameter `{name}` is {:?}; training needs f32", parameter.dtype());
                    return Err(Error::invalid(what, "open the model with f32 weights"));
                }
                if slots.iter().any(|slot| slot.name == *name) {
                    let what = format!("the parameter `{name}` stands in two groups of the optimiser");
                    return Err(Error::invalid(what, "leave it in one of them"));
                }
                let zeros = vec![0f32; parameter.elem_count()];
                slots.push(Slot {
                    name: name.clone(),
                    parameter: parameter.clone(),
                    weight_decay: group.weight_decay,
                    rate: group.rate,
                    first: zeros.clone(),
                    second: zeros,
                });
            }
        }
        slots.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { options, slots, updates: 0 })
    }

    /// Updates made so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// One update with `rate`, every gradient multiplied by `factor`. Parameters without a gradient are left alone.
    ///
    /// # Errors
    /// A gradient of another shape than its parameter.
    pub fn update(&mut self, gradients: &BTreeMap<String, Tensor>, rate: f64, factor: f64) -> Result<()> {
        self.updates += 1;
        let t = i32::try_from(self.updates).unwrap_or(i32::MAX);
        let corrections = (1.0 - self.options.beta1.powi(t), 1.0 - self.options.beta2.powi(t));
        let options = self.options;
        let update = |slot: &mut Slot| match gradients.get(&slot.name) {
            Some(gradient) => slot.update(gradient, rate, factor, options, corrections),
            None => Ok(()),
        };
        if self.slots.iter().map(|slot| slot.first.len()).sum::<usize>() < PARALLEL {
            return self.slots.iter_mut().try_for_each(update);
        }
        self.slots.par_iter_mut().try_for_each(update)
    }

    /// The moments under `m.NAME` and `v.NAME`, each of its parameter's shape.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn moments(&self) -> Result<Vec<(String, Tensor)>> {
        let mut moments = Vec::with_capacity(2 * self.slots.len());
        for slot in &self.slots {
            for (part, values) in [("m", &slot.first), ("v", &slot.second)] {
                let tensor = Tensor::from_slice(values, slot.parameter.shape(), &candle_core::Device::Cpu)?;
                moments.push((format!("{part}.{}", slot.name), tensor));
            }
        }
        Ok(moments)
    }

    /// Goes on from saved moments and a number of updates.
    ///
    /// # Errors
    /// A moment that is missing or has another shape.
    pub fn restore(&mut self, updates: u64, moment: impl Fn(&str, &[usize]) -> Result<Tensor>) -> Result<()> {
        for slot in &mut self.slots {
            for (part, values) in [("m", &mut slot.first), ("v", &mut slot.second)] {
                let stored = moment(&format!("{part}.{}", slot.name), slot.parameter.dims())?;
                *values = stored.flatten_all()?.to_vec1()?;
            }
        }
        self.updates = updates;
        Ok(())
    }
}

impl Slot {
    fn update(
        &mut self,
        gradient: &Tensor,
        rate: f64,
        factor: f64,
        options: AdamWOptions,
        corrections: (f64, f64),
    ) -> Result<()> {
        if gradient.dims() != self.parameter.dims() {
            return Err(Error::invalid(
                format!(
                    "the gradient of `{}` has shape {:?}, its parameter {:?}",
                    self.name,
                    gradient.dims(),
                    self.parameter.dims()
                ),
                "report this as a defect",
            ));
        }
        let gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
        let mut weights: Vec<f32> = self.parameter.flatten_all()?.to_vec1()?;
        let rate = rate * self.rate;
        let keep = (1.0 - rate * self.weight_decay) as f32;
        let step = (rate / corrections.0) as f32;
        let root = corrections.1.sqrt().recip() as f32;
        let (beta1, beta2, eps) = (options.beta1 as f32, options.beta2 as f32, options.eps as f32);
        let factor = factor as f32;
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((w, g), (m, v)) in weights.iter_mut().zip(&gradient).zip(moments) {
            let g = g * factor;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *w = *w * keep - step * *m / (v.sqrt() * root + eps);
        }
        self.parameter.set(&Tensor::from_vec(weights, self.parameter.shape(), self.parameter.device())?)?;
        Ok(())
    }
}
