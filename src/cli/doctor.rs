//! `optrode doctor`: prove a checkpoint on this machine.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::common::{ModelArgs, print_json};
use crate::Error;
use crate::analysis::bio;
use crate::analysis::doctor::{Options, REFERENCE, Reference, against_reference, doctor};
use crate::analysis::unwatched;
use crate::report::{Report, terminal};

/// Arguments of `optrode doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode doctor ./stories260K
  optrode doctor ./stories260K --text 'Once upon a time' --text 'Tom had a ball.'
  optrode doctor fixtures/goldens/gpt2 --reference fixtures/goldens/gpt2/plain.safetensors
  optrode doctor ./stories260K --json
  optrode doctor bio
  optrode doctor ei-reservoir
  optrode doctor fixtures/nir/small.nir

`bio` examines the substrate of bio-inspired networks by its closed forms, the name of a network (`optrode bio list`) or
the file of a NIR graph the network too.

Exits with 1 if an invariant fails or a site differs from the reference by more than 5e-5.
fixtures/reference_activations.py makes a reference file from any Hugging Face model.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A text to examine it on (may be repeated); random tokens if there is none.
    #[arg(long = "text", value_name = "TEXT")]
    texts: Vec<String>,
    /// Compare with activations made elsewhere as well (may be repeated).
    #[arg(long, value_name = "ACTS.safetensors")]
    reference: Vec<PathBuf>,
    /// Seed of the random tokens.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The closed forms, and the invariants of the network that the command names.
fn examine_network(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.texts.is_empty() || !args.reference.is_empty() {
        return Err(Error::invalid(
            format!("`{}` is a simulated network, which reads no texts and has no reference file", args.model.model),
            "leave --text and --reference out",
        )
        .into());
    }
    let name = &args.model.model;
    let subject = if name == bio::SUBSTRATE { None } else { Some(bio::open(name, None)?) };
    let examination = bio::examine(subject.as_deref(), args.seed)?;
    let passed = examination.passed();
    if args.json {
        print_json(&json!({ "model": args.model.model, "passed": passed, "examination": examination }))?;
    } else {
        write!(io::stdout().lock(), "{}", terminal::render(&examination.blocks(), &terminal::Style::stdout()))?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if bio::is_named(&args.model.model) || bio::is_graph(&args.model.model) {
        return examine_network(args);
    }
    let references = args.reference.iter().map(Reference::open).collect::<crate::Result<Vec<_>>>()?;
    let model = args.model.open()?;
    let texts = args.texts.iter().map(|t| model.encode(t)).collect::<crate::Result<Vec<_>>>()?;
    let options = Options { seed: args.seed, ..Options::default() };
    let examination = doctor(&model.decoder, &texts, &options, &mut unwatched)?;
    let compared = references.iter().map(|r| against_reference(&model.decoder, r, REFERENCE));
    let comparisons = compared.collect::<crate::Result<Vec<_>>>()?;
    let passed = examination.passed() && comparisons.iter().all(|c| c.passed());
    if args.json {
        print_json(&json!({
            "model": args.model.model,
            "passed": passed,
            "examination": examination,
            "references": comparisons,
        }))?;
    } else {
        let style = terminal::Style::stdout();
        let mut out = io::stdout().lock();
        write!(out, "{}", terminal::render(&examination.blocks(), &style))?;
        for comparison in &comparisons {
            write!(out, "\n{}", terminal::render(&comparison.blocks(), &style))?;
        }
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
