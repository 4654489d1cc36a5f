//! Axes: which values they span, where their marks lie and what stands beside these.

use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;

use super::digits;
use crate::report::chart::Axis;
use crate::{Error, Result};

/// How far beyond the axis, in lengths of it, a value may be drawn before it is cut off.
const BEYOND: f64 = 50.0;

/// An axis that knows its span. Positions on it are numbers near 1, whatever the values: values over a power of ten,
/// or their logarithms.
pub(super) struct Scale {
    /// What stands beside it.
    pub name: String,
    /// Positions of the first and the last value.
    pub span: (f64, f64),
    /// Positions of the marks.
    pub ticks: Vec<f64>,
    /// What stands at the marks.
    pub labels: Vec<String>,
    log: bool,
    unit: f64,
}

impl Scale {
    /// The axis for these values, with room for `marks` marks. `zero` makes zero part of a linear axis.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the axis asks for a range that ascends nowhere, or is not positive on a logarithmic axis.
    pub fn fit(axis: &Axis, values: impl Iterator<Item = f64>, zero: bool, marks: usize) -> Result<Self> {
        if let Some((low, high)) = axis.range {
            let good = low.is_finite() && high.is_finite() && low < high && (!axis.log || low > 0.0);
            if !good {
                let rule = if axis.log { "0 < low < high" } else { "low < high" };
                return Err(Error::invalid(
                    format!("the axis \"{}\" ranges from {low} to {high}", axis.name),
                    format!("give finite bounds with {rule}, or none"),
                ));
            }
        }
        let drawable = values.filter(|v| v.is_finite() && (!axis.log || *v > 0.0));
        let none = (f64::INFINITY, f64::NEG_INFINITY);
        let (low, high) = drawable.fold(none, |(low, high), v| (low.min(v), high.max(v)));
        let empty = if axis.log { (1.0, 10.0) } else { (0.0, 1.0) };
        let seen = if low > high { empty } else { (low, high) };
        Ok(if axis.log { Self::logarithmic(axis, seen) } else { Self::linear(axis, seen, zero, marks) })
    }

    fn linear(axis: &Axis, (low, high): (f64, f64), zero: bool, marks: usize) -> Self {
        let (low, high) = if zero { (low.min(0.0), high.max(0.0)) } else { (low, high) };
        let (low, high) = axis.range.unwrap_or((low, high));
        let largest = low.abs().max(high.abs());
        let unit = if largest > 0.0 { 10f64.powf(largest.log10().floor().clamp(-300.0, 300.0)) } else { 1.0 };
        let (mut a, mut b) = (low / unit, high / unit);
        if axis.range.is_none() {
            let room = (b - a) * 0.04;
            let flat = room < 1e-9; // a range that doubles cannot divide into marks
            let room = if flat { 0.5 } else { room };
            // Zero as an end stays the end: bars stand on it.
            a -= if zero && a == 0.0 && !flat { 0.0 } else { room };
            b += if zero && b == 0.0 && !flat { 0.0 } else { room };
        }
        let ticks = RangedCoordf64::from(a..b).key_points(marks);
        let labels = digits::labels(&ticks.iter().map(|t| t * unit).collect::<Vec<_>>());
        Self { name: axis.name.clone(), span: (a, b), ticks, labels, log: false, unit }
    }

    fn logarithmic(axis: &Axis, seen: (f64, f64)) -> Self {
        let (low, high) = axis.range.unwrap_or(seen);
        let (mut a, mut b) = (low.log10(), high.log10());
        if axis.range.is_none() {
            let room = ((b - a) * 0.04).max(if b - a < 1e-9 { 0.3 } else { 0.0 });
            (a, b) = (a - room, b + room);
        }
        let decades = (b - a).ceil().max(1.0);
        let steps: &[f64] = if decades <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = (decades / 8.0).ceil() as i32;
        let mut ticks = Vec::new();
        for decade in (a.floor() as i32)..=(b.ceil() as i32) {
            if decade.rem_euclid(every) == 0 {
                ticks.extend(steps.iter().map(|s| f64::from(decade) + s.log10()).filter(|t| (a..=b).contains(t)));
            }
        }
        if ticks.len() < 2 {
            ticks = vec![a, b];
        }
        let labels = ticks.iter().map(|t| digits::value(10f64.powf(*t))).collect();
        Self { name: axis.name.clone(), span: (a, b), ticks, labels, log: true, unit: 1.0 }
    }

    /// An axis of `n` groups side by side: group i lies from i to i + 1.
    pub fn groups(n: usize) -> Self {
        let span = (0.0, n.max(1) as f64);
        Self { name: String::new(), span, ticks: Vec::new(), labels: Vec::new(), log: false, unit: 1.0 }
    }

    /// Where a value lies; `None` if it cannot be drawn: NaN, infinite, or not above 0 on a logarithmic axis.
    pub fn place(&self, value: f64) -> Option<f64> {
        let at = if self.log { value.log10() } else { value / self.unit };
        let reach = (self.span.1 - self.span.0) * BEYOND;
        (value.is_finite() && at.is_finite()).then(|| at.clamp(self.span.0 - reach, self.span.1 + reach))
    }

    /// Where bars stand: at zero, or at the low end of an axis without it.
    pub fn floor(&self) -> f64 {
        if self.log { self.span.0 } else { 0f64.clamp(self.span.0, self.span.1) }
    }

    /// Whether a finite value cannot be drawn.
    pub fn refuses(&self, value: f64) -> bool {
        value.is_finite() && self.place(value).is_none()
    }
}
