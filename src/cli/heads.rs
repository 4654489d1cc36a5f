//! `optrode heads`: what every attention head does.

use std::process::ExitCode;

use super::common::{ModelArgs, OutputArgs};
use crate::analysis::heads::{Excluded, Options, Pool, heads};
use crate::analysis::unwatched;
use crate::models::Model;

/// Arguments of `optrode heads`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode heads ./stories260K
  optrode heads ./stories260K --n 20 --rows 4 --exclude-bos --report heads.html --json

Rows are random tokens, once and then again. The control is the same architecture with random weights: --control, or the
model's own numbers in a random order within each matrix.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokens of a half; fewer where the context or the vocabulary is too small.
    #[arg(long, default_value_t = Options::default().n)]
    n: usize,
    /// Rows.
    #[arg(long, default_value_t = Options::default().rows)]
    rows: usize,
    /// Seed of the tokens, of the intervals and of the control's order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Leave attention to the first token out of the template scores.
    #[arg(long)]
    exclude_bos: bool,
    /// Leave attention of a token to itself out of the template scores.
    #[arg(long)]
    exclude_current_token: bool,
    /// An untrained model of the same architecture to compare with.
    #[arg(long, value_name = "MODEL")]
    control: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.output.check()?;
    let model = args.model.open()?;
    let open = args.model.options()?;
    let control = match &args.control {
        Some(name) => Model::open(name, &open)?.decoder,
        None => model.shuffled(&open, args.seed)?,
    };
    let options = Options {
        n: args.n,
        rows: args.rows,
        seed: args.seed,
        excluded: Excluded { bos: args.exclude_bos, current: args.exclude_current_token },
    };
    let found = heads(&model.decoder, &Pool::of(&model), Some(&control), &options, &mut unwatched)?;
    args.output.show("Attention heads", &args.model.model, args.seed, &found)?;
    Ok(ExitCode::SUCCESS)
}
