//! Interpolated n-grams: the baseline that a language model has to beat.
//!
//! Witten and Bell's interpolation (Chen and Goodman 1999, section 2.6), from the uniform distribution up to order n:
//!
//! ```text
//! p_k(w | h) = (c(h w) + t(h) p_(k-1)(w | h')) / (c(h) + t(h))
//! ```
//!
//! with c(h) how often the context h of k - 1 tokens was followed by anything, t(h) by how many different tokens, and
//! h' the context without its first token. A context that never occurred leaves p_(k-1) as it is.

use crate::{Error, Result};

/// Bits of a token in a packed n-gram.
const BITS: u32 = 16;
/// The bits of an n-gram's last token.
const LAST: u64 = (1 << BITS) - 1;
/// The longest n-gram that fits.
const LONGEST: usize = 4;

/// A language model of counts.
#[derive(Clone, Debug)]
pub struct Ngram {
    vocabulary: usize,
    /// Per order, packed n-grams in ascending order with their counts: those of one context are neighbours.
    orders: Vec<Vec<(u64, u32)>>,
}

impl Ngram {
    /// Counts the n-grams of `streams` up to `order`, which is 1 to 4. Streams are not joined.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another order, a vocabulary of more than 65,536 tokens, or a token beyond it.
    pub fn count(streams: &[Vec<u32>], vocabulary: usize, order: usize) -> Result<Self> {
        if order == 0 || order > LONGEST || vocabulary > 1 << BITS {
            return Err(Error::invalid(
                format!("n-grams of order {order} over {vocabulary} tokens"),
                format!("use order 1 to {LONGEST} and at most {} tokens", 1 << BITS),
            ));
        }
        if let Some(token) = streams.iter().flatten().find(|t| **t as usize >= vocabulary) {
            return Err(Error::invalid(
                format!("token {token} is beyond the vocabulary of {vocabulary}"),
                "count with the tokenizer that made the tokens",
            ));
        }
        let orders = (1..=order).map(|n| {
            let mut all: Vec<u64> = streams.iter().flat_map(|s| s.windows(n).map(pack)).collect();
            all.sort_unstable();
            let runs = all.chunk_by(|a, b| a == b);
            runs.map(|run| (run[0], u32::try_from(run.len()).unwrap_or(u32::MAX))).collect()
        });
        Ok(Self { vocabulary, orders: orders.collect() })
    }

    /// The probability of every token `[vocabulary]` after `context`, of which the last tokens count.
    pub fn next(&self, context: &[u32]) -> Vec<f64> {
        self.after(context, None)
    }

    /// The same as if `token`, which follows this context in the text that was counted, did not stand there: what the
    /// rest of the text says of this place (deleted interpolation).
    pub fn next_elsewhere(&self, context: &[u32], token: u32) -> Vec<f64> {
        self.after(context, Some(token))
    }

    fn after(&self, context: &[u32], but: Option<u32>) -> Vec<f64> {
        let mut p = vec![0.0; self.vocabulary];
        let mut left = 1.0;
        // From the longest context down, each order hands what it keeps back to the next.
        for k in (0..self.orders.len().min(context.len() + 1)).rev() {
            let followers = self.followers(k, &context[context.len() - k..]);
            let count =
                |(gram, count): &(u64, u32)| (gram & LAST, count - u32::from(but.map(u64::from) == Some(gram & LAST)));
            let counts = followers.iter().map(count).filter(|(_, count)| *count > 0);
            let (total, kinds) = counts.clone().fold((0.0, 0.0), |(t, k), (_, c)| (t + f64::from(c), k + 1.0));
            if total == 0.0 {
                continue;
            }
            for (token, count) in counts {
                p[token as usize] += left * f64::from(count) / (total + kinds);
            }
            left *= kinds / (total + kinds);
        }
        p.iter_mut().for_each(|p| *p += left / self.vocabulary as f64);
        p
    }

    /// The n-grams that begin with this context of `k` tokens.
    fn followers(&self, k: usize, context: &[u32]) -> &[(u64, u32)] {
        let grams = &self.orders[k];
        let first = pack(context) << BITS;
        let from = grams.partition_point(|(gram, _)| *gram < first);
        let until = from + grams[from..].partition_point(|(gram, _)| *gram >> BITS == first >> BITS);
        &grams[from..until]
    }
}

fn pack(tokens: &[u32]) -> u64 {
    tokens.iter().fold(0, |packed, token| packed << BITS | u64::from(*token))
}
