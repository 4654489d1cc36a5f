//! What rules are looked up in: lists of places by token and word, and a bit column for every class.

use std::collections::{BTreeMap, HashMap};

use super::classes::classes;
use super::reading::Reading;
use super::rule::Field;
use super::spelling::NONE;
use crate::analysis::label::Bits;

/// Where each value of a field occurs.
struct Postings {
    /// The value at every place; [`NONE`] where there is none or the place does not count.
    values: Vec<u32>,
    /// Where the places of value v begin in `places`.
    starts: Vec<usize>,
    places: Vec<u32>,
}

impl Postings {
    fn of(values: Vec<u32>) -> Self {
        let size = values.iter().filter(|v| **v != NONE).max().map_or(0, |v| *v as usize + 1);
        let mut starts = vec![0; size + 1];
        values.iter().filter(|v| **v != NONE).for_each(|v| starts[*v as usize + 1] += 1);
        (0..size).for_each(|v| starts[v + 1] += starts[v]);
        let mut next = starts.clone();
        let mut places = vec![0; starts[size]];
        for (place, value) in values.iter().enumerate().filter(|(_, v)| **v != NONE) {
            places[next[*value as usize]] = place as u32;
            next[*value as usize] += 1;
        }
        Self { values, starts, places }
    }

    fn places(&self, value: u32) -> &[u32] {
        match (self.starts.get(value as usize), self.starts.get(value as usize + 1)) {
            (Some(a), Some(b)) => &self.places[*a..*b],
            _ => &[],
        }
    }
}

/// The columns of a reading.
pub struct Columns<'r> {
    /// What they are of.
    pub reading: &'r Reading,
    fields: Vec<Postings>,
    words: HashMap<&'r str, u32>,
    classes: BTreeMap<String, Bits>,
}

impl<'r> Columns<'r> {
    /// Looks at every place of a reading.
    pub fn of(reading: &'r Reading) -> Self {
        let n = reading.tokens.len();
        // A neighbour belongs to the same piece: the network has seen no other.
        let mut neighbours = [vec![NONE; n], vec![NONE; n]];
        for piece in &reading.pieces {
            for place in piece.places.clone().skip(1) {
                neighbours[0][place] = reading.tokens[place - 1];
                neighbours[1][place - 1] = reading.tokens[place];
            }
        }
        let [before, after] = neighbours;
        let spelling = &reading.spelling;
        let column = |field: Field| {
            let values = match field {
                Field::Token => reading.tokens.clone(),
                Field::After => before.clone(),
                Field::Before => after.clone(),
                Field::Word => spelling.word.clone(),
                Field::AfterWord => spelling.previous_word.clone(),
            };
            let counted = |(place, v): (usize, u32)| if reading.counted.contains(place) { v } else { NONE };
            Postings::of(values.into_iter().enumerate().map(counted).collect())
        };
        let words = spelling.words.iter().enumerate().map(|(i, w)| (w.as_str(), i as u32)).collect();
        Self { reading, fields: Field::ALL.map(column).into(), words, classes: classes(reading) }
    }

    /// The classes by name.
    pub fn classes(&self) -> impl Iterator<Item = (&str, &Bits)> {
        self.classes.iter().map(|(name, bits)| (name.as_str(), bits))
    }

    /// The places of a class.
    pub fn class(&self, name: &str) -> Option<&Bits> {
        self.classes.get(name)
    }

    /// The value of a field at a place, if it has one.
    pub fn value(&self, field: Field, place: usize) -> Option<u32> {
        self.fields[field as usize].values.get(place).copied().filter(|v| *v != NONE)
    }

    /// Different values of a field.
    pub fn size(&self, field: Field) -> usize {
        self.fields[field as usize].starts.len().saturating_sub(1)
    }

    /// The counted places at which a field has a value, ascending.
    pub fn places(&self, field: Field, value: u32) -> &[u32] {
        self.fields[field as usize].places(value)
    }

    /// The counted places at which a field has one of these tokens or words.
    pub fn lexical(&self, field: Field, tokens: &[u32], words: &[String]) -> Bits {
        let ids: Vec<u32> = match field.of_tokens() {
            true => tokens.to_vec(),
            false => words.iter().filter_map(|w| self.words.get(w.as_str()).copied()).collect(),
        };
        let places = ids.iter().flat_map(|id| self.places(field, *id)).map(|place| *place as usize);
        Bits::of(self.reading.tokens.len(), places)
    }
}
