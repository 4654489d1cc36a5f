//! `optrode audit-labels`: units whose labels or examples hold a term of a list.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::common::print_json;
use crate::analysis::label::audit::{Terms, audit};
use crate::report::{Report, terminal};

/// Arguments of `optrode audit-labels`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode audit-labels scanned --terms terms.txt
  optrode audit-labels scanned --terms terms.txt --json

FILE has a word or phrase a line; lines that begin with # are comments. Words match whole words, whatever their case.
`optrode label` fills an atlas with labels; without them, the examples alone are searched.")]
pub struct Args {
    /// The atlas of a scan.
    atlas: PathBuf,
    /// The terms, one a line.
    #[arg(long, value_name = "FILE")]
    terms: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let found = audit(&args.atlas, &Terms::read(&args.terms)?)?;
    if args.json {
        print_json(&serde_json::to_value(&found)?)?;
    } else {
        write!(io::stdout().lock(), "{}", terminal::render(&found.blocks(), &terminal::Style::stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}
