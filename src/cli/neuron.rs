//! `optrode neuron`: the page of one unit.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tempfile::TempDir;

use super::common::{ModelArgs, print_json};
use crate::analysis::scan::{self, Job, Options, Origin, Unwatched};
use crate::analysis::unit;
use crate::data::organism::embedded;
use crate::data::{DocumentOptions, Documents};
use crate::hook::Selector;
use crate::models::{Model, OpenOptions};
use crate::report::{Block, Report, terminal};
use crate::store::write_atomic;
use crate::{Error, Result};

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
    let quick = args.atlas.is_none().then(|| quick(&model, &options)).transpose()?;
    let page = match (&args.atlas, &quick) {
        (Some(atlas), _) => unit::page(&model, atlas, &args.unit)?,
        (None, Some(quick)) => unit::page(&model, &quick.path().join("atlas"), &args.unit)?,
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

/// Paragraphs of each language that a quick scan reads.
const PARAGRAPHS: u64 = 30;

/// The atlas of some of the program's own texts, in a temporary folder.
fn quick(model: &Model, options: &OpenOptions) -> Result<TempDir> {
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let texts = folder.path().join("texts");
    for set in embedded::texts() {
        let path = texts.join(format!("{}.txt", set.name));
        write_atomic(&path, |file| file.write_all(set.texts.join("\n").as_bytes()).map_err(Error::io(&path)))?;
    }
    let corpus = texts.display().to_string();
    // A few seconds' worth.
    let read = DocumentOptions { per_file: Some(PARAGRAPHS), ..DocumentOptions::default() };
    let documents = Documents::open(&corpus, read, &options.hub)?;
    let wanted = Options { heads: true, residual: true, ..Options::default() };
    let job = Job::of(model, options.storage, &documents, &wanted, None)?;
    let origin = Origin { model, documents: &documents, corpus: &corpus };
    scan::scan(&origin, &job, &folder.path().join("atlas"), Duration::from_secs(3600), &mut Unwatched)?;
    Ok(folder)
}
