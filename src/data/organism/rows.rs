//! From items and texts to training rows of equal length, with the tokens that are worth predicting marked.
//!
//! Operands and the first half of a repeat are noise: nothing can be learned from predicting them, so they are not
//! marked. Texts are marked throughout.

use tokenizers::Tokenizer;

use super::books::Books;
use super::skills::Skill;
use super::vocabulary::{BOS, EOS};
use crate::hook::random::Stream;
use crate::{Error, Result};

/// Seed of the order in which tokens join the pool of repeated sequences.
const POOL: u64 = 0x9001;

/// How much of what makes up the rows of an update.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Rows of books per update; languages take turns at random.
    pub text: usize,
    /// Rows of repeated random sequences per update.
    pub repeats: usize,
    /// Rows of packed skill items per update.
    pub skills: usize,
    /// Tokens of a row.
    pub width: usize,
    /// How many different tokens repeated sequences are drawn from, the same ones in every row.
    pub pool: usize,
    /// The longest period of a repeated sequence.
    pub period: usize,
    /// Relative frequency of each skill, in the order of [`Skill::ALL`].
    pub weights: [u32; Skill::ALL.len()],
}

/// What a row is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A stretch of a book.
    #[default]
    Text,
    /// Skill items.
    Skills,
    /// Repeated random sequences.
    Repeats,
}

/// A training row with its marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// What it is made of.
    pub kind: Kind,
    /// The language of a stretch of a book, as an index into the books' languages.
    pub language: Option<usize>,
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether each is worth predicting.
    pub wanted: Vec<bool>,
}

/// Makes rows from a tokenizer and encoded books.
pub struct Packer {
    tokenizer: Tokenizer,
    bos: u32,
    eos: u32,
    /// Every ordinary token, in an order of its own.
    pool: Vec<u32>,
    /// Token streams by language and book.
    texts: Vec<Vec<Vec<u32>>>,
}

impl Packer {
    /// Encodes the training parts of the books.
    ///
    /// # Errors
    /// A tokenizer that lacks `<s>` or `</s>`, or a book that cannot be encoded.
    pub fn new(tokenizer: Tokenizer, books: &Books) -> Result<Self> {
        let special = |token: &str| {
            tokenizer.token_to_id(token).ok_or_else(|| {
                Error::invalid(format!("the organism's tokenizer has no token `{token}`"), "report this as a defect")
            })
        };
        let (bos, eos) = (special(BOS)?, special(EOS)?);
        let mut texts = Vec::with_capacity(books.languages.len());
        for (_, books) in &books.languages {
            let streams = books.iter().map(|book| encode_paragraphs(&tokenizer, &book.train));
            texts.push(streams.collect::<Result<Vec<_>>>()?);
        }
        let vocabulary = tokenizer.get_vocab_size(true) as u32;
        let mut pool: Vec<u32> = (0..vocabulary).filter(|id| *id != bos && *id != eos).collect();
        Stream::new(POOL, &[]).shuffle(&mut pool);
        Ok(Self { tokenizer, bos, eos, pool, texts })
    }

    /// The tokens of a language's training text, book by book.
    pub fn text(&self, language: usize) -> &[Vec<u32>] {
        &self.texts[language]
    }

    /// The rows of an update.
    ///
    /// # Errors
    /// None but the tokenizer's own.
    pub fn rows(&self, mixture: &Mixture, seed: u64, step: u64) -> Result<Vec<Row>> {
        let mut rows = Vec::with_capacity(mixture.text + mixture.repeats + mixture.skills);
        // Kinds alternate, so that any split of the rows into equal shares has some of each.
        let most = mixture.text.max(mixture.repeats).max(mixture.skills);
        for turn in 0..most {
            let mut from = Stream::new(seed, &[step, turn as u64]);
            if turn < mixture.text {
                rows.push(self.text_row(mixture, &mut from));
            }
            if turn < mixture.skills {
                rows.push(self.skill_row(mixture, &mut from)?);
            }
            if turn < mixture.repeats {
                rows.push(self.repeat_row(mixture, &mut from));
            }
        }
        Ok(rows)
    }

    /// Any stretch of any book.
    fn text_row(&self, mixture: &Mixture, from: &mut Stream) -> Row {
        let language = from.below(self.texts.len());
        let books = &self.texts[language];
        let total: usize = books.iter().map(Vec::len).sum();
        let mut at = from.below(total);
        let mut ids = vec![self.bos];
        for book in books {
            if at < book.len() {
                let start = at.min(book.len().saturating_sub(mixture.width - 1));
                ids.extend(book[start..].iter().take(mixture.width - 1));
                break;
            }
            at -= book.len();
        }
        let wanted = (0..ids.len()).map(|i| i > 0).collect();
        Row { kind: Kind::Text, language: Some(language), ids, wanted }.cut(mixture.width, self.eos)
    }

    /// Items one after the other, each between `<s>` and `</s>`; answers and ends are marked.
    fn skill_row(&self, mixture: &Mixture, from: &mut Stream) -> Result<Row> {
        let mut row = Row { kind: Kind::Skills, ..Row::default() };
        let total: u32 = mixture.weights.iter().sum();
        while row.ids.len() < mixture.width {
            let mut at = from.below(total as usize) as u32;
            let mut skill = Skill::ALL[0];
            for (candidate, weight) in Skill::ALL.into_iter().zip(mixture.weights) {
                skill = candidate;
                if at < weight {
                    break;
                }
                at -= weight;
            }
            let item = skill.draw(from, false);
            let (prompt, answer) = (encode(&self.tokenizer, &item.prompt)?, encode(&self.tokenizer, &item.answer)?);
            row.push(&[self.bos], false);
            row.push(&prompt, false);
            row.push(&answer, true);
            row.push(&[self.eos], true);
        }
        Ok(row.cut(mixture.width, self.eos))
    }

    /// Sequences of different random tokens, each repeated until it was said at least twice; repeats are marked.
    fn repeat_row(&self, mixture: &Mixture, from: &mut Stream) -> Row {
        let mut row = Row { kind: Kind::Repeats, ..Row::default() };
        let mut pool = self.pool[..mixture.pool.min(self.pool.len())].to_vec();
        while row.ids.len() < mixture.width {
            let n = from.between(4, mixture.period.min(pool.len()));
            from.shuffle(&mut pool);
            row.push(&[self.bos], false);
            row.push(&pool[..n], false);
            row.push(&pool[..n], true);
        }
        row.cut(mixture.width, self.eos)
    }
}

impl Row {
    fn push(&mut self, ids: &[u32], wanted: bool) {
        self.ids.extend_from_slice(ids);
        self.wanted.extend(std::iter::repeat_n(wanted, ids.len()));
    }

    /// Cut, or filled up with tokens that nobody predicts.
    fn cut(mut self, width: usize, fill: u32) -> Self {
        self.ids.resize(width, fill);
        self.wanted.resize(width, false);
        self
    }
}

/// The ids of a text without special tokens.
///
/// # Errors
/// None but the tokenizer's own.
pub fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(text, false);
    let encoding = encoding.map_err(|e| Error::invalid(format!("a text cannot be encoded: {e}"), "repair the text"))?;
    Ok(encoding.get_ids().to_vec())
}

/// One stream of ids: paragraphs with a line break after each.
///
/// # Errors
/// None but the tokenizer's own.
pub fn encode_paragraphs(tokenizer: &Tokenizer, paragraphs: &[String]) -> Result<Vec<u32>> {
    let lines: Vec<String> = paragraphs.iter().map(|p| format!("{p}\n")).collect();
    let encodings = tokenizer.encode_batch_fast(lines, false);
    let encodings =
        encodings.map_err(|e| Error::invalid(format!("a book cannot be encoded: {e}"), "repair the file"))?;
    Ok(encodings.iter().flat_map(|e| e.get_ids().iter().copied()).collect())
}
