//! Heads and sweeps: head scores, patching and ablation maps, as jobs.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lab::{self, given};
use crate::analysis::heads::{self, Pool};
use crate::analysis::inspect::{LONGEST, ablation_map};
use crate::analysis::patching::{Component, Direction, Pair, patching};
use crate::analysis::prompts;
use crate::serve::app::App;
use crate::serve::failure::{Failure, Reply};
use crate::serve::job::{Answer, Snapshot};
use crate::serve::route::{Api, Names, Verb};
use crate::serve::worker::Desk;

/// Pairs of a built-in set.
const PAIRS: usize = 64;

/// What to patch.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// The clean prompt; a built-in set if left out.
    #[serde(default)]
    pub clean: Option<String>,
    /// The corrupted prompt, of as many tokens.
    #[serde(default)]
    pub corrupted: Option<String>,
    /// What follows the clean prompt: one token.
    #[serde(default)]
    pub correct: Option<String>,
    /// What follows the corrupted prompt.
    #[serde(default)]
    pub wrong: Option<String>,
    /// A built-in set of prompts.
    #[serde(default)]
    pub set: prompts::Set,
    /// Pairs of the set, up to 64.
    #[serde(default = "four")]
    #[schemars(range(min = 1, max = 64))]
    pub count: usize,
    /// What to patch; the stream, attention's and MLP's outputs and heads if empty.
    #[serde(default)]
    pub components: Vec<Component>,
    /// Which run is changed.
    #[serde(default)]
    pub direction: Direction,
    /// Seed of the set's draws.
    #[serde(default)]
    pub seed: u64,
}

fn four() -> usize {
    4
}

/// Starts activation patching.
///
/// # Errors
/// What is wrong with the request.
pub fn patch(app: &App, model: &str, ask: Patch) -> Reply<Snapshot> {
    for text in [&ask.clean, &ask.corrupted].into_iter().flatten() {
        lab::check(text)?;
    }
    let title = ("patch", format!("activation patching in {model}"));
    let job = app.begin(title, app.model(model)?, move |desk, job| {
        let pairs = pairs(desk, &ask)?;
        let usual = [Component::ResidPre, Component::AttnOut, Component::MlpOut, Component::Z];
        let components = if ask.components.is_empty() { usual.to_vec() } else { ask.components.clone() };
        let mut watch = desk.watched(job, "patching");
        Answer::of(&patching(&desk.model.decoder, &pairs, &components, ask.direction, &mut watch)?)
    })?;
    Ok(job.snapshot())
}

fn pairs(desk: &Desk, ask: &Patch) -> Reply<Vec<Pair>> {
    let model = &desk.model;
    let Some(clean) = given(&ask.clean) else {
        return Ok(prompts::pairs(model, ask.set, ask.count.clamp(1, PAIRS), ask.seed)?);
    };
    let wanted = |field: &Option<String>, name: &str| {
        field.clone().filter(|text| !text.is_empty()).ok_or_else(|| {
            crate::Error::invalid(format!("there is a clean prompt and no {name}"), "give all four, or none of them")
        })
    };
    let pair = Pair {
        clean: model.encode(clean)?,
        corrupted: model.encode(&wanted(&ask.corrupted, "corrupted prompt")?)?,
        correct: prompts::answer(model, "correct", &wanted(&ask.correct, "correct answer")?)?,
        wrong: prompts::answer(model, "wrong", &wanted(&ask.wrong, "wrong answer")?)?,
    };
    let longest = pair.clean.len().max(pair.corrupted.len());
    match longest > LONGEST {
        true => Err(Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("a prompt of {longest} tokens; a page patches up to {LONGEST}, `optrode patch` longer ones"),
        )),
        false => Ok(vec![pair]),
    }
}

/// What to ablate.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ablate {
    /// The text that is to be predicted.
    pub text: String,
}

/// Starts an ablation of every head and MLP.
///
/// # Errors
/// What is wrong with the request.
pub fn ablate(app: &App, model: &str, ask: Ablate) -> Reply<Snapshot> {
    lab::check(&ask.text)?;
    let title = ("ablate", format!("ablation map of {model}"));
    let job = app.begin(title, app.model(model)?, move |desk, job| {
        let ids = desk.model.encode(&ask.text)?;
        let mut watch = desk.watched(job, "switching off one part after the other");
        Answer::of(&ablation_map(&desk.model, &ids, &mut watch)?)
    })?;
    Ok(job.snapshot())
}

/// Rows of random tokens.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadsOf {
    /// Rows, up to 64.
    #[serde(default = "sixteen")]
    #[schemars(range(min = 1, max = 64))]
    pub rows: usize,
    /// Seed of the tokens.
    #[serde(default)]
    pub seed: u64,
}

fn sixteen() -> usize {
    16
}

/// Starts the scores of all heads.
///
/// # Errors
/// No such model, too many jobs.
pub fn scores(app: &App, model: &str, ask: HeadsOf) -> Reply<Snapshot> {
    let title = ("heads", format!("heads of {model}"));
    let job = app.begin(title, app.model(model)?, move |desk, job| {
        let options = heads::Options { rows: ask.rows.clamp(1, 64), seed: ask.seed, ..heads::Options::default() };
        let mut watch = desk.watched(job, "scoring heads");
        Answer::of(&heads::heads(&desk.model.decoder, &Pool::of(&desk.model), None, &options, &mut watch)?)
    })?;
    Ok(job.snapshot())
}

pub(super) fn routes(api: &mut Api) {
    api.send(
        Verb::Post,
        "/models/{model}/patch",
        "Starts activation patching between two prompts, or on a built-in set.",
        async |app: App, names: Names, asked: Patch| patch(&app, names.get("model")?, asked),
    );
    api.send(
        Verb::Post,
        "/models/{model}/ablate",
        "Starts an ablation of every head and MLP, one by one, on a text.",
        async |app: App, names: Names, asked: Ablate| ablate(&app, names.get("model")?, asked),
    );
    api.send(
        Verb::Post,
        "/models/{model}/heads",
        "Starts the scores of all heads: previous token, duplicate, induction, copying.",
        async |app: App, names: Names, asked: HeadsOf| scores(&app, names.get("model")?, asked),
    );
}
