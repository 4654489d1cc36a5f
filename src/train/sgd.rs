//! Stochastic gradient descent with momentum, Nesterov's if asked (Sutskever et al. 2013). Per element and in f32, with g
//! the gradient:
//!
//! ```text
//! m := momentum m + g          w := w - rate m               plain
//!                              w := w - rate (g + momentum m)     Nesterov's
//! ```
//!
//! which is PyTorch's `SGD` without dampening and weight decay.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The constants of the descent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdOptions {
    /// Share of the last step that the next one goes on with.
    pub momentum: f64,
    /// Whether the gradient counts as if taken a step ahead.
    pub nesterov: bool,
}

/// The optimiser: parameters and their momentum.
#[derive(Debug)]
pub struct Sgd {
    options: SgdOptions,
    /// By name.
    slots: BTreeMap<String, (Var, Vec<f32>)>,
    updates: u64,
}

impl Sgd {
    /// An optimiser of all of `parameters`, at rest.
    ///
    /// # Errors
    /// [`Error::Invalid`] for parameters that are not f32.
    pub fn new(parameters: &BTreeMap<String, Var>, options: SgdOptions) -> Result<Self> {
        let mut slots = BTreeMap::new();
        for (name, parameter) in parameters {
            if parameter.dtype() != DType::F32 {
                let what = format!("the parameter `{name}` is {:?}; training needs f32", parameter.dtype());
                return Err(Error::invalid(what, "open the model with f32 weights"));
            }
            slots.insert(name.clone(), (parameter.clone(), vec![0f32; parameter.elem_count()]));
        }
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
        let (rate, factor, momentum) = (rate as f32, factor as f32, self.options.momentum as f32);
        for (name, (parameter, moments)) in &mut self.slots {
            let Some(gradient) = gradients.get(name) else { continue };
            if gradient.dims() != parameter.dims() {
                let (got, expected) = (gradient.dims(), parameter.dims());
                let what = format!("the gradient of `{name}` has shape {got:?}, its parameter {expected:?}");
                return Err(Error::invalid(what, "report this as a defect"));
            }
            let gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
            let mut weights: Vec<f32> = parameter.flatten_all()?.to_vec1()?;
            for ((w, m), g) in weights.iter_mut().zip(moments).zip(gradient) {
                let g = g * factor;
                *m = momentum * *m + g;
                *w -= rate * if self.options.nesterov { g + momentum * *m } else { *m };
            }
            parameter.set(&Tensor::from_vec(weights, parameter.shape(), parameter.device())?)?;
        }
        Ok(())
    }

    /// The momentum under `m.NAME`, each of its parameter's shape.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn moments(&self) -> Result<Vec<(String, Tensor)>> {
        let moment = |(name, (parameter, values)): (&String, &(Var, Vec<f32>))| {
            Ok((format!("m.{name}"), Tensor::from_slice(values, parameter.shape(), &Device::Cpu)?))
        };
        self.slots.iter().map(moment).collect()
    }

    /// Goes on from saved momentum and a number of updates.
    ///
    /// # Errors
    /// A moment that is missing or has another shape.
    pub fn restore(&mut self, updates: u64, moment: impl Fn(&str, &[usize]) -> Result<Tensor>) -> Result<()> {
        for (name, (parameter, values)) in &mut self.slots {
            *values = moment(&format!("m.{name}"), parameter.dims())?.flatten_all()?.to_vec1()?;
        }
        self.updates = updates;
        Ok(())
    }
}
