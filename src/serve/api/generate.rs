//! Continuing a text, as it is and under edits, streamed.

use std::sync::Arc;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::lab;
use crate::analysis::registry;
use crate::generate::{ABSTENTION, Finish, Generator, Options, Sampler, StopWhen};
use crate::hook::{Edit, Pass, Values};
use crate::models::{Side, Tokens};
use crate::report::{Block, Cell, Column, Table, Watcher};
use crate::serve::app::App;
use crate::serve::failure::{Failure, Reply};
use crate::serve::job::{Answer, Job, Snapshot};
use crate::serve::route::{Api, Names, Verb};
use crate::serve::worker::Desk;
use crate::store::Bundle;

/// The longest prompt that a page may give, in tokens.
const PROMPT: usize = 2048;
/// Most tokens that a page may ask for.
const MOST: usize = 512;

/// What to continue.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The text.
    pub text: String,
    /// Edits of the second stream.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// The name of a saved edit of the second stream.
    #[serde(default)]
    pub saved: Option<String>,
    /// Most tokens to add, up to 512.
    #[serde(default = "forty")]
    #[schemars(range(min = 1, max = 512))]
    pub tokens: usize,
    /// 0 takes the likeliest token.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub temperature: f64,
    /// Seed of sampling.
    #[serde(default)]
    pub seed: u64,
}

fn forty() -> usize {
    40
}

/// Starts both streams: `plain`, and `edited` where there are edits.
///
/// # Errors
/// What is wrong with the request.
pub fn begin(app: &App, model: &str, ask: Ask) -> Reply<Snapshot> {
    lab::check(&ask.text)?;
    let mut edits = app.edits(None, ask.saved.as_deref())?;
    edits.file.edits.extend(ask.edits.iter().cloned());
    let title = ("generate", format!("generate with {model}"));
    let job = app.begin(title, app.model(model)?, move |desk, job| streams(desk, job, &ask, &edits))?;
    Ok(job.snapshot())
}

fn streams(desk: &Desk, job: &Arc<Job>, ask: &Ask, edits: &Bundle) -> Reply<Answer> {
    desk.fits(edits)?;
    let mut rows = vec![stream(desk, job, ask, &empty(edits), "plain")?];
    if !edits.file.edits.is_empty() {
        rows.push(stream(desk, job, ask, edits, "edited")?);
    }
    let columns = ["stream", "text", "ended by"].map(Column::new).to_vec();
    let row = |(side, text, finish): &(String, String, String)| [side, text, finish].map(Cell::text).to_vec();
    let result = rows.iter().map(|(side, text, finish)| json!({ "side": side, "text": text, "finish": finish }));
    Ok(Answer {
        result: result.collect(),
        blocks: vec![Block::Table(Table { columns, rows: rows.iter().map(row).collect() })],
    })
}

fn empty(edits: &Bundle) -> Bundle {
    let mut none = edits.clone();
    none.file.edits.clear();
    none
}

/// One stream: side, text and why it ended.
fn stream(desk: &Desk, job: &Arc<Job>, ask: &Ask, edits: &Bundle, side: &str) -> Reply<(String, String, String)> {
    let model = &desk.model;
    let tokenizer = model.tokenizer()?;
    let mut tokens = Tokens::from_rows(&[model.encode(&ask.text)?], Side::Left, model.pad())?;
    tokens.special = model.special();
    if tokens.pos > PROMPT {
        return Err(Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("a prompt of {} tokens; a page takes up to {PROMPT}, `optrode generate` more", tokens.pos),
        ));
    }
    let sampler = match ask.temperature > 0.0 {
        true => Sampler::Random { temperature: ask.temperature, top_k: None, top_p: None },
        false => Sampler::Greedy,
    };
    let stopped = Arc::clone(job);
    let options = Options {
        max_new_tokens: ask.tokens.clamp(1, MOST),
        sampler,
        seed: ask.seed,
        stop: model.eos(),
        stop_when: Some(StopWhen::new(move |_| stopped.check().is_err())),
        context: model.decoder.facts().context,
        ..Options::default()
    };
    let pass = Pass { edits: edits.file.edits.clone(), seed: ask.seed, ..Pass::default() };
    let registry = registry();
    let values = Values { stored: edits.tensors.clone(), ..Values::default() };
    let generator = Generator { net: &model.decoder, pass: &pass, registry: &registry, values };
    // The prompt first, so that a piece of a character at its end finds its rest.
    let mut pieces = tokenizer.stream(true);
    for id in tokens.row(0) {
        pieces.push(id)?;
    }
    let (mut failed, mut made) = (None, 0);
    let generated = generator.run(&tokens, &options, &mut |_, id| {
        made += 1;
        job.hear(side, made, Some(ask.tokens as u64));
        match pieces.push(id) {
            Ok(Some(text)) => job.say(side, text),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
        // Others' questions are answered between two tokens; a stop is seen by `stop_when`.
        if let Err(error) = desk.pause(job) {
            failed.get_or_insert(error);
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    job.say(side, pieces.finish()?);
    if let Some(Finish::Event(_)) = generated.finish.first() {
        job.say(side, format!(" [{ABSTENTION}]"));
    }
    for idle in &generated.idle {
        job.say(side, format!("\n[the edit at {idle} acted nowhere]"));
    }
    let text = tokenizer.decode(&generated.rows[0], true)?;
    Ok((side.to_string(), text, generated.finish[0].word().to_string()))
}

pub(super) fn routes(api: &mut Api) {
    api.send(
        Verb::Post,
        "/models/{model}/generate",
        "Starts a job that continues a text, as it is and under edits; its events carry the text as it grows.",
        async |app: App, names: Names, ask: Ask| begin(&app, names.get("model")?, ask),
    );
}
