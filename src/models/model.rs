//! A model as people name it: a folder or Hub id, with its decoder, its tokenizer and its files.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{DType, Device, DeviceLocation, Tensor, Var};

use super::transformer::{self, WeightSource};
use super::{Decoder, Network};
use crate::hook::{SiteTable, random};
use crate::store::{HubOptions, ModelFolder, Origin, Storage, Tokenizer, Weights, resolve};
use crate::{Error, Result};

/// How to open a model.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// What the weights are kept as.
    pub storage: Storage,
    /// Where they live.
    pub device: Device,
    /// How to reach the Hub and its cache.
    pub hub: HubOptions,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { storage: Storage::F32, device: Device::Cpu, hub: HubOptions::from_env() }
    }
}

/// A decoder with what belongs to it.
///
/// ```no_run
/// use optrode::models::{Model, OpenOptions};
/// let model = Model::open("HuggingFaceTB/SmolLM2-135M", &OpenOptions::default())?;
/// println!("{} layers", model.decoder.facts().layers.len());
/// # Ok::<(), optrode::Error>(())
/// ```
#[derive(Debug)]
pub struct Model {
    /// The network.
    pub decoder: Decoder,
    /// Its files.
    pub folder: ModelFolder,
    tokenizer: Option<Tokenizer>,
}

/// The weights of a folder as a source for a network.
pub(super) struct FolderWeights<'a> {
    pub weights: Weights,
    pub options: &'a OpenOptions,
}

impl WeightSource for FolderWeights<'_> {
    fn names(&self) -> Vec<String> {
        self.weights.names().map(str::to_string).collect()
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.weights.tensor_on(name, shape, self.options.storage, &self.options.device)
    }
}

/// The weights of a folder, the numbers of every matrix in a random order.
struct Shuffled<'a> {
    weights: FolderWeights<'a>,
    seed: u64,
}

impl WeightSource for Shuffled<'_> {
    fn names(&self) -> Vec<String> {
        self.weights.names()
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.weights.tensor(name, shape)?;
        if shape.len() < 2 {
            return Ok(tensor);
        }
        let mut values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        random::Stream::new(self.seed, &[random::name(name)]).shuffle(&mut values);
        Ok(Tensor::from_vec(values, shape, tensor.device())?.to_dtype(tensor.dtype())?)
    }
}

/// The weights of a folder as variables.
struct Variables<'a> {
    weights: FolderWeights<'a>,
    made: RefCell<BTreeMap<String, Var>>,
}

impl WeightSource for Variables<'_> {
    fn names(&self) -> Vec<String> {
        self.weights.names()
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let var = Var::from_tensor(&self.weights.tensor(name, shape)?)?;
        let tensor = var.as_tensor().clone();
        self.made.borrow_mut().insert(name.to_string(), var);
        Ok(tensor)
    }
}

impl Model {
    /// Opens a local folder, or finds a Hub id in the cache or on the Hub.
    ///
    /// # Errors
    /// Whatever is missing or wrong with the config, the weights or the tokenizer's files.
    pub fn open(id_or_path: &str, options: &OpenOptions) -> Result<Self> {
        let folder = resolve(id_or_path, &options.hub)?;
        let source = FolderWeights { weights: folder.weights()?, options };
        let decoder = Decoder::new(folder.settings()?, &source)?;
        let has_tokenizer = folder.file("tokenizer.json").is_some() || folder.file("vocab.json").is_some();
        let tokenizer = has_tokenizer.then(|| folder.tokenizer()).transpose()?;
        if let Some(tokenizer) = &tokenizer {
            tokenizer.check_vocab(decoder.facts().vocab)?;
        }
        Ok(Self { decoder, folder, tokenizer })
    }

    /// The same architecture without what training arranged: the numbers of every matrix in a random order, gains and
    /// biases as they are. A control that every model has.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn shuffled(&self, options: &OpenOptions, seed: u64) -> Result<Decoder> {
        let weights = FolderWeights { weights: self.folder.weights()?, options };
        Decoder::new(self.folder.settings()?, &Shuffled { weights, seed })
    }

    /// The network built from variables in f32, to be trained, with its variables by name.
    ///
    /// # Errors
    /// As [`Model::open`]; a family whose matrices are stored in another layout than they are used in.
    pub fn trainable(&self, options: &OpenOptions) -> Result<(Decoder, BTreeMap<String, Var>)> {
        let options = OpenOptions { storage: Storage::F32, ..options.clone() };
        let weights = FolderWeights { weights: self.folder.weights()?, options: &options };
        let source = Variables { weights, made: RefCell::default() };
        let decoder = Decoder::new(self.folder.settings()?, &source)?;
        if let Some((name, _)) = decoder.parameters().iter().find(|(_, w)| w.rank() > 1 && !w.is_variable()) {
            return Err(Error::invalid(
                format!("`{name}` cannot be trained: it is not used as it is stored"),
                "train a model whose linear maps are stored as [out, in], as those of Llama are",
            ));
        }
        Ok((decoder, source.made.into_inner()))
    }

    /// The sites of a model, from its config alone.
    ///
    /// # Errors
    /// A config that is missing or not understood.
    pub fn sites(id_or_path: &str, options: &OpenOptions) -> Result<SiteTable> {
        transformer::site_table(resolve(id_or_path, &options.hub)?.settings()?)
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`Error::File`] when the folder has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Error::file(
                self.folder.path(),
                "there is no tokenizer.json, nor vocab.json with merges.txt",
                "add the tokenizer's files, or give token ids (--token-ids)",
            )
        })
    }

    /// A text as the model wants it, special tokens added.
    ///
    /// # Errors
    /// No tokenizer, or a text without a single token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.tokenizer()?.encode(text, true)?;
        if ids.is_empty() {
            return Err(Error::invalid(
                "the text is empty and the tokenizer adds no BOS",
                "give a text with at least one character",
            ));
        }
        Ok(ids)
    }

    /// The id to pad with: any will do, for padding is masked.
    pub fn pad(&self) -> u32 {
        self.tokenizer.as_ref().and_then(Tokenizer::pad).unwrap_or(0)
    }

    /// Ids that statistics over tokens skip.
    pub fn special(&self) -> Vec<u32> {
        self.tokenizer.as_ref().map_or_else(Vec::new, |t| t.special_ids().iter().copied().collect())
    }

    /// What opens the same files from any folder.
    pub fn reference(&self) -> String {
        match self.folder.origin() {
            Origin::Hub { id, commit } => format!("{id}@{commit}"),
            Origin::Local => {
                let path = self.folder.path();
                path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).display().to_string()
            }
        }
    }

    /// Where it runs: `cpu`, `cuda:0` and so on.
    pub fn device_name(&self) -> String {
        match self.decoder.device().location() {
            DeviceLocation::Cpu => "cpu".to_string(),
            DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            DeviceLocation::Metal { .. } => "metal".to_string(),
        }
    }

    /// Ids that end a generation.
    pub fn eos(&self) -> Vec<u32> {
        self.tokenizer.as_ref().map_or_else(Vec::new, |t| t.eos().to_vec())
    }
}
