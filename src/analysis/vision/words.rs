//! The words of descriptions.

use std::collections::BTreeMap;

/// Words by number; a description is a list of them between the one that begins and the one that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    words: Vec<String>,
    numbers: BTreeMap<String, u32>,
}

impl Vocabulary {
    /// What comes before the first word.
    pub const BEGIN: u32 = 0;
    /// What comes after the last word.
    pub const END: u32 = 1;

    /// The words of these texts, in the order of the alphabet.
    pub fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut words: Vec<String> = texts.flat_map(|t| t.split(' ').map(str::to_string)).collect();
        words.sort_unstable();
        words.dedup();
        words.splice(0..0, ["(begin)".to_string(), "(end)".to_string()]);
        let numbers = words.iter().enumerate().map(|(i, w)| (w.clone(), i as u32)).collect();
        Self { words, numbers }
    }

    /// How many there are, with those that begin and end.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is no word.
    pub fn is_empty(&self) -> bool {
        self.words.len() <= 2
    }

    /// A text as numbers, from the one that begins to the one that ends; unknown words are left out.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let words = text.split(' ').filter_map(|w| self.numbers.get(w).copied());
        std::iter::once(Self::BEGIN).chain(words).chain(std::iter::once(Self::END)).collect()
    }

    /// Numbers as a text, without those that begin and end.
    pub fn decode(&self, numbers: &[u32]) -> String {
        let words = numbers.iter().filter(|n| **n > Self::END).filter_map(|n| self.words.get(*n as usize));
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}
