//! `optrode bio`: bio-inspired networks, simulated with the same records and edits as language models.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::common::{OutputArgs, print_json};
use crate::analysis::bio::{self, NETWORKS, Request, arrays};
use crate::analysis::unwatched;
use crate::hook::Selector;
use crate::report::{Block, Cell, Column, Table, terminal};
use crate::store::{check_writable, write_npz};
use crate::{Error, Result};

/// Arguments of `optrode bio`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The networks that the program can build.
    List(ListArgs),
    /// Simulate a network, or a NIR graph of your own, with records and edits.
    Run(RunArgs),
    /// Write a network as a NIR graph.
    Export(ExportArgs),
}

/// Arguments of `optrode bio list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode bio list
  optrode bio list --json")]
struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `optrode bio run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode bio run izhikevich --steps 200
  optrode bio run izhikevich --steps 200 --edit silence.json --report silenced.html
  optrode bio run ei-reservoir-adapting --steps 300 --record reservoir.hook_state --out run.npz
  optrode bio run fixtures/nir/small.nir --dt 0.1 --steps 300 --record 'hidden.hook_mem' 'hidden.hook_spikes'

`optrode sites NAME` lists the sites. Time scopes are `@t=0..500`, `@t=-1` and `@every=100`. With edits the same run without
them is the control. An .npz file holds spikes as NAME.t and NAME.i (step and neuron of every spike), whole weights as
[time, synapse] with NAME.pre and NAME.post, everything else as it was recorded, and NAME.steps.

A NIR graph (HDF5 as Python's `nir` writes it, or its JSON form) says times in seconds, but not how long its steps are: its
weights belong to the step that they were made for, 1 ms in Norse, 0.1 ms in snnTorch. `optrode sites FILE` says what a
number that enters a node means.")]
struct RunArgs {
    /// The network, as `bio list` has it, or a NIR graph: FILE.nir, FILE.nir.json, or a folder with one of them.
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Length of a step of a NIR graph, ms; 1 if left out.
    #[arg(long, value_name = "MS")]
    dt: Option<f64>,
    /// What it is given, [time, channels] or [rows, time, channels], in place of its own input (of a graph: Poisson trains
    /// of 100 Hz).
    #[arg(long, value_name = "FILE.npy|npz")]
    input: Option<PathBuf>,
    /// Steps; the network's own number if left out.
    #[arg(long)]
    steps: Option<usize>,
    /// What to record; may be repeated. Spikes or rates if left out.
    #[arg(long, value_name = "SELECTOR", num_args = 1..)]
    record: Vec<Selector>,
    /// Edits to apply: a JSON file or a bundle folder (may be repeated; applied in order).
    #[arg(long = "edit", value_name = "EDIT.json")]
    edits: Vec<PathBuf>,
    /// Write the records here, as .npz.
    #[arg(long, value_name = "OUT.npz")]
    out: Option<PathBuf>,
    /// Seed of the network, its input and of stochastic edits.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `optrode bio export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode bio export lif-balanced --out balanced.nir.json
  optrode bio export fixtures/nir/small.nir --out small.nir.json

Large arrays go into NAME.nir.npz beside it. What a NIR graph cannot hold (Izhikevich's neurons, plastic weights, refractoriness,
conductances) is refused. fixtures/nir/twin.py makes the HDF5 form of it, with Python's `nir`.")]
struct ExportArgs {
    /// The network, as `bio list` has it, or a NIR graph, to be written in its JSON form.
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Where to write it.
    #[arg(long, value_name = "NAME.nir.json")]
    out: PathBuf,
    /// Seed of the network.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List(args) => list(args.json)?,
        Command::Run(args) => simulate(args)?,
        Command::Export(args) => export(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let entry =
            |n: &bio::Named| json!({ "name": n.name, "meaning": n.meaning, "paper": n.paper, "steps": n.steps });
        return print_json(&Value::Array(NETWORKS.iter().map(entry).collect()));
    }
    let columns = ["network", "paper", "steps", "what it is"].map(Column::new).to_vec();
    let row = |n: &bio::Named| {
        let paper = n.paper.map_or(Cell::Empty, |p| Cell::text(format!("{p:02}")));
        vec![Cell::text(n.name), paper, Cell::count(n.steps), Cell::text(n.meaning)]
    };
    let table = Block::Table(Table { columns, rows: NETWORKS.iter().map(row).collect() });
    write!(io::stdout().lock(), "{}", terminal::render(&[table], &terminal::Style::stdout()))?;
    Ok(())
}

fn simulate(args: &RunArgs) -> anyhow::Result<()> {
    args.output.check()?;
    if let Some(out) = &args.out {
        check_out(out)?;
    }
    let subject = bio::open(&args.network, args.dt)?;
    let request = Request {
        steps: args.steps,
        records: args.record.clone(),
        edits: args.edits.clone(),
        input: args.input.clone(),
        seed: args.seed,
    };
    let ran = bio::run(subject.as_ref(), &request, &mut unwatched)?;
    if let Some(out) = &args.out {
        write_npz(out, &arrays(subject.as_ref(), args.seed, &ran)?)?;
    }
    args.output.show("simulation", subject.name(), args.seed, &ran)
}

fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let net = bio::open(&args.network, None)?.build(args.seed)?;
    let exported = net.nir()?;
    exported.graph.write(&args.out)?;
    let (nodes, edges) = (exported.graph.nodes.len(), exported.graph.edges.len());
    if args.json {
        return print_json(&json!({
            "model": args.network, "out": args.out, "nodes": nodes, "edges": edges, "dt": net.dt(), "notes": exported.notes,
        }));
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{}: {nodes} nodes, {edges} edges", args.out.display())?;
    exported.notes.iter().try_for_each(|note| writeln!(out, "not exact: {note}"))?;
    Ok(())
}

fn check_out(out: &Path) -> Result<()> {
    if out.extension().and_then(|e| e.to_str()) != Some("npz") {
        return Err(Error::file(out, "the extension is not .npz", "name the file accordingly"));
    }
    check_writable(out)
}
