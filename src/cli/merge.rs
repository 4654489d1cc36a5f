//! `optrode merge`: the shards of a scan as one atlas.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::common::print_json;
use crate::analysis::scan;
use crate::report::{Block, Report, terminal};

/// Arguments of `optrode merge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode merge part-1 part-2 --out whole
  optrode merge part-1 part-2 --out whole-again --json

Counts, bins, examples and quantiles are those of one pass over the whole corpus; sums agree to twelve digits.")]
pub struct Args {
    /// The atlases of all shards, in any order.
    #[arg(required = true, value_name = "SHARD")]
    shards: Vec<PathBuf>,
    /// Folder of the whole atlas.
    #[arg(long, value_name = "ATLAS")]
    out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let merged = scan::merge(&args.shards, &args.out)?;
    if args.json {
        print_json(&json!({ "atlas": args.out, "scan": merged }))?;
    } else {
        let mut blocks = merged.blocks();
        blocks.push(Block::text(format!("The atlas is in {}", args.out.display())));
        write!(io::stdout().lock(), "{}", terminal::render(&blocks, &terminal::Style::stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}
