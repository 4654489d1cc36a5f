//! The report of a run as one serialisable value: `report.json`, and what the other forms are drawn from.

use std::path::Path;

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::subject::ModelRecord;
use crate::report::figures::{Figures, cell};
use crate::report::{Block, Cell, Column, Judged, Table, Verdict};
use crate::store::text::read_json;
use crate::{Error, Result};

/// The version of `report.json`.
pub const VERSION: u32 = 1;

/// Figures of a step that its line in the summary shows.
const SHOWN: usize = 4;

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditReport {
    /// 1.
    pub version: u32,
    /// The version of the program.
    pub optrode: String,
    /// The script's title.
    pub title: String,
    /// sha256 of the script's text.
    pub script: String,
    /// Seed of every draw.
    pub seed: u64,
    /// What was run.
    pub model: ModelRecord,
    /// How it came out.
    pub outcome: Outcome,
    /// One entry per step, in the script's order.
    pub steps: Vec<StepReport>,
    /// What it was compared with.
    pub against: Option<Base>,
}

/// How a run came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every expectation that could be asked held.
    Passed,
    /// An expectation did not hold.
    Failed,
    /// A step could not be carried out.
    Error,
}

/// Whether a step ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It ran.
    Done,
    /// It does not apply to the model.
    Skipped,
    /// It could not be carried out.
    Failed,
}

/// What a step found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepReport {
    /// Its name in the script.
    pub name: String,
    /// The method.
    pub step: String,
    /// What the method does.
    pub summary: String,
    /// Whether it ran.
    pub status: Status,
    /// Why it was skipped or failed; empty if it ran.
    pub reason: String,
    /// Its parameters, defaults filled in.
    pub parameters: Value,
    /// Its numbers.
    pub figures: Figures,
    /// What was expected, and whether it held.
    pub verdicts: Vec<Judged>,
    /// For people.
    pub blocks: Vec<Block>,
    /// For machines.
    pub result: Value,
}

/// What a run is compared with: another model under the same script, or an earlier report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The model.
    pub model: ModelRecord,
    /// Its steps, without verdicts, blocks and results.
    pub steps: Vec<BaseStep>,
}

/// A step of the comparison: some of the keys of a [`StepReport`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaseStep {
    /// Its name in the script.
    pub name: String,
    /// Whether it ran.
    pub status: Status,
    /// Why it was skipped or failed; empty if it ran.
    pub reason: String,
    /// Its parameters.
    pub parameters: Value,
    /// Its numbers.
    pub figures: Figures,
}

/// What a comparison needs of a `report.json`.
#[derive(Deserialize)]
struct Earlier {
    model: ModelRecord,
    steps: Vec<BaseStep>,
}

impl Base {
    /// The steps of a run without what a comparison does not need.
    pub fn of(model: ModelRecord, steps: Vec<StepReport>) -> Self {
        let step = |s: StepReport| BaseStep {
            name: s.name,
            status: s.status,
            reason: s.reason,
            parameters: s.parameters,
            figures: s.figures,
        };
        Self { model, steps: steps.into_iter().map(step).collect() }
    }

    /// Takes an earlier report as the comparison.
    ///
    /// # Errors
    /// A file that is no `report.json`, or one of another version.
    pub fn open(path: &Path) -> Result<Self> {
        let value = read_json(path)?;
        // First of all: a later version may have keys that this one does not know.
        if let Some(version) = value.get("version").filter(|v| **v != VERSION) {
            return Err(Error::file(
                path,
                format!("version {version} of the report format, expected {VERSION}"),
                "make the report anew with this version of optrode",
            ));
        }
        let earlier = Earlier::deserialize(value).map_err(|e| {
            Error::file(path, format!("this is no report of optrode: {e}"), "name a report.json that an audit wrote")
        })?;
        Ok(Self { model: earlier.model, steps: earlier.steps })
    }

    /// The figure of this full name (`doctor.failed`).
    pub fn figure(&self, name: &str) -> Option<f64> {
        let (step, own) = name.split_once('.')?;
        self.steps.iter().find(|s| s.name == step)?.figures.get(own)
    }

    /// The step that a figure belongs to.
    pub fn step_of(&self, figure: &str) -> Option<&BaseStep> {
        let (step, _) = figure.split_once('.')?;
        self.steps.iter().find(|s| s.name == step)
    }

    /// The full names of all figures.
    pub fn names(&self) -> Vec<String> {
        let names = |s: &BaseStep| s.figures.iter().map(|(n, _)| format!("{}.{n}", s.name)).collect::<Vec<_>>();
        self.steps.iter().flat_map(names).collect()
    }
}

impl AuditReport {
    /// The JSON schema of `report.json`.
    pub fn schema() -> Value {
        let mut schema = schema_for!(Self).to_value();
        if let Some(version) = schema.pointer_mut("/properties/version") {
            *version = json!({ "description": "The version of this format.", "const": VERSION });
        }
        schema
    }

    /// How it came out, from its steps and from those of the comparison.
    pub(super) fn judge(steps: &[StepReport], against: Option<&Base>) -> Outcome {
        let mut statuses =
            steps.iter().map(|s| s.status).chain(against.iter().flat_map(|b| b.steps.iter().map(|s| s.status)));
        if statuses.any(|s| s == Status::Failed) {
            return Outcome::Error;
        }
        match steps.iter().flat_map(|s| &s.verdicts).any(|v| v.verdict == Verdict::Failed) {
            true => Outcome::Failed,
            false => Outcome::Passed,
        }
    }

    /// The report in parts with a title each, the summary first.
    pub fn sections(&self) -> Vec<(String, Vec<Block>)> {
        let mut sections = vec![(self.title.clone(), self.summary())];
        sections.extend(self.steps.iter().map(|step| {
            let title = match step.name == step.step {
                true => step.name.clone(),
                false => format!("{} ({})", step.name, step.step),
            };
            let mut blocks = vec![Block::text(&step.summary)];
            if step.status != Status::Done {
                blocks.push(Block::text(format!("{}: {}", step.status.word(), step.reason)));
            }
            if !step.verdicts.is_empty() {
                blocks.push(Block::Verdicts { verdicts: step.verdicts.clone() });
            }
            blocks.extend(step.blocks.iter().cloned());
            (title, blocks)
        }));
        sections
    }

    /// What a person reads first: one line per step, then what is wrong.
    pub fn summary(&self) -> Vec<Block> {
        let mut about = format!("Model: {}, sha256 {}.", self.model.name, short(&self.model.sha256));
        if let Some(base) = &self.against {
            about += &format!(" Compared with {}, sha256 {}.", base.model.name, short(&base.model.sha256));
        }
        let columns = ["step", "verdict", "expectations", "figures"].map(Column::new).to_vec();
        let rows = self.steps.iter().map(row).collect();
        let mut blocks = vec![Block::text(about), Block::Table(Table { columns, rows })];
        let wrong = self.wrong();
        if !wrong.is_empty() {
            blocks.push(Block::Verdicts { verdicts: wrong });
        }
        blocks.push(Block::text(self.counts()));
        blocks
    }

    /// What failed or was skipped: steps first (those of the comparison too), then expectations.
    fn wrong(&self) -> Vec<Judged> {
        let step = |name: String, status: Status, reason: &str| Judged {
            name,
            verdict: status.verdict(),
            reason: reason.to_string(),
            figures: Vec::new(),
        };
        let mut out: Vec<Judged> =
            self.steps.iter().map(|s| step(format!("step {}", s.name), s.status, &s.reason)).collect();
        let base = self.against.iter().flat_map(|b| &b.steps).filter(|s| s.status == Status::Failed);
        out.extend(base.map(|s| step(format!("step {} of the comparison", s.name), s.status, &s.reason)));
        out.extend(self.steps.iter().flat_map(|s| s.verdicts.iter().cloned()));
        out.retain(|v| v.verdict != Verdict::Passed);
        out
    }

    fn counts(&self) -> String {
        let verdicts = |wanted| self.steps.iter().flat_map(|s| &s.verdicts).filter(|v| v.verdict == wanted).count();
        let steps = |wanted| self.steps.iter().filter(|s| s.status == wanted).count();
        format!(
            "{}: expectations {} passed, {} failed, {} skipped; steps {} done, {} failed, {} skipped.",
            match self.outcome {
                Outcome::Passed => "Passed",
                Outcome::Failed => "FAILED",
                Outcome::Error => "NOT COMPLETE",
            },
            verdicts(Verdict::Passed),
            verdicts(Verdict::Failed),
            verdicts(Verdict::Skipped),
            steps(Status::Done),
            steps(Status::Failed),
            steps(Status::Skipped),
        )
    }
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Done => "Done",
            Self::Skipped => "Skipped",
            Self::Failed => "Failed",
        }
    }

    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Done => Verdict::Passed,
            Self::Skipped => Verdict::Skipped,
            Self::Failed => Verdict::Failed,
        }
    }
}

/// A step's line: its worst verdict, how many expectations held, its first figures.
fn row(step: &StepReport) -> Vec<Cell> {
    let held = step.verdicts.iter().filter(|v| v.verdict == Verdict::Passed).count();
    let verdict = match step.status.verdict() {
        Verdict::Passed if step.verdicts.iter().any(|v| v.verdict == Verdict::Failed) => Verdict::Failed,
        own => own,
    };
    let shown: Vec<String> =
        step.figures.iter().take(SHOWN).map(|(name, value)| format!("{name} {}", cell(value))).collect();
    vec![
        Cell::text(&step.name),
        Cell::Verdict(verdict),
        match step.verdicts.len() {
            0 => Cell::Empty,
            all => Cell::text(format!("{held} of {all}")),
        },
        Cell::text(shown.join(", ")),
    ]
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
