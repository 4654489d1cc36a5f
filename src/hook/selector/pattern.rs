//! Name patterns: tokens, their canonical text, and a matcher that advances a set of places through the name, one token
//! after the other. Its work is at most tokens x length of the name, whatever the pattern.

use std::collections::HashMap;
use std::fmt;

use super::index::IndexList;

/// The name part of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pattern(pub(super) Vec<Token>);

/// One piece of a pattern. The parser joins neighbouring literals and neighbouring stars.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Token {
    Text(String),
    /// `*`
    Star,
    /// `**`
    DeepStar,
    /// `{0,3..6,-1}`: a whole number, so no digit may stand beside it in the name.
    Numbers(IndexList),
    /// `{q,k,v}`
    Words(Vec<String>),
}

/// For each text that stands before a number in some name, how many numbers there are (the greatest + 1): after
/// `blocks.` that is the number of layers.
#[derive(Default)]
pub(super) struct Places<'a>(HashMap<&'a str, usize>);

impl<'a> Places<'a> {
    pub(super) fn add(&mut self, name: &'a str) {
        let mut at = 0;
        while at < name.len() {
            match number_at(name, at) {
                Some((value, end)) => {
                    let count = self.0.entry(&name[..at]).or_default();
                    *count = (*count).max(value + 1);
                    at = end;
                }
                None => at += 1,
            }
        }
    }

    fn count(&self, before: &str) -> usize {
        self.0.get(before).copied().unwrap_or(0)
    }
}

/// The whole number that starts at byte `at`, and where it ends. Numbers with leading zeros or beyond 15 digits are not
/// indices.
fn number_at(name: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = name.as_bytes();
    if at > 0 && bytes[at - 1].is_ascii_digit() {
        return None;
    }
    let end = at + bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let digits = name.get(at..end)?;
    let index = !digits.is_empty() && digits.len() <= 15 && (digits == "0" || !digits.starts_with('0'));
    index.then(|| digits.parse().ok()).flatten().map(|value| (value, end))
}

impl Pattern {
    /// The name itself, if the pattern is one.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Token::Text(name)] => Some(name),
            _ => None,
        }
    }

    pub(super) fn has_star(&self) -> bool {
        self.0.iter().any(|t| matches!(t, Token::Star | Token::DeepStar))
    }

    /// Whether the whole of `name` fits. If so, `reach` gets, for each token with numbers, the number of blocks at the
    /// places that it read, if that is more than before.
    pub(super) fn matches(&self, name: &str, places: &Places, reach: &mut HashMap<usize, usize>) -> bool {
        let bytes = name.as_bytes();
        let mut seen: Vec<(usize, usize)> = Vec::new();
        let mut live = vec![false; bytes.len() + 1]; // live[p]: the tokens so far can read exactly name[..p]
        live[0] = true;
        for (t, token) in self.0.iter().enumerate() {
            let mut next = vec![false; live.len()];
            let mut on = false;
            for at in 0..live.len() {
                on |= live[at];
                match token {
                    Token::Star | Token::DeepStar => {
                        next[at] = on;
                        on &= matches!(token, Token::DeepStar) || bytes.get(at) != Some(&b'.');
                    }
                    _ if !live[at] => {}
                    Token::Text(text) => step(bytes, at, text, &mut next),
                    Token::Words(words) => words.iter().for_each(|w| step(bytes, at, w, &mut next)),
                    Token::Numbers(list) => {
                        if let Some((value, end)) = number_at(name, at) {
                            let count = places.count(&name[..at]);
                            if list.contains(value, count) {
                                next[end] = true;
                                seen.push((t, count));
                            }
                        }
                    }
                }
            }
            if !next.contains(&true) {
                return false;
            }
            live = next;
        }
        if !live[bytes.len()] {
            return false;
        }
        for (t, count) in seen {
            let most = reach.entry(t).or_default();
            *most = (*most).max(count);
        }
        true
    }

    /// A plain name in the pattern's likeness, to look for names near it: a number stands for numbers and for a star
    /// that fills a whole segment, other stars vanish.
    pub(super) fn sample(&self) -> String {
        let mut out = String::new();
        for (i, token) in self.0.iter().enumerate() {
            match token {
                Token::Text(text) => out.push_str(text),
                Token::Star => {
                    let next = self.0.get(i + 1);
                    let opens = out.is_empty() || out.ends_with('.');
                    let closes = match next {
                        Some(Token::Text(text)) => text.starts_with('.'),
                        other => other.is_none(),
                    };
                    if opens && closes {
                        out.push('0');
                    }
                }
                Token::DeepStar => {}
                Token::Numbers(list) => out.push_str(&list.first().max(0).to_string()),
                Token::Words(words) => out.push_str(words.first().map_or("", String::as_str)),
            }
        }
        out
    }
}

fn step(name: &[u8], at: usize, text: &str, next: &mut [bool]) {
    if name[at..].starts_with(text.as_bytes()) {
        next[at + text.len()] = true;
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.0 {
            match token {
                Token::Text(text) => f.write_str(text)?,
                Token::Star => f.write_str("*")?,
                Token::DeepStar => f.write_str("**")?,
                Token::Numbers(list) => write!(f, "{{{list}}}")?,
                Token::Words(words) => write!(f, "{{{}}}", words.join(","))?,
            }
        }
        Ok(())
    }
}
