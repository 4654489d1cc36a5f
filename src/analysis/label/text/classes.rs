//! Classes of places: digits, punctuation by kind, scripts, brackets, positions in words, sentences and documents. A class
//! reads the text alone.

use std::collections::{BTreeMap, HashSet};

use super::reading::{Document, Reading};
use super::spelling::{Glyph, Letters, NONE};
use crate::analysis::label::Bits;

/// A class must hold at this many counted places to be of use.
const LEAST: u64 = 10;
/// Endings and beginnings of words that are tried.
const AFFIXES: usize = 32;

/// What is known at a place.
struct At<'a> {
    letters: &'a Letters,
    marks: &'a [Marks],
    /// The place's characters.
    glyphs: &'a [Glyph],
    /// Index of its first character that is no white space.
    lead: usize,
    /// Its last character's index.
    last: usize,
    /// The word it stands in: its characters.
    word: Option<std::ops::Range<usize>>,
    /// Its number in the document.
    token: usize,
    seen: bool,
    same: bool,
}

/// What a character stands in.
#[derive(Clone, Copy, Default)]
struct Marks {
    brackets: bool,
    quotes: bool,
    line: bool,
    sentence: bool,
    address: bool,
}

impl At<'_> {
    fn char(&self) -> char {
        self.letters.glyphs[self.lead].char
    }

    /// Whether it has characters besides white space, and all of them are such.
    fn all(&self, is: impl Fn(char) -> bool) -> bool {
        let mut visible = self.glyphs.iter().map(|g| g.char).filter(|c| !c.is_whitespace()).peekable();
        visible.peek().is_some() && visible.all(is)
    }

    fn any(&self, is: impl Fn(char) -> bool) -> bool {
        self.glyphs.iter().any(|g| is(g.char))
    }

    fn word(&self) -> &[Glyph] {
        self.word.clone().map_or(&[], |word| &self.letters.glyphs[word])
    }
}

type Class = (&'static str, fn(&At) -> bool);

/// Classes that every text can have.
const CLASSES: &[Class] = &[
    ("digits", |at| at.all(|c| c.is_numeric())),
    ("a number of four digits", |at| at.word().len() == 4 && at.word().iter().all(|g| g.char.is_ascii_digit())),
    ("a capitalised word", |at| {
        let word = at.word();
        word.len() > 1 && word[0].char.is_uppercase() && word[1..].iter().any(|g| g.char.is_lowercase())
    }),
    ("a word in capitals", |at| at.word().len() > 1 && at.word().iter().all(|g| g.char.is_uppercase())),
    ("capital letters", |at| at.all(char::is_uppercase)),
    ("small letters", |at| at.all(char::is_lowercase)),
    ("letters with accents", |at| at.any(|c| matches!(u32::from(c), 0xC0..=0x24F) && c.is_alphabetic())),
    ("ends in a vowel", |at| at.letters.glyphs[at.last].char.to_lowercase().any(|c| "aeiouyаеёиоуыэюя".contains(c))),
    ("a single letter as a word", |at| at.word().len() == 1 && at.word()[0].char.is_alphabetic()),
    ("a comma", |at| at.any(|c| matches!(c, ',' | '、' | '，' | '،'))),
    ("a full stop", |at| at.any(|c| matches!(c, '.' | '。' | '．' | '।'))),
    ("a question or exclamation mark", |at| at.any(|c| matches!(c, '?' | '!' | '？' | '！' | '¿' | '¡'))),
    ("a colon or semicolon", |at| at.any(|c| matches!(c, ':' | ';' | '：' | '；'))),
    ("a quotation mark", |at| at.any(is_quote)),
    ("an apostrophe", |at| at.any(|c| matches!(c, '\'' | '’'))),
    ("a dash or hyphen", |at| at.any(|c| matches!(c, '-' | '–' | '—' | '―' | '…'))),
    ("an opening bracket", |at| at.any(|c| matches!(c, '(' | '[' | '{' | '（' | '《' | '「'))),
    ("a closing bracket", |at| at.any(|c| matches!(c, ')' | ']' | '}' | '）' | '》' | '」'))),
    ("a sign of arithmetic", |at| at.any(|c| matches!(c, '+' | '-' | '*' | '/' | '=' | '<' | '>' | '×' | '÷' | '%'))),
    ("a sign of code or markup", |at| {
        at.any(|c| {
            matches!(c, '{' | '}' | '<' | '>' | '=' | ';' | '_' | '#' | '`' | '\\' | '|' | '&' | '@' | '$' | '~')
        })
    }),
    ("punctuation", |at| at.all(|c| !c.is_alphanumeric() && c != '\u{fffd}')),
    ("a line break", |at| at.any(|c| c == '\n')),
    ("white space alone", |at| at.glyphs.iter().all(|g| g.char.is_whitespace())),
    ("the start of a word", |at| at.word.as_ref().is_some_and(|w| at.lead <= w.start && at.glyphs.len() < w.len() + 2)),
    ("inside a word, after its start", |at| at.word.as_ref().is_some_and(|w| at.lead > w.start)),
    ("the end of a word", |at| at.word.as_ref().is_some_and(|w| at.last + 1 >= w.end)),
    ("a whole word", |at| at.word.as_ref().is_some_and(|w| at.lead <= w.start && at.last + 1 >= w.end)),
    ("in a word of three letters or fewer", |at| (1..=3).contains(&at.word().len())),
    ("in a word of eight letters or more", |at| at.word().len() >= 8),
    ("inside brackets", |at| at.marks[at.lead].brackets),
    ("inside quotation marks", |at| at.marks[at.lead].quotes),
    ("inside a web address", |at| at.marks[at.lead].address),
    ("first of a line", |at| at.marks[at.lead].line),
    ("first of a sentence", |at| at.marks[at.lead].sentence),
    ("a token seen before in the document", |at| at.seen),
    ("a token not seen before in the document", |at| !at.seen),
    ("the same token as before", |at| at.same),
    ("the first five tokens of the document", |at| at.token <= 5),
    ("the first sixteen tokens of the document", |at| at.token <= 16),
    ("in Latin script", |at| is_script(at.char(), &[(0x41, 0x24F), (0x1E00, 0x1EFF)])),
    ("in Cyrillic script", |at| is_script(at.char(), &[(0x400, 0x52F)])),
    ("in Greek script", |at| is_script(at.char(), &[(0x370, 0x3FF), (0x1F00, 0x1FFF)])),
    ("in Arabic script", |at| is_script(at.char(), &[(0x600, 0x6FF), (0x750, 0x77F)])),
    ("in Hebrew script", |at| is_script(at.char(), &[(0x590, 0x5FF)])),
    ("in Devanagari", |at| is_script(at.char(), &[(0x900, 0x97F)])),
    ("in Thai script", |at| is_script(at.char(), &[(0xE00, 0xE7F)])),
    ("in Han characters", |at| is_script(at.char(), &[(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0x2_0000, 0x3_FFFF)])),
    ("in kana", |at| is_script(at.char(), &[(0x3040, 0x30FF)])),
    ("in hangul", |at| is_script(at.char(), &[(0xAC00, 0xD7AF), (0x1100, 0x11FF)])),
    ("bytes that are no character", |at| at.any(|c| c == '\u{fffd}')),
];

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '“' | '”' | '„' | '«' | '»' | '‘' | '「' | '」' | '『' | '』')
}

fn is_script(c: char, ranges: &[(u32, u32)]) -> bool {
    c.is_alphabetic() && ranges.iter().any(|(low, high)| (*low..=*high).contains(&u32::from(c)))
}

/// Every class that holds at some counted places but not at all of them, by name.
pub(super) fn classes(reading: &Reading) -> BTreeMap<String, Bits> {
    let mut columns: BTreeMap<String, Bits> = BTreeMap::new();
    let n = reading.tokens.len();
    let (endings, beginnings) = affixes(reading);
    for (index, document) in reading.documents.iter().enumerate() {
        let letters = &reading.spelling.letters[index];
        let marks = marks(letters);
        let mut seen: HashSet<u32> = HashSet::new();
        let whole = whole(reading, document, letters);
        for (token, place) in document.places.clone().enumerate() {
            let id = reading.tokens[place];
            let new = seen.insert(id);
            let Some(lead) = letters.lead(token).filter(|_| reading.counted.contains(place)) else { continue };
            let glyphs = letters.of(token);
            let number = glyphs.iter().map(|g| g.word).find(|w| *w != NONE);
            let at = At {
                letters,
                marks: &marks,
                glyphs,
                lead,
                last: letters.spans[token].end - 1,
                word: number.map(|w| letters.words[w as usize].clone()),
                token,
                seen: !new,
                same: token > 0 && reading.tokens[place - 1] == id,
            };
            let mut holds = |name: &str| match columns.get_mut(name) {
                Some(bits) => bits.insert(place),
                None => {
                    columns.insert(name.to_string(), Bits::of(n, [place]));
                }
            };
            CLASSES.iter().filter(|(_, is)| is(&at)).for_each(|(name, _)| holds(name));
            whole.iter().for_each(|name| holds(name));
            let word = reading.spelling.word[place];
            if word != NONE {
                let spelled = &reading.spelling.words[word as usize];
                endings
                    .iter()
                    .filter(|e| ends(spelled, e))
                    .for_each(|e| holds(&format!("in a word that ends in \"{e}\"")));
                let begins = beginnings.iter().filter(|b| spelled.len() > b.len() && spelled.starts_with(b.as_str()));
                begins.for_each(|b| holds(&format!("in a word that begins with \"{b}\"")));
            }
        }
    }
    let all = reading.count();
    columns.retain(|_, bits| (LEAST..=all.saturating_sub(LEAST)).contains(&bits.count()));
    columns
}

/// Classes of all of a document's places: its language as whatlang judges, and its group.
fn whole(reading: &Reading, document: &Document, letters: &Letters) -> Vec<String> {
    let language = whatlang::detect(&letters.text()).filter(whatlang::Info::is_reliable);
    let mut names: Vec<String> = language.iter().map(|l| format!("in {} text", l.lang().eng_name())).collect();
    if let (Some(group), 2..) = (reading.groups.get(document.group), reading.groups.len()) {
        names.push(format!("in documents of `{group}`"));
    }
    names
}

/// The commonest endings and beginnings, two or three letters long, of different words of five letters or more.
fn affixes(reading: &Reading) -> (Vec<String>, Vec<String>) {
    let (mut ends, mut begins): (BTreeMap<String, usize>, BTreeMap<String, usize>) = Default::default();
    for word in reading.spelling.words.iter() {
        let letters: Vec<char> = word.chars().collect();
        if letters.len() < 5 || !letters.iter().all(|c| c.is_alphabetic()) {
            continue;
        }
        for size in [2, 3] {
            *ends.entry(letters[letters.len() - size..].iter().collect()).or_default() += 1;
            *begins.entry(letters[..size].iter().collect()).or_default() += 1;
        }
    }
    let common = |counts: BTreeMap<String, usize>| {
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        counts.into_iter().take(AFFIXES).map(|(affix, _)| affix).collect()
    };
    (common(ends), common(begins))
}

fn ends(word: &str, ending: &str) -> bool {
    word.len() > ending.len() && word.ends_with(ending)
}

/// What each character stands in, read from left to right.
fn marks(letters: &Letters) -> Vec<Marks> {
    let mut marks = Vec::with_capacity(letters.glyphs.len());
    let (mut depth, mut quoted, mut line, mut sentence, mut address) = (0usize, false, true, true, false);
    let char = |i: usize| letters.glyphs.get(i).map_or(' ', |g| g.char);
    for i in 0..letters.glyphs.len() {
        let c = char(i);
        address = if address { !c.is_whitespace() } else { starts_address(&letters.glyphs[i..]) };
        marks.push(Marks { brackets: depth > 0, quotes: quoted, line, sentence, address });
        match c {
            '(' | '[' | '{' | '（' => depth += 1,
            ')' | ']' | '}' | '）' => depth = depth.saturating_sub(1),
            '“' | '„' | '«' | '「' => quoted = true,
            '”' | '»' | '」' => quoted = false,
            '"' => quoted = !quoted,
            '\n' => quoted = false,
            _ => {}
        }
        if c == '\n' {
            (line, sentence) = (true, true);
        } else if !c.is_whitespace() {
            line = false;
            // A stop ends a sentence where white space follows; brackets and quotes belong to the next one.
            let stop = matches!(c, '.' | '!' | '?') && char(i + 1).is_whitespace();
            sentence = stop || matches!(c, '。' | '！' | '？') || (sentence && !c.is_alphanumeric());
        }
    }
    marks
}

fn starts_address(rest: &[Glyph]) -> bool {
    ["http://", "https://", "www."].iter().any(|start| {
        let mut chars = rest.iter().map(|g| g.char);
        start.chars().all(|c| chars.next() == Some(c))
    })
}
