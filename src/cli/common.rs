//! Arguments that several commands share.

use std::io::{self, Write};
use std::path::PathBuf;

use candle_core::Device;
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::analysis::memory::{self, Needs};
use crate::hook::{Edit, Values};
use crate::models::{Model, Network, OpenOptions};
use crate::store::{Bundle, EditFile, HubOptions, Storage, bundle, resolve};
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
        let options = self.options()?;
        let weights = memory::weights(&resolve(&self.model, &options.hub)?, options.storage)?;
        let needs = Needs::default().and("weights", weights).and("program and libraries", memory::PROGRAM);
        needs.check(memory::available(), "keep the weights as --dtype bf16, or run on a larger machine")?;
        Model::open(&self.model, &options)
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
        let mut edits = Vec::new();
        let mut values = Values::default();
        for path in &self.edits {
            let bundle = Bundle::open(path, model.decoder.device())?;
            bundle.check_model(|| Ok(model.folder.identity()?.sha256))?;
            edits.extend(bundle.file.edits);
            for (name, tensor) in bundle.tensors {
                if values.stored.insert(name.clone(), tensor).is_some() {
                    return Err(Error::file(
                        path,
                        format!("a second bundle stores a tensor named `{name}`"),
                        "rename one of them",
                    ));
                }
            }
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

/// Prints one JSON value to stdout.
pub fn print_json(value: &Value) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}
