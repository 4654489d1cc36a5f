//! The k largest and k smallest values of each unit, with their tokens.
//!
//! Better is: larger value (smaller on the bottom side), then lower document, then lower position. This order is total,
//! so the k best of a union are the k best of the parts' k best: shards merge exactly, in any order. With
//! `one_per_document` each document takes part with its best position only.
//!
//! Most values cost one comparison: they are held against the worst kept value of their unit, `bar`. A tie with the bar
//! loses without a second look when it comes later in the corpus than everything kept, as in an ordered scan it does.
//! With `one_per_document` a row is first reduced to its best position per unit.
//!
//! The context of an entry is its token and the neighbours in the row whose positions continue its own, special
//! tokens included, padding and other documents not. A pair (document, position) must occur once in a corpus.

use super::firing::add;
use super::observation::Kept;
use super::state::{Arrays, damaged};
use super::{Reduce, ReducerSpec, TopSpec};
use crate::Result;

mod list;
mod side;

use list::{Entry, List};
use side::Side;

/// The extreme values of every unit.
#[derive(Clone, Debug)]
pub struct Top {
    spec: TopSpec,
    width: usize,
    seen: u64,
    non_finite: Vec<u64>,
    top: Side,
    /// Empty unless asked for.
    bottom: Side,
}

/// One extreme value and where it was.
#[derive(Clone, Debug, PartialEq)]
pub struct TopEntry {
    /// The activation.
    pub value: f32,
    /// Index of the document in the corpus.
    pub document: u64,
    /// Position in the document.
    pub position: u32,
    /// Token ids around it, at most before + 1 + after.
    pub tokens: Vec<u32>,
    /// Which of `tokens` the value belongs to.
    pub at: usize,
}

impl Top {
    pub(super) fn new(spec: TopSpec, width: usize) -> Self {
        let bottom = Side::new(-1.0, &spec, if spec.bottom { width } else { 0 });
        let top = Side::new(1.0, &spec, width);
        Self { spec, width, seen: 0, non_finite: vec![0; width], top, bottom }
    }

    pub(super) fn bytes(spec: &TopSpec, width: usize) -> u128 {
        let window = (spec.context[0] + 1 + spec.context[1]) as u128;
        let list = spec.k as u128 * (size_of::<Entry>() as u128 + 4 * window) + size_of::<List>() as u128 + 4;
        width as u128 * (8 + list * if spec.bottom { 2 } else { 1 })
    }

    /// Positions seen.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Infinite and NaN values of every unit, `[width]`.
    pub fn non_finite(&self) -> &[u64] {
        &self.non_finite
    }

    /// The largest values of `unit`, largest first; empty without such a unit.
    pub fn top(&self, unit: usize) -> Vec<TopEntry> {
        entries(&self.top, unit)
    }

    /// The smallest values of `unit`, smallest first; empty unless they were asked for.
    pub fn bottom(&self, unit: usize) -> Vec<TopEntry> {
        entries(&self.bottom, unit)
    }

    pub(super) fn load(spec: TopSpec, width: usize, arrays: &mut Arrays) -> Result<Self> {
        let seen = arrays.take_count("seen")?;
        let non_finite = arrays.take_counts("non_finite", &[Some(width)])?;
        if non_finite.iter().any(|n| *n > seen) {
            return Err(damaged("more values are not finite than were seen"));
        }
        let mut made = Self { non_finite, seen, ..Self::new(spec.clone(), 0) };
        made.width = width;
        made.top = list::load(Side::new(1.0, &spec, 0), "top", width, &spec, arrays)?;
        if spec.bottom {
            made.bottom = list::load(Side::new(-1.0, &spec, 0), "bottom", width, &spec, arrays)?;
        }
        Ok(made)
    }
}

fn entries(side: &Side, unit: usize) -> Vec<TopEntry> {
    let list = side.lists.get(unit).into_iter().flat_map(List::iter);
    let public = list.map(|(entry, tokens)| TopEntry {
        value: entry.score * side.sign,
        document: entry.document,
        position: entry.position,
        tokens: tokens.to_vec(),
        at: usize::from(entry.before),
    });
    public.collect()
}

impl Reduce for Top {
    fn spec(&self) -> ReducerSpec {
        ReducerSpec::Top(self.spec.clone())
    }

    fn width(&self) -> usize {
        self.width
    }

    fn observe(&mut self, kept: &Kept) -> Result<()> {
        self.seen += kept.at.len() as u64;
        kept.tally(&kept.at, &mut self.non_finite, |x| !x.is_finite());
        self.top.observe(kept, &self.spec);
        self.bottom.observe(kept, &self.spec);
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.seen = self.seen.saturating_add(other.seen);
        add(&mut self.non_finite, &other.non_finite);
        self.top.merge(other.top);
        self.bottom.merge(other.bottom);
        Ok(())
    }

    fn arrays(&self) -> Arrays {
        let mut arrays = Arrays::new();
        arrays.put("seen", &[1], vec![self.seen]);
        arrays.put("non_finite", &[self.width], self.non_finite.clone());
        list::store(&self.top, "top", &mut arrays);
        if self.spec.bottom {
            list::store(&self.bottom, "bottom", &mut arrays);
        }
        arrays
    }
}
