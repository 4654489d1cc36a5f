//! The best executable label of a unit on the selection documents: lists of tokens and words, classes, and compositions of
//! up to three of them, by beam search on IoU (Mu and Andreas 2020, arXiv 2006.14032).
//!
//! The criterion is IoU less 0.01 for every part beyond the first. How many active places a composition has is counted
//! among the active places alone, a few words of bits; only where that leaves a chance are all places looked at.

use std::collections::BTreeMap;

use super::columns::Columns;
use super::reading::Split;
use super::rule::{Field, Rule};
use super::trace::Trace;
use crate::analysis::label::Bits;
use crate::analysis::label::Overlap;
use crate::store::Tokenizer;

/// Compositions that are extended.
const BEAM: usize = 10;
/// Lists and classes of a composition at most.
pub const PARTS: usize = 3;
/// What a further part must add to the IoU.
pub const PRICE: f64 = 0.01;
/// Single values of a field that are tried, by each of two orders.
const SINGLES: usize = 6;
/// Values of a list at most.
const LIST: usize = 16;
/// s of the log ratio: counts that every value is given.
const SMOOTHING: f64 = 0.5;

/// A label with how it does where it was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The label.
    pub rule: Rule,
    /// On the selection documents.
    pub overlap: Overlap,
}

impl Candidate {
    /// The criterion.
    pub fn score(&self) -> f64 {
        self.overlap.iou() - PRICE * (self.rule.parts() - 1) as f64
    }
}

/// A list or class: where it holds among the selection's places.
struct Atom {
    rule: Rule,
    holds: Bits,
    concept: u64,
    /// Which of the active places, by their rank.
    among: Bits,
    both: u64,
}

/// A composition on the way.
#[derive(Clone)]
struct Partial {
    rule: Rule,
    holds: Bits,
    among: Bits,
    overlap: Overlap,
}

impl Partial {
    fn score(&self) -> f64 {
        self.overlap.iou() - PRICE * (self.rule.parts() - 1) as f64
    }
}

/// The search on one reading, with what all units share.
pub struct Search<'c> {
    columns: &'c Columns<'c>,
    tokenizer: &'c Tokenizer,
    /// Places of the selection: the first of the reading.
    places: usize,
    counted: u64,
    classes: Vec<(Rule, Bits, u64)>,
}

impl<'c> Search<'c> {
    /// On the selection documents of these columns.
    pub fn new(columns: &'c Columns<'c>, tokenizer: &'c Tokenizer) -> Self {
        let places = columns.reading.range(Split::Selection).end;
        let class = |(name, bits): (&str, &Bits)| {
            let bits = bits.prefix(places);
            let count = bits.count();
            (Rule::Class { name: name.to_string() }, bits, count)
        };
        let classes = columns.classes().map(class).filter(|(_, _, count)| *count > 0).collect();
        Self { columns, tokenizer, places, counted: columns.reading.counted.count_in(0, places), classes }
    }

    /// The best label; `None` for a unit that is active at fewer than two places of the selection.
    pub fn best(&self, trace: &Trace) -> Option<Candidate> {
        let active: Vec<usize> =
            trace.active.iter().map(|(p, _)| *p as usize).take_while(|p| *p < self.places).collect();
        if active.len() < 2 {
            return None;
        }
        let atoms = self.atoms(&active);
        let all = |concept: u64, both: u64| Overlap { both, concept, active: active.len() as u64, all: self.counted };
        let single = |a: &Atom| Partial {
            rule: a.rule.clone(),
            holds: a.holds.clone(),
            among: a.among.clone(),
            overlap: all(a.concept, a.both),
        };
        let mut beam: Vec<Partial> = Vec::new();
        atoms.iter().filter(|a| a.both > 0).for_each(|a| offer(&mut beam, single(a)));
        let mut best = beam.first()?.clone();
        for parts in 2..=PARTS {
            let mut longer: Vec<Partial> = Vec::new();
            for partial in &beam {
                for atom in &atoms {
                    self.extend(partial, atom, parts, &mut longer);
                }
            }
            beam = longer;
            if let Some(first) = beam.first().filter(|p| p.score() > best.score()) {
                best = first.clone();
            }
        }
        Some(Candidate { rule: best.rule, overlap: best.overlap })
    }

    /// Offers the three compositions of a partial label with an atom.
    fn extend(&self, a: &Partial, b: &Atom, parts: usize, beam: &mut Vec<Partial>) {
        let (active, price) = (a.overlap.active, PRICE * (parts - 1) as f64);
        let least = if beam.len() < BEAM { 0.0 } else { beam[BEAM - 1].score() + price };
        // By what is known of the active places alone.
        let common = a.among.common(&b.among);
        let both = [common, a.overlap.both + b.both - common, a.overlap.both - common];
        let fewest = [both[0].max(1), a.overlap.concept.max(b.concept), both[2].max(1)];
        let chance = |k: usize| both[k] as f64 / (fewest[k] + active - both[k]) as f64;
        if !(0..3).any(|k| both[k] > 0 && chance(k) > least) {
            return;
        }
        let shared = a.holds.common(&b.holds);
        let concept = [shared, a.overlap.concept + b.concept - shared, a.overlap.concept - shared];
        for k in 0..3 {
            let overlap = Overlap { both: both[k], concept: concept[k], ..a.overlap };
            // What changes nothing is no composition.
            let idle = (both[k], concept[k]) == (a.overlap.both, a.overlap.concept)
                || (both[k], concept[k]) == (b.both, b.concept);
            if both[k] == 0 || idle || overlap.iou() <= least {
                continue;
            }
            let [x, y] = [Box::new(a.rule.clone()), Box::new(b.rule.clone())];
            let (rule, holds, among) = match k {
                0 => (Rule::And(x, y), a.holds.and(&b.holds), a.among.and(&b.among)),
                1 => (Rule::Or(x, y), a.holds.or(&b.holds), a.among.or(&b.among)),
                _ => (Rule::AndNot(x, y), a.holds.and_not(&b.holds), a.among.and_not(&b.among)),
            };
            offer(beam, Partial { rule, holds, among, overlap });
        }
    }

    /// Classes, and the lists of every field that the active places suggest.
    fn atoms(&self, active: &[usize]) -> Vec<Atom> {
        let among = |holds: &Bits| Bits::from_fn(active.len(), |rank| holds.contains(active[rank]));
        let class = |(rule, bits, concept): &(Rule, Bits, u64)| {
            let among = among(bits);
            Atom { rule: rule.clone(), holds: bits.clone(), concept: *concept, both: among.count(), among }
        };
        // Most classes never meet the active places; they could only be taken away.
        let mut atoms: Vec<Atom> = self.classes.iter().map(class).collect();
        for field in Field::ALL {
            for values in self.lists(field, active) {
                let places = values.iter().flat_map(|v| self.selected(field, *v)).map(|p| *p as usize);
                let holds = Bits::of(self.places, places);
                let (concept, among) = (holds.count(), among(&holds));
                atoms.push(Atom { rule: self.rule(field, &values), holds, concept, both: among.count(), among });
            }
        }
        atoms
    }

    /// Lists of values of a field: single ones by the log ratio of their frequencies at active and at all places and by
    /// IoU; and of the values by precision as many as make the best IoU.
    fn lists(&self, field: Field, active: &[usize]) -> Vec<Vec<u32>> {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        active.iter().filter_map(|p| self.columns.value(field, *p)).for_each(|v| *counts.entry(v).or_default() += 1);
        let size = self.columns.size(field) as f64 * SMOOTHING;
        let values: Vec<(u32, u64, u64)> = counts
            .into_iter()
            .filter(|(_, both)| *both > 1)
            .map(|(v, both)| (v, both, self.selected(field, v).len() as u64))
            .collect();
        let ratio = |(_, both, all): &(u32, u64, u64)| {
            let at_active = (*both as f64 + SMOOTHING) / (active.len() as f64 + size);
            (at_active * (self.counted as f64 + size) / (*all as f64 + SMOOTHING)).ln()
        };
        let iou = |both: u64, all: u64| both as f64 / (all + active.len() as u64 - both) as f64;
        let order = |score: &dyn Fn(&(u32, u64, u64)) -> f64| {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|a, b| score(&values[*b]).total_cmp(&score(&values[*a])));
            order
        };
        let mut lists: Vec<Vec<u32>> = Vec::new();
        for order in [order(&ratio), order(&|(_, both, all)| iou(*both, *all))] {
            for i in order.into_iter().take(SINGLES) {
                if !lists.iter().any(|l| l[0] == values[i].0) {
                    lists.push(vec![values[i].0]);
                }
            }
        }
        // Values of a field exclude each other, so the best list of every length holds the most precise ones.
        let precise = order(&|(_, both, all)| *both as f64 / (*all as f64 + SMOOTHING));
        let (mut both, mut all, mut best) = (0, 0, (0.0, 0));
        for (length, i) in precise.iter().take(LIST).enumerate() {
            both += values[*i].1;
            all += values[*i].2;
            if iou(both, all) > best.0 {
                best = (iou(both, all), length + 1);
            }
        }
        if best.1 > 1 {
            lists.push(precise[..best.1].iter().map(|i| values[*i].0).collect());
        }
        lists
    }

    /// The places of a value in the selection.
    fn selected(&self, field: Field, value: u32) -> &[u32] {
        let places = self.columns.places(field, value);
        &places[..places.partition_point(|p| (*p as usize) < self.places)]
    }

    fn rule(&self, field: Field, values: &[u32]) -> Rule {
        let spelled = |v: &u32| self.columns.reading.spelling.words[*v as usize].clone();
        match field.of_tokens() {
            true => tokens_rule(field, values, self.tokenizer),
            false => Rule::Lexical { field, tokens: Vec::new(), words: values.iter().map(spelled).collect() },
        }
    }
}

/// The rule of a list of tokens.
pub fn tokens_rule(field: Field, tokens: &[u32], tokenizer: &Tokenizer) -> Rule {
    let words = tokens.iter().map(|id| tokenizer.token_text(*id)).collect();
    Rule::Lexical { field, tokens: tokens.to_vec(), words }
}

/// Keeps the best few, the best first; of equals the one that came first, and one of those that hold at the same places.
fn offer(beam: &mut Vec<Partial>, new: Partial) {
    let score = new.score();
    let at = beam.partition_point(|p| p.score() >= score);
    if at >= BEAM || beam.iter().any(|p| p.overlap == new.overlap && p.holds == new.holds) {
        return;
    }
    beam.insert(at, new);
    beam.truncate(BEAM);
}
