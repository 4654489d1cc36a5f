//! Carrying out a script.

use std::path::{Path, PathBuf};
use std::time::Instant;

use chrono::{SecondsFormat, Utc};

use super::document::{AuditReport, Base, Status, StepReport, VERSION};
use super::expect::{Expectation, Name, is_name};
use super::manifest::{AgainstRecord, Manifest, ScriptRecord, StepRecord};
use super::script::{Script, ScriptStep, nearest_figure};
use super::step::{Context, StepOutput, unfit_figure};
use super::subject::Subject;
use crate::analysis::{Environment, Inputs};
use crate::data::{TextSet, read_texts, text_file};
use crate::models::OpenOptions;
use crate::report::Progress;
use crate::report::figures::Figures;
use crate::store::{resolve, sha256_file};
use crate::{Error, Result};

/// A script with everything that it needs to run.
pub struct Job {
    /// What to do.
    pub script: Script,
    /// The model to run on; the script's, or the one that the program carries, if `None`.
    pub model: Option<String>,
    /// Edits that act on it throughout.
    pub edits: Vec<PathBuf>,
    /// What to compare with.
    pub against: Option<Against>,
    /// Seed of every draw.
    pub seed: u64,
    /// How to open models.
    pub options: OpenOptions,
}

/// What a run is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// Another model: the script runs on it first.
    Model(String),
    /// An earlier `report.json`.
    Report(PathBuf),
}

impl Against {
    /// A file is a report, everything else a model.
    pub fn parse(text: &str) -> Self {
        let path = Path::new(text);
        match path.is_file() || path.extension().is_some_and(|e| e == "json") {
            true => Self::Report(path.to_path_buf()),
            false => Self::Model(text.to_string()),
        }
    }
}

/// A finished run.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// What it found.
    pub report: AuditReport,
    /// What it takes to repeat it.
    pub manifest: Manifest,
}

/// Carries out a script.
///
/// A step that fails is part of the report, and the others run; so is an expectation that does not hold.
///
/// # Errors
/// What is known before the first step: a model, text or comparison that cannot be read, an expectation that needs a
/// comparison where there is none.
pub fn run(job: &Job, progress: &Progress) -> Result<Done> {
    let started = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let clock = Instant::now();
    check_base(job)?;
    let inputs = Inputs::default();
    let texts = texts(&job.script, &inputs)?;
    let named = job.model.clone().or_else(|| job.script.model.as_deref().map(|m| job.script.locate(m)));
    if let (Some(name), Some(Against::Model(_))) = (&named, &job.against) {
        // Before the comparison runs for an hour.
        resolve(name, &job.options.hub)?;
    }
    let stage = Stage { job, texts: &texts, inputs: &inputs, progress };
    let (base, against) = stage.base()?;
    if let Some(base) = &base {
        check_comparison(&job.script, base)?;
    }

    let control = job.script.control.as_deref().map(|c| job.script.locate(c));
    let subject = Subject::open(named.as_deref(), control.as_deref(), &job.edits, &job.options)?;
    let mut steps = stage.steps(&subject, base.as_ref(), "")?;
    judge(&job.script, &mut steps, base.as_ref());

    let manifest = Manifest {
        version: super::manifest::VERSION,
        optrode: env!("CARGO_PKG_VERSION").to_string(),
        script: ScriptRecord::of(&job.script),
        seed: job.seed,
        model: subject.record.clone(),
        against,
        data: inputs.files(),
        steps: steps.iter().map(StepRecord::of).collect(),
        base: base.iter().flat_map(|b| &b.steps).map(StepRecord::of_base).collect(),
        environment: Environment::here(),
        started,
        seconds: clock.elapsed().as_secs_f64(),
    };
    let report = AuditReport {
        version: VERSION,
        optrode: env!("CARGO_PKG_VERSION").to_string(),
        title: job.script.title.clone(),
        script: job.script.sha256(),
        seed: job.seed,
        model: subject.record,
        outcome: AuditReport::judge(&steps, base.as_ref()),
        steps,
        against: base,
    };
    Ok(Done { report, manifest })
}

/// Refuses expectations on a comparison where there is none.
fn check_base(job: &Job) -> Result<()> {
    match (job.script.needs_base(), &job.against) {
        (Some(expectation), None) => Err(Error::invalid(
            format!("`{}` needs a comparison, and there is none", expectation.text),
            "add --against MODEL or --against report.json",
        )),
        _ => Ok(()),
    }
}

/// The script's texts.
fn texts(script: &Script, inputs: &Inputs) -> Result<Vec<TextSet>> {
    let read = |(name, spec): (&String, &String)| {
        let spec = script.folder().join(spec).display().to_string();
        inputs.note(text_file(&spec))?;
        Ok(TextSet { name: name.clone(), texts: read_texts(&spec)? })
    };
    script.texts.iter().map(read).collect()
}

/// What every step of a run shares.
struct Stage<'a> {
    job: &'a Job,
    texts: &'a [TextSet],
    inputs: &'a Inputs,
    progress: &'a Progress,
}

impl Stage<'_> {
    fn base(&self) -> Result<(Option<Base>, Option<AgainstRecord>)> {
        match &self.job.against {
            None => Ok((None, None)),
            Some(Against::Report(path)) => {
                let path = path.canonicalize().map_err(Error::io(path))?;
                let record = AgainstRecord::Report { sha256: sha256_file(&path)?, path: path.clone() };
                Ok((Some(Base::open(&path)?), Some(record)))
            }
            Some(Against::Model(name)) => {
                let subject = Subject::open(Some(name), None, &[], &self.job.options)?;
                let steps = self.steps(&subject, None, " of the comparison")?;
                let record = AgainstRecord::Model(subject.record.clone());
                Ok((Some(Base::of(subject.record, steps)), Some(record)))
            }
        }
    }

    /// Every step, one after the other.
    fn steps(&self, subject: &Subject, base: Option<&Base>, whose: &str) -> Result<Vec<StepReport>> {
        let steps = &self.job.script.steps;
        let run = |(i, step): (usize, &ScriptStep)| {
            self.progress.check()?;
            self.progress.task(format!("{}{whose} ({} of {})", step.name, i + 1, steps.len()));
            Ok(self.step(step, subject, base))
        };
        steps.iter().enumerate().map(run).collect()
    }

    fn step(&self, step: &ScriptStep, subject: &Subject, base: Option<&Base>) -> StepReport {
        let context = Context {
            model: &subject.model,
            control: subject.control.as_ref(),
            base,
            seed: self.job.seed,
            texts: self.texts,
            progress: self.progress,
            folder: self.job.script.folder(),
            inputs: self.inputs,
        };
        let (status, reason, output) = match step.kind.applies_to(&subject.model) {
            Err(reason) => (Status::Skipped, reason, StepOutput::default()),
            Ok(()) => match step.bound.run(&context).and_then(|output| check_figures(step, output)) {
                Ok(output) => (Status::Done, String::new(), output),
                Err(error) => (Status::Failed, error.to_string(), StepOutput::default()),
            },
        };
        StepReport {
            name: step.name.clone(),
            step: step.kind.name().to_string(),
            summary: step.kind.summary().to_string(),
            status,
            reason,
            parameters: step.bound.parameters.clone(),
            figures: Figures(output.figures),
            verdicts: Vec::new(),
            blocks: output.blocks,
            result: output.result,
        }
    }
}

/// A step's figures have names that expectations can name and that it said it would give, each once.
fn check_figures(step: &ScriptStep, output: StepOutput) -> Result<StepOutput> {
    for (i, (name, _)) in output.figures.iter().enumerate() {
        let twice = output.figures[..i].iter().any(|(earlier, _)| earlier == name);
        if twice || !is_name(&format!("{}.{name}", step.name)) || !step.declares(name) {
            return Err(unfit_figure(step.kind.name(), name));
        }
    }
    Ok(output)
}

/// The comparison has the figures that the script names, measured in the same way.
fn check_comparison(script: &Script, base: &Base) -> Result<()> {
    for (expectation, figure) in base_figures(script) {
        let there = base.step_of(&figure);
        if there.is_some_and(|s| s.status != Status::Done) {
            continue;
        }
        if base.figure(&figure).is_none() {
            return Err(Error::invalid(
                format!("`{}`: the comparison has no figure `{figure}`", expectation.text),
                nearest_figure(&figure, &base.names()),
            ));
        }
        let here = script.steps.iter().find(|s| s.may_give(&figure));
        if let (Some(there), Some(here)) = (there, here)
            && there.parameters != here.bound.parameters
        {
            return Err(Error::invalid(
                format!(
                    "`{}`: the comparison measured `{figure}` with {}, expected {}",
                    expectation.text, there.parameters, here.bound.parameters
                ),
                "make the earlier report anew with this script",
            ));
        }
    }
    Ok(())
}

/// The figures of the comparison that expectations name.
fn base_figures(script: &Script) -> impl Iterator<Item = (&Expectation, String)> {
    let names = |expectation: &Expectation| {
        expectation.names().into_iter().filter_map(|name| match name {
            Name::Base(figure) => Some(figure),
            Name::Here(_) => None,
        })
    };
    let all = script.steps.iter().flat_map(|step| &step.expectations);
    all.flat_map(move |expectation| names(expectation).map(move |figure| (expectation, figure)))
}

/// Gives every expectation its verdict. One on a figure that its step did not give makes its own step fail.
fn judge(script: &Script, steps: &mut [StepReport], base: Option<&Base>) {
    for (i, step) in script.steps.iter().enumerate() {
        for expectation in &step.expectations {
            let seen = &steps[..=i];
            let judged = expectation.judge(&|name| match name {
                Name::Here(figure) => here(seen, figure),
                Name::Base(figure) => there(base, figure),
            });
            let missing = expectation.names().iter().find_map(|name| match name {
                Name::Here(figure) => missing(seen, figure),
                Name::Base(_) => None,
            });
            steps[i].verdicts.push(judged);
            if let Some(reason) = missing {
                steps[i].status = Status::Failed;
                steps[i].reason = format!("`{}`: {reason}", expectation.text);
            }
        }
    }
}

/// The step of a full name, and the name within it.
fn step_of<'s, 'n>(steps: &'s [StepReport], figure: &'n str) -> Option<(&'s StepReport, &'n str)> {
    let (step, own) = figure.split_once('.')?;
    Some((steps.iter().find(|s| s.name == step)?, own))
}

/// A figure's value, or why there is none.
fn here(steps: &[StepReport], figure: &str) -> std::result::Result<f64, String> {
    match step_of(steps, figure) {
        Some((step, own)) => step.figures.get(own).ok_or_else(|| match step.status {
            Status::Done => format!("the step {} gave no such figure", step.name),
            Status::Skipped => format!("the step {} was skipped: {}", step.name, step.reason),
            Status::Failed => format!("the step {} failed", step.name),
        }),
        None => Err("no such step".to_string()),
    }
}

/// As [`here`], in the comparison.
fn there(base: Option<&Base>, figure: &str) -> std::result::Result<f64, String> {
    let base = base.ok_or("there is no comparison")?;
    base.figure(figure).ok_or_else(|| match base.step_of(figure) {
        Some(step) => format!("the comparison's step {} gave none: {}", step.name, step.reason),
        None => "the comparison has no such step".to_string(),
    })
}

/// What is wrong with the name of a figure that its step, which ran, did not give.
fn missing(steps: &[StepReport], figure: &str) -> Option<String> {
    let (step, own) = step_of(steps, figure)?;
    if step.status != Status::Done || step.figures.get(own).is_some() {
        return None;
    }
    let names: Vec<String> = step.figures.iter().map(|(name, _)| format!("{}.{name}", step.name)).collect();
    Some(format!("the step gave no figure `{figure}`; {}", nearest_figure(figure, &names)))
}
