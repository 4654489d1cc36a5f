//! What unlearning did, as data.

use serde::{Deserialize, Serialize};

use super::attack::Attack;
use super::methods::Setting;
use super::probe::Probed;
use super::relearn::Relearned;
use crate::analysis::Estimate;
use crate::report::number;

/// What unlearning did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unlearning {
    /// What was measured, on data that chose nothing, before any edit.
    pub before: Vec<Before>,
    /// Largest relative drop of a harmless setting.
    pub tolerance: f64,
    /// One entry per group that was forgotten.
    pub forgotten: Vec<Forgotten>,
    /// What a reader should know.
    pub warnings: Vec<String>,
}

/// A group before any edit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// The group.
    pub group: String,
    /// What it is measured by.
    pub metric: String,
    /// Questions or texts that are reported.
    pub units: usize,
    /// The figure.
    pub value: Estimate,
    /// Nats per token of texts.
    pub nats: Option<f64>,
}

/// What happened where one group was forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forgotten {
    /// The group.
    pub group: String,
    /// The cube of Key Space Detection, in the layer that was chosen.
    pub cube: Option<Within>,
    /// Every setting that was tried, on validation data.
    pub tried: Vec<Tried>,
    /// The setting of each method that was chosen, on data that chose nothing.
    pub chosen: Vec<Chosen>,
    /// The reported questions asked in other ways; empty of texts.
    pub attacks: Vec<Attacked>,
    /// What a linear probe reads from the stream; none of texts.
    pub probe: Option<Probed>,
    /// How fast training brings the answers back; none of texts, and unless asked for.
    pub relearning: Option<Relearned>,
}

/// The forgotten group asked in another way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attacked {
    /// The way.
    pub attack: Attack,
    /// The share of right answers before any edit.
    pub before: Estimate,
    /// The same under every chosen setting, in the order of [`Forgotten::chosen`].
    pub after: Vec<Estimate>,
}

/// What lies in the cube around a group's keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Within {
    /// The layer whose keys are looked at.
    pub layer: usize,
    /// Spreads from the centre to the farthest fitted key.
    #[serde(with = "number")]
    pub kappa: f64,
    /// How many keys were fitted.
    pub keys: u64,
    /// Share of the validation data of each group within alpha.
    pub inside: Vec<Inside>,
}

/// How much lies in the cube.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inside {
    /// The setting.
    #[serde(with = "number")]
    pub alpha: f64,
    /// Share of the units of each group.
    pub shares: Vec<f64>,
}

/// A setting on validation data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// value / original value of each group; NaN where the model cannot do it at all.
    #[serde(with = "number::nested")]
    pub kept: Vec<f64>,
}

/// A chosen setting on test data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// Whether, on validation data, nothing that is kept dropped by more than the tolerance.
    pub harmless: bool,
    /// Neurons that it changes.
    pub neurons: usize,
    /// value / original value of each group, with the interval over units (of the mean over runs, where it draws).
    pub kept: Vec<Estimate>,
    /// The same of each run of a stochastic method; one run of the others.
    #[serde(with = "number::nested")]
    pub runs: Vec<Vec<f64>>,
    /// Nats per token of texts after the edit; NaN of questions, and where abstention says nothing of them.
    #[serde(with = "number::nested")]
    pub nats: Vec<f64>,
    /// Share of each group's units that were abstained from at the end of the prompt, and later; empty of other methods.
    pub abstained: Vec<(f64, f64)>,
}

impl Tried {
    /// Relative drop of a group.
    pub fn drop(&self, group: usize) -> f64 {
        1.0 - self.kept[group]
    }

    /// The largest relative drop of any other group that the model can do.
    pub fn worst(&self, forgotten: usize) -> f64 {
        worst(&self.kept, forgotten)
    }
}

impl Chosen {
    /// The largest relative drop of any other group that the model can do.
    pub fn worst(&self, forgotten: usize) -> f64 {
        worst(&self.kept.iter().map(|e| e.value).collect::<Vec<_>>(), forgotten)
    }
}

fn worst(kept: &[f64], forgotten: usize) -> f64 {
    let others = kept.iter().enumerate().filter(|(i, x)| *i != forgotten && x.is_finite());
    others.map(|(_, x)| 1.0 - x).fold(f64::NEG_INFINITY, f64::max)
}
