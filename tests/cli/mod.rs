//! The command line, through the real binary.

mod bad_input;
mod bad_models;
mod bad_requests;
mod causal;
mod generate;
mod help;
mod hub;
mod hub_configs;
mod record;
mod round_trip;
mod sites;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::shared::golden;

/// What one run of the program gave.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The program in `folder`, away from the user's settings and from the network.
pub fn program(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("optrode").unwrap();
    command.current_dir(folder);
    for name in ["HF_HUB_CACHE", "HF_TOKEN", "HF_ENDPOINT", "OPTRODE_LOG", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    command.env("HF_HOME", folder.join("hf")).env("HF_HUB_OFFLINE", "1");
    command
}

pub fn run(folder: &Path, args: &[&str]) -> Ran {
    let output = program(folder).args(args).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A run that must succeed, without a word on stderr; its stdout.
pub fn succeeds(folder: &Path, args: &[&str]) -> String {
    let ran = run(folder, args);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    ran.out
}

/// A run that must be refused: exit code 2, nothing on stdout, one line `error: what; hint` that has all of `words`.
pub fn refuses(folder: &Path, args: &[&str], words: &[&str]) -> String {
    let ran = run(folder, args);
    assert_eq!(ran.code, 2, "{args:?} gave {}: {} {}", ran.code, ran.out, ran.err);
    assert_eq!(ran.out, "", "{args:?}");
    let line = ran.err.strip_suffix('\n').unwrap_or(&ran.err);
    assert!(!line.contains('\n'), "more than one line for {args:?}: {line}");
    assert!(line.starts_with("error: ") && line.contains("; "), "no `error: what; hint` for {args:?}: {line}");
    for unreadable in ["Some(", "Error {", "Err(", "\\\"", "None"] {
        assert!(!line.contains(unreadable), "`{unreadable}` in: {line}");
    }
    for word in words {
        assert!(line.contains(word), "`{word}` is not in the answer to {args:?}: {line}");
    }
    line.to_string()
}

/// A folder to work in: `m` is a copy of a golden network, `ids.json` two rows of it.
pub struct Desk {
    folder: TempDir,
}

impl Desk {
    pub fn new(name: &str) -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        let model = desk.path("m");
        std::fs::create_dir(&model).unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(golden(name).join(file), model.join(file)).unwrap();
        }
        desk.write("ids.json", json!([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]).to_string());
        desk
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn edits(&self, name: &str, edits: Value) {
        self.write(name, json!({"version": 1, "edits": edits}).to_string());
    }

    /// `record m --token-ids ids.json --sites logits --out acts.safetensors` and `more`, which must be refused and
    /// leave no file.
    pub fn refuses_record(&self, more: &[&str], words: &[&str]) -> String {
        let mut args = vec!["record", "m", "--out", "acts.safetensors"];
        if !more.iter().any(|a| ["--token-ids", "--text", "--file"].contains(a)) {
            args.extend(["--token-ids", "ids.json"]);
        }
        if !more.contains(&"--sites") {
            args.extend(["--sites", "logits"]);
        }
        args.extend(more);
        let line = refuses(self.root(), &args, words);
        self.is_clean();
        line
    }

    /// Neither a result nor a temporary file lies about.
    pub fn is_clean(&self) {
        for entry in std::fs::read_dir(self.root()).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            assert!(!name.starts_with("acts") && !name.starts_with(".optrode"), "{name} was left");
        }
    }
}
