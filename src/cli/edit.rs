//! `optrode edit`: edits as files, and in weights.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::common::{EditArgs, ModelArgs, print_json};
use crate::analysis::bake::{self, Texts, Verified, reason, verify};
use crate::analysis::{registry, unwatched};
use crate::generate::{Generated, Generator, Options};
use crate::hook::{Edit, Pass, Values};
use crate::models::{Model, Network, OpenOptions, Side, Tokens};
use crate::report::{Block, Cell, Column, Report, Table, terminal};
use crate::store::Bundle;
use crate::{Error, Result};

/// Arguments of `optrode edit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode edit list .
  optrode edit show zero-head.json --model ./stories260K
  optrode edit apply ./stories260K --edit zero-head.json --prompt 'Once upon a time'
  optrode edit export ./stories260K --edit zero-head.json --out edited
  optrode edit verify ./stories260K --edit zero-head.json --edited edited

An edit file is JSON, or a folder with edit.json and tensors.safetensors. What a family has weights for is exported:
zeroed, scaled or (where there is a bias) set neurons and heads, and directions that are projected out. The rest stays a file.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the edit files of a folder.
    List {
        /// The folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what an edit file does; with a model, where it acts and what can be exported.
    Show {
        /// The edit file or folder.
        edit: PathBuf,
        /// The model that it is for.
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Continue a prompt with and without the edits.
    Apply {
        #[command(flatten)]
        model: ModelArgs,
        #[command(flatten)]
        edits: EditArgs,
        /// The text to continue.
        #[arg(long)]
        prompt: String,
        /// Most tokens to add.
        #[arg(long, default_value_t = 40)]
        max_new_tokens: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a Hugging Face folder with the edits in its weights, checked against the edited run.
    Export {
        #[command(flatten)]
        model: ModelArgs,
        #[command(flatten)]
        edits: EditArgs,
        /// The folder to write; it must not exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        check: CheckArgs,
    },
    /// Compare an exported folder with the edited run; exits with 1 if they differ.
    Verify {
        #[command(flatten)]
        model: ModelArgs,
        #[command(flatten)]
        edits: EditArgs,
        /// The exported folder.
        #[arg(long, value_name = "DIR")]
        edited: PathBuf,
        #[command(flatten)]
        check: CheckArgs,
    },
}

/// How an export is checked.
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Compare on these texts (a file that every text command reads) rather than on random tokens.
    #[arg(long, value_name = "FILE")]
    texts: Option<String>,
    /// The largest KL divergence where the stored type rounds the edited weights, as a share of that of the edits.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    rounding: f64,
    /// Seed of the random tokens.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl CheckArgs {
    /// Rows of random tokens, and their length; tokens of a text.
    const ROWS: usize = 8;
    const LENGTH: usize = 32;
    const TEXT: usize = 128;

    fn texts(&self, model: &Model) -> Result<Texts> {
        let Some(spec) = &self.texts else { return Ok(Texts::Random(Self::ROWS, Self::LENGTH, self.seed)) };
        let texts = crate::data::read_texts(spec)?;
        let most = model.decoder.facts().context.map_or(Self::TEXT, |limit| limit.min(Self::TEXT));
        let cut = |text: &String| -> Result<Vec<u32>> {
            let mut ids = model.encode(text)?;
            ids.truncate(most);
            Ok(ids)
        };
        Ok(Texts::Rows(texts.iter().filter(|t| !t.is_empty()).map(cut).collect::<Result<_>>()?))
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List { folder, json } => list(folder, *json),
        Command::Show { edit, model, json } => show(edit, model.as_deref(), *json),
        Command::Apply { model, edits, prompt, max_new_tokens, json } => {
            apply(&model.open()?, edits, prompt, *max_new_tokens, *json)
        }
        Command::Export { model, edits, out, check } => export(model, edits, out, check),
        Command::Verify { model, edits, edited, check } => {
            let model_options = model.options()?;
            let model = model.open()?;
            let bundle = edits.bundle(&model)?;
            let edited = Model::open(&edited.display().to_string(), &model_options)?;
            let verified = verify(&model, &bundle, &edited, &check.texts(&model)?, check.rounding)?;
            answer(&verified, check.json)
        }
    }
}

/// Every edit file that lies in a folder, by name. Other files are passed over.
fn list(folder: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(folder))?.path();
        let is_bundle = path.is_dir() && path.join("edit.json").is_file();
        if is_bundle || path.extension().is_some_and(|e| e == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    let device = candle_core::Device::Cpu;
    let found: Vec<(PathBuf, Bundle)> =
        paths.into_iter().filter_map(|path| Some((path.clone(), Bundle::open(&path, &device).ok()?))).collect();
    if as_json {
        let row = |(path, bundle): &(PathBuf, Bundle)| json!({ "path": path, "edits": bundle.file.edits.len(), "model": bundle.file.model, "note": bundle.file.note });
        print_json(&Value::Array(found.iter().map(row).collect()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = ["file", "edits", "operations", "model", "note"].map(Column::new).to_vec();
    let row = |(path, bundle): &(PathBuf, Bundle)| {
        let file = &bundle.file;
        let mut ops: Vec<&str> = file.edits.iter().map(|e| e.op.as_str()).collect();
        ops.sort_unstable();
        ops.dedup();
        let short = |sha: &String| sha.chars().take(12).collect::<String>();
        vec![
            Cell::text(path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())),
            Cell::count(file.edits.len()),
            Cell::text(ops.join(", ")),
            file.model.as_ref().map_or(Cell::Empty, |sha| Cell::text(short(sha))),
            file.note.as_ref().map_or(Cell::Empty, Cell::text),
        ]
    };
    let blocks = match found.is_empty() {
        true => vec![Block::text(format!("No edit file lies in {}.", folder.display()))],
        false => vec![Block::Table(Table { columns, rows: found.iter().map(row).collect() })],
    };
    print(&blocks)
}

fn show(path: &Path, model: Option<&str>, as_json: bool) -> anyhow::Result<ExitCode> {
    let bundle = Bundle::open(path, &candle_core::Device::Cpu)?;
    let model = model.map(|name| Model::open(name, &OpenOptions::default())).transpose()?;
    if let Some(model) = &model {
        bundle.check_model(|| Ok(model.folder.identity()?.sha256))?;
    }
    let mut columns = vec![Column::new("site"), Column::new("operation"), Column::new("parameters")];
    if model.is_some() {
        columns.extend(["sites", "in weights"].map(Column::new));
    }
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for edit in &bundle.file.edits {
        let mut row = vec![Cell::text(edit.site.to_string()), Cell::text(&edit.op), Cell::text(parameters(edit))];
        let mut value = json!({ "edit": edit });
        if let Some(model) = &model {
            let sites: Vec<String> =
                edit.site.resolve(model.decoder.sites())?.sites.into_iter().map(|s| s.name).collect();
            let why = reason(edit, &bundle, model);
            row.extend([Cell::count(sites.len()), Cell::text(why.clone().unwrap_or_else(|| "yes".to_string()))]);
            value["sites"] = json!(sites);
            value["not_in_weights"] = json!(why);
        }
        rows.push(row);
        values.push(value);
    }
    if as_json {
        let file = &bundle.file;
        let tensors: Value = bundle.tensors.iter().map(|(name, t)| (name.clone(), json!(t.dims()))).collect();
        print_json(&json!({ "edits": values, "model": file.model, "note": file.note, "tensors": tensors }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut blocks = vec![Block::heading(format!("Edits of {}", path.display()))];
    blocks.extend(bundle.file.note.as_ref().map(Block::text));
    blocks.extend(
        bundle.file.model.as_ref().map(|sha| Block::text(format!("Fitted on the model with the sha256 {sha}."))),
    );
    blocks.push(Block::Table(Table { columns, rows }));
    print(&blocks)
}

/// The parameters of an edit, lists by their length.
fn parameters(edit: &Edit) -> String {
    let short = |value: &Value| match value {
        Value::Array(list) => format!("{} numbers", list.len()),
        Value::Object(of) => match of.get("tensor").and_then(Value::as_str) {
            Some(name) => format!("tensor {name}"),
            None => Value::Object(of.clone()).to_string(),
        },
        other => other.to_string(),
    };
    let each = edit.params.iter().map(|(key, value)| format!("{key} = {}", short(value)));
    each.collect::<Vec<_>>().join(", ")
}

fn apply(model: &Model, edits: &EditArgs, prompt: &str, most: usize, as_json: bool) -> anyhow::Result<ExitCode> {
    let (edits, values) = edits.read(model)?;
    some(&edits)?;
    let mut tokens = Tokens::from_rows(&[model.encode(prompt)?], Side::Left, model.pad())?;
    tokens.special = model.special();
    let run = |edits: Vec<Edit>, values: Values| -> Result<(Generated, String)> {
        let pass = Pass { edits, ..Pass::default() };
        let registry = registry();
        let generator = Generator { net: &model.decoder, pass: &pass, registry: &registry, values };
        let options = Options {
            max_new_tokens: most,
            stop: model.eos(),
            context: model.decoder.facts().context,
            ..Options::default()
        };
        let made = generator.run(&tokens, &options, &mut |_, _| {})?;
        let text = model.tokenizer()?.decode(&made.rows[0], true)?;
        Ok((made, text))
    };
    let (before, plain) = run(Vec::new(), Values::default())?;
    let (after, edited) = run(edits, values)?;
    let both = before.rows[0].iter().zip(&after.rows[0]);
    let agree = both.take_while(|(a, b)| a == b).count();
    if as_json {
        print_json(&json!({
            "prompt": prompt, "without": plain, "with": edited, "finish": after.finish[0].word(),
            "tokens_before_they_part": agree, "idle": after.idle,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = ["run", "text", "ended by"].map(Column::new).to_vec();
    let row = |name: &str, text: &str, made: &Generated| [name, text, made.finish[0].word()].map(Cell::text).to_vec();
    let rows = vec![row("without", &plain, &before), row("with the edits", &edited, &after)];
    let mut blocks = vec![Block::Table(Table { columns, rows })];
    blocks.push(Block::text(format!("They part after {agree} tokens.")));
    for selector in &after.idle {
        blocks.push(Block::text(format!("The edit at `{selector}` acted nowhere: its positions or phase never came.")));
    }
    print(&blocks)
}

fn export(args: &ModelArgs, edits: &EditArgs, out: &Path, check: &CheckArgs) -> anyhow::Result<ExitCode> {
    if out.symlink_metadata().is_ok() {
        // Before the model is read.
        return Err(Error::file(out, "this exists already", "name a folder that does not exist").into());
    }
    let model = args.open()?;
    let bundle = edits.bundle(&model)?;
    some(&bundle.file.edits)?;
    let compared = (&check.texts(&model)?, check.rounding);
    let exported = bake::export(&model, &bundle, &args.options()?, compared, out, &mut unwatched)?;
    match check.json {
        true => print_json(&json!(exported)).map(|()| ExitCode::SUCCESS),
        false => print(&exported.blocks()),
    }
}

fn some(edits: &[Edit]) -> Result<()> {
    match edits.is_empty() {
        true => Err(Error::invalid("no edit was given", "name an edit file with --edit")),
        false => Ok(()),
    }
}

fn answer(verified: &Verified, as_json: bool) -> anyhow::Result<ExitCode> {
    match as_json {
        true => print_json(&json!({ "verified": verified }))?,
        false => print(&verified.blocks()).map(|_| ())?,
    }
    Ok(if verified.holds { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(blocks: &[Block]) -> anyhow::Result<ExitCode> {
    write!(io::stdout().lock(), "{}", terminal::render(blocks, &terminal::Style::stdout()))?;
    Ok(ExitCode::SUCCESS)
}
