//! Files and the network: the only room that opens what others made.
//!
//! Everything read here is untrusted. Sizes are checked before memory is taken, names from a file never leave
//! its folder, nothing is ever unpickled, and templates run with a bounded number of steps. Everything written
//! here appears whole or not at all.
//!
//! ```no_run
//! use optrode::store::{self, HubOptions, Storage};
//! let folder = store::resolve("models/stories260K", &HubOptions::from_env())?;
//! let weights = folder.weights()?;
//! let embed = weights.tensor("model.embed_tokens.weight", &[512, 64], Storage::F32)?;
//! let ids = folder.tokenizer()?.encode("Once upon a time", true)?;
//! folder.tokenizer()?.check_vocab(512)?;
//! # Ok::<(), optrode::Error>(())
//! ```

pub mod atlas;
pub mod atomic;
pub mod bundle;
pub mod chat;
pub mod config;
pub mod dataset;
mod download;
pub mod embedded;
mod endpoint;
pub mod file_set;
pub mod folder;
pub mod hub;
pub mod identity;
pub(crate) mod jinja;
pub mod lines;
pub mod nir;
pub mod npy;
pub mod npz;
pub mod parquet;
mod picture;
pub mod rewrite;
pub mod safetensors;
pub(crate) mod text;
pub mod tokenizer;
pub mod write;

pub use atomic::{check_writable, write_atomic};
pub use bundle::{Bundle, EditFile};
pub use chat::{ChatTemplate, Message};
pub use dataset::DataSet;
pub use endpoint::Endpoint;
pub use file_set::{FileSet, Hold};
pub use folder::{ModelFolder, Origin, tokenizer_identity};
pub use hub::{CachedRepo, CachedRevision, HubOptions, cache_list, resolve};
pub use identity::{FileHash, Identity, sha256_bytes, sha256_file, sha256_files};
pub use lines::Lines;
pub use npy::{Array, read_array, read_npz};
pub use npz::write_npz;
pub use parquet::ParquetRows;
pub use picture::Picture;
pub use safetensors::{ElementType, Storage, TensorInfo, WeightFile, Weights};
pub use tokenizer::{DecodeStream, Tokenizer};
pub use write::{Source, write_safetensors};
