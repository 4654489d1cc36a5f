//! Edits: the operations there are, saved edits, what edits do to texts, export into weights.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lab;
use crate::analysis::bake::{self, Texts};
use crate::analysis::inspect::effect;
use crate::analysis::registry;
use crate::data::TextSet;
use crate::data::organism::embedded;
use crate::hook::Edit;
use crate::serve::app::{App, short};
use crate::serve::failure::{Failure, Reply};
use crate::serve::job::{Answer, Snapshot};
use crate::serve::route::{Api, Names, Nothing, Verb};
use crate::store::EditFile;

/// Paragraphs of each set that comes with the program.
const PARAGRAPHS: usize = 3;
/// Longest piece of a text, in tokens.
const WINDOW: usize = 128;
/// Texts of a set that a page may give.
const TEXTS: usize = 32;
/// The largest share of what edits do that rounding may have in an export.
const ROUNDING: f64 = 0.01;
/// Edits of a list.
const EDITS: usize = 256;

/// An operation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// Its tag.
    pub op: String,
    /// One line for people.
    pub meaning: String,
}

/// Every operation.
pub fn operations() -> Vec<Operation> {
    registry().kinds().map(|k| Operation { op: k.tag.clone(), meaning: k.meaning.clone() }).collect()
}

/// A saved edit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Saved {
    /// Its name.
    pub name: String,
    /// How many edits.
    pub edits: usize,
    /// Their operations.
    pub operations: Vec<String>,
    /// A line for people.
    pub note: Option<String>,
    /// sha256 of the model that they were fitted on.
    pub model: Option<String>,
}

/// The saved edits; what lies in the folder and is none is left out.
///
/// # Errors
/// A folder that cannot be read.
pub fn saved(app: &App) -> Reply<Vec<Saved>> {
    let entry = |name: String| {
        // Without the tensors, which may be large.
        let file = EditFile::open(app.place("edits", &name).ok()?).ok()?;
        let mut operations: Vec<String> = file.edits.iter().map(|e| e.op.clone()).collect();
        operations.sort_unstable();
        operations.dedup();
        Some(Saved { name, edits: file.edits.len(), operations, note: file.note, model: file.model })
    };
    Ok(app.listed("edits")?.into_iter().filter_map(entry).collect())
}

/// What to save.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Save {
    /// The edits.
    pub edits: Vec<Edit>,
    /// A line for people.
    #[serde(default)]
    pub note: Option<String>,
    /// The name of a saved edit that comes before them.
    #[serde(default)]
    pub saved: Option<String>,
}

fn save(app: &App, name: &str, save: Save) -> Reply<Saved> {
    let place = app.place("edits", name)?;
    // What is there may hold tensors that nobody could make again.
    if place.symlink_metadata().is_ok() {
        let message = format!("an edit `{}` is saved already; use another name, or remove it", short(name));
        return Err(Failure::new(StatusCode::CONFLICT, message));
    }
    if save.edits.is_empty() || save.edits.len() > EDITS {
        return Err(Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{} edits; give 1 to {EDITS}", save.edits.len()),
        ));
    }
    let registry = registry();
    save.edits.iter().try_for_each(|edit| registry.build(edit).map(|_| ()))?;
    std::fs::create_dir_all(app.folder.join("edits")).map_err(crate::Error::io(&app.folder))?;
    let mut whole = app.edits(None, save.saved.as_deref())?;
    whole.file.edits.extend(save.edits);
    whole.file.note = save.note.or(whole.file.note);
    whole.write(&place)?;
    saved(app)?.into_iter().find(|s| s.name == name).ok_or_else(|| Failure::missing("the edit was not saved"))
}

fn remove(app: &App, name: &str) -> Reply<Value> {
    let place = app.place("edits", name)?;
    // Only what this server could have written: a folder, no link, with these two files and nothing else.
    let own = ["edit.json", "tensors.safetensors"];
    let is_folder = place.symlink_metadata().is_ok_and(|m| m.is_dir());
    let mut entries = std::fs::read_dir(&place).into_iter().flatten().filter_map(Result::ok);
    if !is_folder || !entries.all(|e| own.iter().any(|name| e.file_name() == *name)) {
        return Err(Failure::missing(format!("no edit `{}` was saved from a page", short(name))));
    }
    std::fs::remove_dir_all(&place).map_err(crate::Error::io(&place))?;
    Ok(json!({ "removed": name }))
}

/// What to measure.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// The edits.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// The name of a saved edit.
    #[serde(default)]
    pub saved: Option<String>,
    /// Texts that should change.
    #[serde(default)]
    pub forget: Vec<String>,
    /// Texts that should not. Without either, some paragraphs in each of six languages.
    #[serde(default)]
    pub retain: Vec<String>,
    /// Seed of the random units of the control.
    #[serde(default)]
    pub seed: u64,
}

fn sets(ask: &Measure) -> Reply<Vec<TextSet>> {
    let given = [("forget", &ask.forget), ("retain", &ask.retain)];
    for (_, texts) in &given {
        if texts.len() > TEXTS {
            let message = format!("{} texts; give at most {TEXTS}", texts.len());
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        texts.iter().try_for_each(|text| lab::check(text))?;
    }
    let sets: Vec<TextSet> = given
        .into_iter()
        .filter(|(_, texts)| !texts.is_empty())
        .map(|(name, texts)| TextSet { name: name.to_string(), texts: texts.clone() })
        .collect();
    if !sets.is_empty() {
        return Ok(sets);
    }
    let few = |mut set: TextSet| {
        set.texts.truncate(PARAGRAPHS);
        set
    };
    Ok(embedded::texts().into_iter().map(few).collect())
}

/// Starts a measurement of what edits do to texts.
///
/// # Errors
/// What is wrong with the request.
pub fn measure(app: &App, model: &str, ask: &Measure) -> Reply<Snapshot> {
    let mut edits = app.edits(None, ask.saved.as_deref())?;
    edits.file.edits.extend(ask.edits.iter().cloned());
    if edits.file.edits.is_empty() {
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "there is no edit to measure; compose one first"));
    }
    let (sets, seed) = (sets(ask)?, ask.seed);
    let title = ("effect", format!("effect of edits on {model}"));
    let job = app.begin(title, app.model(model)?, move |desk, job| {
        desk.fits(&edits)?;
        let mut watch = desk.watched(job, "reading texts");
        let (list, tensors) = (&edits.file.edits, &edits.tensors);
        Answer::of(&effect(&desk.model, &sets, list, tensors, (WINDOW, seed), &mut watch)?)
    })?;
    Ok(job.snapshot())
}

/// What to export.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The name of a saved edit.
    pub saved: String,
    /// The name of the folder to write.
    pub name: String,
}

fn export(app: &App, model: &str, ask: &Export) -> Reply<Snapshot> {
    let edits = app.edits(None, Some(&ask.saved))?;
    let out = app.place("models", &ask.name)?;
    if out.exists() {
        let message = format!("a model `{}` was exported already; use another name", short(&ask.name));
        return Err(Failure::new(StatusCode::CONFLICT, message));
    }
    let title = ("export", format!("export of {} with {}", model, ask.saved));
    let job = app.begin(title, app.model(model)?, move |desk, job| {
        desk.fits(&edits)?;
        let (texts, mut watch) = (Texts::Random(8, 32, 0), desk.watched(job, "exporting"));
        Answer::of(&bake::export(&desk.model, &edits, &desk.options, (&texts, ROUNDING), &out, &mut watch)?)
    })?;
    Ok(job.snapshot())
}

pub(super) fn routes(api: &mut Api) {
    api.get("/operations", "What edits can do.", async |_: App, _: Names, _: Nothing| Ok(operations()));
    api.get("/edits", "Saved edits.", async |app: App, _: Names, _: Nothing| saved(&app));
    api.get("/edits/{name}", "A saved edit, as an edit file.", async |app: App, names: Names, _: Nothing| {
        Ok(serde_json::to_value(app.edits(None, Some(names.get("name")?))?.file).unwrap_or_default())
    });
    api.send(Verb::Put, "/edits/{name}", "Saves edits under a name.", async |app: App, names: Names, asked: Save| {
        save(&app, names.get("name")?, asked)
    });
    api.delete("/edits/{name}", "Removes a saved edit.", async |app: App, names: Names| {
        remove(&app, names.get("name")?)
    });
    api.send(
        Verb::Post,
        "/models/{model}/effect",
        "Starts a job that measures what edits do to texts: loss, KL, agreement, with random units as the control.",
        async |app: App, names: Names, asked: Measure| measure(&app, names.get("model")?, &asked),
    );
    api.send(
        Verb::Post,
        "/models/{model}/export",
        "Starts a job that writes the model with a saved edit in its weights into the server's folder.",
        async |app: App, names: Names, asked: Export| export(&app, names.get("model")?, &asked),
    );
}
