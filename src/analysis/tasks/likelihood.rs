//! Log-probabilities of given tokens, in batches.

use candle_core::{DType, Tensor};

use super::Options;
use super::coder::Request;
use super::subject::Subject;
use crate::hook::{Plan, Tap};
use crate::models::{Input, Side, State, Tokens};
use crate::{Error, Result};

/// Most logits of one call: 256 MiB as f32.
const MAX_LOGITS: usize = 64 << 20;

/// What the network gave a request: one entry per token of its continuation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Likelihood {
    /// Log-probability of each token, in nats.
    pub log_probs: Vec<f64>,
    /// Whether the token was the likeliest one.
    pub hits: Vec<bool>,
}

/// Requests that need the same call: choices of one token differ only in what they ask of the last position.
struct Row {
    ids: Vec<u32>,
    prompt: u32,
    document: u64,
    requests: Vec<usize>,
}

/// How many rows of this length run at once.
pub(super) fn rows_at_once(subject: &Subject, options: &Options, length: usize) -> usize {
    let per_row = length.max(1).saturating_mul(subject.tokenizer.vocab_size().max(1));
    (MAX_LOGITS / per_row).clamp(1, options.batch.max(1))
}

/// The likelihoods of all requests, in their order. `done` hears how many have been run.
pub(super) fn likelihoods(
    subject: &Subject,
    requests: &[Request],
    options: &Options,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Likelihood>> {
    let mut out = vec![Likelihood::default(); requests.len()];
    let mut rows = rows(requests);
    // The longest first: if memory does not suffice, that shows at once.
    rows.sort_by(|a, b| b.ids.len().cmp(&a.ids.len()).then(a.requests.cmp(&b.requests)));
    let (mut next, mut count) = (0, 0);
    while next < rows.len() {
        let size = rows_at_once(subject, options, rows[next].ids.len());
        let batch = &rows[next..rows.len().min(next + size)];
        run(subject, batch, requests, &mut out)?;
        next += batch.len();
        count += batch.iter().map(|row| row.requests.len()).sum::<usize>();
        done(count);
    }
    Ok(out)
}

fn rows(requests: &[Request]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for (i, request) in requests.iter().enumerate() {
        let last = request.continuation.len() - 1;
        let ids: Vec<u32> = request.context.iter().chain(&request.continuation[..last]).copied().collect();
        let key = (ids, request.context.len(), request.document);
        let at = *known.entry(key).or_insert_with_key(|(ids, prompt, document)| {
            rows.push(Row { ids: ids.clone(), prompt: *prompt as u32, document: *document, requests: Vec::new() });
            rows.len() - 1
        });
        rows[at].requests.push(i);
    }
    rows
}

fn run(subject: &Subject, batch: &[Row], requests: &[Request], out: &mut [Likelihood]) -> Result<()> {
    let ids: Vec<Vec<u32>> = batch.iter().map(|row| row.ids.clone()).collect();
    let mut tokens = Tokens::from_rows(&ids, Side::Right, 0)?;
    tokens.documents = batch.iter().map(|row| row.document).collect();
    tokens.prompt = batch.iter().map(|row| row.prompt).collect();
    tokens.special = subject.special();
    let net = subject.net;
    let mut plan = Plan::compile(net.sites(), &subject.pass, &subject.registry, subject.values.clone(), &[])?;
    let logits = net.forward(&Input::Tokens(tokens), &mut State::none(), &mut Tap::new(&mut plan))?; // [b, t, vocab]
    for (r, row) in batch.iter().enumerate() {
        let first = row.prompt as usize - 1;
        let asked = row.ids.len() - first;
        let logits = logits.narrow(0, r, 1)?.narrow(1, first, asked)?.squeeze(0)?; // [asked, vocab]
        let positions = normalised(&logits)?;
        for i in &row.requests {
            let request = &requests[*i];
            let scored = request.continuation.iter().zip(&positions);
            let scored: Vec<(f64, bool)> = scored.map(|(id, p)| p.of(*id, request)).collect::<Result<_>>()?;
            (out[*i].log_probs, out[*i].hits) = scored.into_iter().unzip();
        }
    }
    Ok(())
}

/// The logits of one position.
struct Position {
    logits: Vec<f32>,
    /// log of the sum of exp of the logits.
    normaliser: f64,
    likeliest: usize,
}

impl Position {
    fn of(&self, id: u32, request: &Request) -> Result<(f64, bool)> {
        let logit = self.logits.get(id as usize).copied().map(f64::from).ok_or_else(|| {
            Error::invalid(
                format!("token id {id} is beyond the vocabulary of {}", self.logits.len()),
                "the tokenizer belongs to another model",
            )
        })?;
        let log_prob = logit - self.normaliser;
        if log_prob.is_nan() {
            return Err(Error::invalid(
                format!("the logits of item {} are not numbers", request.owner),
                "an edit or the weights blow up: run `doctor`, or record the residual stream",
            ));
        }
        Ok((log_prob, self.likeliest == id as usize))
    }
}

fn normalised(logits: &Tensor) -> Result<Vec<Position>> {
    let rows = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let position = |logits: Vec<f32>| {
        let mut likeliest = 0;
        for (i, x) in logits.iter().enumerate() {
            if *x > logits[likeliest] {
                likeliest = i;
            }
        }
        let top = f64::from(logits[likeliest]);
        let sum: f64 = logits.iter().map(|x| (f64::from(*x) - top).exp()).sum();
        Position { normaliser: top + sum.ln(), likeliest, logits }
    };
    Ok(rows.into_iter().map(position).collect())
}
