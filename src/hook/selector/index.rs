//! Lists of indices: `12,40,100..200,0..=3,2..,-1`. Kept as ranges; nothing is expanded before it is checked against
//! a length.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parse;
use crate::{Error, Result};

/// The most indices that a list may name on an axis whose size only the run decides.
const MAX_OPEN: usize = 1 << 20;

/// Numbers and ranges, such as `12,40,100..200,0..=3,-1`; negative numbers count from the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[-0-9.,=]+$"))]
pub struct IndexList(Vec<IndexItem>);

/// One entry of a list. The parser keeps numbers below 10^15 and refuses empty ranges that it can recognise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum IndexItem {
    One(i64),
    /// From the first to before the second, or to the end.
    Range(i64, Option<i64>),
}

impl IndexItem {
    /// First and one past the last index for a length, neither checked nor clipped.
    fn bounds(self, len: usize) -> (i64, i64) {
        let len = i64::try_from(len).unwrap_or(i64::MAX);
        let from_start = |v: i64| if v < 0 { v + len } else { v };
        match self {
            Self::One(v) => (from_start(v), from_start(v).saturating_add(1)),
            Self::Range(start, end) => (from_start(start), end.map_or(len, from_start)),
        }
    }

    fn depends_on_length(self) -> bool {
        match self {
            Self::One(v) => v < 0,
            Self::Range(start, end) => start < 0 || end.is_none_or(|e| e < 0),
        }
    }
}

impl IndexList {
    pub(super) fn new(items: Vec<IndexItem>) -> Self {
        Self(items)
    }

    /// The indices that the list names among `len`, sorted and unique.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an entry reaches outside `0..len` or names nothing.
    pub fn resolve(&self, len: usize) -> Result<Vec<usize>> {
        Ok(expand(self.spans(len)?))
    }

    /// [`resolve`](Self::resolve) where the run decides the length: every entry must stand without it.
    pub(super) fn resolve_open(&self) -> Result<Vec<usize>> {
        if self.depends_on_length() {
            return Err(Error::invalid(
                format!("`{self}` counts from an end that only the run knows"),
                "use non-negative numbers and ranges with an end",
            ));
        }
        self.resolve(MAX_OPEN)
    }

    /// Hands `resolved` on if the list names its indices in ascending order, each once.
    ///
    /// Values are given in the order of the indices, so that another order would put them in the wrong places.
    pub(super) fn ascending(&self, resolved: Vec<usize>) -> Result<Vec<usize>> {
        let len = resolved.last().map_or(0, |last| last + 1);
        let written = self.0.iter().map(|item| item.bounds(len));
        let named: i64 = written.map(|(start, end)| end.saturating_sub(start)).sum();
        let starts: Vec<i64> = self.0.iter().map(|item| item.bounds(len).0).collect();
        if named == resolved.len() as i64 && starts.is_sorted() {
            return Ok(resolved);
        }
        Err(Error::invalid(
            format!("`{self}` names indices out of order or twice"),
            "write them in ascending order, each once: values of an edit are given in that order",
        ))
    }

    /// Whether index `i` among `len` is named. Entries that reach outside `0..len` are clipped, not refused.
    pub fn contains(&self, i: usize, len: usize) -> bool {
        let Ok(at) = i64::try_from(i) else { return false };
        i < len
            && self.0.iter().any(|item| {
                let (start, end) = item.bounds(len);
                start <= at && at < end
            })
    }

    /// Whether position `i` is named, where `len` only anchors negative numbers: entries may reach beyond it, and
    /// ranges without an end go on for ever.
    pub fn names_position(&self, i: usize, len: usize) -> bool {
        let Ok(at) = i64::try_from(i) else { return false };
        self.0.iter().any(|item| {
            let (start, end) = item.bounds(len);
            let open = matches!(item, IndexItem::Range(_, None));
            start <= at && (open || at < end)
        })
    }

    /// True if some entry counts from the end or has none, so that what it names depends on the length.
    pub fn depends_on_length(&self) -> bool {
        self.0.iter().any(|item| item.depends_on_length())
    }

    /// The first number, as written.
    pub(super) fn first(&self) -> i64 {
        match self.0.first() {
            Some(IndexItem::One(v) | IndexItem::Range(v, _)) => *v,
            None => 0,
        }
    }

    /// The entries as spans within `0..len`, in the order given.
    pub(super) fn spans(&self, len: usize) -> Result<Vec<(usize, usize)>> {
        let inside = |item: &IndexItem| {
            let (start, end) = item.bounds(len);
            let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
            (start < end && end <= len).then_some((start, end))
        };
        let bad = |item: &IndexItem| {
            let entry = Self(vec![*item]);
            Error::invalid(
                format!("`{entry}` is not within 0..{len}"),
                "numbers count from 0, negative ones from the end; a range stops before its end",
            )
        };
        self.0.iter().map(|item| inside(item).ok_or_else(|| bad(item))).collect()
    }

    /// A list in text form for sorted unique indices: runs of three and more become ranges.
    pub(super) fn compact(sorted: &[usize]) -> String {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for &i in sorted {
            match runs.last_mut() {
                Some((_, end)) if *end == i => *end += 1,
                _ => runs.push((i, i + 1)),
            }
        }
        let text = |(start, end): (usize, usize)| match end - start {
            1 => format!("{start}"),
            2 => format!("{start},{}", start + 1),
            _ => format!("{start}..{end}"),
        };
        runs.into_iter().map(text).collect::<Vec<_>>().join(",")
    }
}

/// Merges before it expands: the work is bounded by what comes out, however often the list repeats itself.
fn expand(mut spans: Vec<(usize, usize)>) -> Vec<usize> {
    spans.sort_unstable();
    let mut out = Vec::new();
    let mut done = 0;
    for (start, end) in spans {
        out.extend(start.max(done)..end.max(done));
        done = done.max(end);
    }
    out
}

impl FromStr for IndexList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse::index_list(text)
    }
}

impl fmt::Display for IndexList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match item {
                IndexItem::One(v) => write!(f, "{comma}{v}")?,
                IndexItem::Range(start, None) => write!(f, "{comma}{start}..")?,
                IndexItem::Range(start, Some(end)) => write!(f, "{comma}{start}..{end}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for IndexList {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<IndexList> for String {
    fn from(list: IndexList) -> Self {
        list.to_string()
    }
}
