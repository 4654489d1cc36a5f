//! The bounded, sorted list of one unit and side, and how lists are saved.
//!
//! Entries are sorted best first; their tokens lie in slots of a fixed size that evicted entries hand on, so a list
//! never allocates again once it is full. Saved, the lists of a side are flat arrays: `{side}.length` `[width]`, then
//! per entry `value`, `document`, `position`, `context` `[n, 2]` (index of the entry in its tokens, number of tokens), and
//! `tokens` of all entries in a row.

use std::cmp::Ordering;

use super::super::TopSpec;
use super::super::state::{Arrays, damaged};
use super::side::Side;
use crate::Result;

/// One kept value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Value times the sign of the side: larger is better. Always finite.
    pub score: f32,
    pub position: u32,
    pub document: u64,
    /// Tokens before the entry's own.
    pub before: u16,
    /// Tokens altogether.
    pub length: u16,
    /// Where the tokens lie; set by the list.
    pub slot: u32,
}

impl Entry {
    /// `Less` if `self` is better: the order of the list.
    fn order(&self, other: &Entry) -> Ordering {
        let by_score = other.score.partial_cmp(&self.score).unwrap_or(Ordering::Equal);
        by_score.then(self.document.cmp(&other.document)).then(self.position.cmp(&other.position))
    }
}

/// Up to `k` entries, best first.
#[derive(Clone, Debug)]
pub(super) struct List {
    k: usize,
    window: usize,
    one_per_document: bool,
    entries: Vec<Entry>,
    tokens: Vec<u32>,
}

impl List {
    pub fn new(k: usize, window: usize, one_per_document: bool) -> Self {
        Self { k, window, one_per_document, entries: Vec::new(), tokens: Vec::new() }
    }

    /// The score that a newcomer must reach: the worst kept one, once the list is full.
    pub fn bar(&self) -> f32 {
        match self.entries.last() {
            Some(worst) if self.entries.len() == self.k => worst.score,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Takes the entry in if it belongs here; `write` then fills in its tokens.
    pub fn offer(&mut self, entry: Entry, write: impl FnOnce(&mut [u32])) {
        let same = self.one_per_document.then(|| self.entries.iter().position(|e| e.document == entry.document));
        let slot = match same.flatten() {
            Some(i) if entry.order(&self.entries[i]).is_lt() => self.entries.remove(i).slot,
            Some(_) => return,
            None if self.entries.len() < self.k => self.grow(),
            None => match self.entries.pop_if(|worst| entry.order(worst).is_lt()) {
                Some(worst) => worst.slot,
                None => return,
            },
        };
        let start = slot as usize * self.window;
        write(&mut self.tokens[start..start + usize::from(entry.length)]);
        let at = self.entries.partition_point(|e| e.order(&entry).is_lt());
        self.entries.insert(at, Entry { slot, ..entry });
    }

    /// A fresh slot. Room grows by doubling up to exactly `k`.
    fn grow(&mut self) -> u32 {
        let n = self.entries.len();
        if n == self.entries.capacity() {
            let room = (2 * n).clamp(1, self.k);
            self.entries.reserve_exact(room - n);
            self.tokens.reserve_exact((room - n) * self.window);
        }
        self.tokens.resize((n + 1) * self.window, 0);
        n as u32
    }

    /// Entries and their tokens, best first.
    pub fn iter(&self) -> impl Iterator<Item = (&Entry, &[u32])> {
        self.entries.iter().map(|e| (e, &self.tokens[e.slot as usize * self.window..][..usize::from(e.length)]))
    }
}

/// Adds the lists of `side` to a state.
pub(super) fn store(side: &Side, name: &str, arrays: &mut Arrays) {
    let all: Vec<(&Entry, &[u32])> = side.lists.iter().flat_map(List::iter).collect();
    let tokens: Vec<u32> = all.iter().flat_map(|(_, tokens)| *tokens).copied().collect();
    let lengths = side.lists.iter().map(|list| list.entries.len() as u32).collect();
    let n = [all.len()];
    let context = all.iter().flat_map(|(e, _)| [u32::from(e.before), u32::from(e.length)]);
    arrays.put(&format!("{name}.length"), &[side.lists.len()], lengths);
    arrays.put(&format!("{name}.value"), &n, all.iter().map(|(e, _)| e.score * side.sign).collect());
    arrays.put(&format!("{name}.document"), &n, all.iter().map(|(e, _)| e.document).collect());
    arrays.put(&format!("{name}.position"), &n, all.iter().map(|(e, _)| e.position).collect());
    arrays.put(&format!("{name}.context"), &[n[0], 2], context.collect());
    arrays.put(&format!("{name}.tokens"), &[tokens.len()], tokens);
}

/// Fills the empty `side` with the lists of a state.
pub(super) fn load(mut side: Side, name: &str, width: usize, spec: &TopSpec, arrays: &mut Arrays) -> Result<Side> {
    let values: Vec<f32> = arrays.take(&format!("{name}.value"), &[None])?;
    let n = [Some(values.len())];
    let lengths: Vec<u32> = arrays.take(&format!("{name}.length"), &[Some(width)])?;
    let documents: Vec<u64> = arrays.take(&format!("{name}.document"), &n)?;
    let positions: Vec<u32> = arrays.take(&format!("{name}.position"), &n)?;
    let context: Vec<u32> = arrays.take(&format!("{name}.context"), &[n[0], Some(2)])?;
    let tokens: Vec<u32> = arrays.take(&format!("{name}.tokens"), &[None])?;
    let listed: u64 = lengths.iter().map(|n| u64::from(*n)).sum();
    let spoken: u64 = context.as_chunks::<2>().0.iter().map(|[_, length]| u64::from(*length)).sum();
    if listed != values.len() as u64 || spoken != tokens.len() as u64 {
        return Err(damaged(format!("the lengths of the {name} lists do not add up")));
    }
    let [most_before, most_after] = spec.context;
    let mut next = 0;
    let mut rest = tokens.as_slice();
    for (unit, &length) in lengths.iter().enumerate() {
        let mut list = List::new(spec.k, most_before + 1 + most_after, spec.one_per_document);
        for i in next..next + length as usize {
            let [before, count] = [context[2 * i] as usize, context[2 * i + 1] as usize];
            let fits = before <= most_before && before < count && count - before - 1 <= most_after;
            if !fits || !values[i].is_finite() {
                return Err(damaged(format!("entry {i} of the {name} lists is impossible")));
            }
            let entry = Entry {
                score: values[i] * side.sign,
                document: documents[i],
                position: positions[i],
                before: before as u16,
                length: count as u16,
                slot: 0,
            };
            let (own, tail) = rest.split_at(count);
            rest = tail;
            let last = list.entries.last().copied();
            list.offer(entry, |into| into.copy_from_slice(own));
            // What a list writes comes back in its order, each entry behind the one before and none left out.
            let appended = list.entries.len() == i + 1 - next && last.is_none_or(|last| last.order(&entry).is_lt());
            if !appended {
                return Err(damaged(format!("the {name} list of unit {unit} is too long or not in order")));
            }
            side.latest = side.latest.max(Some((entry.document, entry.position)));
        }
        next += length as usize;
        side.bars.push(list.bar());
        side.lists.push(list);
    }
    Ok(side)
}
