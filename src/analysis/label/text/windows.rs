//! Windows as prompts show them: text with marks around active tokens, and activations in ten steps.

use std::ops::Range;

use super::reading::Reading;
use super::trace::Trace;
use crate::store::Tokenizer;

/// The steps of discretised activations: 0 to 9, one digit each for every tokenizer.
pub const STEPS: u32 = 9;

/// min(9, floor(10 max(a, 0) / largest)).
pub fn step(value: f32, largest: f32) -> u32 {
    if largest <= 0.0 { 0 } else { ((10.0 * value.max(0.0) / largest) as u32).min(STEPS) }
}

/// A window's text in one line, with `<<` and `>>` around runs of marked places.
pub fn marked(
    reading: &Reading,
    tokenizer: &Tokenizer,
    places: &Range<usize>,
    marks: &dyn Fn(usize) -> bool,
) -> String {
    let mut bytes = Vec::new();
    let mut open = false;
    for place in places.clone() {
        let mark = marks(place);
        if mark != open {
            bytes.extend_from_slice(if mark { b"<<" } else { b">>" });
            open = mark;
        }
        bytes.extend(spelled(reading, tokenizer, place));
    }
    if open {
        bytes.extend_from_slice(b">>");
    }
    line(&bytes)
}

/// A window's text in one line.
pub fn plain(reading: &Reading, tokenizer: &Tokenizer, places: &Range<usize>) -> String {
    marked(reading, tokenizer, places, &|_| false)
}

/// A token's own text in one line.
pub fn token(reading: &Reading, tokenizer: &Tokenizer, place: usize) -> String {
    line(&spelled(reading, tokenizer, place))
}

/// The active tokens of a window with their steps, as explainers are told: `the 9, cat 4`.
pub fn activations(reading: &Reading, tokenizer: &Tokenizer, places: &Range<usize>, trace: &Trace) -> String {
    let largest = trace.largest();
    let from = trace.active.partition_point(|(p, _)| (*p as usize) < places.start);
    let within = trace.active[from..].iter().take_while(|(p, _)| (*p as usize) < places.end);
    let told =
        within.map(|(p, value)| format!("{} {}", token(reading, tokenizer, *p as usize).trim(), step(*value, largest)));
    told.collect::<Vec<_>>().join(", ")
}

fn spelled(reading: &Reading, tokenizer: &Tokenizer, place: usize) -> Vec<u8> {
    let id = reading.tokens[place];
    match tokenizer.special_ids().contains(&id) {
        true => Vec::new(),
        false => tokenizer.token_bytes(id).unwrap_or_default(),
    }
}

fn line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(['\n', '\r', '\t'], " ")
}
