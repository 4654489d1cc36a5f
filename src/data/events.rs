//! Tasks over long gaps: items are bursts of events on 32 channels, told apart by which channels fire when.
//!
//! An item of a class lasts 20 steps in four parts; in each part a quarter of the channels, drawn for the class, fire with
//! probability 0.4 per step, the others with 0.01, as all channels do between items. The last 5 steps are a cue on one more
//! channel, and the answer is due at the last of them.

use serde::{Deserialize, Serialize};

use crate::hook::random::{self, Stream};
use crate::models::Series;

/// Classes of items.
pub const ITEMS: usize = 10;
/// Channels, the cue's included.
pub const CHANNELS: usize = 33;

const PARTS: usize = 4;
const PART: usize = 5;
const CUE: usize = 5;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recall {
    /// The class of the one item, after the gap.
    Delayed,
    /// The sum of two items' classes (0 to 18), with the gap between them: the form of SHD-Adding.
    Adding,
}

impl Recall {
    /// How many answers there are.
    pub fn answers(self) -> usize {
        match self {
            Self::Delayed => ITEMS,
            Self::Adding => 2 * ITEMS - 1,
        }
    }

    /// Steps of a sequence.
    pub fn steps(self, gap: usize) -> usize {
        let items = if self == Self::Delayed { 1 } else { 2 };
        items * PARTS * PART + gap + CUE
    }
}

/// Sequences of a task with their answers; the classes' channels come from `seed`, the sequences from `draw` too.
pub fn sequences(task: Recall, gap: usize, rows: usize, seed: u64, draw: u64) -> (Series, Vec<u32>) {
    let classes = random::key(seed, &[random::name("classes")]);
    let fires = |class: usize, part: usize, channel: usize| {
        random::uniform(random::key(classes, &[class as u64, part as u64, channel as u64])) < 0.25
    };
    let mut stream = Stream::new(seed, &[random::name("sequences"), draw]);
    let steps = task.steps(gap);
    let (mut values, mut answers) = (Vec::with_capacity(rows * steps * CHANNELS), Vec::new());
    for _ in 0..rows {
        let first = stream.below(ITEMS);
        let second = (task == Recall::Adding).then(|| stream.below(ITEMS));
        answers.push((first + second.unwrap_or(0)) as u32);
        let mut shown: Vec<Option<(usize, usize)>> = (0..PARTS * PART).map(|t| Some((first, t / PART))).collect();
        shown.resize(PARTS * PART + gap, None);
        shown.extend(second.into_iter().flat_map(|class| (0..PARTS * PART).map(move |t| Some((class, t / PART)))));
        shown.resize(steps, None);
        for (t, shown) in shown.into_iter().enumerate() {
            for channel in 0..CHANNELS - 1 {
                let chance = if shown.is_some_and(|(class, part)| fires(class, part, channel)) { 0.4 } else { 0.01 };
                values.push(f32::from(u8::from(stream.uniform() < chance)));
            }
            values.push(f32::from(u8::from(t + CUE >= steps)));
        }
    }
    (Series { rows, steps, channels: CHANNELS, values }, answers)
}
