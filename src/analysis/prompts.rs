//! Built-in pairs of prompts: where two prompts differ in one thing, and two answers tell which.
//!
//! - *repeated*: random tokens that begin again, `[start, s_1 .. s_n, s_1 .. s_k]`, answered by `s_(k+1)`; in the corrupted
//!   prompt the first half has another token there. For any model, even without a tokenizer.
//! - *indirect object* (Wang 2022): "When Mary and John went to the store, John gave a drink to" - " Mary", not " John".
//! - *questions*: templates of a file, such as the lens prompts' `flexible-generalization.json`, with two arguments.
//! - *greater than* (Hanna 2023): "The war lasted from the year 1741 to the year 17" - a later year, not an earlier one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::corpus::permutation;
use super::heads::Pool;
use super::patching::Pair;
use crate::data::Question;
use crate::hook::random::Stream;
use crate::models::Model;
use crate::{Error, Result};

/// A set of prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Set {
    /// Random tokens that begin again.
    #[default]
    Repeated,
    /// Who is given something.
    IndirectObject,
    /// Which year is later.
    GreaterThan,
}

const NAMES: [&str; 16] = [
    "Mary", "John", "Tom", "James", "Dan", "Martin", "Amy", "Anna", "Paul", "Sarah", "Mark", "Kate", "Lily", "Tim",
    "Ben", "Sam",
];
const PLACES: [(&str, &str); 4] =
    [("store", "a drink"), ("park", "a ball"), ("school", "a book"), ("garden", "a flower")];
const EVENTS: [&str; 4] = ["war", "journey", "project", "reign"];

/// `count` pairs of a set, all of one length in tokens.
///
/// # Errors
/// No tokenizer where words are needed, and words that are several tokens in this one.
pub fn pairs(model: &Model, set: Set, count: usize, seed: u64) -> Result<Vec<Pair>> {
    let pairs = match set {
        Set::Repeated => repeated(&Pool::of(model), count, seed),
        Set::IndirectObject => indirect_object(model, count, seed),
        Set::GreaterThan => greater_than(model, count, seed),
    }?;
    Ok(of_one_length(pairs))
}

/// Up to `count` pairs of questions: a template with one argument and with another whose answer differs. All of one length
/// in tokens; those whose answers are several tokens are left out.
///
/// # Errors
/// No tokenizer, and no pair left.
pub fn questions(model: &Model, all: &[Question], count: usize, seed: u64) -> Result<Vec<Pair>> {
    model.tokenizer()?;
    let mut pairs = Vec::new();
    for question in all {
        for (clean, correct) in &question.answers {
            for (corrupted, wrong) in question.answers.iter().filter(|(other, _)| *other != clean) {
                let one = |text: &str| answer(model, "answer", &format!(" {text}")).ok();
                let (Some(correct), Some(wrong)) = (one(correct), one(wrong)) else { continue };
                if correct != wrong {
                    let prompt = |argument: &str| model.encode(&question.prompt(argument));
                    pairs.push(Pair { clean: prompt(clean)?, corrupted: prompt(corrupted)?, correct, wrong });
                }
            }
        }
    }
    let mut pairs = of_one_length(equal(pairs)?);
    Stream::new(seed, &[7]).shuffle(&mut pairs);
    pairs.truncate(count);
    Ok(pairs)
}

/// The pairs of the commonest length.
fn of_one_length(pairs: Vec<Pair>) -> Vec<Pair> {
    // Maps have one column per position: the commonest length stays.
    let lengths: Vec<usize> = pairs.iter().map(|p| p.clean.len()).collect();
    let times = |n: usize| lengths.iter().filter(|l| **l == n).count();
    let common = lengths.iter().copied().max_by_key(|n| (times(*n), *n));
    pairs.into_iter().filter(|p| Some(p.clean.len()) == common).collect()
}

/// Tokens of a repeated prompt's half.
const HALF: usize = 8;

fn repeated(pool: &Pool, count: usize, seed: u64) -> Result<Vec<Pair>> {
    let ids: Vec<u32> = pool.ids.iter().copied().filter(|id| Some(*id) != pool.start).collect();
    if ids.len() < HALF + 1 {
        return Err(Error::invalid(
            format!("a pool of {} tokens for prompts of {HALF} distinct ones", ids.len()),
            "use a model with a larger vocabulary",
        ));
    }
    let pair = |i: u64| {
        let drawn: Vec<u32> = permutation(ids.len(), seed, i).into_iter().take(HALF + 1).map(|at| ids[at]).collect();
        let (half, other) = (&drawn[..HALF], drawn[HALF]);
        let asked = HALF / 2;
        let begin: Vec<u32> = pool.start.into_iter().collect();
        let clean = [&begin[..], half, &half[..asked]].concat();
        let mut corrupted = clean.clone();
        corrupted[begin.len() + asked] = other;
        Pair { clean, corrupted, correct: half[asked], wrong: other }
    };
    Ok((0..count as u64).map(pair).collect())
}

fn indirect_object(model: &Model, count: usize, seed: u64) -> Result<Vec<Pair>> {
    let mut stream = Stream::new(seed, &[4]);
    let names: Vec<&str> = NAMES.into_iter().filter(|n| answer(model, "name", &format!(" {n}")).is_ok()).collect();
    if names.len() < 2 {
        return Err(Error::invalid(
            "the names of the indirect-object prompts are several tokens each in this model's tokenizer",
            "use the set `repeated`, or prompts of your own whose answers are one token",
        ));
    }
    let pair = |_| {
        let mut two = names.clone();
        stream.shuffle(&mut two);
        let (a, b) = (two[0], two[1]);
        let (place, thing) = PLACES[stream.below(PLACES.len())];
        let prompt = |giver: &str| format!("When {a} and {b} went to the {place}, {giver} gave {thing} to");
        Ok(Pair {
            clean: model.encode(&prompt(b))?,
            corrupted: model.encode(&prompt(a))?,
            correct: answer(model, "correct", &format!(" {a}"))?,
            wrong: answer(model, "wrong", &format!(" {b}"))?,
        })
    };
    equal((0..count).map(pair).collect::<Result<_>>()?)
}

fn greater_than(model: &Model, count: usize, seed: u64) -> Result<Vec<Pair>> {
    let mut stream = Stream::new(seed, &[5]);
    let pair = |_| {
        let event = EVENTS[stream.below(EVENTS.len())];
        let (early, late) = (stream.between(11, 45), stream.between(75, 95));
        let prompt = |year: usize| format!("The {event} lasted from the year 17{year} to the year 17");
        // Later than the clean year and earlier than the corrupted one; earlier than both.
        let (correct, wrong) = (stream.between(early + 5, late - 5), stream.between(2, early - 1));
        Ok(Pair {
            clean: model.encode(&prompt(early))?,
            corrupted: model.encode(&prompt(late))?,
            correct: answer(model, "correct", &correct.to_string())?,
            wrong: answer(model, "wrong", &format!("{wrong:02}"))?,
        })
    };
    equal((0..count).map(pair).collect::<Result<_>>()?)
}

/// Only pairs whose prompts have as many tokens.
fn equal(pairs: Vec<Pair>) -> Result<Vec<Pair>> {
    let kept: Vec<Pair> = pairs.into_iter().filter(|p| p.clean.len() == p.corrupted.len()).collect();
    if kept.is_empty() {
        return Err(Error::invalid(
            "no pair of the set has answers of one token and prompts of equal length in this model's tokenizer",
            "use the set `repeated`, or a pair of your own",
        ));
    }
    Ok(kept)
}

/// An answer's only token. Some tokenizers put a space before every text; then the text without its own is meant.
///
/// # Errors
/// An answer of several tokens, or of none.
pub fn answer(model: &Model, name: &str, text: &str) -> Result<u32> {
    let tokenizer = model.tokenizer()?;
    let ids = tokenizer.encode(text, false)?;
    let trimmed = tokenizer.encode(text.trim_start(), false)?;
    match (ids.as_slice(), trimmed.as_slice()) {
        ([id], _) | (_, [id]) => Ok(*id),
        _ => Err(Error::invalid(
            format!("the {name} answer `{text}` is {} tokens, expected 1", ids.len()),
            "give an answer of one token; the first token of a longer one will do",
        )),
    }
}
