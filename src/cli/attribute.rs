//! `optrode attribute`: which parts of a network an answer comes from.

use std::process::ExitCode;

use super::common::{ModelArgs, OutputArgs, PairArgs};
use crate::analysis::attribution::{PathForm, Receiver, attribution_patching, direct, paths};
use crate::analysis::patching::{Component, Direction};

/// Arguments of `optrode attribute`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode attribute ./stories260K
  optrode attribute ./stories260K --clean 'A dog. The dog' --corrupted 'A cat. The cat' --correct ' was' --wrong ' and'
  optrode attribute ./stories260K --patching --count 2 --report attribution.html
  optrode attribute ./stories260K --through 3.2.k --count 1 --json

Without --clean, pairs of a built-in set. By default direct attribution: what each component, head and neuron adds to the
logit difference by itself. --patching estimates the effect of every activation patch from its gradient and compares it
with the exact one; --through follows single heads into one later reader.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    pairs: PairArgs,
    /// Attribution patching, with its scatter against exact patching.
    #[arg(long, conflicts_with = "through")]
    patching: bool,
    /// Path patching into `logits`, or LAYER.HEAD.q, .k or .v.
    #[arg(long, value_name = "RECEIVER")]
    through: Option<Receiver>,
    /// With --through: add the change to what the receiver reads instead of replacing it.
    #[arg(long, requires = "through")]
    edge: bool,
    /// With --through: hold MLPs between sender and receiver too.
    #[arg(long, requires = "through")]
    strict: bool,
    /// With --patching: corrupted values into the clean run rather than clean ones into the corrupted run.
    #[arg(long, requires = "patching")]
    noise: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.output.check()?;
    let model = args.model.open()?;
    let (net, name, seed) = (&model.decoder, &args.model.model, args.pairs.seed);
    let pairs = args.pairs.pairs(&model)?;
    if let Some(receiver) = args.through {
        let form = if args.edge { PathForm::Edge } else { PathForm::Replace };
        args.output.show("Path patching", name, seed, &paths(net, &pairs, receiver, form, args.strict)?)?;
    } else if args.patching {
        let direction = if args.noise { Direction::Noise } else { Direction::Denoise };
        let found = attribution_patching(net, &pairs, &Component::of(net), direction)?;
        args.output.show("Attribution patching", name, seed, &found)?;
    } else {
        args.output.show("Direct attribution", name, seed, &direct(net, &pairs)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
