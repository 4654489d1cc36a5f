//! Parity of the last N bits, and whether the bit N places from the end equals the last one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hook::random::Stream;
use crate::models::Series;

/// What a network has to say after the last bit of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Whether the number of ones among the last N bits is odd. The chance of a one is drawn anew for every sequence.
    Parity,
    /// Whether the bit at position -N equals the last one. Zeros and ones are equally likely.
    Dms,
}

/// Sequences of bits and the states that they find.
#[derive(Clone, Debug)]
pub struct Trials {
    /// One channel.
    pub series: Series,
    /// h_0, uniform in 0..0.1: `[rows, neurons]`.
    pub begin: Vec<f32>,
}

impl Task {
    /// Its name in text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parity => "parity",
            Self::Dms => "DMS",
        }
    }

    /// Draws sequences for a network of so many units.
    pub fn trials(self, rows: usize, steps: usize, neurons: usize, stream: &mut Stream) -> Trials {
        let mut values = Vec::with_capacity(rows * steps);
        for _ in 0..rows {
            let chance = match self {
                Self::Parity => stream.uniform(),
                Self::Dms => 0.5,
            };
            values.extend((0..steps).map(|_| f32::from(u8::from(stream.uniform() < chance))));
        }
        let begin = (0..rows * neurons).map(|_| (0.1 * stream.uniform()) as f32).collect();
        Trials { series: Series { rows, steps, channels: 1, values }, begin }
    }

    /// The right class after the bits `seen`, which are at least `n`.
    pub fn label(self, seen: &[f32], n: usize) -> u32 {
        let last = &seen[seen.len() - n..];
        match self {
            Self::Parity => last.iter().filter(|bit| **bit > 0.5).count() as u32 % 2,
            Self::Dms => u32::from(last[0] == last[n - 1]),
        }
    }

    /// The accuracy of one who knows of a sequence only how likely its ones are.
    ///
    /// For parity P(even | p) = (1 + (1 - 2p)^N)/2, whose larger side is (1 + 1/(N + 1))/2 on average over p.
    pub fn guess(self, n: usize) -> f64 {
        match self {
            Self::Parity => (1.0 + (n as f64 + 1.0).recip()) / 2.0,
            Self::Dms if n == 1 => 1.0,
            Self::Dms => 0.5,
        }
    }
}

/// Steps of a batch whose largest N this is: uniform among N + 2, .., 4 N + 1.
pub fn length(largest: usize, stream: &mut Stream) -> usize {
    stream.between(largest + 2, 4 * largest + 1)
}
