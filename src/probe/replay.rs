//! Repeating a run from its manifest.

use std::path::Path;

use serde::Serialize;

use super::document::Status;
use super::manifest::{AgainstRecord, Manifest, StepRecord};
use super::run::{Against, Job, run};
use super::script::Script;
use super::subject::ModelRecord;
use crate::analysis::Environment;
use crate::data::organism::embedded;
use crate::models::OpenOptions;
use crate::report::Progress;
use crate::report::figures::{Figures, cell, same};
use crate::report::{Block, Cell, Column, Report, Table, number};
use crate::store::{Bundle, HubOptions, resolve, sha256_bytes, sha256_file, tokenizer_identity};
use crate::{Error, Result};

/// Relative difference that counts as equal where the processors differ.
pub const ROUNDING: f64 = 1e-5;

/// Where the pieces of a run lie now, where that is not where they lay.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// The model.
    pub model: Option<String>,
    /// What it was compared with.
    pub against: Option<String>,
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replay {
    /// Whether every number is the one of the manifest.
    pub equal: bool,
    /// Whether numbers were compared to the last bit; else to [`ROUNDING`].
    pub exact: bool,
    /// How many numbers were compared.
    pub compared: usize,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// A number that is another one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The figure with its step, or what else differs.
    pub name: String,
    /// What the manifest has.
    pub recorded: Option<Recorded>,
    /// What the replay gave.
    pub found: Option<Recorded>,
}

/// Something that a manifest records.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Recorded {
    /// A number.
    Number(#[serde(with = "number")] f64),
    /// A word: a status or a digest.
    Word(String),
}

/// Repeats a run and compares its numbers.
///
/// # Errors
/// A model, tokenizer, data file, script or earlier report that is not the one of the manifest, by hash; whatever
/// [`run`] refuses.
pub fn replay(manifest: &Manifest, moved: &Moved, options: OpenOptions, progress: &Progress) -> Result<Replay> {
    let hub = &options.hub;
    let got = sha256_bytes(manifest.script.text.as_bytes());
    expect("the script's text", &manifest.script.sha256, &got)?;
    let model = moved.model.as_ref().or(manifest.model.reference.as_ref());
    check_model("the model", &manifest.model, model, hub)?;
    if let Some(control) = &manifest.model.control {
        let got = resolve(&control.reference, hub)?.identity()?.sha256;
        expect(&format!("the control model {}", control.reference), &control.sha256, &got)?;
    }
    for edit in &manifest.model.edits {
        expect(&format!("the edit {}", edit.path.display()), &edit.sha256, &Bundle::sha256(&edit.path)?)?;
    }
    let against = manifest.against.as_ref().map(|a| check_against(a, moved, hub)).transpose()?;
    for file in &manifest.data {
        expect(&format!("the data file {}", file.path.display()), &file.sha256, &sha256_file(&file.path)?)?;
    }

    let mut script = Script::parse(&manifest.script.path, manifest.script.text.clone())?;
    // The manifest says which model ran, whatever the script would choose now.
    script.model = None;
    let edits = manifest.model.edits.iter().map(|e| e.path.clone()).collect();
    let job = Job { script, model: model.cloned(), edits, against, seed: manifest.seed, options };
    let done = run(&job, progress)?;
    Ok(compare(manifest, &done.manifest))
}

fn expect(what: &str, expected: &str, got: &str) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::invalid(
        format!("{what} is not the one of the manifest: expected sha256 {expected}, got {got}"),
        "a replay needs the same files; name the right ones, or run the script anew",
    ))
}

fn check_model(what: &str, record: &ModelRecord, reference: Option<&String>, hub: &HubOptions) -> Result<()> {
    let own;
    let reference = match reference {
        Some(reference) => reference,
        None => {
            own = embedded::folder()?.display().to_string();
            &own
        }
    };
    let identity = resolve(reference, hub)?.identity()?;
    // First, because it is the better answer where both differ.
    let tokenizer = tokenizer_identity(&identity).map(|t| t.sha256);
    let word = |t: &Option<String>| t.clone().unwrap_or_else(|| "none".to_string());
    expect(&format!("the tokenizer of {what}"), &word(&record.tokenizer), &word(&tokenizer))?;
    expect(&format!("{what} {}", record.name), &record.sha256, &identity.sha256)
}

fn check_against(record: &AgainstRecord, moved: &Moved, hub: &HubOptions) -> Result<Against> {
    match record {
        AgainstRecord::Report { path, sha256 } => {
            let path = moved.against.as_ref().map_or(path.as_path(), Path::new);
            expect(&format!("the earlier report {}", path.display()), sha256, &sha256_file(path)?)?;
            Ok(Against::Report(path.to_path_buf()))
        }
        AgainstRecord::Model(model) => {
            let reference = moved.against.as_ref().or(model.reference.as_ref());
            check_model("the comparison's model", model, reference, hub)?;
            match reference {
                Some(name) => Ok(Against::Model(name.clone())),
                None => Ok(Against::Model(embedded::folder()?.display().to_string())),
            }
        }
    }
}

/// Compares the numbers of two manifests of the same job.
pub fn compare(recorded: &Manifest, found: &Manifest) -> Replay {
    let exact = Environment::computes_as(&recorded.environment, &found.environment);
    let mut tally = Tally { exact, compared: 0, differences: Vec::new() };
    tally.steps("", &recorded.steps, &found.steps);
    tally.steps("base.", &recorded.base, &found.base);
    let hashes = |m: &Manifest| m.data.iter().map(|d| d.sha256.clone()).collect::<Vec<_>>().join(" ");
    tally.word("data files read", hashes(recorded), hashes(found));
    Replay { equal: tally.differences.is_empty(), exact, compared: tally.compared, differences: tally.differences }
}

struct Tally {
    exact: bool,
    compared: usize,
    differences: Vec<Difference>,
}

impl Tally {
    fn steps(&mut self, prefix: &str, recorded: &[StepRecord], found: &[StepRecord]) {
        for (a, b) in recorded.iter().zip(found) {
            let name = format!("{prefix}{}", a.name);
            self.word(&format!("{name} (status)"), status(a.status), status(b.status));
            self.word(&format!("{name} (parameters)"), a.parameters.to_string(), b.parameters.to_string());
            self.figures(&name, &a.figures, &b.figures);
            // Elsewhere the last bits may differ, and with them the whole digest.
            if self.exact {
                let digest = |step: &StepRecord| step.digest.clone().unwrap_or_default();
                self.word(&format!("{name} (digest of the result)"), digest(a), digest(b));
            }
        }
        self.word(&format!("{prefix}steps"), names(recorded), names(found));
    }

    fn figures(&mut self, step: &str, recorded: &Figures, found: &Figures) {
        for (name, a) in recorded.iter() {
            self.compared += 1;
            let b = found.get(name);
            if !b.is_some_and(|b| self.agree(a, b)) {
                self.differ(format!("{step}.{name}"), Some(a), b);
            }
        }
        for (name, b) in found.iter().filter(|(name, _)| recorded.get(name).is_none()) {
            self.differ(format!("{step}.{name}"), None, Some(b));
        }
    }

    fn agree(&self, a: f64, b: f64) -> bool {
        same(a, b) || (!self.exact && (a - b).abs() <= ROUNDING * a.abs().max(b.abs()))
    }

    fn differ(&mut self, name: String, recorded: Option<f64>, found: Option<f64>) {
        let number = |value: Option<f64>| value.map(Recorded::Number);
        self.differences.push(Difference { name, recorded: number(recorded), found: number(found) });
    }

    fn word(&mut self, name: &str, recorded: String, found: String) {
        if recorded != found {
            let word = |text| Some(Recorded::Word(text));
            self.differences.push(Difference { name: name.to_string(), recorded: word(recorded), found: word(found) });
        }
    }
}

fn status(status: Status) -> String {
    format!("{status:?}").to_lowercase()
}

fn names(steps: &[StepRecord]) -> String {
    steps.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")
}

impl Report for Replay {
    fn blocks(&self) -> Vec<Block> {
        let how = match self.exact {
            true => "to the last bit".to_string(),
            false => format!("to {ROUNDING:.0e} relative, for the processor is another one"),
        };
        let head = format!("{} figures compared {how}: {} differ.", self.compared, self.differences.len());
        if self.equal {
            return vec![Block::text(format!("{} figures compared {how}: all equal.", self.compared))];
        }
        let columns = ["figure", "recorded", "now", "difference"].map(Column::new).to_vec();
        let rows = self.differences.iter().map(row).collect();
        vec![Block::text(head), Block::Table(Table { columns, rows })]
    }
}

fn row(difference: &Difference) -> Vec<Cell> {
    let shown = |value: &Option<Recorded>| match value {
        None => Cell::Empty,
        // All digits: the difference may lie in the last one.
        Some(Recorded::Number(value)) => Cell::text(value.to_string()),
        Some(Recorded::Word(word)) => Cell::text(word.chars().take(60).collect::<String>()),
    };
    let gap = match (&difference.recorded, &difference.found) {
        (Some(Recorded::Number(a)), Some(Recorded::Number(b))) => cell(b - a),
        _ => Cell::Empty,
    };
    vec![Cell::text(&difference.name), shown(&difference.recorded), shown(&difference.found), gap]
}
