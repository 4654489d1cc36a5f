//! Answers that the model writes: greedy, until a stop text.

use super::coder::Coder;
use super::likelihood::rows_at_once;
use super::subject::Subject;
use super::{Options, Start};
use crate::Result;
use crate::data::Task;
use crate::generate::{self, ABSTENTION, Finish, Generator, StopWhen};
use crate::models::{Side, Tokens};
use crate::store::Tokenizer;

/// What the model wrote after a prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Response {
    /// The text, up to the first stop text.
    pub text: String,
    /// Why it ended.
    pub finish: String,
    /// Whether the prompt was cut on the left.
    pub cut: bool,
}

/// A prompt with the key of its document.
pub(super) struct Prompt<'a> {
    pub text: &'a str,
    pub document: u64,
}

/// The answers to all prompts, in their order. A prompt is cut on the left where the context has no room for it and the
/// answer; at least half of the context is left to the prompt.
pub(super) fn respond(
    subject: &Subject,
    task: &Task,
    prompts: &[Prompt],
    options: &Options,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Response>> {
    let coder = Coder::new(subject)?;
    let limit = subject.context.unwrap_or(usize::MAX);
    let room = limit.saturating_sub(task.max_gen_toks).max(limit / 2).max(1);
    let mut out = vec![Response::default(); prompts.len()];
    let mut rows = Vec::with_capacity(prompts.len());
    for (i, prompt) in prompts.iter().enumerate() {
        let mut ids = coder.encode(prompt.text)?;
        if ids.is_empty() {
            ids = coder.start(Start::Always);
        }
        let (ids, cut) = coder.cut(ids, room);
        out[i].cut = cut;
        rows.push((i, ids));
    }
    rows.sort_by_key(|(i, ids)| (std::cmp::Reverse(ids.len()), *i));
    let settings = generate::Options {
        max_new_tokens: task.max_gen_toks,
        stop: subject.tokenizer.eos().to_vec(),
        stop_when: stop_when(subject.tokenizer, &task.until),
        context: subject.context,
        sampler: options.sampler.clone(),
        seed: options.seed,
        ..generate::Options::default()
    };
    let generator = Generator {
        net: subject.net,
        pass: &subject.pass,
        registry: &subject.registry,
        values: subject.values.clone(),
    };
    let mut next = 0;
    while next < rows.len() {
        let size = rows_at_once(subject, options, rows[next].1.len());
        let batch = &rows[next..rows.len().min(next + size)];
        let ids: Vec<Vec<u32>> = batch.iter().map(|(_, ids)| ids.clone()).collect();
        let mut tokens = Tokens::from_rows(&ids, Side::Left, 0)?;
        tokens.documents = batch.iter().map(|(i, _)| prompts[*i].document).collect();
        tokens.special = subject.special();
        let made = generator.run(&tokens, &settings, &mut |_, _| {})?;
        for ((i, _), (ids, finish)) in batch.iter().zip(made.rows.iter().zip(&made.finish)) {
            let text = subject.tokenizer.decode(ids, true)?;
            out[*i].text = match finish {
                Finish::Event(_) => ABSTENTION.to_string(),
                _ => until(&text, &task.until).to_string(),
            };
            out[*i].finish = finish.word().to_string();
        }
        next += batch.len();
        done(next);
    }
    Ok(out)
}

/// The text before the first stop text.
fn until<'t>(text: &'t str, stops: &[String]) -> &'t str {
    let first = stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
    &text[..first.unwrap_or(text.len())]
}

/// Ends a row when a stop text has appeared in what it made.
fn stop_when(tokenizer: &Tokenizer, stops: &[String]) -> Option<StopWhen> {
    let longest = stops.iter().map(String::len).max()?;
    let (tokenizer, stops) = (tokenizer.clone(), stops.to_vec());
    Some(StopWhen::new(move |ids| {
        // A token has at least one byte, so a stop text that has just ended lies within as many tokens; some more serve
        // tokenizers that write the first token of a text in another way.
        let tail = &ids[ids.len().saturating_sub(longest + 8)..];
        tokenizer.decode(tail, true).is_ok_and(|text| stops.iter().any(|stop| text.contains(stop.as_str())))
    }))
}
