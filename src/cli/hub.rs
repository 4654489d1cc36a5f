//! `optrode hub`: find models on the Hub and in its cache.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::common::print_json;
use crate::store::{CachedRevision, HubOptions, cache_list, resolve};

/// Arguments of `optrode hub`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode hub resolve HuggingFaceTB/SmolLM2-135M
  optrode hub list --json

HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are honoured.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch a model (unless it is in the cache) and print its folder, files and sha256.
    Resolve {
        /// `org/name[@revision]`, or a folder.
        model: String,
        /// Ask the Hub for the newest commit even when the cache has the model.
        #[arg(long)]
        refresh: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the models in the cache.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options = HubOptions::from_env();
    match &args.command {
        Command::Resolve { model, refresh, json } => {
            let folder = resolve(model, &HubOptions { refresh: *refresh, ..options })?;
            let identity = folder.identity()?;
            if *json {
                let files: Vec<_> =
                    identity.files.iter().map(|f| json!({"name": f.name, "sha256": f.sha256})).collect();
                let value = json!({"model": model, "path": folder.path(), "sha256": identity.sha256, "files": files});
                print_json(&value)?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut out = io::stdout().lock();
            writeln!(out, "{}\nsha256 {}", folder.path().display(), identity.sha256)?;
            for file in &identity.files {
                writeln!(out, "  {}  {}", file.sha256, file.name)?;
            }
        }
        Command::List { json } => {
            let repos = cache_list(&options)?;
            if *json {
                let revision =
                    |v: &CachedRevision| json!({"commit": v.commit, "refs": v.refs, "size": v.size, "path": v.path});
                let models = repos.iter().map(|r| {
                    let revisions: Vec<_> = r.revisions.iter().map(revision).collect();
                    json!({"id": r.id, "size": r.size, "revisions": revisions})
                });
                let list: Vec<_> = models.collect();
                print_json(&json!({"cache": options.cache, "models": list}))?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut out = io::stdout().lock();
            if repos.is_empty() {
                writeln!(out, "no models in {}", options.cache.display())?;
            }
            let width = repos.iter().map(|r| r.id.len()).max().unwrap_or(0);
            for repo in &repos {
                let revisions: Vec<&str> = repo.revisions.iter().map(|r| &r.commit[..r.commit.len().min(8)]).collect();
                writeln!(out, "{:width$}  {:8.1} MB  {}", repo.id, repo.size as f64 / 1e6, revisions.join(" "))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
