//! The atlas of a model: its units listed, sorted, searched and mapped; the quick scan that makes one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analysis::scan::{self, Extent};
use crate::report::chart::{Labels, Plot, Scale};
use crate::report::{Block, Chart};
use crate::serve::app::App;
use crate::serve::failure::{Failure, Reply};
use crate::serve::job::{Answer, Job, Snapshot};
use crate::serve::route::{Api, Names, Nothing, Verb};
use crate::serve::worker::{Atlas, Desk};
use crate::store::atlas::{DATABASE, Database, Listed, Statistic, Wanted};

/// Units of a page.
const PAGE: usize = 50;

/// Which units to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Browse {
    /// A site; all of them if empty.
    pub site: Option<String>,
    /// What to sort by.
    #[serde(default)]
    pub sort: Statistic,
    /// Smallest first.
    #[serde(default)]
    pub ascending: bool,
    /// Text in labels, or in the tokens at a unit's largest values.
    pub search: Option<String>,
    /// The page, from 0.
    #[serde(default)]
    pub page: usize,
}

/// A page of units.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Browsed {
    /// Sites that have units.
    pub sites: Vec<String>,
    /// Documents and tokens of the corpus.
    pub corpus: (u64, u64),
    /// Units that were found in all.
    pub found: usize,
    /// Units of a page.
    pub per_page: usize,
    /// This page's.
    pub units: Vec<Listed>,
}

/// What to map.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MapOf {
    /// The statistic.
    #[serde(default)]
    pub statistic: Statistic,
    /// `neuron`, `head` or `direction`.
    pub unit: Option<String>,
}

/// Whether the model has an atlas.
///
/// # Errors
/// No such model.
pub async fn is_there(app: &App, model: &str) -> Reply<bool> {
    app.model(model)?.worker.ask(|desk| Ok(desk.atlas.borrow().is_some())).await
}

/// Units of the atlas.
///
/// # Errors
/// No atlas, no such site.
pub async fn browse(app: &App, model: &str, browse: &Browse) -> Reply<Browsed> {
    let browse = browse.clone();
    let question = move |desk: &Desk| {
        let database = Database::open(&desk.atlas()?.join(DATABASE))?;
        let sites: Vec<String> = database.sites()?.into_iter().map(|s| s.name).collect();
        let site = match browse.site.as_deref().filter(|s| !s.is_empty()) {
            Some(name) => Some(sites.iter().position(|s| s == name).ok_or_else(|| {
                Failure::missing(format!("the atlas has no site `{}`", crate::serve::app::short(name)))
            })?),
            None => None,
        };
        let wanted = Wanted {
            site,
            sort: browse.sort,
            descending: !browse.ascending,
            search: browse.search.clone().map(|s| s.chars().take(100).collect()),
            offset: browse.page.min(1 << 32) * PAGE,
            limit: PAGE,
        };
        let (found, units) = database.browse(&wanted)?;
        let run = database.run()?;
        Ok(Browsed { sites, corpus: (run.documents, run.tokens), found, per_page: PAGE, units })
    };
    app.model(model)?.worker.ask(question).await
}

/// A statistic of all units of a kind, layer by layer.
///
/// # Errors
/// No atlas.
pub async fn map(app: &App, model: &str, of: &MapOf) -> Reply<Chart> {
    let of = of.clone();
    let question = move |desk: &Desk| {
        let unit = of.unit.as_deref().filter(|u| !u.is_empty()).unwrap_or("neuron");
        let rows = Database::open(&desk.atlas()?.join(DATABASE))?.statistic(unit, of.statistic)?;
        let width = rows.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        let row = |values: &Vec<Option<f64>>| {
            let mut row: Vec<f64> = values.iter().map(|v| v.unwrap_or(f64::NAN)).collect();
            row.resize(width, f64::NAN);
            row
        };
        let values: Vec<Vec<f64>> = rows.iter().map(|(_, values)| row(values)).collect();
        let negative = values.iter().flatten().any(|v| *v < 0.0);
        Ok(Chart {
            title: format!("{} of every {unit}", of.statistic.name()),
            caption: "A row is a site, from the first block on; pages of units say more of each.".to_string(),
            plot: Plot::Heat {
                rows: Labels { name: String::new(), items: rows.iter().map(|(site, _)| site.clone()).collect() },
                columns: Labels { name: unit.to_string(), items: (0..width).map(|n| n.to_string()).collect() },
                values,
                unit: of.statistic.name().to_string(),
                scale: if negative { Scale::Diverging } else { Scale::Sequential },
            },
        })
    };
    app.model(model)?.worker.ask(question).await
}

/// Tells a job how far a scan is, and lets it be stopped.
struct Told<'a> {
    desk: &'a Desk,
    job: &'a Job,
    done: u64,
    of: u64,
}

impl scan::Progress for Told<'_> {
    fn begin(&mut self, whole: &Extent, _: &Extent) {
        self.of = whole.bytes;
    }

    fn advance(&mut self, more: &Extent) -> crate::Result<()> {
        self.done += more.bytes;
        crate::report::Watcher::hear(self.job, "reading texts", self.done, Some(self.of));
        self.desk.pause(self.job)
    }
}

/// Starts a quick scan of the program's own texts; the one that is under way if there is one.
///
/// # Errors
/// No such model, too many jobs.
pub fn scan(app: &App, model: &str) -> Reply<Snapshot> {
    if let Some(job) = app.jobs.underway("scan", model) {
        return Ok(job.snapshot());
    }
    let job = app.begin(("scan", format!("quick scan of {model}")), app.model(model)?, |desk, job| {
        let mut told = Told { desk, job, done: 0, of: 0 };
        let folder = scan::quick(&desk.model, &desk.options, &mut told)?;
        *desk.atlas.borrow_mut() = Some(Atlas::Quick(folder));
        let words = "The atlas is there: units have pages now. It is of texts that come with the program; `optrode scan` \
                     makes one of yours.";
        Ok(Answer { result: serde_json::Value::Null, blocks: vec![Block::text(words)] })
    })?;
    Ok(job.snapshot())
}

pub(super) fn routes(api: &mut Api) {
    api.get("/models/{model}/atlas", "Units of the model's atlas.", async |app: App, names: Names, asked: Browse| {
        browse(&app, names.get("model")?, &asked).await
    });
    api.get(
        "/models/{model}/atlas/map",
        "One statistic of all units of a kind, as a chart.",
        async |app: App, names: Names, asked: MapOf| map(&app, names.get("model")?, &asked).await,
    );
    api.send(
        Verb::Post,
        "/models/{model}/scan",
        "Starts a quick scan of the program's own texts, which gives the model an atlas.",
        async |app: App, names: Names, _: Nothing| scan(&app, names.get("model")?),
    );
}
