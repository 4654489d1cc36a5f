//! Learning rates over the updates of a training.

use serde::{Deserialize, Serialize};

/// A learning rate that rises linearly over the warm-up and then stays or falls along a cosine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "schedule", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// `rate` after the warm-up.
    Constant {
        /// The learning rate.
        rate: f64,
        /// Updates over which it rises from 0.
        warm_up: u64,
    },
    /// From `rate` down to `rate * floor` at update `updates`, and `rate * floor` from then on.
    Cosine {
        /// The highest learning rate.
        rate: f64,
        /// Updates over which it rises from 0.
        warm_up: u64,
        /// The update at which the floor is reached.
        updates: u64,
        /// The last learning rate, as a share of the highest.
        floor: f64,
    },
    /// One schedule up to an update, then another that counts from there: a warm restart.
    Restart {
        /// The first.
        first: Box<Schedule>,
        /// The update at which the second one begins.
        at: u64,
        /// The second.
        then: Box<Schedule>,
    },
}

impl Schedule {
    /// The learning rate of update `step`, counted from 0. The first update of a warm-up of n has 1/n of the rate.
    pub fn rate(&self, step: u64) -> f64 {
        match *self {
            Self::Restart { ref first, at, ref then } => {
                if step < at {
                    first.rate(step)
                } else {
                    then.rate(step - at)
                }
            }
            Self::Constant { rate, warm_up } => rate * rise(step, warm_up),
            Self::Cosine { rate, warm_up, updates, floor } => {
                let fall = updates.saturating_sub(warm_up).max(1) as f64;
                let done = (step.saturating_sub(warm_up) as f64 / fall).min(1.0);
                let share = floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
                rate * rise(step, warm_up) * share
            }
        }
    }
}

fn rise(step: u64, warm_up: u64) -> f64 {
    if step >= warm_up { 1.0 } else { (step + 1) as f64 / warm_up as f64 }
}
