//! The organism's tokenizer: byte-level BPE in which every digit, and every letter after a space, is one token.

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, Tokenizer};

use super::books::Books;
use super::skills::Skill;
use crate::hook::random::Stream;
use crate::{Error, Result};

/// Beginning of every text.
pub const BOS: &str = "<s>";
/// End of every text.
pub const EOS: &str = "</s>";
/// Words with their space, single digits, runs of other signs, white space.
const WORDS: &str = r"\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+";
/// Items of each skill that the merges are learned on.
const ITEMS: usize = 4000;

/// Learns a vocabulary of `size` tokens from the training parts of the books and from items of the skills.
///
/// # Errors
/// [`Error::Invalid`] if the tokenizer cannot be built.
pub fn learn(books: &Books, size: usize, seed: u64) -> Result<Tokenizer> {
    let defect = |e: tokenizers::Error| {
        Error::invalid(format!("the organism's tokenizer cannot be built: {e}"), "report this as a defect")
    };
    let split = Split::new(SplitPattern::Regex(WORDS.into()), SplitDelimiterBehavior::Isolated, false);
    let bytes = ByteLevel::new(false, false, false);
    let words =
        Sequence::new(vec![PreTokenizerWrapper::Split(split.map_err(defect)?), PreTokenizerWrapper::ByteLevel(bytes)]);
    let mut template = TemplateProcessing::builder();
    let template = template.try_single(format!("{BOS} $A")).map_err(|e| defect(e.into()))?;
    let template = template.special_tokens(vec![(BOS, 0)]).build().map_err(|e| defect(e.to_string().into()))?;
    let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
        .vocab_size(size)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from(BOS, true), AddedToken::from(EOS, true)])
        .build()
        .into();
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(words)).with_decoder(Some(bytes));
    tokenizer.train(&mut trainer, texts(books, seed).into_iter()).map_err(defect)?;
    tokenizer.with_post_processor(Some(template));
    Ok(tokenizer)
}

/// What the merges are learned on: the training parts of all books, and items of every skill.
fn texts(books: &Books, seed: u64) -> Vec<String> {
    let all = books.languages.iter().flat_map(|(_, books)| books);
    let mut texts: Vec<String> = all.flat_map(|book| book.train.iter().cloned()).collect();
    for (number, skill) in Skill::ALL.into_iter().enumerate() {
        let mut from = Stream::new(seed, &[number as u64]);
        texts.extend((0..ITEMS).map(|_| skill.draw(&mut from, false)).map(|item| item.prompt + &item.answer));
    }
    texts
}
