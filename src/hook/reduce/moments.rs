//! The first four moments per unit, in f64.
//!
//! With m the mean and M_p = sum (x - m)^p, blocks of positions are summed around their own mean and joined by the
//! pairwise formulas (Chan, Golub and LeVeque 1979; Pebay 2008), which do not cancel. For n = a + b values and
//! d = m_b - m_a:
//!
//! ```text
//! m   = m_a + d b/n
//! M_2 = M_2a + M_2b + d^2 ab/n
//! M_3 = M_3a + M_3b + d^3 ab(a-b)/n^2 + 3 d (a M_2b - b M_2a)/n
//! M_4 = M_4a + M_4b + d^4 ab(a^2-ab+b^2)/n^3 + 6 d^2 (a^2 M_2b + b^2 M_2a)/n^2 + 4 d (a M_3b - b M_3a)/n
//!
//! variance = M_2/n,   skewness = sqrt(n) M_3 / M_2^(3/2),   excess kurtosis = n M_4 / M_2^2 - 3
//! ```

use rayon::prelude::*;

use super::observation::{BLOCK, Kept, UNITS};
use super::state::{Arrays, damaged};
use super::{Reduce, ReducerSpec};
use crate::Result;

/// Count, mean, central moments and range of every unit.
#[derive(Clone, Debug)]
pub struct Moments {
    units: Vec<Sums>,
}

/// What is known of one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitMoments {
    /// Finite values counted.
    pub count: u64,
    /// Infinite and NaN values, which enter nothing else.
    pub non_finite: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Population variance M_2/n (not n - 1).
    pub variance: f64,
    /// Square root of the variance.
    pub std: f64,
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
    /// Asymmetry; `None` if all values are equal.
    pub skewness: Option<f64>,
    /// Weight of the tails, 0 for a normal distribution, -2 for two equal peaks; `None` if all values are equal.
    pub excess_kurtosis: Option<f64>,
}

/// Running sums of one unit: `m[p - 1]` is M_p, but `m[0]` is the mean.
#[derive(Clone, Copy, Debug)]
struct Sums {
    count: u64,
    non_finite: u64,
    m: [f64; 4],
    min: f32,
    max: f32,
}

const EMPTY: Sums = Sums { count: 0, non_finite: 0, m: [0.0; 4], min: f32::INFINITY, max: f32::NEG_INFINITY };

impl Sums {
    /// Joins the sums of further values (the pairwise formulas of the module header).
    fn join(&mut self, other: &Sums) {
        self.non_finite = self.non_finite.saturating_add(other.non_finite);
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = Sums { non_finite: self.non_finite, ..*other };
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let n = a + b;
        let ([ma, a2, a3, a4], [mb, b2, b3, b4]) = (self.m, other.m);
        let d = mb - ma;
        let (pa, pb) = (a / n, b / n);
        let dd = d * d;
        let m2 = a2 + b2 + dd * a * pb;
        let m3 = a3 + b3 + dd * d * a * pb * (pa - pb) + 3.0 * d * (pa * b2 - pb * a2);
        let m4 = a4
            + b4
            + dd * dd * a * pb * (pa * pa - pa * pb + pb * pb)
            + 6.0 * dd * (pa * pa * b2 + pb * pb * a2)
            + 4.0 * d * (pa * b3 - pb * a3);
        self.m = [ma + d * pb, m2, m3, m4];
        self.count = self.count.saturating_add(other.count);
        self.min = if other.min < self.min { other.min } else { self.min };
        self.max = if other.max > self.max { other.max } else { self.max };
    }
}

impl Moments {
    pub(super) fn new(width: usize) -> Self {
        Self { units: vec![EMPTY; width] }
    }

    pub(super) fn bytes(width: usize) -> u128 {
        width as u128 * size_of::<Sums>() as u128
    }

    pub(super) fn load(width: usize, arrays: &mut Arrays) -> Result<Self> {
        let shape = [Some(width)];
        let count = arrays.take_counts("count", &shape)?;
        let non_finite = arrays.take_counts("non_finite", &shape)?;
        let m: Vec<f64> = arrays.take("moments", &[Some(width), Some(4)])?;
        let range: Vec<f32> = arrays.take("range", &[Some(width), Some(2)])?;
        let units = (0..width).map(|u| Sums {
            count: count[u],
            non_finite: non_finite[u],
            m: [m[4 * u], m[4 * u + 1], m[4 * u + 2], m[4 * u + 3]],
            min: range[2 * u],
            max: range[2 * u + 1],
        });
        let units: Vec<Sums> = units.collect();
        for (u, s) in units.iter().enumerate() {
            let possible = if s.count == 0 {
                s.m == EMPTY.m && s.min == EMPTY.min && s.max == EMPTY.max
            } else {
                let finite = s.m.iter().all(|x| x.is_finite()) && s.min.is_finite() && s.max.is_finite();
                finite && s.m[1] >= 0.0 && s.min <= s.max
            };
            if !possible {
                return Err(damaged(format!("the moments of unit {u} are impossible")));
            }
        }
        Ok(Self { units })
    }

    /// The moments of `unit`; `None` without finite values or such a unit.
    pub fn unit(&self, unit: usize) -> Option<UnitMoments> {
        let s = self.units.get(unit).filter(|s| s.count > 0)?;
        let n = s.count as f64;
        let [mean, m2, m3, m4] = s.m;
        let varies = m2 > 0.0;
        Some(UnitMoments {
            count: s.count,
            non_finite: s.non_finite,
            mean,
            variance: m2 / n,
            std: (m2 / n).sqrt(),
            min: s.min,
            max: s.max,
            skewness: varies.then(|| n.sqrt() * m3 / (m2 * m2.sqrt())),
            excess_kurtosis: varies.then(|| n * m4 / (m2 * m2) - 3.0),
        })
    }

    /// Mean of every unit, `[width]`; NaN without finite values.
    pub fn means(&self) -> Vec<f64> {
        self.units.iter().map(|s| if s.count > 0 { s.m[0] } else { f64::NAN }).collect()
    }

    /// Infinite and NaN values of every unit, `[width]`.
    pub fn non_finite(&self) -> Vec<u64> {
        self.units.iter().map(|s| s.non_finite).collect()
    }
}

/// Joins one block of positions to the units from `first` on.
///
/// Compiled twice. No product is fused with a sum, so both versions give the same bits.
fn join_block(units: &mut [Sums], kept: &Kept, first: usize, block: &[usize]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide(units: &mut [Sums], kept: &Kept, first: usize, block: &[usize]) {
            join(units, kept, first, block);
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, and `wide` is otherwise a safe function.
            return unsafe { wide(units, kept, first, block) };
        }
    }
    join(units, kept, first, block);
}

/// Two passes over values that stay in the cache.
#[inline(always)]
fn join(units: &mut [Sums], kept: &Kept, first: usize, block: &[usize]) {
    let mut count = [0u32; UNITS];
    let mut mean = [0f64; UNITS];
    let (mut min, mut max) = ([f32::INFINITY; UNITS], [f32::NEG_INFINITY; UNITS]);
    for &at in block {
        let values = kept.units(at, first, units.len());
        let sums = count.iter_mut().zip(&mut mean).zip(min.iter_mut().zip(&mut max));
        for (((count, sum), (min, max)), &x) in sums.zip(values) {
            let finite = x.is_finite();
            *count += u32::from(finite);
            *sum += f64::from(if finite { x } else { 0.0 });
            *min = if finite && x < *min { x } else { *min };
            *max = if finite && x > *max { x } else { *max };
        }
    }
    for (mean, count) in mean.iter_mut().zip(count) {
        *mean /= f64::from(count.max(1));
    }
    let (mut m2, mut m3, mut m4) = ([0f64; UNITS], [0f64; UNITS], [0f64; UNITS]);
    for &at in block {
        let values = kept.units(at, first, units.len());
        let sums = m2.iter_mut().zip(&mut m3).zip(m4.iter_mut().zip(&mean));
        for (((m2, m3), (m4, mean)), &x) in sums.zip(values) {
            let d = if x.is_finite() { f64::from(x) - mean } else { 0.0 };
            let dd = d * d;
            *m2 += dd;
            *m3 += dd * d;
            *m4 += dd * dd;
        }
    }
    for (u, unit) in units.iter_mut().enumerate() {
        unit.join(&Sums {
            count: u64::from(count[u]),
            non_finite: block.len() as u64 - u64::from(count[u]),
            m: [mean[u], m2[u], m3[u], m4[u]],
            min: min[u],
            max: max[u],
        });
    }
}

impl Reduce for Moments {
    fn spec(&self) -> ReducerSpec {
        ReducerSpec::Moments {}
    }

    fn width(&self) -> usize {
        self.units.len()
    }

    fn observe(&mut self, kept: &Kept) -> Result<()> {
        self.units.par_chunks_mut(UNITS).enumerate().for_each(|(task, units)| {
            for block in kept.at.chunks(BLOCK) {
                join_block(units, kept, task * UNITS, block);
            }
        });
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.units.iter_mut().zip(&other.units).for_each(|(a, b)| a.join(b));
        Ok(())
    }

    fn arrays(&self) -> Arrays {
        let (mut arrays, width) = (Arrays::new(), self.width());
        arrays.put("count", &[width], self.units.iter().map(|s| s.count).collect());
        arrays.put("non_finite", &[width], self.non_finite());
        arrays.put("moments", &[width, 4], self.units.iter().flat_map(|s| s.m).collect());
        arrays.put("range", &[width, 2], self.units.iter().flat_map(|s| [s.min, s.max]).collect());
        arrays
    }
}
