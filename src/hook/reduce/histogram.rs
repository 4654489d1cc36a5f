//! Histogram per unit with fixed, signed, logarithmic bins; merging adds integers and is exact.
//!
//! Each octave [2^e, 2^(e+1)) from `first` to `last` is cut into D = `divisions` equal bins: the bin of a value is its
//! exponent and its leading log2(D) mantissa bits, so no logarithm is taken (as in HdrHistogram). In ascending order:
//!
//! ```text
//! below -2^last | negative octaves | (-2^first, 2^first) | positive octaves | 2^last and above
//! ```
//!
//! The q-quantile is the value of rank max(1, ceil(q n)). It is estimated by the middle of its bin (cut to the exact
//! range), so inside the octaves its relative error is at most 1/(2 D), and in the zero bin its absolute error is
//! below 2^first. Ranks 1 and n are exact. The bracket is always certain.

use rayon::prelude::*;

use super::firing::add;
use super::observation::Kept;
use super::state::{Arrays, damaged};
use super::{HistogramSpec, Reduce, ReducerSpec};
use crate::Result;

/// Units that one task owns: their bins stay in the second-level cache.
const TASK: usize = 32;

/// Counts per bin and unit.
#[derive(Clone, Debug)]
pub struct Histogram {
    spec: HistogramSpec,
    bins: usize,
    /// `[width, bins]`
    counts: Vec<u64>,
    /// Smallest and largest value, `[width]`.
    range: Vec<[f32; 2]>,
    non_finite: Vec<u64>,
}

/// An estimated quantile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// The estimate.
    pub value: f64,
    /// The true quantile is not below this.
    pub low: f64,
    /// The true quantile is not above this.
    pub high: f64,
}

/// The arithmetic of bins: magnitudes in steps of the leading bits.
#[derive(Clone, Copy)]
struct Bins {
    /// Mantissa bits below the bin number.
    shift: u32,
    /// Leading bits of 2^first.
    base: u32,
    /// Bins of the octaves on one side.
    span: u32,
}

impl Bins {
    fn new(spec: &HistogramSpec) -> Self {
        let [first, last] = spec.octaves;
        let bits = spec.divisions.trailing_zeros();
        Self { shift: 23 - bits, base: ((first + 127) as u32) << bits, span: ((last - first) as u32) << bits }
    }

    fn len(self) -> usize {
        2 * (self.span as usize + 1) + 1
    }

    /// The bin of a finite value.
    fn of(self, x: f32) -> usize {
        let leading = (x.to_bits() & 0x7fff_ffff) >> self.shift;
        // 0 is the zero bin, span + 1 the overflow.
        let step = ((leading + 1).saturating_sub(self.base)).min(self.span + 1) as usize;
        let zero = self.span as usize + 1;
        if x.is_sign_negative() { zero - step } else { zero + step }
    }

    /// Lower end of the `step`-th bin above the zero bin, in f64 because 2^128 is a possible end.
    fn edge(self, step: u32) -> f64 {
        if step > self.span {
            return f64::INFINITY;
        }
        let bits = 23 - self.shift;
        let leading = self.base + step;
        let octave = f64::from(leading >> bits) - 127.0;
        let part = f64::from(leading & ((1 << bits) - 1)) / f64::from(1u32 << bits);
        octave.exp2() * (1.0 + part)
    }

    /// Both ends of a bin.
    fn ends(self, bin: usize) -> [f64; 2] {
        let zero = self.span as usize + 1;
        let step = bin.abs_diff(zero) as u32;
        if step == 0 {
            return [-self.edge(0), self.edge(0)];
        }
        let [near, far] = [self.edge(step - 1), self.edge(step)];
        if bin < zero { [-far, -near] } else { [near, far] }
    }
}

impl Histogram {
    pub(super) fn new(spec: HistogramSpec, width: usize) -> Self {
        let bins = Bins::new(&spec).len();
        let range = vec![[f32::INFINITY, f32::NEG_INFINITY]; width];
        Self { spec, bins, counts: vec![0; width * bins], range, non_finite: vec![0; width] }
    }

    pub(super) fn bytes(spec: &HistogramSpec, width: usize) -> u128 {
        width as u128 * (Bins::new(spec).len() as u128 * 8 + 16)
    }

    pub(super) fn load(spec: HistogramSpec, width: usize, arrays: &mut Arrays) -> Result<Self> {
        let arithmetic = Bins::new(&spec);
        let bins = arithmetic.len();
        let counts = arrays.take_counts("counts", &[Some(width), Some(bins)])?;
        let range: Vec<f32> = arrays.take("range", &[Some(width), Some(2)])?;
        let range: Vec<[f32; 2]> = range.as_chunks::<2>().0.to_vec();
        let non_finite = arrays.take_counts("non_finite", &[Some(width)])?;
        for (u, (counts, [min, max])) in counts.chunks(bins).zip(&range).enumerate() {
            let lowest = counts.iter().position(|n| *n > 0);
            let highest = counts.iter().rposition(|n| *n > 0);
            let possible = match lowest.zip(highest) {
                None => *min == f32::INFINITY && *max == f32::NEG_INFINITY,
                Some((lowest, highest)) => {
                    let finite = min.is_finite() && max.is_finite() && min <= max;
                    let total: u128 = counts.iter().map(|n| u128::from(*n)).sum();
                    finite && arithmetic.of(*min) == lowest && arithmetic.of(*max) == highest && total < 1 << 60
                }
            };
            if !possible {
                return Err(damaged(format!("the bins of unit {u} contradict its range")));
            }
        }
        Ok(Self { spec, bins, counts, range, non_finite })
    }

    /// Bins per unit.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// Lower and upper end of a bin (infinite for the outermost); `None` without such a bin.
    pub fn ends(&self, bin: usize) -> Option<[f64; 2]> {
        (bin < self.bins).then(|| Bins::new(&self.spec).ends(bin))
    }

    /// Values per bin of `unit`, in ascending order of the bins; empty without such a unit.
    pub fn counts(&self, unit: usize) -> &[u64] {
        self.counts.chunks(self.bins).nth(unit).unwrap_or(&[])
    }

    /// Finite values of `unit`.
    pub fn count(&self, unit: usize) -> u64 {
        self.counts(unit).iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Infinite and NaN values of every unit, `[width]`.
    pub fn non_finite(&self) -> &[u64] {
        &self.non_finite
    }

    /// Smallest and largest value of `unit`, exact; `None` without finite values.
    pub fn range(&self, unit: usize) -> Option<[f32; 2]> {
        self.range.get(unit).copied().filter(|[min, max]| min <= max)
    }

    /// The `q`-quantile of `unit` (q from 0 to 1); `None` without finite values or for another q.
    pub fn quantile(&self, unit: usize, q: f64) -> Option<Quantile> {
        let [min, max] = self.range(unit)?.map(f64::from);
        if !(0.0..=1.0).contains(&q) {
            return None;
        }
        let total = self.count(unit);
        let rank = ((q * total as f64).ceil() as u64).clamp(1, total);
        if rank == 1 {
            return Some(Quantile { value: min, low: min, high: min });
        }
        if rank == total {
            return Some(Quantile { value: max, low: max, high: max });
        }
        let mut below = 0;
        let bin = self.counts(unit).iter().position(|n| {
            below += n;
            below >= rank
        })?;
        let [low, high] = Bins::new(&self.spec).ends(bin);
        let (low, high) = (low.max(min), high.min(max));
        Some(Quantile { value: low + (high - low) / 2.0, low, high })
    }
}

impl Reduce for Histogram {
    fn spec(&self) -> ReducerSpec {
        ReducerSpec::Histogram(self.spec.clone())
    }

    fn width(&self) -> usize {
        self.range.len()
    }

    fn observe(&mut self, kept: &Kept) -> Result<()> {
        let (bins, arithmetic) = (self.bins, Bins::new(&self.spec));
        let counts = self.counts.par_chunks_mut(TASK * bins);
        let rest = self.range.par_chunks_mut(TASK).zip(self.non_finite.par_chunks_mut(TASK));
        counts.zip(rest).enumerate().for_each(|(task, (counts, (range, non_finite)))| {
            for &at in &kept.at {
                let values = kept.units(at, task * TASK, range.len());
                let units = counts.chunks_exact_mut(bins).zip(range.iter_mut().zip(non_finite.iter_mut()));
                for ((counts, ([min, max], non_finite)), &x) in units.zip(values) {
                    if x.is_finite() {
                        counts[arithmetic.of(x)] += 1;
                        *min = if x < *min { x } else { *min };
                        *max = if x > *max { x } else { *max };
                    } else {
                        *non_finite += 1;
                    }
                }
            }
        });
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        add(&mut self.counts, &other.counts);
        add(&mut self.non_finite, &other.non_finite);
        for ([min, max], [a, b]) in self.range.iter_mut().zip(other.range) {
            *min = if a < *min { a } else { *min };
            *max = if b > *max { b } else { *max };
        }
        Ok(())
    }

    fn arrays(&self) -> Arrays {
        let (mut arrays, width) = (Arrays::new(), self.width());
        arrays.put("counts", &[width, self.bins], self.counts.clone());
        arrays.put("range", &[width, 2], self.range.as_flattened().to_vec());
        arrays.put("non_finite", &[width], self.non_finite.clone());
        arrays
    }
}
