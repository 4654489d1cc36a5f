//! Reports: scripts that can be run, runs with their verdicts, and two of them compared.

use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::probe::document::Base;
use crate::probe::{self, AuditReport, Job as Run, Outcome, Script};
use crate::report::{Block, Cell, Column, Progress, Table};
use crate::serve::app::{App, short};
use crate::serve::failure::{Failure, Reply};
use crate::serve::job::{Answer, Snapshot};
use crate::serve::route::{Api, Names, Nothing, Verb};
use crate::store::FileSet;
use crate::store::text::read_text;

/// The scripts that come with the program.
const SCRIPTS: [(&str, &str); 4] = [
    ("audit", include_str!("../../../probes/audit.toml")),
    ("induction", include_str!("../../../probes/induction.toml")),
    ("labels", include_str!("../../../probes/labels.toml")),
    ("languages", include_str!("../../../probes/languages.toml")),
];

/// A script.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScriptEntry {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// Its steps.
    pub steps: Vec<String>,
}

/// The scripts.
///
/// # Errors
/// None of those that come with the program.
pub fn scripts() -> Reply<Vec<ScriptEntry>> {
    let entry = |(name, text): &(&str, &str)| {
        let script = Script::parse(Path::new(name), (*text).to_string())?;
        let steps = script.steps.iter().map(|s| s.name.clone()).collect();
        Ok(ScriptEntry { name: (*name).to_string(), title: script.title, steps })
    };
    SCRIPTS.iter().map(entry).collect()
}

/// A report.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its script's title.
    pub title: String,
    /// The model.
    pub model: String,
    /// How it came out.
    pub outcome: Outcome,
    /// Expectations that held, of how many.
    pub held: (usize, usize),
}

/// The reports in the server's folder; what is none is left out.
///
/// # Errors
/// A folder that cannot be read.
pub fn reports(app: &App) -> Reply<Vec<Entry>> {
    let entry = |name: String| {
        let report = open(app, &name).ok()?;
        let verdicts = || report.steps.iter().flat_map(|s| &s.verdicts);
        let held = verdicts().filter(|v| v.verdict == crate::report::Verdict::Passed).count();
        let of = verdicts().count();
        Some(Entry { name, title: report.title, model: report.model.name, outcome: report.outcome, held: (held, of) })
    };
    Ok(app.listed("reports")?.into_iter().filter_map(entry).collect())
}

/// A report.
///
/// # Errors
/// No such report, or one of another version.
pub fn open(app: &App, name: &str) -> Reply<AuditReport> {
    let path = app.place("reports", name)?.join("report.json");
    if !path.exists() {
        return Err(Failure::missing(format!("there is no report `{}`", short(name))));
    }
    let text = read_text(&path)?;
    serde_json::from_str(&text).map_err(|e| crate::Error::file(&path, format!("no report: {e}"), "make it anew").into())
}

/// What to run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The script.
    pub script: String,
    /// What to call the report; the script and the model if left out.
    #[serde(default)]
    pub name: Option<String>,
    /// Seed of every draw; the script's if left out.
    #[serde(default)]
    pub seed: Option<u64>,
}

/// Starts a script on a model. It opens the model for itself, so that pages stay responsive.
///
/// # Errors
/// No such script or model, a name that is none.
pub fn run(app: &App, model: &str, ask: &Ask) -> Reply<Snapshot> {
    let reference = app.model(model)?.reference.clone();
    let found = SCRIPTS.iter().find(|(name, _)| *name == ask.script).ok_or_else(|| {
        let names = SCRIPTS.map(|(name, _)| name).join(", ");
        Failure::missing(format!("there is no script `{}`; there are {names}", short(&ask.script)))
    })?;
    let place = match ask.name.as_deref().filter(|n| !n.is_empty()) {
        Some(name) => app.place("reports", name)?,
        // Two runs of one script are there to be compared.
        None => {
            let base = format!("{}-{model}", ask.script);
            let numbered = (2..1000).map(|n| format!("{base}-{n}"));
            let free = |name: &String| app.place("reports", name).is_ok_and(|place| !place.exists());
            let name = std::iter::once(base.clone()).chain(numbered).find(free).unwrap_or(base);
            app.place("reports", &name)?
        }
    };
    let (text, seed, options) = (found.1.to_string(), ask.seed, app.open.clone());
    // The embedded organism has a control and a history that a path to its folder would not bring.
    let named = (!super::super::is_embedded(&reference)).then_some(reference);
    let title = ("report", format!("{} on {model}", ask.script));
    let job = app.begin_apart(title, Some(model.to_string()), move |job| {
        let script = Script::parse(Path::new("script.toml"), text)?;
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent).map_err(crate::Error::io(parent))?;
        }
        let set = FileSet::prepare(&place, probe::NAMES)?;
        let seed = seed.unwrap_or(script.seed);
        let run = Run { script, model: named, edits: Vec::new(), against: None, seed, options };
        let watcher: Arc<dyn crate::report::Watcher> = job.clone();
        let done = probe::run(&run, &Progress::watched(watcher))?;
        set.write(&probe::files(&done)?)?;
        let result = serde_json::to_value(&done.report).unwrap_or_default();
        Ok(Answer { result, blocks: done.report.summary() })
    })?;
    Ok(job.snapshot())
}

/// Two reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Two {
    /// The first.
    pub a: String,
    /// The second.
    pub b: String,
}

/// The figures of two reports side by side.
///
/// # Errors
/// A report that is not there.
pub fn compare(app: &App, two: &Two) -> Reply<Answer> {
    let base = |name: &str| -> Reply<Base> {
        let report = open(app, name)?;
        Ok(Base::of(report.model, report.steps))
    };
    let (a, b) = (base(&two.a)?, base(&two.b)?);
    let mut names = a.names();
    names.extend(b.names().into_iter().filter(|n| a.figure(n).is_none()));
    let number = |value: Option<f64>| value.map_or(Cell::Empty, |value| Cell::Number { value, digits: 4 });
    let mut differ = 0;
    let rows: Vec<Vec<Cell>> = names
        .iter()
        .map(|name| {
            let (x, y) = (a.figure(name), b.figure(name));
            let gap = x.zip(y).map(|(x, y)| y - x);
            differ += usize::from(gap != Some(0.0));
            vec![Cell::text(name), number(x), number(gap), number(y)]
        })
        .collect();
    let columns = ["figure", &two.a, "difference", &two.b].map(Column::new).to_vec();
    let words = format!("{} figures, {differ} of them differ.", names.len());
    let value = |value: Option<f64>| value.map_or(Value::Null, Value::from);
    let result =
        names.iter().map(|n| serde_json::json!({ "figure": n, "a": value(a.figure(n)), "b": value(b.figure(n)) }));
    Ok(Answer { result: result.collect(), blocks: vec![Block::text(words), Block::Table(Table { columns, rows })] })
}

pub(super) fn routes(api: &mut Api) {
    api.get("/scripts", "Scripts that can be run.", async |_: App, _: Names, _: Nothing| scripts());
    api.send(
        Verb::Post,
        "/models/{model}/reports",
        "Starts a script on a model.",
        async |app: App, names: Names, asked: Ask| run(&app, names.get("model")?, &asked),
    );
    api.get("/reports", "Reports in the server's folder.", async |app: App, _: Names, _: Nothing| reports(&app));
    api.get("/reports/{name}", "A report.", async |app: App, names: Names, _: Nothing| open(&app, names.get("name")?));
    api.get("/compare", "The figures of two reports side by side.", async |app: App, _: Names, asked: Two| {
        compare(&app, &asked)
    });
}
