//! `optrode scan`: every unit's statistics and examples over a corpus, as an atlas.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::common::{EditArgs, ModelArgs, print_json};
use crate::analysis::scan::{self, ADVICE, Extent, Job, Options, Origin, Shard, needs};
use crate::analysis::{EditRecord, edit_model, memory};
use crate::data::{DocumentOptions, Documents};
use crate::models::Model;
use crate::report::{Block, Report, terminal};
use crate::store::resolve;

/// Arguments of `optrode scan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode scan ./stories260K fixtures/organism/texts --out atlas
  optrode scan ./stories260K stories.jsonl:story --group-by kind --heads --out stories-atlas
  optrode scan ./stories260K fixtures/organism/texts --documents 20 --chunk 32 --shard 1/2 --out part-1
  optrode scan ./stories260K fixtures/organism/texts --documents 20 --chunk 32 --shard 2/2 --out part-2 --json

CORPUS is a file, a folder, or hub:org/name[@revision][/FILE], with :FIELD for rows whose text is not in `text`. Lines
of .txt files and rows of .jsonl, .ndjson, .tsv, .json and .parquet files are documents; the files of a folder are
groups.
A scan that was interrupted, even killed, goes on when the same command is given again, and gives the same atlas.
`optrode merge` puts shards together; `optrode neuron` shows a unit of an atlas.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// The texts.
    corpus: String,
    /// Folder of the atlas.
    #[arg(long, value_name = "ATLAS")]
    out: PathBuf,
    /// The column that names each document's group (language, skill, label); the file's name unless given.
    #[arg(long, value_name = "COLUMN")]
    group_by: Option<String>,
    /// Read at most so many documents of every file.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    documents: Option<u64>,
    /// Attention heads too: the norm of what each adds to the stream.
    #[arg(long)]
    heads: bool,
    /// Coordinates of the residual stream after each block too.
    #[arg(long)]
    residual: bool,
    /// Scan one of N parts, which `optrode merge` puts together.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Largest and smallest examples kept of every unit.
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    examples: u16,
    /// Longest piece of a document that the network reads at once, in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..))]
    window: u32,
    /// Most tokens of a batch, padding included.
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Documents of a chunk: what is held at a time, and what shards share out.
    #[arg(long, value_name = "DOCUMENTS", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    chunk: u64,
    /// Tokens sampled at random, at which all units are kept together.
    #[arg(long, value_name = "TOKENS", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// Seed of the sample.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Seconds between checkpoints; 0 for one after every chunk.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    checkpoint_every: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options = args.model.options()?;
    let read = DocumentOptions { group_by: args.group_by.clone(), per_file: args.documents, chunk: args.chunk };
    let wanted = Options {
        heads: args.heads,
        residual: args.residual,
        examples: usize::from(args.examples),
        sample: args.sample as usize,
        window: args.window as usize,
        batch: args.batch as usize,
        seed: args.seed,
        ..Options::default()
    };
    let folder = resolve(&args.model.model, &options.hub)?;
    let documents = Documents::open(&args.corpus, read, &options.hub)?;
    // Before the weights are read: they may be what does not fit.
    let weights = memory::weights(&folder, options.storage)?;
    let sites = Model::sites(&args.model.model, &options)?;
    let needs = needs(&sites, weights, &documents, &wanted, args.shard);
    needs.check(memory::available(), ADVICE)?;
    let mut model = Model::open(&args.model.model, &options)?;
    edit_model(&mut model, &args.edits.edits)?;
    let edits = args.edits.edits.iter().map(|path| EditRecord::of(path)).collect::<Result<_, _>>()?;
    let job = Job { edits, ..Job::of(&model, options.storage, &documents, &wanted, args.shard)? };
    let mut bar = Bar::new(needs.line());
    let origin = Origin { model: &model, documents: &documents, corpus: &args.corpus };
    let every = Duration::from_secs(args.checkpoint_every);
    let scanned = scan::scan(&origin, &job, &args.out, every, &mut bar);
    bar.bar.finish_and_clear();
    let scanned = scanned?;
    if args.json {
        print_json(&json!({ "atlas": args.out, "scan": scanned, "needs": needs }))?;
    } else {
        let mut blocks = scanned.blocks();
        blocks.push(needs.block());
        blocks.push(Block::text(format!("The atlas is in {}", args.out.display())));
        write!(io::stdout().lock(), "{}", terminal::render(&blocks, &terminal::Style::stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Time between two lines where stderr is no terminal.
const LINES: Duration = Duration::from_secs(300);

/// Progress on stderr: a bar with rate and time left, or a line now and then in a log.
struct Bar {
    bar: ProgressBar,
    needs: String,
    whole: Extent,
    done: Extent,
    /// What was done when this run began.
    before: Extent,
    began: Instant,
    shown: Instant,
}

impl Bar {
    fn new(needs: String) -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} documents, {msg}");
        let bar = style.map_or(bar.clone(), |style| bar.with_style(style));
        let (nothing, now) = (Extent::default(), Instant::now());
        Self { bar, needs, whole: nothing, done: nothing, before: nothing, began: now, shown: now }
    }

    /// Rate and time left: bytes of text stand for work.
    fn message(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(1e-3);
        let rate = (self.done.tokens - self.before.tokens) as f64 / seconds;
        let bytes = self.done.bytes - self.before.bytes;
        if bytes == 0 {
            return format!("{rate:.0} tokens/s");
        }
        let left = self.whole.bytes.saturating_sub(self.done.bytes) as f64 * seconds / bytes as f64;
        format!("{rate:.0} tokens/s, {} left", spoken(left))
    }
}

impl scan::Progress for Bar {
    fn begin(&mut self, whole: &Extent, done: &Extent) {
        (self.whole, self.done, self.before) = (*whole, *done, *done);
        (self.began, self.shown) = (Instant::now(), Instant::now());
        self.bar.set_length(whole.documents);
        self.bar.set_position(done.documents);
        if io::stderr().is_terminal() {
            self.bar.println(format!("needs {}", self.needs));
        }
    }

    fn advance(&mut self, more: &Extent) -> crate::Result<()> {
        self.done.documents += more.documents;
        self.done.bytes += more.bytes;
        self.done.tokens += more.tokens;
        self.bar.set_position(self.done.documents);
        self.bar.set_message(self.message());
        // A bar that is not drawn swallows everything.
        if self.bar.is_hidden() && self.shown.elapsed() >= LINES {
            let needs = std::mem::take(&mut self.needs);
            if !needs.is_empty() {
                eprintln!("needs {needs}");
            }
            eprintln!("{}/{} documents, {}", self.done.documents, self.whole.documents, self.message());
            self.shown = Instant::now();
        }
        Ok(())
    }
}

/// `2 h 05 min`, `3 min 20 s`, `12 s`.
fn spoken(seconds: f64) -> String {
    let seconds = seconds.min(1e9) as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}
