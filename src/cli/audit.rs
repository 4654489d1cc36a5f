//! `optrode audit`, and what it shares with `optrode run`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::common::{EditArgs, HoldArgs, print_json};
use super::one_line;
use crate::probe::document::Status;
use crate::probe::{self, Against, AuditReport, Job, Outcome, Script, junit};
use crate::report::{Block, Progress, terminal};
use crate::store::{FileSet, check_writable, write_atomic};
use crate::{Error, Result};

/// Arguments of `optrode audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode audit
  optrode audit ./stories260K --out stories-report
  optrode audit ./stories260K --json --out stories-report
  optrode audit ./stories260K --edit zero-head.json --against ./stories260K --out edited-report

Writes report.html (one file, opens offline), report.json and manifest.json, all or none; `optrode replay` repeats the
audit from the manifest. Exits with 1 if an expectation fails, with 2 if a step could not be carried out.")]
pub struct Args {
    /// A model folder, or a Hub id such as `HuggingFaceTB/SmolLM2-135M[@revision]`; the embedded model unless given.
    model: Option<String>,
    /// Run this script instead of the program's own.
    #[arg(long, value_name = "FILE.toml")]
    script: Option<PathBuf>,
    #[command(flatten)]
    job: JobArgs,
}

/// What `audit` and `run` share.
#[derive(Debug, clap::Args)]
pub(super) struct JobArgs {
    #[command(flatten)]
    hold: HoldArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Folder of the report; replaced as a whole.
    #[arg(long, value_name = "DIR", default_value = "optrode-report")]
    out: PathBuf,
    /// Seed of every draw; the script's unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// Compare with another model (the script runs on it first) or with an earlier report.json.
    #[arg(long, value_name = "MODEL|report.json")]
    against: Option<String>,
    /// Write the verdicts as JUnit XML too.
    #[arg(long, value_name = "FILE.xml")]
    junit: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let script = match &args.script {
        Some(path) => Script::open(path)?,
        None => probe::audit()?,
    };
    args.job.run(script, args.model.clone())
}

impl JobArgs {
    /// Runs a script, writes its report and prints the summary.
    pub(super) fn run(&self, script: Script, model: Option<String>) -> anyhow::Result<ExitCode> {
        let against = self.against.as_deref().map(Against::parse);
        let set = FileSet::prepare(&self.out, probe::NAMES)?;
        self.check(set.target(), against.as_ref())?;
        let seed = self.seed.unwrap_or(script.seed);
        let job = Job { script, model, edits: self.edits.edits.clone(), against, seed, options: self.hold.options()? };
        let progress = Progress::stderr();
        let done = probe::run(&job, &progress);
        progress.finish();
        let done = done?;

        let written = set.write(&probe::files(&done)?).and_then(|()| self.write_junit(&done.report));
        // The numbers are shown even where they could not be written.
        let place = written.is_ok().then_some(self.out.as_path());
        if self.json {
            print_json(&serde_json::to_value(&done.report)?)?;
        } else {
            print_summary(&done.report, place)?;
        }
        written?;
        Ok(exit_code(&done.report))
    }

    /// What would come to light only after the work.
    fn check(&self, target: &Path, against: Option<&Against>) -> Result<()> {
        if let Some(junit) = &self.junit {
            check_writable(junit)?;
        }
        if let Some(Against::Report(path)) = against
            && path.canonicalize().is_ok_and(|p| p.parent() == Some(target))
        {
            return Err(Error::file(
                path,
                "this earlier report lies in the folder that the new one replaces",
                "name another folder with --out",
            ));
        }
        Ok(())
    }

    fn write_junit(&self, report: &AuditReport) -> Result<()> {
        let Some(path) = &self.junit else { return Ok(()) };
        let xml = junit::xml(report)?;
        write_atomic(path, |file| file.write_all(xml.as_bytes()).map_err(Error::io(path)))
    }
}

fn print_summary(report: &AuditReport, place: Option<&Path>) -> io::Result<()> {
    let mut blocks = vec![Block::heading(&report.title)];
    blocks.extend(report.summary());
    if let Some(place) = place {
        blocks.push(Block::text(format!("Report: {}", place.join("report.html").display())));
    }
    write!(io::stdout().lock(), "{}", terminal::render(&blocks, &terminal::Style::stdout()))
}

/// 0, 1 where an expectation failed, 2 where a step did, which stderr then names.
fn exit_code(report: &AuditReport) -> ExitCode {
    let steps = report.steps.iter().map(|s| (&s.name, s.status, &s.reason, ""));
    let base = report.against.iter().flat_map(|b| &b.steps);
    let base = base.map(|s| (&s.name, s.status, &s.reason, " of the comparison"));
    for (name, _, reason, whose) in steps.chain(base).filter(|(_, status, _, _)| *status == Status::Failed) {
        eprintln!("error: the step {name}{whose} failed: {}", one_line(reason));
    }
    match report.outcome {
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::from(1),
        Outcome::Error => ExitCode::from(2),
    }
}
