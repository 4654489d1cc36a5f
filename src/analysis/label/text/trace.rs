//! Where a unit is active: the places at which its value exceeds level_u, the 0.99 quantile of its values at all counted
//! places (of its negated values, for the side (u, -)). What is kept of a unit is that hundredth of the places.

use serde::{Deserialize, Serialize};

use crate::analysis::label::Bits;

/// The quantile that is the level.
pub const QUANTILE: f64 = 0.99;

/// Which side of a unit: two units where its values are not bounded below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sign {
    /// Large values.
    #[serde(rename = "+")]
    Plus,
    /// Small values, negated.
    #[serde(rename = "-")]
    Minus,
}

impl Sign {
    /// `+` or `-`.
    pub fn symbol(self) -> char {
        match self {
            Self::Plus => '+',
            Self::Minus => '-',
        }
    }

    /// A value as this side sees it.
    pub fn of(self, value: f32) -> f32 {
        match self {
            Self::Plus => value,
            Self::Minus => -value,
        }
    }
}

/// The active places of a side of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// level_u: no less than 0, so that a unit that is nearly always silent is active where it speaks.
    pub level: f32,
    /// The places above the level, ascending, with the values of this side.
    pub active: Vec<(u32, f32)>,
}

impl Trace {
    /// Of the values at the counted places of a reading with `places` places.
    pub fn of(values: impl IntoIterator<Item = (u32, f32)>, counted: u64) -> Self {
        let mut tail = Tail::new(counted);
        values.into_iter().for_each(|(place, value)| tail.push(place, value));
        tail.finish()
    }

    /// The active places as a set of a universe of `places`.
    pub fn bits(&self, places: usize) -> Bits {
        Bits::of(places, self.active.iter().map(|(place, _)| *place as usize))
    }

    /// The largest value, and 0 without active places.
    pub fn largest(&self) -> f32 {
        self.active.iter().map(|(_, value)| *value).fold(0.0, f32::max)
    }
}

/// The upper tail of a stream of values, in any order.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// How many values are kept: one more than may exceed the level.
    keep: usize,
    /// What is not larger is not kept.
    floor: f32,
    entries: Vec<(f32, u32)>,
}

impl Tail {
    /// For so many values.
    pub fn new(counted: u64) -> Self {
        let above = counted - (QUANTILE * counted as f64).ceil() as u64;
        Self { keep: above as usize + 1, floor: f32::NEG_INFINITY, entries: Vec::new() }
    }

    /// Bytes that one takes at most.
    pub fn bytes(counted: u64) -> u64 {
        (counted / 100 + 2) * 2 * 8
    }

    /// Takes a value. Infinite values and NaN are none.
    pub fn push(&mut self, place: u32, value: f32) {
        if value > self.floor && value.is_finite() {
            self.entries.push((value, place));
            if self.entries.len() >= 2 * self.keep {
                self.cut();
            }
        }
    }

    /// Leaves the largest. Of equal values it does not matter which: none of those at the level exceeds it.
    fn cut(&mut self) {
        if self.entries.len() > self.keep {
            self.entries.select_nth_unstable_by(self.keep - 1, |a, b| b.0.total_cmp(&a.0));
            self.entries.truncate(self.keep);
            self.floor = self.entries[self.keep - 1].0;
        }
    }

    pub fn finish(mut self) -> Trace {
        self.cut();
        let full = self.entries.len() == self.keep;
        let least = self.entries.iter().map(|(value, _)| *value).fold(f32::INFINITY, f32::min);
        let level = if full { least.max(0.0) } else { 0.0 };
        let mut active: Vec<(u32, f32)> =
            self.entries.into_iter().filter(|(value, _)| *value > level).map(|(value, place)| (place, value)).collect();
        active.sort_by_key(|(place, _)| *place);
        active.shrink_to_fit();
        Trace { level, active }
    }
}
