//! `optrode run`: a script of steps and expectations.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::audit::JobArgs;
use super::common::print_json;
use crate::probe::{Script, steps};
use crate::report::{Block, Cell, Column, Table, terminal};

/// Arguments of `optrode run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode run gate.toml --model ./stories260K
  optrode run gate.toml --model ./stories260K --out candidate --junit gate.xml --against stories260K
  optrode run --steps

A script is TOML: `title`, `seed`, `[model] path`, `[texts] NAME = \"FILE\"`, and `[[step]]` entries with `step`, `name`,
the step's parameters, and `expect = \"FIGURE >= EXPRESSION\"` (or a list). Expressions know + - * / ( ), numbers, figures
of this or an earlier step (`doctor.failed`), and `base`: the same figure in the comparison that --against names.
Exits with 1 if an expectation fails, with 2 if a step could not be carried out.")]
pub struct Args {
    /// The script.
    #[arg(value_name = "FILE.toml", required_unless_present = "steps")]
    script: Option<PathBuf>,
    /// The model to run on; the script's, or the embedded one, unless given.
    #[arg(long)]
    model: Option<String>,
    /// List the steps that scripts can use, with their parameters and figures.
    #[arg(long)]
    steps: bool,
    #[command(flatten)]
    job: JobArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.script {
        Some(path) if !args.steps => args.job.run(Script::open(path)?, args.model.clone()),
        _ => list_steps(args.job.json).map(|()| ExitCode::SUCCESS),
    }
}

/// Every step with its parameters.
fn list_steps(as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let entry = |s: &&dyn crate::probe::step::Step| {
            let figures: Map<String, Value> = s.figures().iter().map(|(n, m)| ((*n).into(), (*m).into())).collect();
            json!({ "step": s.name(), "summary": s.summary(), "parameters": s.schema(), "figures": figures })
        };
        return print_json(&Value::Array(steps::ALL.iter().map(entry).collect()));
    }
    let mut blocks = Vec::new();
    for step in steps::ALL {
        blocks.push(Block::heading(step.name()));
        blocks.push(Block::text(step.summary()));
        let schema = step.schema();
        let rows: Vec<Vec<Cell>> =
            schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(parameter).collect();
        if !rows.is_empty() {
            blocks.push(table(&["parameter", "default", "meaning"], rows));
        }
        let figures = step.figures().iter().map(|(name, meaning)| vec![Cell::text(*name), Cell::text(*meaning)]);
        blocks.push(table(&["figure", "meaning"], figures.collect()));
    }
    write!(io::stdout().lock(), "{}", terminal::render(&blocks, &terminal::Style::stdout()))?;
    Ok(())
}

fn table(columns: &[&str], rows: Vec<Vec<Cell>>) -> Block {
    Block::Table(Table { columns: columns.iter().copied().map(Column::new).collect(), rows })
}

fn parameter((name, schema): (&String, &Value)) -> Vec<Cell> {
    let empty = Map::new();
    let schema = schema.as_object().unwrap_or(&empty);
    let meaning = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    vec![
        Cell::text(name),
        schema.get("default").map_or(Cell::Empty, |d| Cell::text(d.to_string())),
        Cell::text(meaning.replace('\n', " ")),
    ]
}
