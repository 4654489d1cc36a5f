//! `optrode lens`: what each layer would predict.

use std::path::PathBuf;
use std::process::ExitCode;

use super::common::{ModelArgs, OutputArgs};
use crate::analysis::Corpus;
use crate::analysis::lens::{Options, concepts, lens};
use crate::data::organism::embedded;
use crate::data::{LensPrompts, read_texts};

/// Arguments of `optrode lens`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode lens ./stories260K --text 'Once upon a time there was a dog'
  optrode lens ./stories260K --file stories.jsonl:story --report lens.html --json
  optrode lens ./stories260K --prompts lens-eval-words.json

With --prompts, whether some layer holds the concepts that the file names for its prompts. Without a text, some paragraphs that come with the program.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A text (may be repeated).
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    text: Vec<String>,
    /// Texts: a file, FILE.jsonl:FIELD or hub:org/name.
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Prompts with the concepts that inner layers should hold: `lens-eval-*.json` of the lens prompts.
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["text", "file"])]
    prompts: Option<PathBuf>,
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
    if let Some(path) = &args.prompts {
        let found = concepts(&model, &LensPrompts::read(path)?, args.seed)?;
        args.output.show("Concepts by logit lens", &args.model.model, args.seed, &found)?;
        return Ok(ExitCode::SUCCESS);
    }
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
