//! Carrying an experiment out, and its report and manifest.

use std::path::{Path, PathBuf};
use std::time::Instant;

use chrono::{SecondsFormat, Utc};
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Context, Paper, Scale};
use crate::analysis::{DataFile, Environment};
use crate::models::OpenOptions;
use crate::report::figures::Figures;
use crate::report::html::{self, Page, Section};
use crate::report::{Block, Cell, Figure, Judged, Progress, Report, Verdict};
use crate::{Error, Result};

/// The version of the report of a reproduction.
const VERSION: u32 = 1;

/// Every file that the folder of a reproduction may hold.
pub const NAMES: &[&str] = &["report.html", "report.json", "manifest.json"];

/// How to carry an experiment out.
pub struct Request<'a> {
    /// How much of it.
    pub scale: Scale,
    /// Seed of every draw.
    pub seed: u64,
    /// How to open models.
    pub options: &'a OpenOptions,
    /// The folder that the experiment's models and files lie in.
    pub data: Option<&'a Path>,
}

/// What a reproduction found: `report.json`. The same request gives the same value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reproduction {
    /// 1.
    pub version: u32,
    /// The version of the program.
    pub optrode: String,
    /// What was reproduced.
    pub paper: PaperRecord,
    /// How much of it.
    pub scale: Scale,
    /// Seed of every draw.
    pub seed: u64,
    /// The models that were opened.
    pub models: Vec<ModelUsed>,
    /// How it came out.
    pub outcome: Outcome,
    /// The parts of the claim, and whether they held.
    pub verdicts: Vec<Judged>,
    /// Its numbers.
    pub figures: Figures,
    /// For people.
    pub blocks: Vec<Block>,
    /// For machines.
    pub result: Value,
    /// What the numbers do not depend on.
    #[serde(skip)]
    pub circumstances: Option<Circumstances>,
}

/// When and where a reproduction ran, and what it read.
#[derive(Clone, Debug, PartialEq)]
pub struct Circumstances {
    data: Vec<DataFile>,
    folder: Option<PathBuf>,
    started: String,
    seconds: f64,
}

/// Which paper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaperRecord {
    /// Its row of the mission.
    pub number: u8,
    /// Its short name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What finds it.
    pub source: String,
    /// What it claims.
    pub claim: String,
}

impl PaperRecord {
    /// The record of a paper.
    pub fn of(paper: &dyn Paper) -> Self {
        Self {
            number: paper.number(),
            name: paper.name().to_string(),
            title: paper.title().to_string(),
            source: paper.source().to_string(),
            claim: paper.claim().to_string(),
        }
    }
}

/// A model that an experiment opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelUsed {
    /// What to call it.
    pub name: String,
    /// A folder, or a Hub id with its commit; `null` for what the program carries.
    pub reference: Option<String>,
    /// sha256 over its files.
    pub sha256: String,
}

/// Whether the claim held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every part of the claim that could be asked.
    Passed,
    /// A part of it did not.
    Failed,
}

/// Carries the experiment of a paper out.
///
/// # Errors
/// Whatever keeps it from being carried out; a claim that does not hold is a failed [`Outcome`].
pub fn reproduce(paper: &dyn Paper, request: &Request, progress: &Progress) -> Result<Reproduction> {
    let started = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let clock = Instant::now();
    let context = Context::new(request.seed, request.options, request.data, progress);
    let finding = paper.run(request.scale, &context)?;
    if finding.verdicts.is_empty() {
        return Err(Error::invalid(
            format!("the experiment of paper {:02} gave no verdict", paper.number()),
            "report this defect",
        ));
    }
    let failed = finding.verdicts.iter().any(|v| v.verdict == Verdict::Failed);
    let (models, data) = context.used();
    let circumstances = Circumstances {
        data,
        folder: request.data.map(Path::to_path_buf),
        started,
        seconds: clock.elapsed().as_secs_f64(),
    };
    Ok(Reproduction {
        version: VERSION,
        optrode: env!("CARGO_PKG_VERSION").to_string(),
        paper: PaperRecord::of(paper),
        scale: request.scale,
        seed: request.seed,
        models,
        outcome: if failed { Outcome::Failed } else { Outcome::Passed },
        verdicts: finding.verdicts,
        figures: Figures(finding.figures),
        blocks: finding.blocks,
        result: finding.result,
        circumstances: Some(circumstances),
    })
}

impl Report for Reproduction {
    /// The claim, the verdicts on it, and what the experiment shows.
    fn blocks(&self) -> Vec<Block> {
        let claim = format!("Claim: {} ({})", self.paper.claim, self.paper.source);
        let mut blocks = vec![Block::text(claim), Block::Verdicts { verdicts: self.verdicts.clone() }];
        blocks.extend(self.blocks.iter().cloned());
        blocks
    }
}

impl Reproduction {
    /// The files of the folder, by name.
    ///
    /// # Errors
    /// Values that JSON cannot hold.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        Ok(vec![
            ("report.html", self.page()?.into_bytes()),
            ("report.json", bytes(&serde_json::to_value(self).map_err(unwritable)?)?),
            ("manifest.json", bytes(&self.manifest()?)?),
        ])
    }

    /// The JSON schema of its `report.json`.
    pub fn schema() -> Value {
        let mut schema = schema_for!(Self).to_value();
        if let Some(version) = schema.pointer_mut("/properties/version") {
            *version = json!({ "description": "The version of this format.", "const": VERSION });
        }
        schema
    }

    /// What it takes to repeat it, and the numbers that it must then give again.
    fn manifest(&self) -> Result<Value> {
        let around = self.circumstances.as_ref();
        Ok(json!({
            "version": VERSION,
            "optrode": self.optrode,
            "paper": self.paper.number,
            "scale": self.scale,
            "seed": self.seed,
            "models": self.models,
            "folder": around.and_then(|a| a.folder.as_ref()),
            "data": around.map(|a| &a.data),
            "figures": serde_json::to_value(&self.figures).map_err(unwritable)?,
            "environment": Environment::here(),
            "started": around.map(|a| &a.started),
            "seconds": around.map(|a| a.seconds),
        }))
    }

    fn page(&self) -> Result<String> {
        let fact = |name: &str, value: &str| Figure::new(name, Cell::text(value));
        let mut facts = vec![fact("paper", &self.paper.source), fact("experiment", self.scale.word())];
        for model in &self.models {
            facts.push(fact("model", &format!("{}, sha256 {}", model.name, model.sha256)));
        }
        facts.push(Figure::new("seed", Cell::count(self.seed)));
        facts.push(fact("optrode", &self.optrode));
        html::page(&Page {
            title: format!("{:02}: {}", self.paper.number, self.paper.title),
            subtitle: format!("reproduced with `optrode reproduce {:02} --{}`", self.paper.number, self.scale.word()),
            facts,
            sections: Section::of_blocks(self.blocks()),
        })
    }
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(unwritable)?;
    text.push(b'\n');
    Ok(text)
}

fn unwritable(e: serde_json::Error) -> Error {
    Error::invalid(format!("the report cannot be written as JSON: {e}"), "report this defect")
}
