//! Firing counts: how often each unit exceeds a threshold.
//!
//! ```text
//! fired_u = #{t : x_tu finite and x_tu > threshold},   rate_u = fired_u / (seen - non_finite_u)
//! ```
//!
//! With `documents` = n the documents 0 to n - 1 are counted apart too, however they share batches: whoever numbers rows by
//! what they are of (a language, a part of a corpus) has one pass count all of it.

use std::collections::BTreeMap;

use super::observation::Kept;
use super::state::{Arrays, damaged};
use super::{FiringSpec, Reduce, ReducerSpec};
use crate::{Error, Result};

/// Counts of values above a threshold, per unit.
#[derive(Clone, Debug)]
pub struct Firing {
    spec: FiringSpec,
    seen: u64,
    fired: Vec<u64>,
    non_finite: Vec<u64>,
    /// Of the documents that are counted apart: positions, `[documents]`, and firing counts, `[documents, width]`.
    apart: (Vec<u64>, Vec<u64>),
}

impl Firing {
    pub(super) fn new(spec: FiringSpec, width: usize) -> Self {
        let apart = (vec![0; spec.documents], vec![0; spec.documents * width]);
        Self { spec, seen: 0, fired: vec![0; width], non_finite: vec![0; width], apart }
    }

    pub(super) fn bytes(spec: &FiringSpec, width: usize) -> u128 {
        width as u128 * (16 + 8 * spec.documents as u128)
    }

    pub(super) fn load(spec: FiringSpec, width: usize, arrays: &mut Arrays) -> Result<Self> {
        let seen = arrays.take_count("seen")?;
        let fired = arrays.take_counts("fired", &[Some(width)])?;
        let non_finite = arrays.take_counts("non_finite", &[Some(width)])?;
        if fired.iter().zip(&non_finite).any(|(f, n)| f + n > seen) {
            return Err(damaged("a unit fired more often than it was seen"));
        }
        let mut apart = (Vec::new(), Vec::new());
        if spec.documents > 0 {
            apart.0 = arrays.take_counts("document_seen", &[Some(spec.documents)])?;
            apart.1 = arrays.take_counts("document_fired", &[Some(spec.documents), Some(width)])?;
            if apart.1.chunks(width).zip(&apart.0).any(|(fired, seen)| fired.iter().any(|n| n > seen)) {
                return Err(damaged("a unit fired more often in a document than it was seen there"));
            }
            let mut sums = vec![0; width];
            apart.1.chunks(width).for_each(|fired| add(&mut sums, fired));
            if sums != fired || apart.0.iter().fold(0, |sum: u64, n| sum.saturating_add(*n)) != seen {
                return Err(damaged("the counts of documents do not add up to those of all"));
            }
        }
        Ok(Self { spec, seen, fired, non_finite, apart })
    }

    /// Positions counted.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Positions where each unit was above the threshold, `[width]`.
    pub fn fired(&self) -> &[u64] {
        &self.fired
    }

    /// Positions of a document that is counted apart, and those where each unit was above the threshold, `[width]`.
    pub fn of_document(&self, document: usize) -> Option<(u64, &[u64])> {
        let width = self.width();
        Some((*self.apart.0.get(document)?, &self.apart.1[document * width..][..width]))
    }

    /// Positions where each unit was infinite or NaN, `[width]`.
    pub fn non_finite(&self) -> &[u64] {
        &self.non_finite
    }

    /// Share of the finite values of `unit` above the threshold; `None` without such values or such a unit.
    pub fn rate(&self, unit: usize) -> Option<f64> {
        let finite = self.seen - self.non_finite.get(unit)?;
        (finite > 0).then(|| self.fired[unit] as f64 / finite as f64)
    }
}

impl Reduce for Firing {
    fn spec(&self) -> ReducerSpec {
        ReducerSpec::Firing(self.spec.clone())
    }

    fn width(&self) -> usize {
        self.fired.len()
    }

    fn observe(&mut self, kept: &Kept) -> Result<()> {
        let (threshold, width) = (self.spec.threshold, self.width());
        let fires = |x: f32| x > threshold && x < f32::INFINITY;
        if self.spec.documents == 0 {
            kept.tally(&kept.at, &mut self.fired, fires);
        } else {
            for (document, at) in by_document(kept, self.spec.documents)? {
                let mut fired = vec![0; width];
                kept.tally(&at, &mut fired, fires);
                add(&mut self.fired, &fired);
                add(&mut self.apart.1[document * width..][..width], &fired);
                self.apart.0[document] += at.len() as u64;
            }
        }
        self.seen += kept.at.len() as u64;
        kept.tally(&kept.at, &mut self.non_finite, |x| !x.is_finite());
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.seen = self.seen.saturating_add(other.seen);
        add(&mut self.fired, &other.fired);
        add(&mut self.non_finite, &other.non_finite);
        add(&mut self.apart.0, &other.apart.0);
        add(&mut self.apart.1, &other.apart.1);
        Ok(())
    }

    fn arrays(&self) -> Arrays {
        let mut arrays = Arrays::new();
        arrays.put("seen", &[1], vec![self.seen]);
        arrays.put("fired", &[self.width()], self.fired.clone());
        arrays.put("non_finite", &[self.width()], self.non_finite.clone());
        let documents = self.spec.documents;
        if documents > 0 {
            arrays.put("document_seen", &[documents], self.apart.0.clone());
            arrays.put("document_fired", &[documents, self.width()], self.apart.1.clone());
        }
        arrays
    }
}

/// The kept positions of each document, which are numbered below `documents`.
fn by_document(kept: &Kept, documents: usize) -> Result<BTreeMap<usize, Vec<usize>>> {
    let mut found: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &at in &kept.at {
        let number = kept.place(at).0;
        let document = usize::try_from(number).ok().filter(|n| *n < documents).ok_or_else(|| {
            Error::invalid(
                format!("document {number} is to be counted apart, but only {documents} documents are"),
                "number the rows of batches below `documents`, or raise it",
            )
        })?;
        found.entry(document).or_default().push(at);
    }
    Ok(found)
}

/// Adds counts element by element.
pub(super) fn add(into: &mut [u64], from: &[u64]) {
    for (a, b) in into.iter_mut().zip(from) {
        *a = a.saturating_add(*b);
    }
}
