//! `optrode label`: labels for the units of an atlas, each with a held-out score.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::common::{ModelArgs, OutputArgs};
use crate::analysis::label::{Labelled, Request, Scan, Seconds, Telling, ToldUnits, label_atlas, text};
use crate::hook::Selector;
use crate::models::Model;
use crate::report::{Block, Progress, Report};
use crate::store::Endpoint;

/// Arguments of `optrode label`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode label ./stories260K scanned --least 1
  optrode label ./stories260K scanned --least 1 --units 'blocks.{-1}.mlp.hook_post[neuron=0..16]' --report labels.html
  optrode label ./stories260K scanned --least 1 --units 'blocks.2.mlp.hook_post[neuron=7]' --generate 8 --json

Labels are written into the atlas, with their scores on documents that played no part in their choice, and replace
earlier ones of the same explainers: SELECT text, score FROM labels. Explainers are `optrode rules` (tokens, words,
classes of text and compositions of them, which need no model to be read) and `optrode promotes` (the tokens that a
neuron raises). The texts are those of the scan. --generate lets the model write labels in words and chooses by pmi.
Nothing leaves the machine unless --explainer names a server, which then gets text windows with activations. What is in
the atlas already is not asked for again: an interrupted command goes on when it is given again.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The atlas of a scan of this model.
    atlas: PathBuf,
    /// The units.
    #[arg(long, value_name = "SELECTOR", default_value = "blocks.*.mlp.hook_post")]
    units: Selector,
    /// Where the scanned texts are now, if they were moved.
    #[arg(long, value_name = "CORPUS")]
    corpus: Option<String>,
    /// Tokens that are read, about: a random part of the texts if they are longer.
    #[arg(long, default_value_t = 120_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    tokens: u64,
    /// Fewest active windows of a unit; others are too rare for a label.
    #[arg(long, value_name = "WINDOWS", default_value_t = text::Options::default().least)]
    least: u64,
    /// Silence neurons in the order of what their labels are like, and all neurons of one label, and see what is lost.
    #[arg(long)]
    ablate: bool,
    /// Let the model itself write so many labels in words for every unit, and keep the best by pmi.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=64))]
    generate: u16,
    /// Ask a chat model for labels and let it judge them: the base address of an OpenAI-compatible server, such as
    /// http://127.0.0.1:8080/v1.
    #[arg(long, value_name = "URL")]
    explainer: Option<String>,
    /// What the server calls the model.
    #[arg(long, value_name = "NAME", default_value = "default", requires = "explainer")]
    explainer_model: String,
    /// Seconds that an answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "explainer")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    explainer_timeout: u64,
    /// Longest piece of a document that the network reads at once, in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..))]
    window: u32,
    /// Most tokens of a batch, padding included.
    #[arg(long, value_name = "TOKENS", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Seed of splits, draws and permutations.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
}

/// Labels with the time that they took.
#[derive(Serialize)]
struct Timed {
    #[serde(flatten)]
    labelled: Labelled,
    told: ToldUnits,
    seconds: Seconds,
}

impl Report for Timed {
    fn blocks(&self) -> Vec<Block> {
        let Seconds { pass, labels, per_unit } = self.seconds;
        let mut blocks = self.labelled.blocks();
        blocks.push(Block::text(format!(
            "The network read for {pass:.1} s; the labels took {labels:.1} s, {:.1} ms a unit.",
            1000.0 * per_unit
        )));
        let ToldUnits { made, found, failed } = self.told;
        if made + found + failed > 0 {
            blocks.push(Block::text(format!(
                "Labels in words: {made} made, {found} there already, {failed} units without an answer."
            )));
        }
        blocks
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.output.check()?;
    let options = args.model.options()?;
    let model = Model::open(&args.model.model, &options)?;
    let request = Request {
        tokens: args.tokens,
        window: args.window as usize,
        batch: args.batch as usize,
        options: text::Options { least: args.least, seed: args.seed, ..text::Options::default() },
        ..Request::of(args.units.clone())
    };
    let scan = Scan::open(&model, &args.atlas, args.corpus.as_deref(), &options.hub)?;
    let timeout = Duration::from_secs(args.explainer_timeout);
    let endpoint = args.explainer.as_ref().map(|url| Endpoint::new(url, &args.explainer_model, timeout)).transpose()?;
    let telling = Telling { draws: usize::from(args.generate), endpoint: endpoint.as_ref() };
    let progress = Progress::stderr();
    let done = label_atlas(&model, &scan, &request, &telling, args.ablate, &progress);
    progress.finish();
    let (labelled, told, seconds) = done?;
    args.output.show("Labels of units", &args.model.model, args.seed, &Timed { labelled, told, seconds })?;
    Ok(ExitCode::SUCCESS)
}
