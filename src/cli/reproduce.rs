//! `optrode reproduce`: the claims of papers, tested here.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::common::{HoldArgs, print_json};
use crate::papers::{self, NAMES, Outcome, PaperRecord, Request, Scale, reproduce};
use crate::report::{Block, Cell, Column, Progress, Report, Table, terminal};
use crate::store::FileSet;

/// Arguments of `optrode reproduce`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode reproduce list

Writes report.html (one file, opens offline), report.json and manifest.json, all or none. Exits with 1 if a part of the
claim does not hold.")]
pub struct Args {
    /// `list`, or the paper's number or name.
    paper: String,
    /// About two minutes, offline (the default).
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The whole experiment; it may need models and data.
    #[arg(long)]
    full: bool,
    /// Folder that the experiment's models and data lie in.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of the report; replaced as a whole [default: optrode-paper-NN].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of every draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    hold: HoldArgs,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.paper == "list" {
        return list(args.json).map(|()| ExitCode::SUCCESS);
    }
    let paper = papers::find(&args.paper)?;
    let out = args.out.clone().unwrap_or_else(|| format!("optrode-paper-{:02}", paper.number()).into());
    let set = FileSet::prepare(&out, NAMES)?;
    let options = args.hold.options()?;
    let scale = if args.full { Scale::Full } else { Scale::Quick };
    let request = Request { scale, seed: args.seed, options: &options, data: args.data.as_deref() };
    let progress = Progress::stderr();
    progress.task(format!("paper {:02}", paper.number()));
    let done = reproduce(paper, &request, &progress);
    progress.finish();
    let done = done?;
    let written = done.files().and_then(|files| set.write(&files));
    // The numbers are shown even where they could not be written.
    if args.json {
        print_json(&serde_json::to_value(&done)?)?;
    } else {
        let mut blocks = vec![Block::heading(format!("{:02}: {}", done.paper.number, done.paper.title))];
        blocks.extend(done.blocks());
        if written.is_ok() {
            blocks.push(Block::text(format!("Report: {}", out.join("report.html").display())));
        }
        write!(io::stdout().lock(), "{}", terminal::render(&blocks, &terminal::Style::stdout()))?;
    }
    written?;
    Ok(if done.outcome == Outcome::Passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn list(as_json: bool) -> anyhow::Result<()> {
    let papers: Vec<PaperRecord> = papers::ALL.iter().map(|p| PaperRecord::of(*p)).collect();
    if as_json {
        return print_json(&Value::Array(papers.iter().map(serde_json::to_value).collect::<Result<_, _>>()?));
    }
    let columns = ["paper", "name", "title", "claim"].map(Column::new).to_vec();
    let row = |p: &PaperRecord| {
        [format!("{:02}", p.number), p.name.clone(), p.title.clone(), p.claim.clone()].map(Cell::text).to_vec()
    };
    let table = Block::Table(Table { columns, rows: papers.iter().map(row).collect() });
    write!(io::stdout().lock(), "{}", terminal::render(&[table], &terminal::Style::stdout()))?;
    Ok(())
}
