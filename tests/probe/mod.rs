//! Scripted audits: the language of scripts, steps of one's own, and the commands through the binary.

mod commands;
mod expectations;
mod failures;
mod file_set;
mod replaying;
mod schemas;
mod scripts;
mod steps;

use std::path::Path;

use serde_json::Value;

use crate::cli::{Desk, Ran, program};

/// A script whose expectation holds on every sound model.
pub const GATE: &str = r#"
title = "Gate"
seed = 3

[[step]]
step = "facts"

[[step]]
step = "doctor"
name = "health"
tokens = 6
expect = ["health.failed == 0", "health.passed >= facts.layers + 8"]
"#;

/// A desk with the golden Llama in `m` and [`GATE`] in `gate.toml`.
pub fn desk() -> Desk {
    let desk = Desk::new("llama");
    desk.write("gate.toml", GATE);
    desk
}

/// Runs the program with the caches inside the desk.
pub fn run(desk: &Desk, args: &[&str]) -> Ran {
    run_with(desk, args, &[])
}

pub fn run_with(desk: &Desk, args: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = program(desk.root());
    command.env("XDG_CACHE_HOME", desk.path("cache")).envs(variables.iter().copied()).args(args);
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A run that must end with this code and say nothing on stderr; its stdout.
#[track_caller]
pub fn ends(desk: &Desk, args: &[&str], code: i32) -> String {
    let ran = run(desk, args);
    assert_eq!((ran.code, ran.err.as_str()), (code, ""), "{args:?}\n{}", ran.out);
    ran.out
}

/// A run that must be refused in one line with all of `words`, and leave nothing at `out`.
#[track_caller]
pub fn refused(desk: &Desk, args: &[&str], words: &[&str]) -> String {
    let ran = run(desk, args);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {}", ran.err);
    let line = ran.err.strip_suffix('\n').unwrap();
    assert!(line.starts_with("error: ") && line.contains("; ") && !line.contains('\n'), "{line}");
    for word in words {
        assert!(line.contains(word), "`{word}` is not in: {line}");
    }
    line.to_string()
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// No temporary file or folder was left behind.
#[track_caller]
pub fn is_clean(desk: &Desk) {
    let left: Vec<String> = names(desk.root()).into_iter().filter(|n| n.starts_with(".optrode")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A step of a report or manifest by its name.
pub fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["steps"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap()
}
