//! `optrode ablate`: what a network loses without some of its heads.

use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use super::common::{ModelArgs, OutputArgs};
use crate::analysis::heads::{Ablation, CausalOptions, Kind, Options, Pool, ablate, ablate_text, causal};
use crate::data::organism::embedded;
use crate::data::read_texts;
use crate::models::Model;
use crate::report::{Block, Report};

use crate::{Error, Result};

/// Arguments of `optrode ablate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode ablate ./stories260K --heads 3.2,3.6 --op zero --draws 2
  optrode ablate ./stories260K --top 2 --draws 2 --report ablation.html --json

Without --heads, the strongest induction heads, which are found first; then the previous-token pattern is forbidden too, and
the induction score looked at. Losses are of random tokens that repeat, and of the beginnings of texts that repeat, which a
model knows how to read the first time; controls are random heads of the same layers.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Heads to ablate, as LAYER.HEAD, strongest first: the order in which they are added back.
    #[arg(long, value_delimiter = ',', value_parser = parse_head, value_name = "L.H,..")]
    heads: Vec<(usize, usize)>,
    /// How many induction heads.
    #[arg(long, default_value_t = CausalOptions::default().top, conflicts_with = "heads")]
    top: usize,
    /// What takes the place of what a head gives.
    #[arg(long, value_enum, default_value_t = Op::Mean)]
    op: Op,
    /// Texts: a file, FILE.jsonl:FIELD or hub:org/name [default: some paragraphs that come with the program].
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Different random sets of heads to compare with.
    #[arg(long, default_value_t = CausalOptions::default().draws)]
    draws: usize,
    /// Tokens of a half.
    #[arg(long, default_value_t = Options::default().n)]
    n: usize,
    /// Rows.
    #[arg(long, default_value_t = Options::default().rows)]
    rows: usize,
    /// Seed of all draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
}

/// What takes the place of an ablated head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Op {
    /// Nothing; off-distribution.
    Zero,
    /// Its mean over rows without repeats.
    Mean,
    /// What it is in a random one of these rows.
    Resample,
}

/// `3.6`.
fn parse_head(text: &str) -> Result<(usize, usize)> {
    let wrong = || Error::invalid(format!("cannot read the head `{text}`"), "give LAYER.HEAD, such as 3.6");
    let (layer, head) = text.split_once('.').ok_or_else(wrong)?;
    Ok((layer.parse().map_err(|_| wrong())?, head.parse().map_err(|_| wrong())?))
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.output.check()?;
    let model = args.model.open()?;
    let options = CausalOptions {
        rows: Options { n: args.n, rows: args.rows, seed: args.seed, ..Options::default() },
        top: args.top,
        kind: match args.op {
            Op::Zero => Kind::Zero,
            Op::Mean => Kind::Mean,
            Op::Resample => Kind::Resample,
        },
        draws: args.draws,
    };
    let (net, pool, name) = (&model.decoder, Pool::of(&model), &args.model.model);
    let texts = texts(&model, args.file.as_deref())?;
    if args.heads.is_empty() {
        args.output.show("Ablation of induction heads", name, args.seed, &causal(net, &pool, &texts, &options)?)?;
    } else {
        let mut both = Both(vec![ablate(net, &pool, &args.heads, &options)?]);
        if !texts.is_empty() {
            both.0.push(ablate_text(net, pool.start, &texts, &args.heads, &options)?);
        }
        args.output.show("Ablation", name, args.seed, &both)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The ablation on random tokens, and on texts if there are any.
#[derive(Serialize)]
#[serde(transparent)]
struct Both(Vec<Ablation>);

impl Report for Both {
    fn blocks(&self) -> Vec<Block> {
        self.0.iter().flat_map(Report::blocks).collect()
    }
}

/// The texts' tokens, without special ones; none where the model has no tokenizer and no file was named.
fn texts(model: &Model, file: Option<&str>) -> Result<Vec<Vec<u32>>> {
    let texts = match (file, model.tokenizer()) {
        (Some(file), _) => read_texts(file)?,
        (None, Ok(_)) => embedded::texts().into_iter().flat_map(|set| set.texts).collect(),
        (None, Err(_)) => return Ok(Vec::new()),
    };
    let tokenizer = model.tokenizer()?;
    texts.iter().map(|text| tokenizer.encode(text, false)).collect()
}
