//! The optimiser: groups of parameters, each with its rule, and a state that can be saved.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::adamw::{self, AdamWOptions};
use super::muon;
use crate::{Error, Result};

/// How a gradient changes a parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Per element, by the moments of its gradient ([`adamw`]).
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// A matrix as a whole, by its momentum made orthogonal ([`muon`]): for the matrices of hidden layers.
    Muon,
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
    /// How gradients change the members.
    pub rule: Rule,
}

impl Group {
    /// The usual two groups under AdamW: matrices decay, vectors (gains and biases) do not.
    pub fn usual(parameters: &BTreeMap<String, Var>, weight_decay: f64) -> Vec<Self> {
        let (matrices, vectors): (Vec<_>, Vec<_>) = parameters.iter().partition(|(_, p)| p.rank() > 1);
        let names = |part: Vec<(&String, &Var)>| part.into_iter().map(|(name, _)| name.clone()).collect();
        vec![
            Self { members: names(matrices), weight_decay, rate: 1.0, rule: Rule::AdamW },
            Self { members: names(vectors), weight_decay: 0.0, rate: 1.0, rule: Rule::AdamW },
        ]
    }

    /// The usual groups, with another rule and a factor on the rate for the matrices that are `hidden`: between layers,
    /// not at tokens.
    pub fn split(
        parameters: &BTreeMap<String, Var>,
        weight_decay: f64,
        (rule, rate): (Rule, f64),
        hidden: impl Fn(&str) -> bool,
    ) -> Vec<Self> {
        let mut groups = Self::usual(parameters, weight_decay);
        let (members, rest) = groups[0].members.drain(..).partition(|name| hidden(name));
        groups[0].members = rest;
        groups.push(Self { members, weight_decay, rate, rule });
        groups
    }
}

/// The optimiser: parameters, their groups and moments.
#[derive(Debug)]
pub struct Optimiser {
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
    rule: Rule,
    first: Vec<f32>,
    /// Empty where the rule has no second moment.
    second: Vec<f32>,
}

impl Optimiser {
    /// An optimiser with moments of zero. Parameters in no group stay as they are.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a group member that is no parameter or stands in two groups, for parameters that are not
    /// f32, and for parameters under Muon that are no matrices.
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
                if group.rule == Rule::Muon && parameter.rank() != 2 {
                    let what = format!("the parameter `{name}` has shape {:?}; Muon needs a matrix", parameter.dims());
                    return Err(Error::invalid(what, "put it into a group under AdamW"));
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
                    rule: group.rule,
                    second: if group.rule == Rule::AdamW { zeros.clone() } else { Vec::new() },
                    first: zeros,
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
        let options = self.options;
        self.slots.par_iter_mut().try_for_each(|slot| match gradients.get(&slot.name) {
            Some(gradient) => slot.update(gradient, rate, factor, (t, options)),
            None => Ok(()),
        })
    }

    /// The moments under `m.NAME` and `v.NAME`, each of its parameter's shape; Muon has no second one.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn moments(&self) -> Result<Vec<(String, Tensor)>> {
        let mut moments = Vec::with_capacity(2 * self.slots.len());
        for slot in &self.slots {
            for (part, values) in [("m", &slot.first), ("v", &slot.second)].into_iter().filter(|m| !m.1.is_empty()) {
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
            let moments = [("m", &mut slot.first), ("v", &mut slot.second)];
            for (part, values) in moments.into_iter().filter(|m| !m.1.is_empty()) {
                let stored = moment(&format!("{part}.{}", slot.name), slot.parameter.dims())?;
                *values = stored.flatten_all()?.to_vec1()?;
            }
        }
        self.updates = updates;
        Ok(())
    }
}

impl Slot {
    fn update(&mut self, gradient: &Tensor, rate: f64, factor: f64, (t, options): (i32, AdamWOptions)) -> Result<()> {
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
        let (rate, factor) = (rate * self.rate, factor as f32);
        let weights = match self.rule {
            Rule::AdamW => {
                let gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
                let mut weights: Vec<f32> = self.parameter.flatten_all()?.to_vec1()?;
                let moments = (self.first.as_mut_slice(), self.second.as_mut_slice());
                adamw::update(&mut weights, &gradient, moments, (rate, self.weight_decay, factor), t, options);
                Tensor::from_vec(weights, self.parameter.shape(), self.parameter.device())?
            }
            Rule::Muon => {
                let change = muon::change(gradient, &mut self.first, factor)?;
                ((self.parameter.as_tensor() * (1.0 - rate * self.weight_decay))? - (change * rate)?)?
            }
        };
        self.parameter.set(&weights)?;
        Ok(())
    }
}
