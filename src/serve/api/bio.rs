//! Simulated networks: what is served, their sites, runs with records and edits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::models::SiteEntry;
use crate::analysis::bio::{self, Named, Request};
use crate::hook::{Edit, Selector};
use crate::report::Watcher;
use crate::serve::app::App;
use crate::serve::failure::{Failure, Reply};
use crate::serve::job::{Answer, Snapshot};
use crate::serve::route::{Api, Names, Nothing, Verb};
use crate::store::{Bundle, EditFile, bundle};

/// Most steps of a run that a page may ask for.
pub const STEPS: usize = 20_000;
/// Most sites that are recorded at once.
const RECORDS: usize = 16;

/// A simulated network.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub meaning: String,
    /// The paper that it is from.
    pub paper: Option<u8>,
    /// Steps of a run where none are asked for.
    pub steps: usize,
}

impl Entry {
    /// Of a network.
    pub fn of(named: &Named) -> Self {
        let (name, meaning) = (named.name.to_string(), named.meaning.to_string());
        Self { name, meaning, paper: named.paper, steps: named.steps }
    }
}

/// A run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Steps; the network's own number if left out.
    #[serde(default)]
    pub steps: Option<usize>,
    /// What to record; what neurons hand to each other if empty.
    #[serde(default)]
    pub record: Vec<Selector>,
    /// Edits; with them the same run without is the control.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// Seed of the network, its input and of stochastic edits.
    #[serde(default)]
    pub seed: u64,
}

/// The sites of a network.
///
/// # Errors
/// No such network.
pub async fn sites(app: &App, name: &str) -> Reply<Vec<SiteEntry>> {
    let named = app.network(name)?;
    let made = tokio::task::spawn_blocking(move || Ok(SiteEntry::all((named.build)(0)?.sites()))).await;
    made.unwrap_or_else(|_| Err(Failure::missing("the network could not be built")))
}

/// Starts a run.
///
/// # Errors
/// What is wrong with the request.
pub fn run(app: &App, name: &str, ask: Ask) -> Reply<Snapshot> {
    let named = app.network(name)?;
    if ask.steps.unwrap_or(named.steps) > STEPS || ask.record.len() > RECORDS {
        return Err(Failure::new(
            axum::http::StatusCode::UNPROCESSABLE_ENTITY,
            format!("a page may ask for {STEPS} steps and {RECORDS} records; `optrode bio run` takes more"),
        ));
    }
    let title = ("simulate", format!("{name}, seed {}", ask.seed));
    let job = app.begin_apart(title, Some(name.to_string()), move |job| {
        job.check()?;
        let folder = tempfile::tempdir().map_err(crate::Error::io(std::env::temp_dir()))?;
        let request = Request {
            steps: ask.steps,
            records: ask.record,
            edits: written(&folder, ask.edits)?,
            input: None,
            seed: ask.seed,
        };
        Answer::of(&bio::run(named, &request, &mut |done, of| {
            job.hear("simulating", done as u64, Some(of as u64));
            job.check()
        })?)
    })?;
    Ok(job.snapshot())
}

/// The edits as a bundle, which is how a run takes them.
fn written(folder: &tempfile::TempDir, edits: Vec<Edit>) -> Reply<Vec<PathBuf>> {
    if edits.is_empty() {
        return Ok(Vec::new());
    }
    let path = folder.path().join("edits");
    let file = EditFile { version: bundle::VERSION, edits, model: None, note: None };
    Bundle { path: path.clone(), file, tensors: BTreeMap::new() }.write(&path)?;
    Ok(vec![path])
}

pub(super) fn routes(api: &mut Api) {
    api.get("/networks", "Simulated networks.", async |app: App, _: Names, _: Nothing| {
        Ok(app.networks.iter().map(|n| Entry::of(n)).collect::<Vec<_>>())
    });
    api.get(
        "/networks/{network}/sites",
        "What can be recorded and edited.",
        async |app: App, names: Names, _: Nothing| sites(&app, names.get("network")?).await,
    );
    api.send(
        Verb::Post,
        "/networks/{network}/run",
        "Starts a run with records and edits.",
        async |app: App, names: Names, asked: Ask| run(&app, names.get("network")?, asked),
    );
}
