//! How well a concept that is there or not (an executable label, a mask) agrees with where a unit is active.

use serde::{Deserialize, Serialize};

use super::bits::Bits;

/// Places by what the concept and the unit say of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlap {
    /// The concept is there and the unit is active.
    pub both: u64,
    /// The concept is there.
    pub concept: u64,
    /// The unit is active.
    pub active: u64,
    /// All places.
    pub all: u64,
}

impl Overlap {
    /// Of a concept and the active places, over one universe.
    pub fn of(concept: &Bits, active: &Bits) -> Self {
        let (concept_count, active_count) = (concept.count(), active.count());
        Self {
            both: concept.common(active),
            concept: concept_count,
            active: active_count,
            all: concept.universe() as u64,
        }
    }

    /// |concept and active| / |concept or active|, NetDissect's measure; 0 where both are empty.
    pub fn iou(&self) -> f64 {
        share(self.both, self.concept + self.active - self.both)
    }

    /// Harmonic mean of precision and recall, 2 IoU / (1 + IoU).
    pub fn f1(&self) -> f64 {
        share(2 * self.both, self.concept + self.active)
    }

    /// Share of the concept's places at which the unit is active.
    pub fn precision(&self) -> f64 {
        share(self.both, self.concept)
    }

    /// Share of the active places that have the concept.
    pub fn recall(&self) -> f64 {
        share(self.both, self.active)
    }

    /// Area under the ROC curve of a score that is 1 or 0, (recall + 1 - false positive rate) / 2; `None` unless there are
    /// active and inactive places.
    pub fn auroc(&self) -> Option<f64> {
        let inactive = self.all - self.active;
        if self.active == 0 || inactive == 0 {
            return None;
        }
        let wrong = (self.concept - self.both) as f64 / inactive as f64;
        Some((self.both as f64 / self.active as f64 + 1.0 - wrong) / 2.0)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
