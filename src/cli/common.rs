//! Arguments that several commands share.

use std::io::{self, Write};
use std::path::PathBuf;

use candle_core::Device;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use crate::analysis::memory;
use crate::analysis::patching::Pair;
use crate::analysis::{clamp, prompts, read_edits};
use crate::data::read_questions;
use crate::hook::{Edit, Standing, Values};
use crate::models::{Model, OpenOptions};
use crate::report::{Cell, Figure, Report, html, terminal};
use crate::store::{Bundle, EditFile, HubOptions, Storage, bundle, check_writable, write_atomic};
use crate::{Error, Result};

/// Which model, and how it is held.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A model folder, or a Hub id such as `HuggingFaceTB/SmolLM2-135M[@revision]`.
    pub model: String,
    /// How it is held.
    #[command(flatten)]
    pub hold: HoldArgs,
}

/// How a model is held.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// What the weights are kept as; arithmetic is f32 on a CPU.
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,
    /// Where to run: `cpu`, `cuda:N` or `metal`.
    #[arg(long, default_value = "cpu", value_parser = parse_device)]
    pub device: DeviceName,
}

/// What the weights are kept as.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// bfloat16: half the memory.
    Bf16,
    /// IEEE half precision.
    F16,
}

/// A device before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    Cpu,
    /// The Nth CUDA device.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

fn parse_device(text: &str) -> std::result::Result<DeviceName, String> {
    match text.split_once(':') {
        None if text == "cpu" => Ok(DeviceName::Cpu),
        None if text == "cuda" => Ok(DeviceName::Cuda(0)),
        None if text == "metal" => Ok(DeviceName::Metal),
        Some(("cuda", n)) => n
            .parse()
            .map(DeviceName::Cuda)
            .map_err(|_| format!("`{n}` is no device number, expected cuda:0, cuda:1, ...")),
        _ => Err("expected cpu, cuda:N or metal".to_string()),
    }
}

impl DeviceName {
    fn open(self) -> Result<Device> {
        let (device, name) = match self {
            Self::Cpu => return Ok(Device::Cpu),
            Self::Cuda(n) => (Device::new_cuda(n), format!("cuda:{n}")),
            Self::Metal => (Device::new_metal(0), "metal".to_string()),
        };
        device.map_err(|e| {
            Error::invalid(
                format!("the device {name} cannot be used: {e}"),
                "use --device cpu, or a build for that device",
            )
        })
    }
}

impl HoldArgs {
    /// As the words of a manifest say.
    pub fn from_words(dtype: &str, device: &str) -> Result<Self> {
        let wrong = |what: &str, word: &str, expected: &str| {
            Error::invalid(format!("the manifest has the {what} `{word}`, expected {expected}"), "make it anew")
        };
        Ok(Self {
            dtype: Dtype::from_str(dtype, false).map_err(|_| wrong("dtype", dtype, "f32, bf16 or f16"))?,
            device: parse_device(device).map_err(|_| wrong("device", device, "cpu, cuda:N or metal"))?,
        })
    }

    /// The options to open a model with.
    pub fn options(&self) -> Result<OpenOptions> {
        Ok(OpenOptions {
            storage: match self.dtype {
                Dtype::F32 => Storage::F32,
                Dtype::Bf16 => Storage::BF16,
                Dtype::F16 => Storage::F16,
            },
            device: self.device.open()?,
            hub: HubOptions::from_env(),
        })
    }
}

impl ModelArgs {
    /// The options to open it with.
    pub fn options(&self) -> Result<OpenOptions> {
        self.hold.options()
    }

    /// Opens it, if its weights fit into memory.
    pub fn open(&self) -> Result<Model> {
        memory::open(&self.model, &self.options()?)
    }
}

/// Edits from files.
#[derive(Debug, Args)]
pub struct EditArgs {
    /// Edits to apply: a JSON file or a bundle folder (may be repeated; applied in order).
    #[arg(long = "edit", value_name = "EDIT.json")]
    pub edits: Vec<PathBuf>,
}

impl EditArgs {
    /// Reads the edits and the tensors they refer to, checked against the model they were fitted on.
    pub fn read(&self, model: &Model) -> Result<(Vec<Edit>, Values)> {
        let Standing { edits, stored, .. } = read_edits(model, &self.edits)?;
        let values = Values { stored, ..Values::default() };
        for note in clamp::shared_heads(&model.decoder, &edits)? {
            eprintln!("note: {note}");
        }
        Ok((edits, values))
    }

    /// All of them as one.
    pub fn bundle(&self, model: &Model) -> Result<Bundle> {
        let (edits, values) = self.read(model)?;
        let file = EditFile { version: bundle::VERSION, edits, model: None, note: None };
        Ok(Bundle { path: self.edits.first().cloned().unwrap_or_default(), file, tensors: values.stored })
    }
}

/// Pairs of prompts.
#[derive(Debug, Args)]
pub struct PairArgs {
    /// The prompt with the correct answer.
    #[arg(long, value_name = "TEXT", requires_all = ["corrupted", "correct", "wrong"])]
    pub clean: Option<String>,
    /// The prompt with the other answer: as many tokens.
    #[arg(long, value_name = "TEXT", requires = "clean")]
    pub corrupted: Option<String>,
    /// What follows the clean prompt: one token, with the space before it.
    #[arg(long, value_name = "TOKEN", requires = "clean")]
    pub correct: Option<String>,
    /// What follows the corrupted prompt.
    #[arg(long, value_name = "TOKEN", requires = "clean")]
    pub wrong: Option<String>,
    /// A built-in set instead.
    #[arg(long, value_enum, default_value_t = PromptSet::Repeated, conflicts_with = "clean")]
    pub set: PromptSet,
    /// Templates with arguments and answers instead: a file like the lens prompts' `flexible-generalization.json`.
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["clean", "set"])]
    pub questions: Option<PathBuf>,
    /// How many pairs of the set.
    #[arg(long, default_value_t = 8, conflicts_with = "clean")]
    pub count: usize,
    /// Seed of the set's draws.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Built-in pairs of prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PromptSet {
    /// Random tokens that begin again: what followed?
    Repeated,
    /// When Mary and John went to the store, John gave a drink to: Mary or John?
    IndirectObject,
    /// The war lasted from the year 1741 to the year 17: a later year or an earlier one?
    GreaterThan,
}

impl PairArgs {
    /// The pairs, in token ids.
    pub fn pairs(&self, model: &Model) -> Result<Vec<Pair>> {
        let (Some(clean), Some(corrupted), Some(correct), Some(wrong)) =
            (&self.clean, &self.corrupted, &self.correct, &self.wrong)
        else {
            if let Some(path) = &self.questions {
                return prompts::questions(model, &read_questions(path)?, self.count, self.seed);
            }
            let set = match self.set {
                PromptSet::Repeated => prompts::Set::Repeated,
                PromptSet::IndirectObject => prompts::Set::IndirectObject,
                PromptSet::GreaterThan => prompts::Set::GreaterThan,
            };
            return prompts::pairs(model, set, self.count, self.seed);
        };
        Ok(vec![Pair {
            clean: model.encode(clean)?,
            corrupted: model.encode(corrupted)?,
            correct: prompts::answer(model, "correct", correct)?,
            wrong: prompts::answer(model, "wrong", wrong)?,
        }])
    }
}

/// What becomes of a result.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Write a report with plots, one HTML file, here too.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

impl OutputArgs {
    /// Refuses a report that could not be written, before any work is done.
    pub fn check(&self) -> Result<()> {
        self.report.as_ref().map_or(Ok(()), check_writable)
    }

    /// Prints a result, and writes the report of it.
    pub fn show(&self, title: &str, model: &str, seed: u64, result: &(impl Report + Serialize)) -> anyhow::Result<()> {
        let blocks = result.blocks();
        if let Some(path) = &self.report {
            let fact = |name: &str, value: &str| Figure::new(name, Cell::text(value));
            let page = html::page(&html::Page {
                title: title.to_string(),
                subtitle: format!("of {model}"),
                facts: vec![
                    fact("model", model),
                    Figure::new("seed", Cell::count(seed)),
                    fact("optrode", env!("CARGO_PKG_VERSION")),
                ],
                sections: vec![html::Section {
                    name: title.to_string(),
                    anchor: "result".to_string(),
                    blocks: blocks.clone(),
                }],
            })?;
            write_atomic(path, |file| file.write_all(page.as_bytes()).map_err(Error::io(path)))?;
        }
        if self.json {
            return print_json(&json!({ "model": model, "seed": seed, "result": result }));
        }
        write!(io::stdout().lock(), "{}", terminal::render(&blocks, &terminal::Style::stdout()))?;
        Ok(())
    }
}

/// Prints one JSON value to stdout.
pub fn print_json(value: &Value) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}
