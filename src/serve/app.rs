//! What a server has: models with their workers, simulated networks, jobs, a folder for what is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::StatusCode;

use super::failure::{Failure, Reply};
use super::job::{Answer, Job, Jobs};
use super::worker::{Desk, Worker};
use crate::analysis::bio::Named;
use crate::hook::Edit;
use crate::models::OpenOptions;
use crate::store::{Bundle, EditFile, bundle};

/// Longest name of an edit, a report or a model that a page may give.
const NAME: usize = 64;

/// The state of a server.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// A model that is served.
pub struct Served {
    /// Its part of addresses.
    pub name: String,
    /// What the command line calls it.
    pub reference: String,
    /// Its queue.
    pub worker: Worker,
}

/// See [`App`].
pub struct Inner {
    /// Models.
    pub models: Vec<Served>,
    /// Simulated networks.
    pub networks: Vec<&'static Named>,
    /// Jobs.
    pub jobs: Jobs,
    /// Where edits, reports and models are written.
    pub folder: PathBuf,
    /// What requests must know.
    pub token: String,
    /// Hosts that requests may name; any where the server is open to other machines, which know it by names of their own
    /// and have no cookie of it but under these.
    pub hosts: Option<Vec<String>>,
    /// How models are opened.
    pub open: OpenOptions,
    /// The cookie that holds the token in a browser.
    pub cookie: String,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// A server's state.
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The model of this name.
    ///
    /// # Errors
    /// No such model.
    pub fn model(&self, name: &str) -> Reply<&Served> {
        self.models.iter().find(|m| m.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.models.iter().map(|m| m.name.as_str()).collect();
            Failure::missing(format!("no model `{}` is served; there are: {}", short(name), names.join(", ")))
        })
    }

    /// The simulated network of this name.
    ///
    /// # Errors
    /// No such network.
    pub fn network(&self, name: &str) -> Reply<&'static Named> {
        self.networks.iter().find(|n| n.name == name).copied().ok_or_else(|| {
            let names: Vec<&str> = self.networks.iter().map(|n| n.name).collect();
            Failure::missing(format!("no network `{}` is served; there are: {}", short(name), names.join(", ")))
        })
    }

    /// Puts work on a model into its queue.
    ///
    /// # Errors
    /// Too many jobs, a model that could not be opened.
    pub fn begin(
        &self,
        (kind, title): (&'static str, String),
        model: &Served,
        work: impl FnOnce(&Desk, &Arc<Job>) -> Reply<Answer> + Send + 'static,
    ) -> Reply<Arc<Job>> {
        let job = self.jobs.begin(kind, title, Some(model.name.clone()))?;
        if let Err(failure) = model.worker.begin(Arc::clone(&job), work) {
            job.carry_out(|| Err(failure.clone()));
            return Err(failure);
        }
        Ok(job)
    }

    /// Runs work that needs no model's queue on a thread of its own.
    ///
    /// # Errors
    /// Too many jobs.
    pub fn begin_apart(
        &self,
        (kind, title): (&'static str, String),
        subject: Option<String>,
        work: impl FnOnce(&Arc<Job>) -> Reply<Answer> + Send + 'static,
    ) -> Reply<Arc<Job>> {
        let job = self.jobs.begin(kind, title, subject)?;
        let own = Arc::clone(&job);
        tokio::task::spawn_blocking(move || own.carry_out(|| work(&own)));
        Ok(job)
    }

    /// A place in the server's folder: `kind` is one of its folders, `name` what a page gave.
    ///
    /// # Errors
    /// A name that is more than a name.
    pub fn place(&self, kind: &str, name: &str) -> Reply<PathBuf> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let good = !name.is_empty() && name.len() <= NAME && name.chars().all(plain) && !name.starts_with('.');
        match good {
            true => Ok(self.folder.join(kind).join(name)),
            false => Err(Failure::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("`{}` is no name: give up to {NAME} of a-z, A-Z, 0-9, - and _", short(name)),
            )),
        }
    }

    /// What lies in one of the server's folders, by name.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn listed(&self, kind: &str) -> Reply<Vec<String>> {
        let folder = self.folder.join(kind);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(crate::Error::io(&folder)(e).into()),
        };
        let mut names: Vec<String> =
            entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).filter(|n| !n.starts_with('.')).collect();
        names.sort();
        Ok(names)
    }

    /// Edits as a page gives them: a JSON list, and the names of saved ones, which come first.
    ///
    /// # Errors
    /// What is no list of edits, and saved edits that cannot be read.
    pub fn edits(&self, list: Option<&str>, saved: Option<&str>) -> Reply<Bundle> {
        let mut all = match saved.filter(|name| !name.is_empty()) {
            Some(name) => {
                let place = self.place("edits", name)?;
                if !place.exists() {
                    return Err(Failure::missing(format!("no edit `{}` is saved", short(name))));
                }
                Bundle::open(place, &candle_core::Device::Cpu)?
            }
            None => Bundle {
                path: PathBuf::from("edits of a page"),
                file: EditFile { version: bundle::VERSION, edits: Vec::new(), model: None, note: None },
                tensors: std::collections::BTreeMap::new(),
            },
        };
        if let Some(list) = list.filter(|list| !list.trim().is_empty()) {
            let more: Vec<Edit> = serde_json::from_str(list).map_err(|e| {
                Failure::malformed(format!(
                    "these are no edits: {e}; give a list such as [{{\"site\": \"blocks.3.attn.hook_z[head=6]\", \"op\": \
                     \"zero\"}}]"
                ))
            })?;
            all.file.edits.extend(more);
        }
        Ok(all)
    }
}

impl Desk {
    /// Refuses edits that were fitted on another model.
    ///
    /// # Errors
    /// Those.
    pub fn fits(&self, bundle: &Bundle) -> Reply<()> {
        Ok(bundle.check_model(|| Ok(self.model.folder.identity()?.sha256))?)
    }

    /// The folder of the model's atlas.
    ///
    /// # Errors
    /// There is none yet.
    pub fn atlas(&self) -> Reply<PathBuf> {
        self.atlas.borrow().as_ref().map(super::worker::Atlas::path).ok_or_else(|| {
            Failure::new(
                StatusCode::CONFLICT,
                "this model has no atlas yet: start a quick scan, or serve one of a scan",
            )
        })
    }
}

/// What a stranger wrote, cut to what a message has room for.
pub fn short(text: &str) -> String {
    let cut: String = text.chars().take(80).collect();
    crate::report::visible(&cut)
}

/// A name for addresses from a model's name: its last part, what is no letter or digit as `-`, made unique.
pub fn slug(reference: &str, taken: &[String]) -> String {
    let last = Path::new(reference).file_name().map_or(reference.to_string(), |n| n.to_string_lossy().into_owned());
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let base: String = last.chars().map(plain).collect();
    let base = base.trim_matches('.').to_string();
    let base = if base.is_empty() { "model".to_string() } else { base };
    let numbered = std::iter::once(base.clone()).chain((2..).map(|n| format!("{base}-{n}")));
    numbered.into_iter().find(|name| !taken.contains(name)).unwrap_or(base)
}
