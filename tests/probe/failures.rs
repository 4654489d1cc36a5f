//! What breaks in the middle: earlier results stay, and no report is ever half written.

use std::process::Command;

use serde_json::json;

use super::{GATE, desk, ends, is_clean, json, names, refused, run, step};
use crate::cli::Desk;

#[test]
fn a_step_that_breaks_leaves_the_results_of_the_others() {
    let desk = desk();
    // The network has no tokenizer, so that a text cannot be encoded.
    let broken = "[[step]]\nstep = \"doctor\"\ntexts = [\"a\"]\n";
    desk.write(
        "gate.toml",
        GATE.replace("[[step]]\nstep = \"doctor\"", &format!("{broken}[[step]]\nstep = \"doctor\"")),
    );
    let ran = run(&desk, &["run", "gate.toml", "--model", "m", "--out", "r"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.starts_with("error: the step doctor failed: ") && ran.err.contains("tokenizer"), "{}", ran.err);
    assert!(ran.out.contains("FAILED   step doctor: ") && ran.out.contains("NOT COMPLETE"), "{}", ran.out);
    let report = json(&desk.path("r/report.json"));
    assert_eq!(report["outcome"], json!("error"));
    assert_eq!(step(&report, "facts")["figures"]["layers"], json!(2.0));
    assert_eq!(step(&report, "doctor")["status"], json!("failed"));
    assert!(step(&report, "doctor")["reason"].as_str().unwrap().contains("tokenizer"));
    assert_eq!(step(&report, "health")["verdicts"][0]["verdict"], json!("passed"));
}

/// Runs the program under a limit of the size of the files that it writes, in units of 512 bytes; `prelude` is shell.
#[cfg(unix)]
fn limited(desk: &Desk, prelude: &str, blocks: usize, args: &str) -> std::process::Output {
    let bin = assert_cmd::cargo::cargo_bin("optrode");
    let script = format!("{prelude} ulimit -f {blocks}; exec {} {args}", bin.display());
    // A cache that cannot be made, so that nothing but the report is written.
    desk.write("no-cache", "");
    Command::new("sh")
        .args(["-c", &script])
        .current_dir(desk.root())
        .env("HF_HUB_OFFLINE", "1")
        .env("XDG_CACHE_HOME", desk.path("no-cache"))
        .output()
        .unwrap()
}

#[cfg(unix)]
#[test]
fn a_run_that_is_killed_while_it_writes_leaves_the_old_report_or_none() {
    use std::os::unix::process::ExitStatusExt;
    let desk = desk();
    let args = "run gate.toml --model m --out r";
    // Beyond the limit the system kills the program (SIGXFSZ).
    let killed = limited(&desk, "", 2, args);
    assert!(killed.status.signal().is_some(), "{killed:?}");
    assert!(!desk.path("r").exists());

    ends(&desk, &["run", "gate.toml", "--model", "m", "--out", "r", "--seed", "8"], 0);
    let before = [desk.path("r/report.json"), desk.path("r/manifest.json")].map(|p| std::fs::read(p).unwrap());
    let killed = limited(&desk, "", 2, args);
    assert!(killed.status.signal().is_some(), "{killed:?}");
    assert_eq!(names(&desk.path("r")), ["manifest.json", "report.html", "report.json"]);
    let after = [desk.path("r/report.json"), desk.path("r/manifest.json")].map(|p| std::fs::read(p).unwrap());
    assert!(before == after);
}

#[cfg(unix)]
#[test]
fn a_disk_that_refuses_the_report_is_an_error_and_the_numbers_are_shown() {
    let desk = desk();
    ends(&desk, &["run", "gate.toml", "--model", "m", "--out", "r", "--seed", "8"], 0);
    let before = std::fs::read(desk.path("r/report.json")).unwrap();
    // With the signal ignored, the write itself fails, as on a full disk.
    let full = limited(&desk, "trap '' XFSZ;", 2, "run gate.toml --model m --out r");
    assert_eq!(full.status.code(), Some(2));
    let err = String::from_utf8(full.stderr).unwrap();
    assert!(err.starts_with("error: ") && err.contains("report.html") && err.contains("too large"), "{err}");
    let out = String::from_utf8(full.stdout).unwrap();
    assert!(out.contains("2 passed, 0 failed") && !out.contains("Report:"), "{out}");
    assert!(std::fs::read(desk.path("r/report.json")).unwrap() == before);
    is_clean(&desk);
}

#[test]
fn a_place_that_cannot_take_the_report_is_refused_before_the_work() {
    let desk = desk();
    desk.write("file", "mine");
    std::fs::create_dir(desk.path("mine")).unwrap();
    desk.write("mine/notes.txt", "mine");
    for (out, words) in [
        ("file", ["file", "expected a folder"]),
        ("file/r", ["file", "no folder"]),
        ("mine", ["`notes.txt`", "name another one"]),
        (".", ["the folder holds", "name another one"]),
        ("/", ["name a folder of its own", "/"]),
        ("/dev/full", ["/dev/full", "expected a folder"]),
    ] {
        refused(&desk, &["run", "gate.toml", "--model", "m", "--out", out], &words);
    }
    assert_eq!(std::fs::read_to_string(desk.path("file")).unwrap(), "mine");
    assert_eq!(names(&desk.path("mine")), ["notes.txt"]);
    for junit in ["mine", "/dev/full", "file/gate.xml"] {
        refused(&desk, &["run", "gate.toml", "--model", "m", "--junit", junit], &[junit.trim_end_matches("/gate.xml")]);
    }
    assert!(!desk.path("optrode-report").exists());
    is_clean(&desk);
}
