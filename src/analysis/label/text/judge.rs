//! How a label does on documents that nobody has looked at.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::reading::{Reading, Split, WINDOW};
use super::trace::Trace;
use crate::analysis::label::{Bits, Overlap, Redraws, null_deviation, spread};
use crate::report::number;

/// A label's score on the test documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Area under the ROC curve: active tokens against the others.
    pub auroc: f64,
    /// Its 95 % interval, documents drawn anew.
    pub interval: (f64, f64),
    /// The larger of its bootstrap's standard deviation and that of scores that say nothing.
    pub deviation: f64,
    /// The same area for windows of 32 tokens: those with an active token against the others.
    #[serde(with = "number")]
    pub window_auroc: f64,
    /// Tokens of the test documents, where the label holds and where the unit is active.
    pub overlap: Overlap,
    /// Windows with an active token.
    pub windows: u64,
    /// Share of the active tokens at which the label holds, in ten strata of the unit's value, the smallest values first.
    #[serde(with = "number::nested")]
    pub deciles: Vec<f64>,
}

/// Scores labels on the test documents of a reading.
pub struct Judge<'r> {
    reading: &'r Reading,
    /// The places of every test document, ascending.
    documents: Vec<Range<usize>>,
    /// Counted places of each.
    counted: Vec<u64>,
    redraws: Redraws,
}

impl<'r> Judge<'r> {
    /// With so many draws of the bootstrap.
    pub fn new(reading: &'r Reading, draws: usize, seed: u64) -> Self {
        let documents: Vec<Range<usize>> = reading.of_split(Split::Test).map(|d| d.places.clone()).collect();
        let counted = documents.iter().map(|d| reading.counted.count_in(d.start, d.end)).collect();
        let redraws = Redraws::new(documents.len(), draws, seed);
        Self { reading, documents, counted, redraws }
    }

    /// The overlap of a label with a unit's active places, over the test documents.
    fn overlaps(&self, holds: &Bits, trace: &Trace) -> Vec<Overlap> {
        let mut active = trace.active.iter().map(|(place, _)| *place as usize).peekable();
        let overlap = |(document, all): (&Range<usize>, &u64)| {
            while active.next_if(|p| *p < document.start).is_some() {}
            let (mut both, mut count) = (0, 0);
            while let Some(place) = active.next_if(|p| *p < document.end) {
                count += 1;
                both += u64::from(holds.contains(place));
            }
            Overlap { both, concept: holds.count_in(document.start, document.end), active: count, all: *all }
        };
        self.documents.iter().zip(&self.counted).map(overlap).collect()
    }

    /// The score of a label; `None` unless the unit is active somewhere in the test documents, and inactive somewhere.
    pub fn held(&self, holds: &Bits, trace: &Trace) -> Option<Held> {
        let parts = self.overlaps(holds, trace);
        let overlap = together(&parts, |_| 1);
        let auroc = overlap.auroc()?;
        let drawn = self.redraws.values(|weights| together(&parts, |i| u64::from(weights[i])).auroc());
        let (deviation, interval) = spread(&drawn)?;
        let (windows, window_auroc) = self.windows(holds, trace);
        Some(Held {
            auroc,
            interval,
            deviation: deviation.max(null_deviation(overlap.active, overlap.all - overlap.active)),
            window_auroc,
            overlap,
            windows,
            deciles: self.deciles(holds, trace),
        })
    }

    /// Active windows, and the area of a label that holds somewhere in a window.
    fn windows(&self, holds: &Bits, trace: &Trace) -> (u64, f64) {
        let mut sum = Overlap::default();
        for document in self.reading.of_split(Split::Test) {
            for tile in self.reading.tiles(document) {
                if self.reading.counted.count_in(tile.start, tile.end) == 0 {
                    continue;
                }
                let (concept, active) = (holds.count_in(tile.start, tile.end) > 0, is_active(trace, &tile));
                sum.all += 1;
                sum.concept += u64::from(concept);
                sum.active += u64::from(active);
                sum.both += u64::from(concept && active);
            }
        }
        (sum.active, sum.auroc().unwrap_or(f64::NAN))
    }

    fn deciles(&self, holds: &Bits, trace: &Trace) -> Vec<f64> {
        let range = self.reading.range(Split::Test);
        let mut active: Vec<(f32, usize)> =
            trace.active.iter().map(|(p, v)| (*v, *p as usize)).filter(|(_, p)| range.contains(p)).collect();
        active.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let n = active.len();
        let stratum = |d: usize| &active[d * n / 10..(d + 1) * n / 10];
        let covered = |part: &[(f32, usize)]| {
            let held = part.iter().filter(|(_, place)| holds.contains(*place)).count();
            held as f64 / part.len() as f64 // NaN for a stratum without tokens
        };
        (0..10).map(|d| covered(stratum(d))).collect()
    }
}

fn together(parts: &[Overlap], weight: impl Fn(usize) -> u64) -> Overlap {
    parts.iter().enumerate().fold(Overlap::default(), |sum, (i, part)| {
        let weight = weight(i);
        Overlap {
            both: sum.both + weight * part.both,
            concept: sum.concept + weight * part.concept,
            active: sum.active + weight * part.active,
            all: sum.all + weight * part.all,
        }
    })
}

/// Whether a unit is active somewhere in a range of places.
pub fn is_active(trace: &Trace, places: &Range<usize>) -> bool {
    let at = trace.active.partition_point(|(p, _)| (*p as usize) < places.start);
    trace.active.get(at).is_some_and(|(p, _)| (*p as usize) < places.end)
}

/// Windows of all documents in which a unit is active.
pub fn active_windows(reading: &Reading, trace: &Trace) -> u64 {
    let mut last = None;
    let mut count = 0;
    for (place, _) in &trace.active {
        let start = reading.document(*place as usize).map_or(0, |d| d.places.start);
        let window = (start, (*place as usize - start) / WINDOW);
        if last != Some(window) {
            count += 1;
            last = Some(window);
        }
    }
    count
}
