//! `optrode patch`: activation patching between two prompts.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::json;

use super::common::{ModelArgs, print_json};
use crate::Result;
use crate::analysis::patching::{Component, Direction, Pair, patching};
use crate::analysis::prompts::answer;
use crate::report::{Report, terminal};

/// Arguments of `optrode patch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode patch ./stories260K --clean 'A dog. The dog' --corrupted 'A cat. The cat' --correct ' was' --wrong ' and'
  optrode patch ./stories260K --clean 'The dog' --corrupted 'The cat' --correct ' was' --wrong ' and' --noise --json

Both prompts must have as many tokens, and each answer must be one token. Every block and position (every head for z) is
patched on its own; effects are shares of the difference of the two answers' logits between the prompts.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The prompt with the correct answer.
    #[arg(long, value_name = "TEXT")]
    clean: String,
    /// The prompt with the other answer.
    #[arg(long, value_name = "TEXT")]
    corrupted: String,
    /// What follows the clean prompt: one token, with the space before it.
    #[arg(long, value_name = "TOKEN")]
    correct: String,
    /// What follows the corrupted prompt.
    #[arg(long, value_name = "TOKEN")]
    wrong: String,
    /// What to patch.
    #[arg(long, value_enum, num_args = 1.., default_values_t = [Site::ResidPre, Site::AttnOut, Site::MlpOut, Site::Z])]
    sites: Vec<Site>,
    /// Put corrupted values into the clean run rather than clean ones into the corrupted run.
    #[arg(long)]
    noise: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Site {
    /// The stream before each block.
    ResidPre,
    /// What attention adds to it.
    AttnOut,
    /// What the MLP adds to it.
    MlpOut,
    /// Each head's mixed values, at all positions.
    Z,
}

impl Site {
    fn component(self) -> Component {
        match self {
            Self::ResidPre => Component::ResidPre,
            Self::AttnOut => Component::AttnOut,
            Self::MlpOut => Component::MlpOut,
            Self::Z => Component::Z,
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let model = args.model.open()?;
    let pair = Pair {
        clean: model.encode(&args.clean)?,
        corrupted: model.encode(&args.corrupted)?,
        correct: answer(&model, "correct", &args.correct)?,
        wrong: answer(&model, "wrong", &args.wrong)?,
    };
    let mut components: Vec<Component> = Vec::new();
    for site in &args.sites {
        if !components.contains(&site.component()) {
            components.push(site.component());
        }
    }
    let direction = if args.noise { Direction::Noise } else { Direction::Denoise };
    let found = patching(&model.decoder, std::slice::from_ref(&pair), &components, direction)?;
    if args.json {
        print_json(&json!({ "model": args.model.model, "pair": pair, "patching": found }))?;
    } else {
        let words = |ids: &[u32]| -> Result<String> {
            let tokenizer = model.tokenizer()?;
            let word = |(i, id): (usize, &u32)| format!("{i} `{}`", super::one_line(&tokenizer.token_text(*id)));
            Ok(ids.iter().enumerate().map(word).collect::<Vec<_>>().join("  "))
        };
        let mut out = io::stdout().lock();
        write!(out, "{}", terminal::render(&found.blocks(), &terminal::Style::stdout()))?;
        writeln!(
            out,
            "\nclean positions:     {}\ncorrupted positions: {}",
            words(&pair.clean)?,
            words(&pair.corrupted)?
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
