//! `optrode neuron`: the page of one unit.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::common::{ModelArgs, print_json};
use crate::Error;
use crate::analysis::scan::{self, Unwatched};
use crate::analysis::unit;
use crate::hook::Selector;
use crate::models::Model;
use crate::report::{Block, Report, terminal};

/// Arguments of `optrode neuron`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode neuron ./stories260K 'blocks.3.mlp.hook_post[neuron=12]'
  optrode neuron ./stories260K 'blocks.3.mlp.hook_post[neuron=12]' --atlas scanned
  optrode neuron ./stories260K 'blocks.{-1}.attn.hook_result[head=2]' --atlas scanned --json

Without an atlas, some of the texts that come with the program (paragraphs of novels in six languages) are scanned
first: enough to see what a unit of a small model does, too little to say much of a large one's.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The unit: a site with one index.
    unit: Selector,
    /// The atlas of a scan of this model.
    #[arg(long)]
    atlas: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options = args.model.options()?;
    let model = Model::open(&args.model.model, &options)?;
    // The folder of a quick scan goes away with this.
    let quick = args.atlas.is_none().then(|| scan::quick(&model, &options, &mut Unwatched)).transpose()?;
    let page = match (&args.atlas, &quick) {
        (Some(atlas), _) => unit::page(&model, atlas, &args.unit)?,
        (None, Some(quick)) => unit::page(&model, &quick.path().join(scan::QUICK), &args.unit)?,
        (None, None) => return Err(Error::invalid("there is no atlas", "name one with --atlas").into()),
    };
    if args.json {
        print_json(&serde_json::to_value(&page)?)?;
    } else {
        let mut blocks = page.blocks();
        if quick.is_some() {
            let what = "From a quick scan of the program's own texts; `optrode scan` and --atlas show it on yours.";
            blocks.push(Block::text(what));
        }
        write!(io::stdout().lock(), "{}", terminal::render(&blocks, &terminal::Style::stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}
