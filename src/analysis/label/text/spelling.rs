//! Tokens as people read them: the characters that each covers, and the words that they stand in. Tokens of byte-level
//! tokenizers may end in the middle of a character; a character belongs to every token that has a byte of it.

use std::collections::HashMap;
use std::ops::Range;

use crate::store::Tokenizer;

/// No word, no neighbour.
pub const NONE: u32 = u32::MAX;

/// A character of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyph {
    /// The character; U+FFFD for bytes that are none.
    pub char: char,
    /// Which word of the document it stands in; [`NONE`] between words.
    pub word: u32,
}

/// A document's characters.
#[derive(Clone, Debug)]
pub struct Letters {
    /// In order.
    pub glyphs: Vec<Glyph>,
    /// The characters of each word.
    pub words: Vec<Range<usize>>,
    /// The characters that each of the document's tokens has a byte of; empty for special tokens.
    pub spans: Vec<Range<usize>>,
}

impl Letters {
    /// The document's text.
    pub fn text(&self) -> String {
        self.glyphs.iter().map(|g| g.char).collect()
    }

    /// A word in lower case.
    fn word(&self, word: usize) -> String {
        self.glyphs[self.words[word].clone()].iter().flat_map(|g| g.char.to_lowercase()).collect()
    }

    /// The token's characters.
    pub fn of(&self, token: usize) -> &[Glyph] {
        &self.glyphs[self.spans[token].clone()]
    }

    /// Where the token's first character that is no white space stands, or else its first one; `None` for a token without
    /// characters.
    pub fn lead(&self, token: usize) -> Option<usize> {
        let mut span = self.spans[token].clone();
        span.clone().find(|i| !self.glyphs[*i].char.is_whitespace()).or_else(|| span.next())
    }
}

/// All documents' letters, and the words that tokens stand in and after.
#[derive(Clone, Debug)]
pub struct Spelling {
    /// By document.
    pub letters: Vec<Letters>,
    /// The vocabulary of words, in lower case.
    pub words: Vec<String>,
    /// The word that each place stands in, or [`NONE`].
    pub word: Vec<u32>,
    /// The word before that one, or before the place if it stands in none.
    pub previous_word: Vec<u32>,
}

impl Spelling {
    pub(super) fn of(tokenizer: &Tokenizer, tokens: &[u32], documents: &[Range<usize>]) -> Self {
        let special = tokenizer.special_ids();
        let mut bytes: HashMap<u32, Vec<u8>> = HashMap::new();
        for id in tokens {
            let of = |id: u32| match special.contains(&id) {
                true => Vec::new(),
                false => tokenizer.token_bytes(id).unwrap_or_default(),
            };
            bytes.entry(*id).or_insert_with(|| of(*id));
        }
        let (mut word, mut previous_word) = (vec![NONE; tokens.len()], vec![NONE; tokens.len()]);
        let mut ids: HashMap<String, u32> = HashMap::new();
        let mut words = Vec::new();
        let mut all = Vec::with_capacity(documents.len());
        for places in documents {
            let letters = letters(tokens[places.clone()].iter().map(|id| bytes[id].as_slice()));
            let own: Vec<u32> = (0..letters.words.len())
                .map(|i| {
                    let spelled = letters.word(i);
                    *ids.entry(spelled.clone()).or_insert_with(|| {
                        words.push(spelled);
                        words.len() as u32 - 1
                    })
                })
                .collect();
            let mut last = NONE;
            for (token, place) in places.clone().enumerate() {
                let inside = letters.of(token).iter().rev().map(|g| g.word).find(|w| *w != NONE);
                let before = match inside {
                    Some(at) => (at as usize).checked_sub(1).map_or(NONE, |w| own[w]),
                    None => last,
                };
                if let Some(at) = inside {
                    word[place] = own[at as usize];
                    last = own[at as usize];
                }
                previous_word[place] = before;
            }
            all.push(letters);
        }
        Self { letters: all, words, word, previous_word }
    }
}

/// The characters of tokens' bytes.
fn letters<'b>(tokens: impl Iterator<Item = &'b [u8]>) -> Letters {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for token in tokens {
        bytes.extend_from_slice(token);
        ends.push(bytes.len());
    }
    // Which character each byte is of.
    let (mut glyphs, mut of_byte) = (Vec::new(), Vec::with_capacity(bytes.len()));
    let mut push = |char: char, size: usize, of_byte: &mut Vec<usize>| {
        of_byte.resize(of_byte.len() + size, glyphs.len());
        glyphs.push(Glyph { char, word: NONE });
    };
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(c, c.len_utf8(), &mut of_byte));
        if !chunk.invalid().is_empty() {
            push('\u{fffd}', chunk.invalid().len(), &mut of_byte);
        }
    }
    let mut start = 0;
    let span = |end: usize| {
        let span = if start < end { of_byte[start]..of_byte[end - 1] + 1 } else { 0..0 };
        start = end;
        span
    };
    let spans: Vec<Range<usize>> = ends.into_iter().map(span).collect();
    let words = words(&glyphs);
    for (number, word) in words.iter().enumerate() {
        glyphs[word.clone()].iter_mut().for_each(|g| g.word = number as u32);
    }
    Letters { glyphs, words, spans }
}

/// Runs of letters and digits; apostrophes join letters, and characters of scripts without spaces are words by themselves.
fn words(glyphs: &[Glyph]) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    for (i, glyph) in glyphs.iter().enumerate() {
        let letter = |at: usize| glyphs.get(at).is_some_and(|g: &Glyph| g.char.is_alphabetic());
        let joins = matches!(glyph.char, '\'' | '\u{2019}') && i > 0 && letter(i - 1) && letter(i + 1);
        let part = glyph.char.is_alphanumeric() || joins;
        let alone = stands_alone(glyph.char);
        match words.last_mut() {
            Some(word) if open && part && !alone => word.end = i + 1,
            _ if part => words.push(i..i + 1),
            _ => {}
        }
        open = part && !alone;
    }
    words
}

/// Han, kana and Thai are written without spaces.
fn stands_alone(c: char) -> bool {
    matches!(u32::from(c), 0x0E00..=0x0E7F | 0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0x2_0000..=0x3_FFFF)
}
