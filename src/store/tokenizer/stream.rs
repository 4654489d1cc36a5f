//! Decoding ids one by one, for text that appears while it is generated.

use super::Tokenizer;
use crate::Result;

/// Most ids that wait for the rest of a character. A character has at most four bytes, so a longer wait means
/// that the bytes are no UTF-8 at all.
const MAX_WAIT: usize = 8;

/// Gives out the text of ids as soon as it is whole: never half a character.
///
/// The pieces put together are the text that [`Tokenizer::decode`] gives for all ids (after
/// [`DecodeStream::finish`]); where a tokenizer writes the first word of a text without its space, only the
/// first piece is without it.
#[derive(Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// Ids of the last piece given out (context: what a token's text is may depend on the one before) and
    /// those that wait.
    ids: Vec<u32>,
    /// How many of `ids` have been given out.
    done: usize,
}

impl<'a> DecodeStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, ids: Vec::new(), done: 0 }
    }

    /// Takes an id; gives the text that has become whole, if any.
    ///
    /// # Errors
    /// When the tokenizer cannot decode.
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.ids.push(id);
        let fresh = self.fresh()?;
        let waits = fresh.ends_with('\u{fffd}') && self.ids.len() - self.done < MAX_WAIT;
        if fresh.is_empty() || waits {
            return Ok(None);
        }
        self.ids.drain(..self.done);
        self.done = self.ids.len();
        Ok(Some(fresh))
    }

    /// Gives the rest; bytes that never became a character are U+FFFD.
    ///
    /// # Errors
    /// When the tokenizer cannot decode.
    pub fn finish(mut self) -> Result<String> {
        let rest = self.fresh()?;
        self.done = self.ids.len();
        Ok(rest)
    }

    /// The text of all ids held, less the text already given out.
    fn fresh(&self) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[..self.done], self.skip_special)?;
        let all = self.tokenizer.decode(&self.ids, self.skip_special)?;
        // Common characters rather than a strict prefix: after a forced U+FFFD the two may part.
        let shared: usize =
            before.chars().zip(all.chars()).take_while(|(a, b)| a == b).map(|(_, b)| b.len_utf8()).sum();
        Ok(all[shared..].to_string())
    }
}
