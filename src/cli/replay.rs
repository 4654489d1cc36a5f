//! `optrode replay`: repeat a run and compare its numbers.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::common::{HoldArgs, print_json};
use crate::Error;
use crate::analysis::scan::{self, Job, Origin, Unwatched};
use crate::analysis::{EditRecord, edit_model};
use crate::data::Documents;
use crate::models::Model;
use crate::probe::Manifest;
use crate::probe::replay::{Moved, replay};
use crate::report::{Progress, Report, terminal};
use crate::store::text::read_json;

/// Arguments of `optrode replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode replay audited/manifest.json
  optrode replay audited/manifest.json --model ./stories260K
  optrode replay part-1/manifest.json

Refuses if the model, its tokenizer, a data file, the comparison or the script is another one than the manifest's.
Compares to the last bit on a processor with the same abilities, else to 1e-5. Exits with 1 if a number differs.")]
pub struct Args {
    /// The manifest that an audit or a scan wrote.
    #[arg(value_name = "manifest.json")]
    manifest: PathBuf,
    /// Where the model lies now.
    #[arg(long)]
    model: Option<String>,
    /// Where the model or report of the comparison lies now.
    #[arg(long, value_name = "MODEL|report.json")]
    against: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // A scan's manifest has the job; anything else is an audit's, or nobody's.
    if read_json(&args.manifest).is_ok_and(|value| value.get("job").is_some()) {
        return scan_again(args);
    }
    let manifest = Manifest::open(&args.manifest)?;
    let options = HoldArgs::from_words(&manifest.model.dtype, &manifest.model.device)?.options()?;
    let moved = Moved { model: args.model.clone(), against: args.against.clone() };
    let progress = Progress::stderr();
    let replay = replay(&manifest, &moved, options, &progress);
    progress.finish();
    let replay = replay?;
    if args.json {
        print_json(&serde_json::to_value(&replay)?)?;
    } else {
        write!(io::stdout().lock(), "{}", terminal::render(&replay.blocks(), &terminal::Style::stdout()))?;
    }
    Ok(if replay.equal { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Repeats a scan.
fn scan_again(args: &Args) -> anyhow::Result<ExitCode> {
    let manifest = scan::Manifest::open(&args.manifest)?;
    let moved = |what: &str| {
        let hint = "repeat the scans of its shards; an atlas that was merged has no corpus of its own";
        Error::file(&args.manifest, format!("the manifest names no {what}"), hint)
    };
    let name = args.model.as_ref().or(manifest.model.as_ref()).ok_or_else(|| moved("model"))?;
    let corpus = manifest.corpus.as_ref().ok_or_else(|| moved("corpus"))?;
    let job = &manifest.job;
    let options = HoldArgs::from_words(&job.dtype, &job.device)?.options()?;
    let mut model = Model::open(name, &options)?;
    let edits: Vec<PathBuf> = job.edits.iter().map(|edit| edit.path.clone()).collect();
    edit_model(&mut model, &edits)?;
    let documents = Documents::open(corpus, job.documents.clone(), &options.hub)?;
    let edits = edits.iter().map(|path| EditRecord::of(path)).collect::<Result<_, _>>()?;
    let again = Job { edits, ..Job::of(&model, options.storage, &documents, &job.options, job.shard)? };
    let origin = Origin { model: &model, documents: &documents, corpus };
    let replay = scan::replay(&manifest, &origin, &again, &mut Unwatched)?;
    if args.json {
        print_json(&serde_json::to_value(&replay)?)?;
    } else {
        write!(io::stdout().lock(), "{}", terminal::render(&replay.blocks(), &terminal::Style::stdout()))?;
    }
    Ok(if replay.equal { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
