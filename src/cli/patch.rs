//! `optrode patch`: activation patching between two prompts.

use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use super::common::{ModelArgs, OutputArgs, PairArgs};

use crate::analysis::patching::{Component, Direction, Pair, Patching, patching};
use crate::analysis::unwatched;
use crate::models::Model;
use crate::report::{Block, Cell, Column, Report, Table};

/// Arguments of `optrode patch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode patch ./stories260K --clean 'A dog. The dog' --corrupted 'A cat. The cat' --correct ' was' --wrong ' and'
  optrode patch ./stories260K --clean 'The dog' --corrupted 'The cat' --correct ' was' --wrong ' and' --noise --json
  optrode patch ./stories260K --count 2 --sites q k v pattern z --report patching.html

Both prompts must have as many tokens, and each answer must be one token; without --clean, pairs of a built-in set. Every
block and position (every head for q, k, v, pattern and z; keys and values have heads of their own) is patched by itself;
effects are shares of the difference of the two answers' logits between the prompts.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    pairs: PairArgs,
    /// What to patch; `all` is all that the network has.
    #[arg(long, value_enum, num_args = 1.., default_values_t = [Site::ResidPre, Site::AttnOut, Site::MlpOut, Site::Z])]
    sites: Vec<Site>,
    /// Put corrupted values into the clean run rather than clean ones into the corrupted run.
    #[arg(long)]
    noise: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Site {
    /// Whatever the network has of these.
    All,
    /// The stream before each block.
    ResidPre,
    /// The stream between attention and MLP.
    ResidMid,
    /// The stream after each block.
    ResidPost,
    /// What attention adds to it.
    AttnOut,
    /// What the MLP adds to it.
    MlpOut,
    /// Each head's queries, at all positions.
    Q,
    /// Each key head's keys, at all positions.
    K,
    /// Each key head's values, at all positions.
    V,
    /// Each head's attention.
    Pattern,
    /// Each head's mixed values, at all positions.
    Z,
}

impl Site {
    /// `None` for all of them.
    fn component(self) -> Option<Component> {
        Some(match self {
            Self::All => return None,
            Self::ResidPre => Component::ResidPre,
            Self::ResidMid => Component::ResidMid,
            Self::ResidPost => Component::ResidPost,
            Self::AttnOut => Component::AttnOut,
            Self::MlpOut => Component::MlpOut,
            Self::Q => Component::Q,
            Self::K => Component::K,
            Self::V => Component::V,
            Self::Pattern => Component::Pattern,
            Self::Z => Component::Z,
        })
    }
}

/// The maps with the prompts that they are of.
#[derive(Serialize)]
struct Shown {
    pairs: Vec<Pair>,
    patching: Patching,
    /// The first pair's tokens, position by position: clean and corrupted.
    #[serde(skip)]
    words: Vec<(String, String)>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.output.check()?;
    let model = args.model.open()?;
    let net = &model.decoder;
    let pairs = args.pairs.pairs(&model)?;
    let mut components: Vec<Component> = Vec::new();
    for site in &args.sites {
        let wanted = site.component().map_or_else(|| Component::of(net), |c| vec![c]);
        components.extend(wanted.into_iter().filter(|c| !components.contains(c)).collect::<Vec<_>>());
    }
    let direction = if args.noise { Direction::Noise } else { Direction::Denoise };
    let patching = patching(net, &pairs, &components, direction, &mut unwatched)?;
    let words = pairs.first().map_or_else(Vec::new, |pair| words(&model, pair));
    let shown = Shown { pairs, patching, words };
    args.output.show("Activation patching", &args.model.model, args.pairs.seed, &shown)?;
    Ok(ExitCode::SUCCESS)
}

/// Both prompts' tokens; their ids where the model has no tokenizer.
fn words(model: &Model, pair: &Pair) -> Vec<(String, String)> {
    let word = |id: u32| match model.tokenizer() {
        Ok(tokenizer) => format!("`{}`", super::one_line(&tokenizer.token_text(id))),
        Err(_) => id.to_string(),
    };
    pair.clean.iter().zip(&pair.corrupted).map(|(clean, corrupted)| (word(*clean), word(*corrupted))).collect()
}

impl Report for Shown {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = self.patching.blocks();
        let rows = self.words.iter().enumerate().map(|(at, (clean, corrupted))| {
            vec![Cell::count(at), Cell::text(clean.clone()), Cell::text(corrupted.clone())]
        });
        let columns = ["position", "clean", "corrupted"].map(Column::new).to_vec();
        let several = if self.pairs.len() > 1 { " of the first pair" } else { "" };
        blocks.push(Block::text(format!("Tokens{several}:")));
        blocks.push(Block::Table(Table { columns, rows: rows.collect() }));
        blocks
    }
}
