//! Key Space Detection: abstaining where the key of a token lies in the hypercube around a skill's keys.
//!
//! The key is what the last layer's down projection reads, `mlp.hook_post`. With the mean m and the sample deviation s of
//! the skill's keys v_1 .. v_n (Li, Sun and Weng 2025):
//!
//! ```text
//! kappa = max_i max_j |v_ij - m_j| / s_j               the smallest cube that holds all of them
//! hit   = |v_j - m_j| <= alpha kappa s_j  for all j
//! ```
//!
//! The authors find kappa by bisection; here it has its closed form, from the extremes of every coordinate. By Samuelson's
//! inequality kappa <= (n - 1) / sqrt(n). A coordinate that never varied has the half-width 1e-6.

use candle_core::{DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::neuron_adjust::per_neuron;
use crate::hook::reduce::Moments;
use crate::hook::{EditContext, EditOp, Event, Source};
use crate::{Error, Result};

/// The event that ends a row.
pub const ABSTAIN: &str = "abstain";

/// Half-width of a coordinate that never varied.
const NARROWEST: f64 = 1e-6;

/// The operation `key_space`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySpace {
    /// m, one value per neuron.
    pub center: Source,
    /// s, one value per neuron.
    pub spread: Source,
    /// How many spreads the smallest cube around the fitted keys is wide.
    pub kappa: f64,
    /// How many such cubes wide the region is in which the model abstains.
    pub alpha: f64,
    /// What the key becomes inside the cube, one value per neuron; it stays as it is unless given.
    #[serde(default)]
    pub steer: Option<Source>,
}

/// A hypercube of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Cube {
    /// m.
    pub center: Vec<f32>,
    /// s.
    pub spread: Vec<f32>,
    /// The smallest multiple of s that holds all fitted keys.
    pub kappa: f64,
    /// How many keys were fitted.
    pub keys: u64,
}

impl Cube {
    /// The smallest cube around the keys that `moments` has seen.
    ///
    /// # Errors
    /// Fewer than two keys, keys that are not finite, or keys that are all the same.
    pub fn fit(moments: &Moments, width: usize) -> Result<Self> {
        let mut cube = Self { center: Vec::new(), spread: Vec::new(), kappa: 0.0, keys: 0 };
        for j in 0..width {
            let unit = moments.unit(j).filter(|unit| unit.count > 1 && unit.non_finite == 0).ok_or_else(|| {
                Error::invalid(
                    "Key Space Detection needs at least two keys, all of them finite",
                    "give at least two texts of the skill that is to be forgotten",
                )
            })?;
            let n = unit.count as f64;
            // What is stored is f32; kappa belongs to the stored numbers, so that alpha = 1 holds every fitted key.
            let (center, spread) = (unit.mean as f32, (unit.variance * n / (n - 1.0)).sqrt() as f32);
            let reach = (f64::from(unit.max) - f64::from(center)).max(f64::from(center) - f64::from(unit.min));
            if spread > 0.0 {
                cube.kappa = cube.kappa.max(reach / f64::from(spread));
            }
            cube.center.push(center);
            cube.spread.push(spread);
            cube.keys = unit.count;
        }
        if cube.kappa == 0.0 {
            return Err(Error::invalid(
                "the keys of the skill that is to be forgotten are all the same",
                "give texts that differ; a constant activation has no spread to measure by",
            ));
        }
        Ok(cube)
    }

    /// The smallest alpha at which `key` lies in the cube.
    pub fn reach(&self, key: &[f32]) -> f64 {
        let part = |((v, m), s): ((&f32, &f32), &f32)| match (f64::from(*v) - f64::from(*m)).abs() {
            gap if *s > 0.0 => gap / f64::from(*s) / self.kappa,
            gap if gap <= NARROWEST => 0.0,
            _ => f64::INFINITY,
        };
        key.iter().zip(&self.center).zip(&self.spread).map(part).fold(0.0, f64::max)
    }
}

impl EditOp for KeySpace {
    fn sources(&self) -> Vec<&Source> {
        [&self.center, &self.spread].into_iter().chain(&self.steer).collect()
    }

    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let numbers = [self.kappa, self.alpha];
        if !cx.site.by_position() || numbers.iter().any(|x| !x.is_finite() || *x < 0.0) {
            return Err(Error::invalid(
                format!(
                    "key_space at `{}` with kappa {} and alpha {}: it needs a site with axes batch and pos, and numbers \
                     that are finite and not negative",
                    cx.site.name, self.kappa, self.alpha
                ),
                "use it at `blocks.{-1}.mlp.hook_post@last`, as `optrode unlearn --method ksd` writes it",
            ));
        }
        let (rows, pos) = (cx.call.rows, cx.call.pos);
        let width = x.elem_count() / (rows * pos).max(1);
        let cube = Cube {
            center: per_neuron(&cx.values[0], width, &cx.site.name)?,
            spread: per_neuron(&cx.values[1], width, &cx.site.name)?,
            kappa: self.kappa,
            keys: 0,
        };
        let mut values = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let steer = self.steer.as_ref().map(|_| per_neuron(&cx.values[2], width, &cx.site.name)).transpose()?;
        for (at, key) in values.chunks_mut(width.max(1)).enumerate() {
            let looked_at = cx.call.real[at] && cx.scope.is_none_or(|scope| scope[at]);
            // Rounding alone must not shut out the key that touches the cube.
            if !looked_at || cube.reach(key) > self.alpha * (1.0 + 1e-9) {
                continue;
            }
            let position = cx.call.position[at];
            cx.events.push(Event { row: at / pos, position, name: ABSTAIN.to_string() });
            if let Some(steer) = &steer {
                key.copy_from_slice(steer);
            }
        }
        match steer {
            None => Ok(x.clone()),
            Some(_) => Ok(Tensor::from_vec(values, x.shape(), x.device())?.to_dtype(x.dtype())?),
        }
    }
}
