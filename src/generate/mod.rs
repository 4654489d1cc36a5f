//! Generating text token by token: sampling, stopping, streaming, with edits and records active all the while.
//!
//! With a cache (the usual way) the prompt is one call and every new token another; without it the whole text is run
//! again for each token. Both give the same text: positions and phases are facts of the text, not of the call.

mod sample;

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::hook::{Event, Output, Pass, Plan, Records, Registry, Tap, Values};
use crate::models::{Input, Network, State, Tokens};
use crate::{Error, Result};

pub use sample::Sampler;

/// The answer of a row that an edit ended by abstaining, in the place of all that it had made.
pub const ABSTENTION: &str = "Sorry, your query is not valid";

/// How to generate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most tokens to add to each prompt.
    pub max_new_tokens: usize,
    /// How to choose a token.
    pub sampler: Sampler,
    /// Seed of sampling.
    pub seed: u64,
    /// Ids that end a row.
    pub stop: Vec<u32>,
    /// Ends a row by what it has made, such as a stop text.
    pub stop_when: Option<StopWhen>,
    /// Names of events that end a row (an edit may raise one, as Key Space does when it abstains).
    pub stop_events: Vec<String>,
    /// Longest text that the network can take: the last token of a row may come after it, for it is never run.
    pub context: Option<usize>,
    /// Keep keys and values between tokens.
    pub cache: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_new_tokens: 50,
            sampler: Sampler::Greedy,
            seed: 0,
            stop: Vec::new(),
            stop_when: None,
            stop_events: vec!["abstain".to_string()],
            context: None,
            cache: true,
        }
    }
}

/// Whether a row has ended, by the ids that it has made.
#[derive(Clone)]
pub struct StopWhen(Arc<Rule>);

type Rule = dyn Fn(&[u32]) -> bool + Send + Sync;

impl StopWhen {
    /// Ends a row as soon as `ended` holds for its new ids.
    pub fn new(ended: impl Fn(&[u32]) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(ended))
    }
}

impl fmt::Debug for StopWhen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("StopWhen")
    }
}

/// Why a row ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// `max_new_tokens` were made.
    Length,
    /// The network's context is full.
    Context,
    /// A stop token was made (it is the row's last), or [`Options::stop_when`] held.
    Stop,
    /// An edit raised this event.
    Event(String),
}

impl Finish {
    /// A word for JSON and tables.
    pub fn word(&self) -> &str {
        match self {
            Self::Length => "length",
            Self::Context => "context",
            Self::Stop => "stop",
            Self::Event(name) => name,
        }
    }
}

/// What was generated.
#[derive(Clone, Debug)]
pub struct Generated {
    /// New ids by row.
    pub rows: Vec<Vec<u32>>,
    /// Why each row ended.
    pub finish: Vec<Finish>,
    /// Everything that edits raised, by position and row.
    pub events: Vec<Event>,
    /// What the pass recorded, over prompt and generated tokens (all but each row's last, which is never run): the
    /// columns of the prompts, then one per step. Empty where nothing was run.
    pub records: Records,
    /// Edits that acted nowhere: their positions, rows or phase never came.
    pub idle: Vec<String>,
}

/// A network with what to record and edit while it generates.
pub struct Generator<'a> {
    /// The network.
    pub net: &'a dyn Network,
    /// What to record and edit.
    pub pass: &'a Pass,
    /// The known edit operations.
    pub registry: &'a Registry,
    /// Stored tensors that edits refer to.
    pub values: Values,
}

impl Generator<'_> {
    /// Continues every prompt. `on_token` hears (row, id) of each new token as it is made.
    ///
    /// Draws are keyed by the seed, each row's document and the position, so that a row's text does not depend on its
    /// neighbours.
    ///
    /// # Errors
    /// Prompts that the network refuses, logits that are not numbers, and whatever the edits refuse.
    pub fn run(&self, prompts: &Tokens, options: &Options, on_token: &mut dyn FnMut(usize, u32)) -> Result<Generated> {
        options.sampler.check()?;
        let mut whole = prompts.clone();
        whole.prompt = (0..prompts.rows).map(|r| prompts.row(r).len() as u32).collect();
        let mut input = whole.clone();
        let mut rows = Rows::new(&input, options)?;
        let mut plan = self.compile()?;
        let mut state = State::cached();
        let mut events = Vec::new();
        let mut runs = 0;
        while runs < options.max_new_tokens && !rows.all_done() {
            if !options.cache {
                plan = self.compile()?;
                state = State::none();
                events.clear();
                input = whole.clone();
            }
            let logits = self.net.forward(&Input::Tokens(input.clone()), &mut state, &mut Tap::new(&mut plan))?;
            runs += 1;
            let raised = plan.drain_events();
            rows.take_events(&raised, &options.stop_events);
            events.extend(raised);
            let ids = rows.choose(&last_logits(&logits, &rows.running)?, on_token)?;
            input = input.next(&ids, &rows.running);
            whole = joined(&whole, &input);
        }
        let idle = plan.idle().iter().map(|selector| selector.to_string()).collect();
        let records = match runs {
            0 => Records::default(),
            _ => plan.records_so_far(self.net.sites())?,
        };
        events.sort_by_key(|e| (e.position, e.row));
        Ok(Generated {
            finish: rows.finish.into_iter().map(|f| f.unwrap_or(Finish::Length)).collect(),
            rows: rows.new,
            events,
            records,
            idle,
        })
    }

    fn compile(&self) -> Result<Plan> {
        let pass = Pass { output: Output::Last, ..self.pass.clone() };
        Plan::compile(self.net.sites(), &pass, self.registry, self.values.clone(), &[])
    }
}

/// Where each row of a generation stands.
struct Rows<'o> {
    new: Vec<Vec<u32>>,
    running: Vec<bool>,
    finish: Vec<Option<Finish>>,
    prompt: Vec<u32>,
    documents: Vec<u64>,
    options: &'o Options,
}

impl<'o> Rows<'o> {
    fn new(prompts: &Tokens, options: &'o Options) -> Result<Self> {
        let longest = prompts.prompt.iter().copied().max().unwrap_or(0) as usize;
        if let Some(limit) = options.context.filter(|limit| longest > *limit) {
            return Err(Error::invalid(
                format!("a prompt of {longest} tokens is longer than the model's context of {limit}"),
                "shorten it",
            ));
        }
        Ok(Self {
            new: vec![Vec::new(); prompts.rows],
            running: vec![true; prompts.rows],
            finish: vec![None; prompts.rows],
            prompt: prompts.prompt.clone(),
            documents: prompts.documents.clone(),
            options,
        })
    }

    fn all_done(&self) -> bool {
        !self.running.iter().any(|r| *r)
    }

    fn end(&mut self, row: usize, why: Finish) {
        self.running[row] = false;
        self.finish[row].get_or_insert(why);
    }

    fn take_events(&mut self, events: &[Event], stops: &[String]) {
        for event in events.iter().filter(|e| stops.contains(&e.name)) {
            if self.running.get(event.row) == Some(&true) {
                self.end(event.row, Finish::Event(event.name.clone()));
            }
        }
    }

    /// The next id of every row; rows that have ended get a filler, which counts as padding.
    fn choose(&mut self, logits: &[Vec<f32>], on_token: &mut dyn FnMut(usize, u32)) -> Result<Vec<u32>> {
        let options = self.options;
        let mut ids = vec![0; logits.len()];
        for (row, logits) in logits.iter().enumerate().filter(|(_, l)| !l.is_empty()) {
            let position = self.prompt[row] as usize + self.new[row].len();
            let id = options.sampler.choose(logits, options.seed, self.documents[row], position as u64)?;
            ids[row] = id;
            self.new[row].push(id);
            on_token(row, id);
            let by_rule = || options.stop_when.as_ref().is_some_and(|stop| (stop.0)(&self.new[row]));
            if options.stop.contains(&id) || by_rule() {
                self.end(row, Finish::Stop);
            } else if self.new[row].len() < options.max_new_tokens && options.context.is_some_and(|c| position >= c) {
                self.end(row, Finish::Context);
            }
        }
        Ok(ids)
    }
}

/// Two calls of the same rows side by side, as one call.
fn joined(before: &Tokens, next: &Tokens) -> Tokens {
    let mut whole = Tokens {
        pos: before.pos + next.pos,
        ids: Vec::with_capacity(before.ids.len() + next.ids.len()),
        real: Vec::with_capacity(before.ids.len() + next.ids.len()),
        ..before.clone()
    };
    for row in 0..before.rows {
        for part in [before, next] {
            let span = row * part.pos..(row + 1) * part.pos;
            whole.ids.extend_from_slice(&part.ids[span.clone()]);
            whole.real.extend_from_slice(&part.real[span]);
        }
    }
    whole
}

/// The logits `[b, 1, vocab]` of every running row; nothing for the others.
fn last_logits(logits: &Tensor, running: &[bool]) -> Result<Vec<Vec<f32>>> {
    let of_row = |row: usize| {
        if !running[row] {
            return Ok(Vec::new());
        }
        let logits = logits.narrow(0, row, 1)?.flatten_all()?;
        let logits = logits.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        if logits.iter().any(|x| x.is_nan()) {
            return Err(Error::invalid(
                format!("the logits of row {row} are not numbers"),
                "an edit or the weights blow up: run `doctor`, or record the residual stream",
            ));
        }
        Ok(logits)
    };
    (0..running.len()).map(of_row).collect()
}
