//! `optrode label-images`: labels for the channels of a convolutional network.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::common::OutputArgs;
use crate::analysis::Estimate;
use crate::analysis::vision::concepts::Concepts;
use crate::analysis::vision::cuts::right;
use crate::analysis::vision::labels::{Labels, labels};
use crate::analysis::vision::mend::{Repair, baked, repair};
use crate::analysis::vision::names::{Named, Naming};
use crate::analysis::vision::units::Unit;
use crate::data::ImageSet;
use crate::models::{Convolutional, ConvolutionalConfig, Network};
use crate::report::{Block, Progress, Report};
use crate::store::{FileSet, HubOptions, ModelFolder, Source, resolve, write_safetensors};
use crate::{Error, Result};

/// Files of a network that was mended.
const NAMES: &[&str] = &["config.json", "model.safetensors"];

/// Arguments of `optrode label-images`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode label-images ./mnist-cnn ./t10k-images-idx3-ubyte --limit 400 --report digits.html
  optrode label-images ./mnist-cnn ./t10k-images-idx3-ubyte --limit 400 --length 1 --json

MODEL is a folder of a residual network for CIFAR-10, of the digit network of the ONNX zoo, or one that optrode wrote.
IMAGES is a folder of PNG or JPEG files (files in folders of their own have the folder's name as their class), an IDX
file as MNIST's, or a .bin file of CIFAR-10. Concepts are what any image has (colours, light, edges, places) and the
classes; labels are formulas of them, chosen on a quarter of the images and scored on another. --silence WORD looks for
units whose label has the word and silences those that help on the third quarter; the last one says what that did.")]
pub struct Args {
    /// A model folder, or a Hub id.
    model: String,
    /// The images.
    images: PathBuf,
    /// Most images that are read.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(60..=200_000))]
    limit: u32,
    /// Most concepts in a label.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    length: u8,
    /// Silence what helps among the units whose label has this word.
    #[arg(long, value_name = "WORD")]
    silence: Option<String>,
    /// Write the network with those units silenced in its weights.
    #[arg(long, value_name = "DIR", requires = "silence")]
    save: Option<PathBuf>,
    /// Seed of the order of the images.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is shown.
#[derive(Serialize)]
struct Done {
    images: usize,
    accuracy: Option<Estimate>,
    labels: Labels,
    repair: Option<Repair>,
}

impl Report for Done {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        if let Some(accuracy) = &self.accuracy {
            let (low, high) = accuracy.ends();
            blocks.push(Block::text(format!(
                "The network is right about {:.1} % of the last quarter of {} images [{:.1}, {:.1}].",
                100.0 * accuracy.value,
                self.images,
                100.0 * low,
                100.0 * high
            )));
        }
        blocks.extend(self.labels.blocks());
        if let Some(repair) = &self.repair {
            blocks.push(Block::heading(format!("Units labelled `{}`", repair.word)));
            blocks.extend(repair.blocks());
        }
        blocks
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.output.check()?;
    let folder = resolve(&args.model, &HubOptions::from_env())?;
    let config = ConvolutionalConfig::read(folder.config())?;
    let net = Convolutional::open(&folder)?;
    let save = args.save.as_ref().map(|dir| FileSet::prepare(dir, NAMES)).transpose()?;
    let set = ImageSet::read(&args.images, config.input, args.limit as usize)?;
    let [selection, scored, validation, test] = set.quarters(args.seed);
    let progress = Progress::stderr();
    let naming = Naming { length: usize::from(args.length), seed: args.seed, ..Naming::default() };
    let (a, b) = (Concepts::of_images(&selection), Concepts::of_images(&scored));
    let found = labels(&net, (&selection, &a), (&scored, &b), naming, &progress);
    progress.finish();
    let labels = found?;
    let known = !set.labels.is_empty();
    let accuracy = known.then(|| right(&net, &test, &[])).transpose()?.map(|r| Estimate::mean(&r, args.seed));
    let repair = match &args.silence {
        None => None,
        Some(word) => Some(mended(&net, &labels, (word, &a.names), [&validation, &test], args.seed)?),
    };
    if let (Some(save), Some(repair)) = (&save, &repair) {
        write(save, &folder, &baked(&net, &repair.silenced)?)?;
    }
    let done = Done { images: set.len(), accuracy, labels, repair };
    args.output.show("Labels of channels", &args.model, args.seed, &done)?;
    Ok(ExitCode::SUCCESS)
}

fn mended(
    net: &Convolutional,
    labels: &Labels,
    (word, names): (&str, &[String]),
    images: [&ImageSet; 2],
    seed: u64,
) -> Result<Repair> {
    let says = |name: &String| name.split(' ').any(|w| w.eq_ignore_ascii_case(word)) || name.eq_ignore_ascii_case(word);
    // What a label takes out (`but not left`) it does not name.
    let has = |n: &Named| n.formula.as_ref().is_some_and(|f| f.present().iter().any(|concept| says(&names[*concept])));
    // What ends a shortcut cannot be silenced in the weights.
    let fits = |unit: &Unit| !net.config().layers[unit.layer].shortcut;
    let labelled = labels.units.iter().filter(|n| n.holds() && has(n) && fits(&n.unit));
    let candidates: Vec<&Unit> = labelled.map(|n| &n.unit).collect();
    if candidates.is_empty() {
        return Err(Error::invalid(
            format!("no unit that can be silenced has a label that holds and names `{word}`"),
            format!("concepts are {}", names.join(", ")),
        ));
    }
    let all: Vec<Unit> = labels.units.iter().map(|n| n.unit.clone()).filter(fits).collect();
    repair(net, word, &candidates, &all, images, seed)
}

/// The network as a folder, its config and the names of its weights as they were.
fn write(save: &FileSet, folder: &ModelFolder, net: &Convolutional) -> Result<()> {
    let tensors: Vec<(String, Source)> =
        net.parameters().iter().map(|(name, tensor)| (name.clone(), Source::Tensor(tensor.clone()))).collect();
    save.fill(|dir| {
        let path = dir.join("config.json");
        let mut file = std::fs::File::create(&path).map_err(Error::io(&path))?;
        let text = serde_json::to_vec_pretty(folder.config())
            .map_err(|e| Error::invalid(format!("the config cannot be written: {e}"), "report this defect"))?;
        file.write_all(&text).map_err(Error::io(&path))?;
        write_safetensors(dir.join("model.safetensors"), &tensors, &BTreeMap::new())
    })
}
