//! What an experiment can use.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::ModelUsed;
use crate::analysis::{DataFile, Inputs};
use crate::data::organism::embedded;
use crate::models::{Model, OpenOptions};
use crate::report::Progress;
use crate::{Error, Result};

/// What an experiment can use: the seed, the models and the files, each noted for the manifest as it is opened.
#[derive(Debug)]
pub struct Context<'a> {
    /// Seed of every draw.
    pub seed: u64,
    /// To say how far the experiment is.
    pub progress: &'a Progress,
    options: &'a OpenOptions,
    data: Option<&'a Path>,
    inputs: Inputs,
    models: Mutex<Vec<ModelUsed>>,
}

impl<'a> Context<'a> {
    /// For one experiment; `data` is the folder that [`Context::file`] and [`Context::model`] look in first.
    pub fn new(seed: u64, options: &'a OpenOptions, data: Option<&'a Path>, progress: &'a Progress) -> Self {
        Self { seed, progress, options, data, inputs: Inputs::default(), models: Mutex::default() }
    }

    /// The organism that the program carries.
    ///
    /// # Errors
    /// When its files cannot be laid out.
    pub fn organism(&self) -> Result<Model> {
        self.open("the model organism", None, &embedded::folder()?.display().to_string())
    }

    /// The organism's untrained twin.
    ///
    /// # Errors
    /// When its files cannot be laid out.
    pub fn untrained(&self) -> Result<Model> {
        self.open("the untrained organism", None, &embedded::untrained()?.display().to_string())
    }

    /// A model by its path under the data folder, its own path, or its Hub id.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn model(&self, name: &str) -> Result<Model> {
        let under = self.data.map(|folder| folder.join(name)).filter(|path| path.is_dir());
        let place = under.map_or_else(|| name.to_string(), |path| path.display().to_string());
        self.open(name, Some(name), &place)
    }

    fn open(&self, name: &str, reference: Option<&str>, place: &str) -> Result<Model> {
        let model = Model::open(place, self.options)?;
        let sha256 = model.folder.identity()?.sha256;
        let used = ModelUsed { name: name.to_string(), reference: reference.map(|_| model.reference()), sha256 };
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if !models.contains(&used) {
            models.push(used);
        }
        Ok(model)
    }

    /// A file by its path under the data folder. Every file that an experiment reads goes through here.
    ///
    /// # Errors
    /// No data folder was named, or the file cannot be read.
    pub fn file(&self, path: &str) -> Result<PathBuf> {
        let folder = self.data.ok_or_else(|| {
            Error::invalid(
                format!("the experiment reads `{path}`, and no folder of data was named"),
                "name the folder that holds it with --data DIR, or use --quick, which needs none",
            )
        })?;
        let path = folder.join(path);
        self.inputs.note(&path)?;
        Ok(path)
    }

    /// Whether there is a file or folder of this path under the data folder, for parts that an experiment can do without.
    pub fn has(&self, path: &str) -> bool {
        self.data.is_some_and(|folder| folder.join(path).exists())
    }

    /// What was opened so far, for the manifest.
    pub(super) fn used(&self) -> (Vec<ModelUsed>, Vec<DataFile>) {
        (self.models.lock().unwrap_or_else(PoisonError::into_inner).clone(), self.inputs.files())
    }
}
