//! `optrode lens`: what each layer would predict.

use std::process::ExitCode;

use super::common::{ModelArgs, OutputArgs};
use crate::analysis::Corpus;
use crate::analysis::lens::{Options, lens};
use crate::data::organism::embedded;
use crate::data::read_texts;

/// Arguments of `optrode lens`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode lens ./stories260K --text 'Once upon a time there was a dog'
  optrode lens ./stories260K --file stories.jsonl:story --report lens.html --json

Without a text, some paragraphs that come with the program.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A text (may be repeated).
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    text: Vec<String>,
    /// Texts: a file, FILE.jsonl:FIELD or hub:org/name.
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Longest piece of a text, in tokens.
    #[arg(long, default_value_t = 256)]
    window: usize,
    /// Tokens of the first text shown with their predictions.
    #[arg(long, default_value_t = Options::default().grid_tokens)]
    tokens: usize,
    /// Seed of the intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
}

/// Paragraphs of each language that stand in for texts.
const PARAGRAPHS: usize = 3;

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.output.check()?;
    let model = args.model.open()?;
    let texts = match (&args.file, args.text.is_empty()) {
        (Some(file), _) => read_texts(file)?,
        (None, false) => args.text.clone(),
        (None, true) => embedded::texts().into_iter().flat_map(|s| s.texts.into_iter().take(PARAGRAPHS)).collect(),
    };
    let corpus = Corpus::of_texts(&model, &texts, args.window)?;
    let options = Options { grid_tokens: args.tokens, seed: args.seed, ..Options::default() };
    args.output.show("Logit lens", &args.model.model, args.seed, &lens(&model.decoder, &corpus, &options)?)?;
    Ok(ExitCode::SUCCESS)
}
