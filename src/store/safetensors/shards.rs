//! The weights of a model as one set of named tensors, whether they lie in one file or in shards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::{ElementType, Storage, TensorInfo, WeightFile};
use crate::store::text::{is_plain_name, nearest, read_json};
use crate::{Error, Result};

/// All weights of a model: one file, or the shards that an index file names.
#[derive(Debug)]
pub struct Weights {
    files: Vec<WeightFile>,
    place: BTreeMap<String, usize>,
    source: PathBuf,
}

impl Weights {
    /// Opens a single safetensors file.
    ///
    /// # Errors
    /// As [`WeightFile::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = WeightFile::open(&path)?;
        Ok(Self {
            place: file.names().map(|name| (name.to_string(), 0)).collect(),
            files: vec![file],
            source: path.as_ref().to_path_buf(),
        })
    }

    /// Opens the shards of a `*.safetensors.index.json`.
    ///
    /// # Errors
    /// When the index is not one, a shard is missing (all missing ones are named) or damaged, or a shard has
    /// not the tensor that the index promises.
    pub fn open_sharded(index: impl AsRef<Path>) -> Result<Self> {
        let index = index.as_ref();
        let map = shard_map(index)?;
        let folder = index.parent().unwrap_or(Path::new("."));
        let mut shards: Vec<&str> = map.values().map(String::as_str).collect();
        shards.sort_unstable();
        shards.dedup();
        let missing: Vec<&str> = shards.iter().copied().filter(|s| !folder.join(s).is_file()).collect();
        if !missing.is_empty() {
            return Err(Error::file(
                index,
                format!("{} of {} shards are missing: {}", missing.len(), shards.len(), missing.join(", ")),
                "the download is not complete; fetch the model again",
            ));
        }
        let files = shards.iter().map(|s| WeightFile::open(folder.join(s))).collect::<Result<Vec<_>>>()?;
        let mut place = BTreeMap::new();
        for (name, shard) in &map {
            let at = shards.binary_search(&shard.as_str()).unwrap_or(0);
            files[at].expect(name)?;
            place.insert(name.clone(), at);
        }
        Ok(Self { files, place, source: index.to_path_buf() })
    }

    /// Tensor names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.place.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    /// The file that holds a tensor.
    pub fn file(&self, name: &str) -> Option<&WeightFile> {
        self.place.get(name).map(|at| &self.files[*at])
    }

    /// The files, in the order of their names.
    pub fn files(&self) -> &[WeightFile] {
        &self.files
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.info(name).map(|info| info.shape.as_slice())
    }

    /// The element type that the file has for a tensor.
    pub fn dtype(&self, name: &str) -> Option<ElementType> {
        self.info(name).map(|info| info.element)
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.file(name)?.info(name)
    }

    /// How many numbers all tensors have together.
    pub fn elements(&self) -> u64 {
        self.names().filter_map(|n| self.info(n)).map(|i| i.elements() as u64).sum()
    }

    /// Reads a tensor of a known shape to the CPU.
    ///
    /// # Errors
    /// When there is no such tensor (the nearest names are given), the shape is another, or
    /// [`WeightFile::tensor`] fails.
    pub fn tensor(&self, name: &str, shape: &[usize], storage: Storage) -> Result<Tensor> {
        self.tensor_on(name, shape, storage, &Device::Cpu)
    }

    /// As [`Weights::tensor`], on a given device.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn tensor_on(&self, name: &str, shape: &[usize], storage: Storage, device: &Device) -> Result<Tensor> {
        let Some(file) = self.file(name) else {
            return Err(Error::file(
                &self.source,
                format!("no tensor `{name}`"),
                format!("nearest: {}", nearest(name, self.names(), 3)),
            ));
        };
        let info = file.expect(name)?;
        if info.shape != shape {
            return Err(Error::file(
                file.path(),
                format!("tensor `{name}` has shape {:?}, expected {shape:?}", info.shape),
                "config.json and the weights belong to different models",
            ));
        }
        file.tensor(name, device, storage)
    }
}

/// The `weight_map` of an index file: tensor name to shard file name, both checked.
pub(in crate::store) fn shard_map(index: &Path) -> Result<BTreeMap<String, String>> {
    let json = read_json(index)?;
    let bad = |what: String| Error::file(index, what, "download the index again");
    let map = json
        .get("weight_map")
        .and_then(|m| m.as_object())
        .ok_or_else(|| bad("expected an object `weight_map` of tensor names to file names, found none".to_string()))?;
    let mut out = BTreeMap::new();
    for (name, shard) in map {
        let shard = shard.as_str().unwrap_or_default();
        if !is_plain_name(shard) || !shard.ends_with(".safetensors") {
            return Err(bad(format!(
                "tensor `{name}` is mapped to {shard:?}, expected the name of a .safetensors file beside the index"
            )));
        }
        out.insert(name.clone(), shard.to_string());
    }
    if out.is_empty() {
        return Err(bad("`weight_map` is empty, expected at least one tensor".to_string()));
    }
    Ok(out)
}
