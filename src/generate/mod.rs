//! Generating text token by token: sampling, stopping, streaming, with edits and records active all the while.
//!
//! With a cache (the usual way) the prompt is one call and every new token another; without it the whole text is run
//! again for each token. Both give the same text: positions and phases are facts of the text, not of the call.

mod sample;

use candle_core::{DType, Tensor};

use crate::hook::{Event, Pass, Plan, Records, Registry, Tap, Values};
use crate::models::{Input, Network, Side, State, Tokens};
use crate::{Error, Result};

pub use sample::Sampler;

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
    /// Names of events that end a row (an edit may raise one, as Key Space does when it abstains).
    pub stop_events: Vec<String>,
    /// Longest text that the network can take.
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
            stop_events: vec!["abstain".to_string()],
            context: None,
            cache: true,
        }
    }
}

/// Why a row ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// `max_new_tokens` were made.
    Length,
    /// The network's context is full.
    Context,
    /// A stop token was made (it is the row's last).
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
    /// Everything that edits raised.
    pub events: Vec<Event>,
    /// What the pass recorded, over prompt and generated tokens (all but the last, which is never run).
    pub records: Records,
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
    /// Draws are keyed by the seed and each row's document, so that a row's text does not depend on its neighbours.
    ///
    /// # Errors
    /// Prompts that the network refuses, logits that are not numbers, and whatever the edits refuse.
    pub fn run(&self, prompts: &Tokens, options: &Options, on_token: &mut dyn FnMut(usize, u32)) -> Result<Generated> {
        let mut prompts = prompts.clone();
        let texts: Vec<Vec<u32>> = (0..prompts.rows).map(|r| prompts.row(r)).collect();
        prompts.prompt = texts.iter().map(|t| t.len() as u32).collect();
        let mut rows = Rows::new(texts, &prompts, options);
        let mut plan = self.compile()?;
        let mut state = State::cached();
        let mut input = prompts.clone();
        let mut events = Vec::new();
        for _ in 0..options.max_new_tokens {
            if rows.all_done() {
                break;
            }
            if !options.cache {
                plan = self.compile()?;
                state = State::none();
            }
            let logits = self
                .net
                .forward(&Input::Tokens(input.clone()), &mut state, &mut Tap::new(&mut plan))?;
            let raised = plan.drain_events();
            rows.take_events(&raised, &options.stop_events);
            events.extend(raised);
            let ids = rows.choose(&last_logits(&logits, &input)?, on_token)?;
            input = if options.cache {
                prompts.next(&ids, &rows.running)
            } else {
                rows.whole(&prompts)?
            };
        }
        let finish = rows.finish.into_iter().map(|f| f.unwrap_or(Finish::Length)).collect();
        let records = if options.max_new_tokens == 0 {
            Records::default()
        } else {
            plan.records(self.net.sites())?
        };
        Ok(Generated {
            rows: rows.new,
            finish,
            events,
            records,
        })
    }

    fn compile(&self) -> Result<Plan> {
        Plan::compile(self.net.sites(), self.pass, self.registry, self.values.clone(), &[])
    }
}

/// Where each row of a generation stands.
struct Rows<'a> {
    texts: Vec<Vec<u32>>,
    new: Vec<Vec<u32>>,
    running: Vec<bool>,
    finish: Vec<Option<Finish>>,
    draws: Vec<sample::Draw>,
    options: &'a Options,
}

impl<'a> Rows<'a> {
    fn new(texts: Vec<Vec<u32>>, prompts: &Tokens, options: &'a Options) -> Self {
        let rows = texts.len();
        let draws = prompts
            .documents
            .iter()
            .map(|d| options.sampler.draw(options.seed, *d))
            .collect();
        let mut all = Self {
            texts,
            new: vec![Vec::new(); rows],
            running: vec![true; rows],
            finish: vec![None; rows],
            draws,
            options,
        };
        (0..rows).for_each(|r| all.check_context(r));
        all
    }

    fn all_done(&self) -> bool {
        !self.running.iter().any(|r| *r)
    }

    fn end(&mut self, row: usize, why: Finish) {
        self.running[row] = false;
        self.finish[row].get_or_insert(why);
    }

    fn check_context(&mut self, row: usize) {
        if self.options.context.is_some_and(|limit| self.texts[row].len() >= limit) {
            self.end(row, Finish::Context);
        }
    }

    fn take_events(&mut self, events: &[Event], stops: &[String]) {
        for event in events.iter().filter(|e| stops.contains(&e.name)) {
            if self.running[event.row] {
                self.end(event.row, Finish::Event(event.name.clone()));
            }
        }
    }

    /// The next id of every row; rows that have ended get a masked filler.
    fn choose(&mut self, logits: &[Vec<f32>], on_token: &mut dyn FnMut(usize, u32)) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(logits.len());
        for (row, logits) in logits.iter().enumerate() {
            if !self.running[row] {
                ids.push(0);
                continue;
            }
            let id = self.draws[row].next(logits)?;
            self.texts[row].push(id);
            self.new[row].push(id);
            on_token(row, id);
            if self.options.stop.contains(&id) {
                self.end(row, Finish::Stop);
            }
            self.check_context(row);
            ids.push(id);
        }
        Ok(ids)
    }

    /// The whole texts so far, for a generation without a cache.
    fn whole(&self, prompts: &Tokens) -> Result<Tokens> {
        let whole = Tokens::from_rows(&self.texts, Side::Left, 0)?;
        Ok(Tokens {
            documents: prompts.documents.clone(),
            prompt: prompts.prompt.clone(),
            special: prompts.special.clone(),
            ..whole
        })
    }
}

/// The logits at the last real column of every row.
fn last_logits(logits: &Tensor, input: &Tokens) -> Result<Vec<Vec<f32>>> {
    (0..input.rows)
        .map(|row| {
            let real = &input.real[row * input.pos..(row + 1) * input.pos];
            let last = real.iter().rposition(|r| *r).unwrap_or(0);
            let logits = logits.narrow(0, row, 1)?.narrow(1, last, 1)?.flatten_all()?;
            let logits = logits.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            if logits.iter().any(|x| x.is_nan()) {
                return Err(Error::invalid(
                    format!("the logits of row {row} are not numbers"),
                    "an edit or the weights blow up: run `doctor`, or record the residual stream",
                ));
            }
            Ok(logits)
        })
        .collect()
}
