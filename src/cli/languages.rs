//! `optrode languages`: which neurons belong to which language, and what they do.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::{SecondsFormat, Utc};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::common::{HoldArgs, print_json};
use crate::analysis::languages::{
    Agenda, Asking, Counted, Counts, Helm, Masks, Method, Options, Reading, Silence, Study, Tests, Texts, compare,
    count, languages, needs, selectors, study, survey,
};
use crate::analysis::{Figures, memory};
use crate::data::{DocumentOptions, Documents};
use crate::hook::Edit;
use crate::models::{Model, OpenOptions};
use crate::report::html::{self, Page, Section};
use crate::report::{Block, Cell, Figure, Progress, Report, terminal};
use crate::store::{EditFile, FileSet, check_writable, resolve, write_atomic};
use crate::{Error, Result};

/// The files of a folder of results.
const NAMES: &[&str] = &["report.html", "languages.json", "masks.json", "neurons.json", "counts.safetensors"];

/// Arguments of `optrode languages`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode languages ./stories260K fixtures/organism/texts --share 0.05 --tokens 2000 --documents 3 --out languages
  optrode languages ./stories260K fixtures/organism/texts --tokens 500 --deactivate mean --documents 2 --json
  optrode languages --counts languages/counts.safetensors --share 0.02
  optrode languages --counts scanned

TEXTS is a folder with one file per language, or a table with --language-column; also hub:org/name[@revision][/FILE],
with :FIELD for rows whose text is not in `text`. As many tokens of every language are counted as the smallest has; one
document in four is held out, and what neurons do is tested on those alone. --counts starts from counts instead: files
of earlier runs, or atlases of `optrode scan`, which are added up. Counts made elsewhere are safetensors with `counts`
[K, L, M] and `tokens` [K] (i64; also `prompt_counts` and `prompt_tokens`) and `languages` in the metadata.
--out writes report.html, languages.json, counts.safetensors, masks.json, and neurons.json: lists [language][layer].")]
pub struct Args {
    /// A model folder, or a Hub id; with --counts it may be left out.
    #[arg(required_unless_present = "counts")]
    model: Option<String>,
    /// The texts; with --counts they may be left out.
    #[arg(value_name = "DIR_OR_TABLE", required_unless_present = "counts")]
    texts: Option<String>,
    #[command(flatten)]
    hold: HoldArgs,
    /// The column that names each row's language; the file's name unless given.
    #[arg(long, value_name = "COLUMN")]
    language_column: Option<String>,
    /// Start from counts: safetensors files, or folders of atlases.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    counts: Vec<PathBuf>,
    /// Test these neurons rather than those found: masks.json, or lists [language][layer].
    #[arg(long, value_name = "MASKS.json", requires = "texts")]
    masks: Option<PathBuf>,
    /// Share of all neurons that is selected.
    #[arg(long, default_value_t = 0.01)]
    share: f64,
    /// Weight of the largest probability; tuned unless given.
    #[arg(long)]
    lambda: Option<f64>,
    /// Whose neurons are tested, compared and written.
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = By::Score)]
    by: By,
    /// Shuffles of the languages' names for the null; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 100)]
    permutations: u32,
    /// Most tokens counted of each language.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tokens: Option<u64>,
    /// Count only what the model itself writes, so many tokens after each document.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    answers: Option<u32>,
    /// Share of the documents that is held out for tests.
    #[arg(long, default_value_t = 0.25)]
    held_out: f64,
    /// Test on these texts rather than on held-out documents.
    #[arg(long, value_name = "DIR_OR_TABLE", requires = "texts")]
    test: Option<String>,
    /// Test on at most so many documents of each language.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    documents: u32,
    /// Silence the neurons of each language in turn: to zero, or to their mean.
    #[arg(long, value_name = "HOW", value_enum, requires = "texts", num_args = 0..=1, default_missing_value = "zero")]
    deactivate: Option<How>,
    /// Steer from each language to each other: raise the one's neurons to FACTOR times their mean, silence the other's.
    #[arg(long, value_name = "FACTOR", requires = "texts", num_args = 0..=1, default_missing_value = "2")]
    steer: Option<f64>,
    /// Compare with this model, such as one that was aligned, on the same texts.
    #[arg(long, value_name = "MODEL", requires = "texts")]
    against: Option<String>,
    /// The languages that the model of --against was trained on.
    #[arg(long, value_name = "LANGUAGES", value_delimiter = ',', requires = "against")]
    trained: Vec<String>,
    /// Write an edit that switches a language off, for --edit of other commands (may be repeated).
    #[arg(long, value_name = "LANGUAGE=EDIT.json", value_parser = off)]
    off: Vec<(String, PathBuf)>,
    /// Longest piece of a document that the network reads at once, in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..))]
    window: u32,
    /// Most tokens of a batch, padding included.
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Seed of every draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the results; replaced as a whole.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How neurons are silenced.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// To zero.
    Zero,
    /// To their mean over all languages' texts.
    Mean,
}

/// How neurons are ranked.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// Entropy less the largest probability, as Zhang et al. do.
    Score,
    /// Entropy of neurons that fire often in some language, as Tang et al. do.
    Lape,
}

fn off(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((language, path)) if !language.is_empty() && !path.is_empty() => Ok((language.into(), path.into())),
        _ => Err("expected LANGUAGE=EDIT.json".to_string()),
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let set = args.out.as_ref().map(|out| FileSet::prepare(out, NAMES)).transpose()?;
    args.off.iter().try_for_each(|(_, path)| check_writable(path))?;
    let options = args.hold.options()?;
    let started = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let progress = Progress::stderr();
    let found = args.study(&options, &progress);
    progress.finish();
    let (study, counts) = found?;
    let masks = Masks::of(&study.found, counts.model.clone());
    if let Some(set) = set {
        let facts = args.facts(&counts, &started);
        let files = files(&study, &masks, facts)?;
        set.fill(|folder| {
            for (name, bytes) in &files {
                std::fs::write(folder.join(name), bytes).map_err(Error::io(folder.join(name)))?;
            }
            counts.save(folder.join("counts.safetensors"))
        })?;
    }
    for (language, path) in &args.off {
        write_off(&masks, language, path)?;
    }
    if args.json {
        let (figures, notes) = (figures(&study), study.notes());
        print_json(&json!({ "model": args.model, "study": study, "figures": figures, "notes": notes }))?;
    } else {
        let mut blocks = study.blocks();
        if let Some(out) = &args.out {
            blocks.push(Block::text(format!("Report: {}", out.join("report.html").display())));
        }
        write!(io::stdout().lock(), "{}", terminal::render(&blocks, &terminal::Style::stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn agenda(&self) -> Agenda {
        let silence = |how| match how {
            How::Zero => Silence::Zero,
            How::Mean => Silence::Mean,
        };
        let (seed, window) = (self.seed, self.window as usize);
        let asking = |how| Asking { silence: silence(how), window, seed, ..Asking::default() };
        let mut options = Options {
            share: self.share,
            lambda: self.lambda,
            by: match self.by {
                By::Score => Method::Score,
                By::Lape => Method::Lape,
            },
            permutations: self.permutations as usize,
            seed,
            ..Options::default()
        };
        if !options.sweep.contains(&self.share) {
            options.sweep.push(self.share);
            options.sweep.sort_by(f64::total_cmp);
        }
        Agenda {
            reading: Reading {
                tokens: self.tokens,
                held_out: if self.test.is_some() { 0.0 } else { self.held_out },
                window,
                batch: self.batch as usize,
                seed,
                ..Reading::default()
            },
            counted: self.answers.map_or(Counted::Texts, |n| Counted::Answers(n as usize)),
            options,
            tests: self.documents as usize,
            lens: self.test.is_some() || self.held_out > 0.0,
            asking: self.deactivate.map(asking),
            helm: self.steer.map(|factor| Helm { factor, window, seed, ..Helm::default() }),
        }
    }

    /// The counts of all files together.
    fn counted(&self) -> Result<Option<Counts>> {
        let mut all: Option<Counts> = None;
        for path in &self.counts {
            let more = Counts::open(path)?;
            match &mut all {
                None => all = Some(more),
                Some(all) => all.merge(more)?,
            }
        }
        Ok(all)
    }

    fn study(&self, options: &OpenOptions, progress: &Progress) -> Result<(Study, Counts)> {
        let agenda = self.agenda();
        let given = self.counted()?;
        let open = |name: &str| -> Result<Model> {
            let folder = resolve(name, &options.hub)?;
            let weights = memory::weights(&folder, options.storage)?;
            let languages = given.as_ref().map_or(1, |counts| counts.languages.len());
            let needs = needs(&Model::sites(name, options)?, weights, languages, &agenda.reading)?;
            needs.check(memory::available(), "lower --batch or --window, or keep the weights as --dtype bf16")?;
            Model::open(name, options)
        };
        let model = self.model.as_deref().map(open).transpose()?;
        if let (Some(model), Some(counts)) = (&model, &given) {
            let facts = model.decoder.facts();
            counts.check_model(facts.layers.len(), facts.d_mlp, &model.folder.identity()?.sha256)?;
        }
        let (Some(model), Some(spec)) = (&model, &self.texts) else {
            let counts =
                given.ok_or_else(|| Error::invalid("there are neither texts nor counts", "give one of them"))?;
            return Ok((Study::of(languages(&counts, &agenda.options)?), counts));
        };
        let read = |spec: &str| {
            let read = DocumentOptions { group_by: self.language_column.clone(), ..DocumentOptions::default() };
            Documents::open(spec, read, &options.hub)
        };
        let documents = read(spec)?;
        let test = self.test.as_deref().map(read).transpose()?;
        let masks = self.masks.as_ref().map(Masks::open).transpose()?;
        if let Some(masks) = &masks {
            let facts = model.decoder.facts();
            masks.check_model(facts.layers.len(), facts.d_mlp, &model.folder.identity()?.sha256)?;
        }
        let tests = Tests { counts: given.as_ref(), texts: test.as_ref().map(Texts::Corpus), masks: masks.as_ref() };
        let texts = Texts::Corpus(&documents);
        let mut watch = watching(progress);
        let (mut study, counts) = study(model, texts, &tests, &agenda, &mut watch)?;
        if let Some(other) = &self.against {
            let other = open(other)?;
            let surveyed = survey(&other, texts, &agenda.reading)?;
            let mut count_on = |done, all| watch("counting in the other model", done, all);
            let after = count(&other, texts, &surveyed, &agenda.reading, agenda.counted, &mut count_on)?;
            study.comparison = Some(compare(&counts, &after, &self.trained, &agenda.options)?);
        }
        Ok((study, counts))
    }

    fn facts(&self, counts: &Counts, started: &str) -> Vec<Figure> {
        let fact = |name: &str, value: String| Figure::new(name, Cell::text(value));
        let mut facts = vec![fact("model", self.model.clone().unwrap_or_else(|| "counts alone".to_string()))];
        facts.extend(counts.model.iter().map(|sha256| fact("sha256 of the model", sha256.clone())));
        facts.extend(self.texts.iter().map(|texts| fact("texts", texts.clone())));
        facts.push(fact("date", started.to_string()));
        facts.push(Figure::new("seed", Cell::count(self.seed)));
        facts.push(fact("optrode", env!("CARGO_PKG_VERSION").to_string()));
        facts
    }
}

/// Shows what is done and how far it is.
fn watching(progress: &Progress) -> impl FnMut(&str, usize, usize) + '_ {
    let (mut stage, mut before) = (String::new(), 0);
    move |name, done, all| {
        if stage != name {
            progress.task(name);
            progress.begin(all as u64);
            (stage, before) = (name.to_string(), 0);
        }
        progress.advance(done.saturating_sub(before) as u64);
        before = done;
    }
}

fn figures(study: &Study) -> Value {
    let number = |(name, value): (String, f64)| (name, json!(value));
    study.figures().into_iter().map(number).collect::<serde_json::Map<_, _>>().into()
}

/// All files of a folder of results but the counts.
fn files(study: &Study, masks: &Masks, facts: Vec<Figure>) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let section = |(name, blocks): (&str, Vec<Block>)| Section {
        name: name.to_string(),
        anchor: name.to_lowercase(),
        blocks: blocks.into_iter().filter(|block| !matches!(block, Block::Heading { .. })).collect(),
    };
    let page = html::page(&Page {
        title: "Language neurons".to_string(),
        subtitle: format!("of {} languages: {}", study.found.names.len(), study.found.names.join(", ")),
        facts,
        sections: study.sections().into_iter().map(section).collect(),
    })?;
    Ok(vec![
        ("report.html", page.into_bytes()),
        ("languages.json", bytes(&json!({ "study": study, "figures": figures(study) }))?),
        ("masks.json", bytes(&json!(masks))?),
        ("neurons.json", bytes(&json!(masks.masks))?),
    ])
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec(value)
        .map_err(|e| Error::invalid(format!("the results cannot be written: {e}"), "report this defect"))?;
    text.push(b'\n');
    Ok(text)
}

/// An edit that zeroes the neurons of a language.
fn write_off(masks: &Masks, language: &str, path: &Path) -> Result<()> {
    let mask = &masks.masks[masks.index(language)?];
    let edits = selectors(mask)?.into_iter().map(|(site, ..)| Edit::new(site, "zero"));
    let file = EditFile {
        version: crate::store::bundle::VERSION,
        edits: edits.collect(),
        model: masks.model.clone(),
        note: Some(format!("switches off the neurons of `{language}`")),
    };
    let value = serde_json::to_value(&file)
        .map_err(|e| Error::invalid(format!("the edit cannot be written: {e}"), "report this defect"))?;
    let bytes = bytes(&value)?;
    write_atomic(path, |out| out.write_all(&bytes).map_err(Error::io(path)))
}
