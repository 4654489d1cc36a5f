//! Exemplars of a unit: windows of 32 tokens with the peak at index 24, one per document; the strongest, some of every
//! stratum of strength, and windows in which it is silent.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::judge::is_active;
use super::reading::{Reading, Split};
use super::trace::Trace;
use crate::hook::random;

/// Strata of the strength of active windows.
pub const STRATA: usize = 10;

/// A window of an exemplar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exemplar {
    /// The document's number in the corpus.
    pub document: u64,
    /// The window's places.
    pub places: Range<usize>,
    /// The place of its largest value; its middle where the unit is silent.
    pub peak: usize,
    /// That value; 0 where the unit is silent.
    pub value: f32,
}

/// The `k` strongest windows of a split's documents, one per document.
pub fn strongest(reading: &Reading, trace: &Trace, split: Split, k: usize) -> Vec<Exemplar> {
    let mut peaks: Vec<(usize, f32)> = Vec::new();
    for document in reading.of_split(split) {
        peaks.extend(peak(trace, &document.places));
    }
    peaks.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    peaks.into_iter().take(k).map(|(place, value)| exemplar(reading, place, value)).collect()
}

/// `per` windows of every stratum of the strength of a split's active windows, weakest stratum first; documents are not
/// taken twice while there are others.
pub fn strata(reading: &Reading, trace: &Trace, split: Split, per: usize, seed: u64) -> Vec<Exemplar> {
    let mut peaks: Vec<(usize, f32)> = Vec::new();
    for document in reading.of_split(split) {
        peaks.extend(reading.tiles(document).filter_map(|tile| peak(trace, &tile)));
    }
    peaks.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    let n = peaks.len();
    let mut taken = BTreeSet::new();
    let mut chosen = Vec::new();
    for stratum in 0..STRATA {
        let mut members = peaks[stratum * n / STRATA..(stratum + 1) * n / STRATA].to_vec();
        members.sort_by_key(|(place, _)| random::key(seed, &[*place as u64]));
        members.sort_by_key(|(place, _)| reading.document(*place).is_some_and(|d| taken.contains(&d.number)));
        for (place, value) in members.into_iter().take(per) {
            taken.extend(reading.document(place).map(|d| d.number));
            chosen.push(exemplar(reading, place, value));
        }
    }
    chosen
}

/// `k` random windows of a split's documents in which the unit is never active, one per document while there are enough.
pub fn silent(reading: &Reading, trace: &Trace, split: Split, k: usize, seed: u64) -> Vec<Exemplar> {
    let mut windows: Vec<(usize, u64, Range<usize>)> = Vec::new();
    for document in reading.of_split(split) {
        let mut tiles: Vec<Range<usize>> =
            reading.tiles(document).filter(|t| !is_active(trace, t) && t.len() > 1).collect();
        tiles.sort_by_key(|t| random::key(seed, &[t.start as u64]));
        windows.extend(tiles.into_iter().enumerate().map(|(rank, t)| (rank, random::key(seed, &[t.end as u64]), t)));
    }
    // First of all documents, then second ones.
    windows.sort_by_key(|(rank, order, _)| (*rank, *order));
    let of = |(_, _, places): (usize, u64, Range<usize>)| {
        let document = reading.document(places.start).map_or(0, |d| d.number);
        Exemplar { document, peak: places.start + places.len() / 2, places, value: 0.0 }
    };
    windows.into_iter().take(k).map(of).collect()
}

/// The place and value of the peak in a range, the first of equals.
fn peak(trace: &Trace, places: &Range<usize>) -> Option<(usize, f32)> {
    let from = trace.active.partition_point(|(p, _)| (*p as usize) < places.start);
    let within = trace.active[from..].iter().take_while(|(p, _)| (*p as usize) < places.end);
    let mut best: Option<(usize, f32)> = None;
    for (place, value) in within {
        if best.is_none_or(|(_, most)| *value > most) {
            best = Some((*place as usize, *value));
        }
    }
    best
}

fn exemplar(reading: &Reading, place: usize, value: f32) -> Exemplar {
    let document = reading.document(place).map_or(0, |d| d.number);
    Exemplar { document, places: reading.window(place), peak: place, value }
}

/// The values above the level in a window, 0 elsewhere.
pub fn values(trace: &Trace, places: &Range<usize>) -> Vec<f32> {
    let mut values = vec![0.0; places.len()];
    let from = trace.active.partition_point(|(p, _)| (*p as usize) < places.start);
    for (place, value) in trace.active[from..].iter().take_while(|(p, _)| (*p as usize) < places.end) {
        values[*place as usize - places.start] = *value;
    }
    values
}
