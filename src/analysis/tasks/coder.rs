//! Texts to the pieces that are scored: token ids of a context and of what follows it, cut to the model's context.
//!
//! The rules are those of lm-evaluation-harness: prompt and continuation are encoded as one text and parted where the
//! prompt's own tokens end; white space at the end of the prompt counts as part of the continuation; a text that is longer
//! than the context is scored window by window, every token once. One thing differs: a prompt that is cut on the left
//! keeps the tokens that the tokenizer puts before every text, without which many models fail.

use super::Start;
use super::subject::Subject;
use crate::Result;
use crate::store::Tokenizer;

/// New tokens of a window where a network has no longest text.
const NO_LIMIT: usize = 2048;

/// Ids whose log-probabilities are asked, after a context that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Which item or text it belongs to.
    pub owner: usize,
    /// Keys stochastic edits.
    pub document: u64,
    /// At least one id.
    pub context: Vec<u32>,
    /// At least one id.
    pub continuation: Vec<u32>,
}

/// A prompt and what follows it as ids.
pub(super) struct Pair {
    pub context: Vec<u32>,
    pub continuation: Vec<u32>,
    /// White space of the prompt that is scored with the continuation.
    pub moved: String,
}

pub(super) struct Coder<'a> {
    tokenizer: &'a Tokenizer,
    /// What the tokenizer puts before every text.
    prefix: Vec<u32>,
    /// Most tokens of a call; `None` for no limit.
    limit: Option<usize>,
}

impl<'a> Coder<'a> {
    pub fn new(subject: &Subject<'a>) -> Result<Self> {
        let tokenizer = subject.tokenizer;
        let (whole, bare) = (tokenizer.encode("a", true)?, tokenizer.encode("a", false)?);
        let before = whole.windows(bare.len().max(1)).position(|part| part == bare).unwrap_or(0);
        Ok(Self { tokenizer, prefix: whole[..before].to_vec(), limit: subject.context })
    }

    /// A text with the tokens that belong before it, and none after it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.prefix.clone();
        ids.extend(self.tokenizer.encode(text, false)?);
        Ok(ids)
    }

    /// A text alone.
    pub fn bare(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode(text, false)
    }

    /// What stands before the first token of a text that has no prompt. Empty where there is nothing; then the first token
    /// is not scored.
    pub fn start(&self, start: Start) -> Vec<u32> {
        if start == Start::Tokenizer || !self.prefix.is_empty() {
            return self.prefix.clone();
        }
        self.tokenizer.bos().or(self.tokenizer.eos().first().copied()).into_iter().collect()
    }

    /// [`Coder::start`] in words.
    pub fn start_words(&self, start: Start) -> String {
        let words: Vec<String> = self.start(start).iter().map(|id| self.tokenizer.token_text(*id)).collect();
        match words.is_empty() {
            true => "nothing, so its first token is not scored".to_string(),
            false => words.join(" "),
        }
    }

    /// A prompt and what follows it.
    pub fn pair(&self, prompt: &str, continuation: &str) -> Result<Pair> {
        let trimmed = prompt.trim_end();
        let moved = &prompt[trimmed.len()..];
        let tail = format!("{moved}{continuation}");
        let moved = moved.to_string();
        if trimmed.is_empty() {
            let ids = self.bare(&tail)?;
            let (mut context, mut continuation) = (self.start(Start::Always), ids);
            if context.is_empty() && !continuation.is_empty() {
                context.push(continuation.remove(0));
            }
            return Ok(Pair { context, continuation, moved });
        }
        let whole = self.encode(&format!("{trimmed}{tail}"))?;
        let context = self.encode(trimmed)?;
        // Where the first letters of the continuation melt into the prompt's last token, that token is scored.
        let at = context.len().min(whole.len().saturating_sub(1));
        let continuation = whole[at..].to_vec();
        let context = if at == context.len() { context } else { whole[..at].to_vec() };
        Ok(Pair { context, continuation, moved })
    }

    /// The last `room` tokens of a context, its first ones kept; and whether something was cut.
    pub fn cut(&self, context: Vec<u32>, room: usize) -> (Vec<u32>, bool) {
        if context.len() <= room {
            return (context, false);
        }
        let kept = if context.starts_with(&self.prefix) { self.prefix.len().min(room / 2) } else { 0 };
        let mut out = context[..kept].to_vec();
        out.extend_from_slice(&context[context.len() - (room - kept)..]);
        (out, true)
    }

    /// The calls that score a continuation, every token once; and whether the context was cut.
    ///
    /// The first call holds as much as fits; a later one holds as many new tokens as fit and at least the token before
    /// them, as lm-evaluation-harness's disjoint rolling windows do.
    pub fn windows(&self, owner: usize, document: u64, pair: Pair) -> (Vec<Request>, bool) {
        let Pair { context, continuation, .. } = pair;
        let mut requests = Vec::new();
        if context.is_empty() || continuation.is_empty() {
            return (requests, false);
        }
        let limit = self.limit.unwrap_or(context.len() + NO_LIMIT).max(2);
        // The last token is never run, so a call may hold one more than the limit.
        let room = (limit + 1).saturating_sub(continuation.len()).max(limit / 2);
        let (mut ids, cut) = self.cut(context, room);
        let mut done = ids.len();
        ids.extend(continuation);
        let mut from = 0;
        while done < ids.len() {
            let end = ids.len().min(from + limit + 1);
            let (context, continuation) = (ids[from..done].to_vec(), ids[done..end].to_vec());
            requests.push(Request { owner, document, context, continuation });
            done = end;
            let next = ids.len().min(done + limit);
            from = next.saturating_sub(limit + 1);
        }
        (requests, cut)
    }
}
