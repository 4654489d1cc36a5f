//! Finding a model: a folder on disk, or a repository on the Hugging Face Hub and its cache.
//!
//! A path that exists is taken as it is and never touches the network. Anything else is `org/name`, optionally
//! `org/name@revision`, and lives in the cache that all Hugging Face tools share. What is whole in the cache is
//! used without asking the Hub (`refresh` asks whether there is something newer); what is missing is fetched,
//! and an interrupted download goes on where it stopped.
//!
//! Environment, as every Hugging Face tool reads it: `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`,
//! `HF_ENDPOINT`, `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`, `HF_HUB_DISABLE_PROGRESS_BARS`.

use std::path::{Path, PathBuf};

use hf_hub::HFClient;

use super::download;
use super::folder::{INDEX, ModelFolder, Origin, SINGLE};
use super::safetensors::shard_map;
use crate::{Error, Result};

/// How to reach the Hub and its cache. [`HubOptions::from_env`] reads the environment once; tests and servers
/// fill the fields.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Address of the Hub.
    pub endpoint: String,
    /// The folder of `models--org--name` folders.
    pub cache: PathBuf,
    /// Access token. With `None` the client still finds the one that `huggingface-cli login` stored.
    pub token: Option<String>,
    /// Never use the network; the text says who asked for that and goes into the message.
    pub offline: Option<String>,
    /// Ask the Hub for the newest commit of a branch even when a whole snapshot is in the cache.
    pub refresh: bool,
    /// Show progress bars on stderr.
    pub progress: bool,
    /// Bytes per request; an interrupted download loses at most this much.
    pub chunk: u64,
    /// How often a failed request is repeated.
    pub retries: usize,
}

impl HubOptions {
    /// The options that the process environment asks for.
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// The options that a set of variables asks for. An empty variable counts as unset.
    pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Self {
        let var = |name: &str| get(name).filter(|v| !v.is_empty());
        let on = |name: &str| {
            let value = var(name)?.to_ascii_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str()).then(|| format!("{name} is set"))
        };
        let home = var("HOME").or_else(|| var("USERPROFILE")).unwrap_or_else(|| ".".to_string());
        let hf_home = var("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            var("XDG_CACHE_HOME").map_or_else(|| Path::new(&home).join(".cache"), PathBuf::from).join("huggingface")
        });
        let cache = var("HF_HUB_CACHE").or_else(|| var("HUGGINGFACE_HUB_CACHE"));
        let token = || {
            let path = var("HF_TOKEN_PATH").map_or_else(|| hf_home.join("token"), PathBuf::from);
            let text = std::fs::read_to_string(path).ok()?;
            Some(text.trim().to_string()).filter(|t| !t.is_empty())
        };
        Self {
            endpoint: var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_string()),
            cache: cache.map_or_else(|| hf_home.join("hub"), PathBuf::from),
            token: match on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
                Some(_) => None,
                None => var("HF_TOKEN").or_else(token),
            },
            offline: on("HF_HUB_OFFLINE").or_else(|| on("TRANSFORMERS_OFFLINE")),
            refresh: false,
            progress: on("HF_HUB_DISABLE_PROGRESS_BARS").is_none(),
            chunk: 64 << 20,
            retries: 3,
        }
    }
}

/// Finds a model by path or Hub name and opens its folder, fetching what is missing.
///
/// # Errors
/// When the path is no model folder, the name is none, the repository or revision does not exist or is closed to
/// this user, it has no safetensors weights, the network fails, or it may not be used and the cache lacks the model.
pub fn resolve(id_or_path: &str, options: &HubOptions) -> Result<ModelFolder> {
    let path = Path::new(id_or_path);
    if path.exists() {
        return ModelFolder::open(path);
    }
    let repo = RepoId::parse(Kind::Model, id_or_path)?;
    let cached = repo.cached(&options.cache);
    // A commit never changes, so there is nothing to refresh.
    let fixed = is_commit(&repo.revision);
    if let Some((folder, commit)) = &cached
        && (options.offline.is_some() || ((fixed || !options.refresh) && is_whole(folder, commit, &repo, options)))
    {
        return ModelFolder::open_from(folder, repo.origin(commit));
    }
    if let Some(why) = &options.offline {
        return Err(Error::invalid(
            format!("{repo} is not in the cache {} and {why}", options.cache.display()),
            "unset the variable to download it, or give the path of a local folder",
        ));
    }
    let (folder, commit) = download::fetch(&repo, options)?;
    ModelFolder::open_from(&folder, repo.origin(&commit))
}

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// The word for people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        }
    }

    /// What the names of its folders in the cache begin with.
    fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// A repository and a revision of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RepoId {
    pub(super) kind: Kind,
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) revision: String,
}

impl RepoId {
    /// Parses `name`, `org/name`, `org/name@revision`. Every part ends up in a path, so each is held to the
    /// letters that the Hub allows.
    pub(super) fn parse(kind: Kind, text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(
                format!("`{text}` is neither an existing folder nor a Hub name ({why})"),
                format!("give the path of a {} folder, or org/name or org/name@revision", kind.word()),
            )
        };
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, name) = id.split_once('/').unwrap_or(("", id));
        let word = |part: &str| {
            let letters = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            part.len() <= 96
                && part.chars().all(letters)
                && !part.contains("..")
                && !part.contains("--")
                && !part.starts_with(['-', '.'])
                && !part.ends_with(['-', '.'])
        };
        if name.is_empty() || (owner.is_empty() && id.contains('/')) || !word(owner) || !word(name) {
            return Err(bad("a name has letters, digits and single - _ ."));
        }
        // Branches may have folders (`refs/pr/1`), each held to the same letters.
        if !revision.split('/').all(|part| !part.is_empty() && word(part)) {
            return Err(bad("a revision is a branch, a tag or a commit"));
        }
        Ok(Self { kind, owner: owner.to_string(), name: name.to_string(), revision: revision.to_string() })
    }

    /// `org/name`.
    pub(super) fn id(&self) -> String {
        if self.owner.is_empty() { self.name.clone() } else { format!("{}/{}", self.owner, self.name) }
    }

    /// The repository's folder in the cache.
    pub(super) fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(self.folder_name())
    }

    /// `models--org--name`.
    pub(super) fn folder_name(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.id().replace('/', "--"))
    }

    fn origin(&self, commit: &str) -> Origin {
        Origin::Hub { id: self.id(), commit: commit.to_string() }
    }

    /// The snapshot that the cache has for the revision, whole or not, and its commit.
    fn cached(&self, cache: &Path) -> Option<(PathBuf, String)> {
        let (folder, commit) = self.snapshot(cache)?;
        folder.join("config.json").is_file().then_some((folder, commit))
    }

    /// The folder where the cache has, or would have, the revision, and its commit if that is known.
    pub(super) fn snapshot(&self, cache: &Path) -> Option<(PathBuf, String)> {
        let root = self.folder(cache);
        let commit = if is_commit(&self.revision) {
            self.revision.clone()
        } else {
            let text = std::fs::read_to_string(root.join("refs").join(&self.revision)).ok()?;
            Some(text.trim().to_string()).filter(|c| is_commit(c))?
        };
        Some((root.join("snapshots").join(&commit), commit))
    }
}

impl std::fmt::Display for RepoId {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}@{}", self.id(), self.revision)
    }
}

/// Whether a revision is a full commit hash.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a snapshot has all that a model needs. Other tools fetch file by file, so a snapshot may hold the
/// configuration alone; a repository without a tokenizer is marked so when it is fetched here.
fn is_whole(folder: &Path, commit: &str, repo: &RepoId, options: &HubOptions) -> bool {
    let weights = folder.join(SINGLE).is_file()
        || shard_map(&folder.join(INDEX)).is_ok_and(|map| map.values().all(|shard| folder.join(shard).is_file()));
    let tokenizer = ["tokenizer.json", "vocab.json", "tokenizer.model"].iter().any(|f| folder.join(f).is_file());
    weights && (tokenizer || no_tokenizer_mark(&repo.folder(&options.cache), commit).exists())
}

/// The mark that other tools use too for "this commit has no such file".
pub(super) fn no_tokenizer_mark(root: &Path, commit: &str) -> PathBuf {
    root.join(".no_exist").join(commit).join("tokenizer.json")
}

/// A model repository in the cache.
#[derive(Debug, Clone, serde::Serialize)]
pub struct CachedRepo {
    /// `org/name`.
    pub id: String,
    /// Snapshots, newest first.
    pub revisions: Vec<CachedRevision>,
    /// Bytes on disk; files that snapshots share count once.
    pub size: u64,
}

/// A snapshot in the cache.
#[derive(Debug, Clone, serde::Serialize)]
pub struct CachedRevision {
    /// Commit hash.
    pub commit: String,
    /// Branches and tags that point at it.
    pub refs: Vec<String>,
    /// Bytes of its files.
    pub size: u64,
    /// File names within the snapshot.
    pub files: Vec<String>,
    /// The snapshot's folder.
    pub path: PathBuf,
}

/// The model repositories in the cache, by name. An absent cache is an empty one.
///
/// # Errors
/// When the cache folder cannot be read.
pub fn cache_list(options: &HubOptions) -> Result<Vec<CachedRepo>> {
    let client = client(options)?;
    let scan =
        client.scan_cache().send().map_err(|e| Error::file(&options.cache, e.to_string(), "check its rights"))?;
    let mut repos: Vec<CachedRepo> = scan
        .repos
        .into_iter()
        .filter(|repo| repo.repo_type == "model")
        .map(|mut repo| {
            repo.revisions
                .sort_by(|a, b| b.last_modified.cmp(&a.last_modified).then(a.commit_hash.cmp(&b.commit_hash)));
            let revisions = repo.revisions.into_iter().map(|revision| {
                let mut files: Vec<String> = revision.files.into_iter().map(|f| f.file_name).collect();
                files.sort_unstable();
                let mut refs = revision.refs;
                refs.sort_unstable();
                CachedRevision {
                    commit: revision.commit_hash,
                    refs,
                    size: revision.size_on_disk,
                    files,
                    path: revision.snapshot_path,
                }
            });
            CachedRepo { id: repo.repo_id, revisions: revisions.collect(), size: repo.size_on_disk }
        })
        .collect();
    repos.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(repos)
}

/// The client of the `hf-hub` crate with these options.
pub(super) fn client(options: &HubOptions) -> Result<hf_hub::HFClientSync> {
    let mut builder = HFClient::builder()
        .endpoint(&options.endpoint)
        .cache_dir(&options.cache)
        .retry_max_attempts(options.retries)
        .user_agent(concat!("optrode/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = &options.token {
        builder = builder.token(token);
    }
    builder.build_sync().map_err(|e| {
        Error::invalid(format!("the Hub at {} cannot be used: {e}", options.endpoint), "check HF_ENDPOINT")
    })
}
