//! `optrode replay`: repeat a run and compare its numbers.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::common::{HoldArgs, print_json};
use crate::probe::replay::{Moved, replay};
use crate::probe::{Manifest, Progress};
use crate::report::{Report, terminal};

/// Arguments of `optrode replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode replay audited/manifest.json
  optrode replay audited/manifest.json --model ./stories260K

Refuses if the model, its tokenizer, a data file, the comparison or the script is another one than the manifest's.
Compares to the last bit on a processor with the same abilities, else to 1e-5. Exits with 1 if a number differs.")]
pub struct Args {
    /// The manifest that an audit wrote.
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
