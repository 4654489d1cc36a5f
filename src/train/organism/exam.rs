//! What an organism can do, on items and texts that it never saw.

use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use crate::data::ngram::Ngram;
use crate::data::organism::rows::{encode, encode_paragraphs};
use crate::data::organism::vocabulary::{BOS, EOS};
use crate::data::organism::{Book, Books, Skill};
use crate::hook::{Pass, Registry};
use crate::models::{Decoder, Input, Side, Tokens, execute::observe};
use crate::{Error, Result};

/// Rows of a batch.
const BATCH: usize = 32;
/// Tokens of a stretch of held-out text.
const STRETCH: usize = 256;

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Items of each skill.
    pub items: usize,
    /// Held-out stretches of each language.
    pub stretches: usize,
}

/// An exam while training.
pub const QUICK: Length = Length { items: 100, stretches: 8 };
/// The exam of the model card.
pub const FULL: Length = Length { items: 500, stretches: 64 };

/// The scores of an organism.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exam {
    /// By skill.
    pub skills: Vec<SkillScore>,
    /// By language.
    pub languages: Vec<LanguageScore>,
}

/// Exact matches of a skill on held-out items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkillScore {
    /// The skill.
    pub skill: String,
    /// Items asked.
    pub items: usize,
    /// Items whose greedy answer is right to the last token, end of sequence included.
    pub right: usize,
}

/// Next-token scores of a language on the held-out end of every book.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageScore {
    /// The language.
    pub language: String,
    /// Tokens predicted.
    pub tokens: usize,
    /// Share of tokens that were the likeliest.
    pub accuracy: f64,
    /// Mean loss, nats per token.
    pub loss: f64,
}

/// What interpolated 4-grams of a language's training text predict of the same held-out tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The language.
    pub language: String,
    /// Share of tokens that were the likeliest.
    pub accuracy: f64,
    /// Mean loss, nats per token.
    pub loss: f64,
}

/// The baseline of every language on the stretches that [`examine`] asks.
///
/// # Errors
/// None but the tokenizer's own.
pub fn baselines(tokenizer: &Tokenizer, books: &Books, length: Length) -> Result<Vec<Baseline>> {
    let of_language = |(language, books): &(String, Vec<Book>)| -> Result<Baseline> {
        let train = books.iter().map(|book| encode_paragraphs(tokenizer, &book.train)).collect::<Result<Vec<_>>>()?;
        let ngram = Ngram::count(&train, tokenizer.get_vocab_size(true), 4)?;
        let held_out = books.iter().map(|book| encode_paragraphs(tokenizer, &book.held_out));
        let held_out = held_out.collect::<Result<Vec<_>>>()?;
        let (mut tokens, mut right, mut loss) = (0usize, 0usize, 0f64);
        for stretch in stretches(&held_out, length.stretches) {
            for (at, token) in stretch.iter().enumerate() {
                let p = ngram.next(&stretch[..at]);
                let best = p.iter().copied().fold(0.0, f64::max);
                right += usize::from(p.iter().position(|p| *p == best) == Some(*token as usize));
                loss -= p[*token as usize].ln();
                tokens += 1;
            }
        }
        let n = tokens.max(1) as f64;
        Ok(Baseline { language: language.clone(), accuracy: right as f64 / n, loss: loss / n })
    };
    books.languages.iter().map(of_language).collect()
}

/// Examines an organism.
///
/// # Errors
/// None but the tokenizer's and the network's own.
pub fn examine(decoder: &Decoder, tokenizer: &Tokenizer, books: &Books, length: Length) -> Result<Exam> {
    let skills = Skill::ALL.iter().map(|skill| skill_score(decoder, tokenizer, *skill, length.items));
    let skills = skills.collect::<Result<_>>()?;
    let mut languages = Vec::new();
    for (language, books) in &books.languages {
        let streams = books.iter().map(|book| encode_paragraphs(tokenizer, &book.held_out));
        let streams = streams.collect::<Result<Vec<_>>>()?;
        languages.push(language_score(
            decoder,
            special(tokenizer, BOS)?,
            language,
            &stretches(&streams, length.stretches),
        )?);
    }
    Ok(Exam { skills, languages })
}

/// Evenly spaced stretches of the held-out streams.
pub fn stretches(streams: &[Vec<u32>], n: usize) -> Vec<Vec<u32>> {
    let all: Vec<Vec<u32>> = streams.iter().flat_map(|s| s.chunks_exact(STRETCH - 1)).map(<[u32]>::to_vec).collect();
    let n = n.min(all.len());
    (0..n).map(|i| all[i * all.len() / n].clone()).collect()
}

fn special(tokenizer: &Tokenizer, token: &str) -> Result<u32> {
    tokenizer.token_to_id(token).ok_or_else(|| {
        Error::invalid(format!("the tokenizer has no token `{token}`"), "use the organism's own tokenizer")
    })
}

/// A greedy answer is right if and only if every token of the right answer, read up to it, is the likeliest: one
/// forward call tells.
fn skill_score(decoder: &Decoder, tokenizer: &Tokenizer, skill: Skill, n: usize) -> Result<SkillScore> {
    let (bos, eos) = (special(tokenizer, BOS)?, special(tokenizer, EOS)?);
    let items = skill.test(n);
    let mut right = 0;
    for batch in items.chunks(BATCH) {
        let mut rows = Vec::with_capacity(batch.len());
        let mut starts = Vec::with_capacity(batch.len());
        for item in batch {
            let mut row = vec![bos];
            row.extend(encode(tokenizer, &item.prompt)?);
            starts.push(row.len());
            row.extend(encode(tokenizer, &item.answer)?);
            row.push(eos);
            rows.push(row);
        }
        let best = likeliest(decoder, &rows)?;
        let fits =
            |(row, (start, best)): (&Vec<u32>, (&usize, &Vec<u32>))| row[*start..] == best[*start - 1..row.len() - 1];
        right += rows.iter().zip(starts.iter().zip(&best)).filter(|all| fits(*all)).count();
    }
    Ok(SkillScore { skill: skill.name().into(), items: items.len(), right })
}

/// The likeliest next token at every position of every row, rows filled up on the right.
fn likeliest(decoder: &Decoder, rows: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
    let logits = logits(decoder, rows)?; // [rows, pos, vocab]
    Ok(logits.argmax(2)?.to_vec2()?)
}

fn logits(decoder: &Decoder, rows: &[Vec<u32>]) -> Result<candle_core::Tensor> {
    let input = Input::Tokens(Tokens::from_rows(rows, Side::Right, 0)?);
    Ok(observe(decoder, &input, &Pass::default(), &Registry::elementary())?.output)
}

fn language_score(decoder: &Decoder, bos: u32, language: &str, stretches: &[Vec<u32>]) -> Result<LanguageScore> {
    let (mut tokens, mut right, mut loss) = (0, 0, 0f64);
    for batch in stretches.chunks(BATCH / 4) {
        let rows: Vec<Vec<u32>> = batch.iter().map(|s| [&[bos], s.as_slice()].concat()).collect();
        let logits = logits(decoder, &rows)?; // [rows, pos, vocab]
        let values: Vec<Vec<Vec<f32>>> = logits.to_vec3()?;
        for (row, values) in rows.iter().zip(values) {
            for (next, scores) in row[1..].iter().zip(&values) {
                let right_one = scores[*next as usize];
                let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = scores.iter().map(|s| f64::from(s - max).exp()).sum();
                loss += sum.ln() - f64::from(right_one - max);
                // The first of equal maxima wins, as argmax has it.
                right += usize::from(scores.iter().position(|s| *s == max) == Some(*next as usize));
                tokens += 1;
            }
        }
    }
    let n = tokens.max(1) as f64;
    Ok(LanguageScore { language: language.into(), tokens, accuracy: right as f64 / n, loss: loss / n })
}
