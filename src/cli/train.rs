//! `optrode train`: train the organism by its recipe.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::{DType, Tensor};
use indicatif::{ProgressBar, ProgressStyle};

use super::common::print_json;
use crate::data::organism::Books;
use crate::models::Decoder;
use crate::report::{Better, Block, Cell, Column, Table, terminal};
use crate::train::Point;
use crate::train::organism::exam::{self, Baseline};
use crate::train::organism::{self, Exam, Recipe, export};

/// Arguments of `optrode train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Train the embedded model organism anew: about an hour on two cores.
    Organism(OrganismArgs),
}

/// Arguments of `optrode train organism`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode train organism --data ./data --recipe small.toml --out small
  optrode train organism --data ./data --recipe small.toml --out small --json

The embedded organism, in about an hour: optrode train organism --data DATA --seed 0. It can be interrupted: the same
command goes on from the checkpoint, and gives the same weights to the last bit.")]
pub struct OrganismArgs {
    /// The folder that holds `parallel-books`.
    #[arg(long)]
    data: PathBuf,
    /// Seed of weights, order and tokenizer.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Another recipe than the embedded organism's.
    #[arg(long, value_name = "RECIPE.toml")]
    recipe: Option<PathBuf>,
    /// The folder for the checkpoint and the trained model.
    #[arg(long, default_value = "organism")]
    out: PathBuf,
    /// Updates between two exams on held-out items.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..))]
    exam_every: u64,
    /// Print the scores as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let What::Organism(args) = &args.what;
    let recipe = args.recipe.as_deref().map_or_else(Recipe::own, Recipe::open)?;
    let books = Books::read(&args.data.join("parallel-books"))?;
    std::fs::create_dir_all(&args.out).map_err(crate::Error::io(&args.out))?;
    let mut bar = Bar::new(recipe.updates(), args.exam_every);
    let trained = organism::train(&recipe, &books, args.seed, &args.out.join("checkpoint.safetensors"), &mut bar)?;
    bar.bar.finish_and_clear();
    let decoder = Decoder::new(&trained.config, &exported(&trained.weights)?)?;
    let exam = exam::examine(&decoder, &trained.tokenizer, &books, exam::FULL)?;
    let baselines = exam::baselines(&trained.tokenizer, &books, exam::FULL)?;
    export::export(&args.out.join("model"), &trained, &recipe, args.seed, &books, &exam, &baselines)?;
    export::export_untrained(&args.out.join("untrained"), &trained.tokenizer, &recipe, args.seed)?;
    if args.json {
        print_json(&export::scores(&recipe, args.seed, &exam, &baselines))?;
    } else {
        let mut blocks = scores(&exam, &baselines);
        blocks.push(Block::text(format!("The organism is in {}", args.out.join("model").display())));
        write!(io::stdout().lock(), "{}", terminal::render(&blocks, &terminal::Style::stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn scores(exam: &Exam, baselines: &[Baseline]) -> Vec<Block> {
    let number = |value: f64| Cell::Number { value, digits: 3 };
    let more = |title: &str| Column::new(title).better(Better::More);
    let less = |title: &str| Column::new(title).better(Better::Less);
    let skills = exam.skills.iter().map(|s| {
        let share = s.right as f64 / s.items.max(1) as f64;
        vec![Cell::text(s.skill.as_str()), Cell::Integer(s.items as i64), number(share)]
    });
    let languages = exam.languages.iter().zip(baselines).map(|(own, ngram)| {
        let numbers = [own.accuracy, ngram.accuracy, own.loss, ngram.loss].map(number);
        std::iter::once(Cell::text(own.language.as_str())).chain(numbers).collect()
    });
    vec![
        Block::heading("Held-out items"),
        Block::Table(Table {
            columns: vec![Column::new("skill"), Column::new("items"), more("exact match")],
            rows: skills.collect(),
        }),
        Block::heading("Held-out text"),
        Block::Table(Table {
            columns: vec![
                Column::new("language"),
                more("accuracy"),
                Column::new("of 4-grams"),
                less("nats per token"),
                Column::new("of 4-grams"),
            ],
            rows: languages.collect(),
        }),
    ]
}

/// The weights as the exported model has them: rounded to bf16.
fn exported(weights: &BTreeMap<String, Tensor>) -> crate::Result<BTreeMap<String, Tensor>> {
    let rounded = |w: &Tensor| w.to_dtype(DType::BF16)?.to_dtype(DType::F32);
    weights.iter().map(|(name, w)| Ok((name.clone(), rounded(w)?))).collect()
}

/// Progress on stderr.
struct Bar {
    bar: ProgressBar,
    every: u64,
}

impl Bar {
    fn new(updates: u64, every: u64) -> Self {
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} updates, {eta} left, {msg}");
        let bar = ProgressBar::new(updates);
        Self { bar: style.map_or(bar.clone(), |style| bar.with_style(style)), every }
    }
}

impl organism::Progress for Bar {
    fn updated(&mut self, point: &Point, _updates: u64) {
        let losses: Vec<String> = point.losses.iter().map(|(kind, loss)| format!("{kind} {loss:.3}")).collect();
        self.bar.set_position(point.step + 1);
        self.bar.set_message(losses.join(", "));
    }

    fn examined(&mut self, step: u64, exam: &Exam) {
        let skills = exam.skills.iter().map(|s| format!("{} {:.2}", s.skill, s.right as f64 / s.items.max(1) as f64));
        let languages = exam.languages.iter().map(|l| format!("{} {:.3}", l.language, l.accuracy));
        let all: Vec<String> = skills.chain(languages).collect();
        let line = format!("update {step}: {}, {}", self.bar.message(), all.join(", "));
        // A bar that is not drawn (no terminal) swallows lines.
        if self.bar.is_hidden() { eprintln!("{line}") } else { self.bar.println(line) }
    }

    fn every(&self) -> u64 {
        self.every
    }
}
