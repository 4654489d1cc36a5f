//! Fetching models and files of data sets from the Hub into the shared cache.
//!
//! ```text
//! models--org--name/refs/main                  the commit of the branch
//! models--org--name/snapshots/<commit>/FILE -> ../../blobs/<hash>
//! models--org--name/blobs/<hash>               sha256 of large files, git hash of small ones
//! models--org--name/blobs/<hash>.incomplete    what has arrived so far
//! ```
//!
//! Files come in ranges that are appended to the `.incomplete` file, because the client of `hf-hub` does not
//! resume. The reference of the branch is written last, so an interrupted download never looks whole.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use hf_hub::repository::{RepoTreeEntry, RepoType};
use hf_hub::{HFError, HFRepositorySync, HFResult, RepoTypeDataset};
use indicatif::{ProgressBar, ProgressStyle};

use super::atomic::write_atomic;
use super::folder::{INDEX, SIDE_FILES, SINGLE, convert_hint, is_pickle};
use super::hub::{HubOptions, RepoId, client, is_commit, no_tokenizer_mark};
use super::identity::{is_sha256, sha256_file};
use super::safetensors::shard_map;
use super::text::is_plain_name;
use crate::{Error, Result};

/// A file of the repository as the Hub lists it.
#[derive(Debug, Clone)]
struct Remote {
    name: String,
    size: u64,
    /// The name of its blob while it arrives: the sha256 if the Hub says it, else the git hash.
    hash: String,
    /// A large file: its blob is named by its sha256, which the listing need not say.
    large: bool,
}

/// With the client of a kind of repository: its untyped handle (`RepoTypeAny`) asks for data sets as for models.
struct Fetch<'a, T: RepoType> {
    repo: &'a RepoId,
    options: &'a HubOptions,
    remote: HFRepositorySync<T>,
    root: PathBuf,
    commit: String,
}

/// Fetches what a model needs; gives the snapshot folder and its commit.
pub(super) fn fetch(repo: &RepoId, options: &HubOptions) -> Result<(PathBuf, String)> {
    let remote = client(options)?.model(repo.owner.as_str(), repo.name.as_str());
    let info = remote.info().revision(repo.revision.as_str()).send();
    let fetch = Fetch::begin(repo, options, remote, info.map(|info| info.sha))?;
    fetch.run()?;
    Ok((fetch.snapshot(), fetch.commit))
}

/// The data set's files and the means to fetch them.
pub(super) struct Listed {
    repo: RepoId,
    options: HubOptions,
    remote: HFRepositorySync<RepoTypeDataset>,
    commit: String,
    files: Vec<Remote>,
}

/// Asks the Hub which files a data set has.
pub(super) fn list(repo: &RepoId, options: &HubOptions) -> Result<Listed> {
    let remote = client(options)?.dataset(repo.owner.as_str(), repo.name.as_str());
    let info = remote.info().revision(repo.revision.as_str()).send();
    let fetch = Fetch::begin(repo, options, remote, info.map(|info| info.sha))?;
    let files = fetch.list(true)?;
    Ok(Listed { remote: fetch.remote, commit: fetch.commit, repo: repo.clone(), options: options.clone(), files })
}

impl Listed {
    /// Paths within the repository.
    pub(super) fn names(&self) -> Vec<String> {
        self.files.iter().map(|f| f.name.clone()).collect()
    }

    /// Fetches one of them; gives its path on disk, or `None` if there is no such file.
    pub(super) fn file(&self, name: &str) -> Result<Option<PathBuf>> {
        let Some(file) = self.files.iter().find(|f| f.name == name) else { return Ok(None) };
        let fetch = Fetch {
            root: self.repo.folder(&self.options.cache),
            repo: &self.repo,
            options: &self.options,
            remote: self.remote.clone(),
            commit: self.commit.clone(),
        };
        fetch.file(file)?;
        fetch.write_ref()?;
        Ok(Some(fetch.snapshot().join(name)))
    }
}

impl<'a, T: RepoType> Fetch<'a, T> {
    /// Begins with the commit that the Hub gives for the revision.
    fn begin(
        repo: &'a RepoId,
        options: &'a HubOptions,
        remote: HFRepositorySync<T>,
        sha: HFResult<Option<String>>,
    ) -> Result<Self> {
        let sha = sha.map_err(|e| explain(repo, options, &e))?;
        let commit = sha.filter(|sha| is_commit(sha)).ok_or_else(|| {
            Error::invalid(
                format!("the Hub at {} names no commit for {repo}", options.endpoint),
                "check HF_ENDPOINT; try again later",
            )
        })?;
        Ok(Self { root: repo.folder(&options.cache), repo, options, remote, commit })
    }

    fn run(&self) -> Result<()> {
        let listed = self.list(false)?;
        let find = |name: &str| listed.iter().find(|f| f.name == name);
        if find("config.json").is_none() {
            return Err(Error::invalid(
                format!("{} has no config.json", self.repo),
                "name the repository of a transformers model (not of an adapter, a dataset or a GGUF file)",
            ));
        }
        let sharded = find(SINGLE).is_none();
        let Some(first) = find(SINGLE).or_else(|| find(INDEX)) else {
            return Err(self.no_weights(&listed));
        };
        // Small files first: they tell of most mistakes before the long wait.
        for name in SIDE_FILES {
            if let Some(file) = find(name) {
                self.file(file)?;
            }
        }
        if find("tokenizer.json").is_none() {
            self.mark_no_tokenizer()?;
        }
        self.file(first)?;
        if sharded {
            let mut shards: Vec<String> = shard_map(&self.snapshot().join(INDEX))?.into_values().collect();
            shards.sort_unstable();
            shards.dedup();
            for shard in &shards {
                let file = find(shard).ok_or_else(|| {
                    Error::invalid(
                        format!("{} lacks the shard {shard} that its index names", self.repo),
                        "the upload is not complete; tell its owner",
                    )
                })?;
                self.file(file)?;
            }
        }
        self.write_ref()
    }

    /// Says which commit the branch is at.
    fn write_ref(&self) -> Result<()> {
        if is_commit(&self.repo.revision) {
            return Ok(());
        }
        let path = self.root.join("refs").join(&self.repo.revision);
        write_atomic(&path, |file| file.write_all(self.commit.as_bytes()).map_err(Error::io(&path)))
    }

    fn snapshot(&self) -> PathBuf {
        self.root.join("snapshots").join(&self.commit)
    }

    /// The files at the top of the repository, or all of them. Names and hashes end up in paths, so odd ones are left
    /// out.
    fn list(&self, deep: bool) -> Result<Vec<Remote>> {
        let tree = self.remote.list_tree().revision(self.commit.as_str()).recursive(deep);
        let entries = tree.send().map_err(|e| self.explain(&e))?;
        let mut files = Vec::new();
        for entry in entries {
            let RepoTreeEntry::File { oid, size, path, lfs, .. } = entry else {
                continue;
            };
            let sha256 = lfs.as_ref().and_then(|l| l.sha256.clone()).filter(|h| is_sha256(h));
            let hash = sha256.unwrap_or(oid);
            if path.split('/').all(is_plain_name) && !hash.is_empty() && hash.bytes().all(|b| b.is_ascii_hexdigit()) {
                files.push(Remote {
                    name: path,
                    size: lfs.as_ref().and_then(|l| l.size).unwrap_or(size),
                    hash,
                    large: lfs.is_some(),
                });
            }
        }
        Ok(files)
    }

    fn no_weights(&self, listed: &[Remote]) -> Error {
        match listed.iter().find(|f| is_pickle(&f.name)) {
            Some(pickle) => Error::invalid(
                format!("{} has its weights only as `{}`, expected safetensors", self.repo, pickle.name),
                convert_hint(&self.repo.id()),
            ),
            None => Error::invalid(
                format!("{} has no weights, expected {SINGLE} or {INDEX}", self.repo),
                "name a repository with safetensors weights",
            ),
        }
    }

    fn mark_no_tokenizer(&self) -> Result<()> {
        write_atomic(no_tokenizer_mark(&self.root, &self.commit), |_| Ok(()))
    }

    /// Brings one file into the snapshot.
    fn file(&self, file: &Remote) -> Result<()> {
        let pointer = self.snapshot().join(&file.name);
        if pointer.is_file() {
            return Ok(());
        }
        let blobs = self.root.join("blobs");
        std::fs::create_dir_all(&blobs).map_err(Error::io(&blobs))?;
        // Held until the link is there: it is what tells another process that the file has come.
        let _lock = self.lock(&file.hash)?;
        if pointer.is_file() {
            return Ok(());
        }
        let mut blob = blobs.join(&file.hash);
        if !blob.is_file() {
            let partial = blobs.join(format!("{}.incomplete", file.hash));
            let sha256 = self.arrive(file, &partial)?;
            blob = blobs.join(sha256.as_ref().unwrap_or(&file.hash));
            std::fs::rename(&partial, &blob).map_err(Error::io(&blob))?;
        }
        link(&blob, &pointer, file.name.matches('/').count())
    }

    /// The lock that other Hugging Face tools take too, held until dropped.
    fn lock(&self, hash: &str) -> Result<File> {
        let folder = self.options.cache.join(".locks").join(self.repo.folder_name());
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let path = folder.join(format!("{hash}.lock"));
        let file = File::create(&path).map_err(Error::io(&path))?;
        file.lock().map_err(Error::io(&path))?;
        Ok(file)
    }

    /// Fills `partial` to the size of the file; gives the sha256 of a large one.
    fn arrive(&self, file: &Remote, partial: &Path) -> Result<Option<String>> {
        let bar = self.bar(file);
        // A small file has no sha256 to be checked against, so what is left of it is not trusted.
        self.append(file, partial, file.large, &bar)?;
        if !file.large {
            return Ok(None);
        }
        let mut sha256 = sha256_file(partial)?;
        if is_sha256(&file.hash) && sha256 != file.hash {
            tracing::warn!(file = file.name, "the resumed download has another sha256; starting again");
            self.append(file, partial, false, &bar)?;
            sha256 = sha256_file(partial)?;
            if sha256 != file.hash {
                std::fs::remove_file(partial).map_err(Error::io(partial))?;
                return Err(Error::invalid(
                    format!("{} of {} has sha256 {sha256}, expected {}", file.name, self.repo, file.hash),
                    "the connection or a proxy changes what it passes on; try another network",
                ));
            }
        }
        bar.finish_and_clear();
        Ok(Some(sha256))
    }

    /// Asks for range after range until the file has its size.
    fn append(&self, file: &Remote, partial: &Path, resume: bool, bar: &ProgressBar) -> Result<()> {
        let mut out =
            OpenOptions::new().create(true).write(true).truncate(false).open(partial).map_err(Error::io(partial))?;
        let mut have = out.metadata().map_err(Error::io(partial))?.len();
        if !resume || have > file.size {
            out.set_len(0).map_err(Error::io(partial))?;
            have = 0;
        }
        out.seek(SeekFrom::Start(have)).map_err(Error::io(partial))?;
        while have < file.size {
            bar.set_position(have);
            let end = file.size.min(have.saturating_add(self.options.chunk.max(1)));
            let bytes = self.range(file, have..end, bar)?;
            out.write_all(bytes.as_ref()).map_err(Error::io(partial))?;
            have = end;
        }
        out.sync_all().map_err(Error::io(partial))?;
        bar.set_position(have);
        Ok(())
    }

    /// One range, repeated when the connection breaks.
    fn range(
        &self,
        file: &Remote,
        range: std::ops::Range<u64>,
        bar: &ProgressBar,
    ) -> Result<impl AsRef<[u8]> + use<T>> {
        let wanted = range.end - range.start;
        let mut attempt = 0;
        loop {
            let answer = self
                .remote
                .download_file_to_bytes()
                .filename(file.name.as_str())
                .revision(self.commit.as_str())
                .range(range.clone())
                .progress(Arc::new(Bar(bar.clone(), range.start)))
                .send();
            let problem = match answer {
                Ok(bytes) if bytes.len() as u64 == wanted => return Ok(bytes),
                Ok(bytes) => format!("{} bytes came for a range of {wanted}", bytes.len()),
                Err(HFError::Request { source, .. }) => source.to_string(),
                Err(other) => return Err(self.explain(&other)),
            };
            if attempt == self.options.retries {
                return Err(Error::invalid(
                    format!(
                        "the download of {} from {} broke at byte {}: {problem}",
                        file.name, self.repo, range.start
                    ),
                    "run the same command again; it goes on from there",
                ));
            }
            std::thread::sleep(Duration::from_millis(200 << attempt.min(6)));
            attempt += 1;
        }
    }

    fn bar(&self, file: &Remote) -> ProgressBar {
        // A bar for a file that comes in one go would only flicker.
        if !self.options.progress || file.size < 1 << 20 {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(file.size).with_style(style).with_message(file.name.clone())
    }

    fn explain(&self, error: &HFError) -> Error {
        explain(self.repo, self.options, error)
    }
}

/// Moves a bar while a range arrives; the second field is where the range starts.
struct Bar(ProgressBar, u64);

impl ProgressHandler for Bar {
    fn on_progress(&self, event: &ProgressEvent) {
        if let ProgressEvent::Download(DownloadEvent::Progress { files }) = event
            && let Some(file) = files.last()
        {
            self.0.set_position(self.1 + file.bytes_completed);
        }
    }
}

/// What an error of the Hub means for the user.
fn explain(repo: &RepoId, options: &HubOptions, error: &HFError) -> Error {
    let id = repo.id();
    let login = "accept its terms on its page if it has any, and set HF_TOKEN to a token that may read it";
    match error {
        HFError::AuthRequired { context } => match context.error_code.as_deref() {
            Some("GatedRepo") => Error::invalid(format!("{id} is gated: its owner asks for a login (401)"), login),
            _ => Error::invalid(
                format!("{id} does not exist on {} or is private (401)", options.endpoint),
                format!("check the spelling; {login}"),
            ),
        },
        HFError::Forbidden { .. } => Error::invalid(format!("the token has no access to {id} (403)"), login),
        HFError::RevisionNotFound { context: Some(context), .. }
            if context.error_code.as_deref() == Some("RevisionNotFound") =>
        {
            Error::invalid(
                format!("{id} has no revision `{}`", repo.revision),
                "give a branch, a tag or a full commit hash, or leave it out",
            )
        }
        HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. } => Error::invalid(
            format!("{id} does not exist on {}, or has no revision `{}` (404)", options.endpoint, repo.revision),
            "check the spelling; a local folder needs its right path",
        ),
        HFError::EntryNotFound { path, .. } => {
            Error::invalid(format!("{id} lists {path} but does not give it (404)"), "try again later")
        }
        HFError::RateLimited { retry_after, .. } => Error::invalid(
            format!("the Hub asks to wait before {id} is fetched (429)"),
            match retry_after {
                Some(wait) => format!("try again in {} s", wait.as_secs()),
                None => "try again in some minutes; a token in HF_TOKEN has a higher limit".to_string(),
            },
        ),
        HFError::Request { source, .. } => Error::invalid(
            format!("{} cannot be reached for {id}: {source}", options.endpoint),
            format!(
                "check the network and HF_ENDPOINT; a {} in the cache or a local folder works without",
                repo.kind.word()
            ),
        ),
        other => Error::invalid(format!("the Hub failed for {id}: {other}"), "try again later"),
    }
}

/// Makes the file of a snapshot: a relative link to its blob, as every tool expects it, or a copy where links
/// need rights (Windows). `depth` is how many folders of the repository the file lies in.
fn link(blob: &Path, pointer: &Path, depth: usize) -> Result<()> {
    let folder = pointer.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    // Made under another name and moved into place: other processes may be opening the snapshot.
    #[cfg(unix)]
    {
        let target = Path::new(&"../".repeat(depth)).join("../../blobs").join(blob.file_name().unwrap_or_default());
        let made = tempfile::Builder::new()
            .prefix(".optrode-")
            .make_in(folder, |at| std::os::unix::fs::symlink(&target, at))
            .map_err(Error::io(pointer))?;
        made.into_temp_path().persist(pointer).map_err(|e| Error::io(pointer)(e.error))
    }
    #[cfg(not(unix))]
    {
        let _ = depth;
        write_atomic(pointer, |file| {
            let mut from = File::open(blob).map_err(Error::io(blob))?;
            std::io::copy(&mut from, file).map(|_| ()).map_err(Error::io(pointer))
        })
    }
}
