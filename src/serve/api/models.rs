//! Models: what is served, sites, facts, the doctor.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analysis::doctor;
use crate::hook::{Site, SiteTable};
use crate::models::Network;
use crate::serve::app::{App, Served};
use crate::serve::failure::Reply;
use crate::serve::job::{Answer, Snapshot};
use crate::serve::route::{Api, Names, Nothing, Verb};
use crate::serve::worker::State;

/// A model that is served.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Its part of addresses.
    pub name: String,
    /// What the command line calls it.
    pub reference: String,
    /// `loading`, `ready` or `broken`.
    pub state: String,
    /// Why it is broken.
    pub error: Option<String>,
    /// Hugging Face's `model_type`.
    pub family: Option<String>,
    /// Blocks.
    pub layers: Option<usize>,
    /// Query heads of a block.
    pub heads: Option<usize>,
    /// Neurons of a block.
    pub neurons: Option<usize>,
    /// Width of the residual stream.
    pub d_model: Option<usize>,
    /// Parameters.
    pub parameters: Option<u64>,
    /// sha256 over its files.
    pub sha256: Option<String>,
}

impl Entry {
    /// Of a model as it stands now.
    pub fn of(model: &Served) -> Self {
        let mut entry = Self {
            name: model.name.clone(),
            reference: model.reference.clone(),
            state: "loading".to_string(),
            error: None,
            family: None,
            layers: None,
            heads: None,
            neurons: None,
            d_model: None,
            parameters: None,
            sha256: None,
        };
        match model.worker.state() {
            State::Loading => {}
            State::Broken(why) => (entry.state, entry.error) = ("broken".to_string(), Some(why)),
            State::Ready(facts) => {
                entry.state = "ready".to_string();
                entry.family = Some(facts.family.clone());
                entry.layers = Some(facts.sizes.layers);
                entry.heads = Some(facts.sizes.heads);
                entry.neurons = Some(facts.sizes.d_mlp);
                entry.d_model = Some(facts.sizes.d_model);
                entry.parameters = Some(facts.parameters());
                entry.sha256 = Some(facts.identity.sha256.clone());
            }
        }
        entry
    }
}

/// A site.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SiteEntry {
    /// Its name.
    pub name: String,
    /// Its block.
    pub layer: Option<usize>,
    /// What its axes count.
    pub axes: Vec<String>,
    /// Their sizes; `null` where the run decides.
    pub sizes: Vec<Option<usize>>,
    /// One line for people.
    pub meaning: String,
    /// Whether it is visited in every time step.
    pub timed: bool,
}

impl SiteEntry {
    fn of(site: &Site) -> Self {
        Self {
            name: site.name.clone(),
            layer: site.layer,
            axes: site.axes.iter().map(|a| a.name().to_string()).collect(),
            sizes: site.sizes.clone(),
            meaning: site.meaning.to_string(),
            timed: site.timed,
        }
    }

    /// Of every site of a table.
    pub fn all(table: &SiteTable) -> Vec<Self> {
        table.iter().map(|(_, site)| Self::of(site)).collect()
    }
}

/// The sites of a model.
///
/// # Errors
/// No such model.
pub async fn sites(app: &App, model: &str) -> Reply<Vec<SiteEntry>> {
    app.model(model)?.worker.ask(|desk| Ok(SiteEntry::all(desk.model.decoder.sites()))).await
}

/// The facts of a model.
///
/// # Errors
/// No such model.
pub async fn facts(app: &App, model: &str) -> Reply<Answer> {
    app.model(model)?.worker.ask(|desk| Answer::of(&crate::analysis::facts::facts(&desk.model)?)).await
}

/// Starts an examination.
///
/// # Errors
/// No such model, too many jobs.
pub fn examine(app: &App, model: &str) -> Reply<Snapshot> {
    let title = ("doctor", format!("doctor {model}"));
    let job = app.begin(title, app.model(model)?, |desk, job| {
        let mut watch = desk.watched(job, "examining");
        Answer::of(&doctor::doctor(&desk.model.decoder, &[], &doctor::Options::default(), &mut watch)?)
    })?;
    Ok(job.snapshot())
}

pub(super) fn routes(api: &mut Api) {
    api.get("/models", "The models that are served.", async |app: App, _: Names, _: Nothing| {
        Ok(app.models.iter().map(Entry::of).collect::<Vec<_>>())
    });
    api.get("/models/{model}/sites", "What can be recorded and edited.", async |app: App, names: Names, _: Nothing| {
        sites(&app, names.get("model")?).await
    });
    api.get("/models/{model}/facts", "What the model is.", async |app: App, names: Names, _: Nothing| {
        facts(&app, names.get("model")?).await
    });
    api.send(
        Verb::Post,
        "/models/{model}/doctor",
        "Starts a job that proves the checkpoint on this machine.",
        async |app: App, names: Names, _: Nothing| examine(&app, names.get("model")?),
    );
}
