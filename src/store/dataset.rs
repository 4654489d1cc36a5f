//! Data sets: a file, a folder, or a repository on the Hub (`hub:org/name[@revision][/file]`), as a list of files. A slash
//! in a revision is written `%2F`, as in addresses of the Hub (`@refs%2Fconvert%2Fparquet`).
//!
//! The Hub is asked for the list each time, unless it may not be used: then the list is what the cache holds. A file is
//! fetched when it is asked for, and only once.

use std::path::{Path, PathBuf};

use super::download::{self, Listed};
use super::hub::{HubOptions, Kind, RepoId};
use super::text::{is_plain_name, nearest};
use crate::{Error, Result};

/// Before the name of a repository.
const HUB: &str = "hub:";
/// Most files of a folder that are listed, and how deep.
const MAX_FILES: usize = 100_000;
const MAX_DEPTH: usize = 8;

/// The files of a data set.
pub struct DataSet {
    /// As it was named.
    spec: String,
    place: Place,
    /// Paths within the data set, sorted.
    files: Vec<String>,
    /// Whether it was named as one file.
    single: bool,
}

enum Place {
    /// A folder, here or in the cache.
    Folder(PathBuf),
    Hub(Box<Listed>),
}

impl DataSet {
    /// Opens a path or a Hub name.
    ///
    /// # Errors
    /// A path that does not exist or cannot be listed; a repository that is not there, closed or out of reach.
    pub fn open(spec: &str, options: &HubOptions) -> Result<Self> {
        let (place, files, wanted) = match spec.strip_prefix(HUB) {
            Some(name) => on_hub(name, options)?,
            None => on_disk(Path::new(spec))?,
        };
        let mut set = Self { spec: spec.to_string(), place, files, single: wanted.is_some() };
        set.files.sort_unstable();
        if let Some(file) = wanted {
            set.check(&file)?;
            set.files = vec![file];
        }
        if set.files.is_empty() {
            return Err(Error::invalid(format!("the data set `{spec}` has no files"), "give a folder with data in it"));
        }
        Ok(set)
    }

    /// Paths within the data set, sorted. A single file is a data set of one.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// As it was named.
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// Where a file is on disk; fetches it first if need be. Of a data set that is one file on disk, also a file beside
    /// it.
    ///
    /// # Errors
    /// A name that the data set does not have, and failed downloads.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        let missing = || self.check(name).map(|()| None);
        let found = match &self.place {
            Place::Folder(folder) => {
                // A name that a task gives must not leave the folder.
                let within = self.files.iter().any(|f| f == name) || name.split('/').all(is_plain_name);
                let path = folder.join(name);
                if within && path.is_file() { Some(path) } else { missing()? }
            }
            Place::Hub(listed) => match listed.file(name)? {
                None => missing()?,
                found => found,
            },
        };
        found.ok_or_else(|| Error::invalid(format!("`{name}` of `{}` is no file", self.spec), "check the data set"))
    }

    /// The only file, if the data set was named as one.
    pub fn single(&self) -> Option<&str> {
        self.single.then(|| self.files.first().map(String::as_str)).flatten()
    }

    fn check(&self, name: &str) -> Result<()> {
        if self.files.iter().any(|f| f == name) {
            return Ok(());
        }
        let near = nearest(name, self.files.iter().map(String::as_str), 3);
        Err(Error::invalid(format!("the data set `{}` has no file `{name}`", self.spec), format!("nearest: {near}")))
    }
}

type Found = (Place, Vec<String>, Option<String>);

fn on_disk(path: &Path) -> Result<Found> {
    let kind = std::fs::metadata(path).map_err(Error::io(path))?;
    if kind.is_dir() {
        let mut files = Vec::new();
        walk(path, "", 0, &mut files)?;
        return Ok((Place::Folder(path.to_path_buf()), files, None));
    }
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok((Place::Folder(folder), vec![name.clone()], Some(name)))
}

fn on_hub(name: &str, options: &HubOptions) -> Result<Found> {
    let (id, file) = match name.match_indices('/').nth(1) {
        Some((at, _)) => (&name[..at], Some(name[at + 1..].to_string())),
        None => (name, None),
    };
    let repo = RepoId::parse(Kind::Dataset, &id.replace("%2F", "/"))?;
    if let Some(why) = &options.offline {
        let folder = repo.snapshot(&options.cache).map(|(folder, _)| folder).filter(|f| f.is_dir());
        let folder = folder.ok_or_else(|| {
            Error::invalid(
                format!("the data set {repo} is not in the cache {} and {why}", options.cache.display()),
                "unset the variable to download it, or give the path of a local folder",
            )
        })?;
        let mut files = Vec::new();
        walk(&folder, "", 0, &mut files)?;
        return Ok((Place::Folder(folder), files, file));
    }
    let listed = download::list(&repo, options)?;
    let files = listed.names();
    Ok((Place::Hub(Box::new(listed)), files, file))
}

/// The files below a folder, by their path within it. Hidden ones and those with odd names are left out.
fn walk(folder: &Path, prefix: &str, depth: usize, out: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()).filter(|n| is_plain_name(n)) else { continue };
        let name = format!("{prefix}{name}");
        if path.is_dir() && depth < MAX_DEPTH {
            walk(&path, &format!("{name}/"), depth + 1, out)?;
        } else if path.is_file() {
            out.push(name);
        }
        if out.len() > MAX_FILES {
            return Err(Error::file(
                folder,
                format!("more than {MAX_FILES} files"),
                "name the file or a smaller folder",
            ));
        }
    }
    Ok(())
}
