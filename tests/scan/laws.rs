//! What an atlas does not depend on: threads, kills, shards, batches.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use optrode::analysis::scan;
use optrode::hook::reduce::{Data, Reducer};
use rusqlite::Connection;

use super::{Desk, bytes, corpus, desk, run, scan_args, scans};
use crate::cli::program;

const FILES: [&str; 2] = ["arrays.safetensors", "atlas.db"];

fn assert_same_atlas(desk: &Desk, a: &str, b: &str) {
    for file in FILES {
        assert!(bytes(desk, &format!("{a}/{file}")) == bytes(desk, &format!("{b}/{file}")), "{a} and {b}: {file}");
    }
}

#[test]
fn an_atlas_does_not_depend_on_threads() {
    let desk = desk("llama");
    corpus(&desk);
    for threads in ["1", "3"] {
        let args = scan_args(&format!("t{threads}"), &["--heads", "--residual"]);
        let mut command = program(desk.root());
        command.env("XDG_CACHE_HOME", desk.path("cache")).env("RAYON_NUM_THREADS", threads).args(&args);
        command.assert().success();
    }
    assert_same_atlas(&desk, "t1", "t3");
}

#[test]
fn a_scan_that_was_killed_goes_on_and_counts_nothing_twice() {
    let desk = desk("llama");
    corpus(&desk);
    // Enough to be in the midst of when the first checkpoint is there.
    let lines: Vec<String> = (0..1200).map(|i| super::words(i, 20)).collect();
    std::fs::write(desk.path("corpus/a/much.txt"), lines.join("\n")).unwrap();
    scans(&desk, "straight", &["--checkpoint-every", "0"]);
    let checkpoint = desk.path("killed/checkpoint.safetensors");
    let mut kills = 0;
    for wanted in [1, 9, 30] {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin("optrode"))
            .args(scan_args("killed", &["--checkpoint-every", "0"]))
            .current_dir(desk.root())
            .env("XDG_CACHE_HOME", desk.path("cache"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        let reached = || scan::open(&checkpoint).map_or(0, |(about, _)| about.reached.chunks);
        while reached() < wanted && child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(100), "no checkpoint came");
        }
        // SIGKILL on Unix.
        child.kill().unwrap();
        kills += usize::from(!child.wait().unwrap().success());
        assert!(!desk.path("killed/atlas.db").exists());
    }
    assert_eq!(kills, 3);
    let done = scans(&desk, "killed", &["--checkpoint-every", "0"]);
    assert!(done.contains("resumed after"), "{done}");
    assert_same_atlas(&desk, "straight", "killed");
    assert!(!desk.path("killed/checkpoint.safetensors").exists());
    let again = scans(&desk, "killed", &[]);
    assert!(again.contains("there already"), "{again}");
}

#[test]
fn shards_merged_are_one_pass() {
    let desk = desk("llama");
    corpus(&desk);
    scans(&desk, "whole", &["--heads", "--residual"]);
    for shard in ["1/3", "2/3", "3/3"] {
        scans(&desk, &format!("s{}", &shard[..1]), &["--shard", shard, "--heads", "--residual"]);
    }
    let ran = run(&desk, &["merge", "s3", "s1", "s2", "--out", "merged", "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));

    let arrays = |name: &str| scan::open(&desk.path(name).join(FILES[0])).unwrap();
    let ((a, one), (b, merged)) = (arrays("whole"), arrays("merged"));
    assert_eq!(a.job, b.job);
    assert_eq!(a.reached, b.reached);
    let (one, merged) = (one.reducers().unwrap(), merged.reducers().unwrap());
    assert!(one.keys().eq(merged.keys()) && one.len() > 10);
    for (key, a) in &one {
        let (a, b) = (a.to_state(), merged[key].to_state());
        let exact = !matches!(one[key], Reducer::Moments(_));
        for (name, x) in &a.arrays {
            match (&x.data, &b.arrays[name].data) {
                (Data::F64(x), Data::F64(y)) if !exact => {
                    let scale = x.iter().fold(1e-300f64, |m, v| m.max(v.abs()));
                    assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() <= 1e-12 * scale), "{key} {name}");
                }
                (x, y) => assert!(x == y, "{key} {name}"),
            }
        }
    }
    // Everything that is no sum is the same in the tables too.
    for sql in [
        "SELECT unit, kind, rank, value, document, position, words FROM examples JOIN contexts \
         ON contexts.id = context ORDER BY 1, 2, 3",
        "SELECT id, count, fired, rate, min, max, q01, q50, q99 FROM units ORDER BY id",
        "SELECT name, documents, tokens FROM groups ORDER BY id",
        "SELECT unit, \"group\", count, fired FROM profiles ORDER BY 1, 2",
        "SELECT id, document, position, text FROM contexts ORDER BY id",
    ] {
        let [whole, merged] = ["whole", "merged"].map(|name| rows(&desk, name, sql));
        assert!(whole == merged && !whole.is_empty(), "{sql}");
    }
}

#[test]
fn a_scan_is_repeated_from_its_manifest() {
    let desk = desk("llama");
    corpus(&desk);
    scans(&desk, "s2", &["--shard", "2/3", "--heads"]);
    let ran = run(&desk, &["replay", "s2/manifest.json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("to the last bit"), "{}", ran.out);
    let text = String::from_utf8(bytes(&desk, "s2/manifest.json")).unwrap();
    let tokens = text.lines().find(|l| l.trim_start().starts_with("\"tokens\"")).unwrap();
    desk.write("s2/manifest.json", text.replace(tokens, "  \"tokens\": 1,"));
    assert_eq!(run(&desk, &["replay", "s2/manifest.json"]).code, 1);
    std::fs::write(desk.path("corpus/a/de.txt"), "w3 w4").unwrap();
    let ran = run(&desk, &["replay", "s2/manifest.json"]);
    assert!(ran.code == 2 && ran.err.contains("not the scan of the manifest"), "{}", ran.err);
}

pub fn rows(desk: &Desk, atlas: &str, sql: &str) -> Vec<String> {
    let connection = Connection::open(desk.path(atlas).join(FILES[1])).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row| {
        let cells: Vec<String> =
            (0..columns).map(|i| format!("{:?}", row.get::<_, rusqlite::types::Value>(i).unwrap())).collect();
        Ok(cells.join("|"))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_size_of_batches_changes_nothing_but_rounding() {
    let desk = desk("llama");
    corpus(&desk);
    scans(&desk, "small", &["--batch", "1"]);
    scans(&desk, "large", &["--batch", "4096"]);
    for sql in ["SELECT count, mean, std, min, max FROM units", "SELECT value FROM examples WHERE kind = 'top'"] {
        let numbers = |name: &str| -> Vec<f64> {
            let all = rows(&desk, name, sql).join("|");
            let cells = all.split('|').map(|c| c.trim_start_matches(|c: char| c.is_alphabetic() || c == '('));
            cells.map(|c| c.trim_end_matches(')').parse().unwrap()).collect()
        };
        let (a, b) = (numbers("small"), numbers("large"));
        assert!(a.len() == b.len() && !a.is_empty());
        let scale = a.iter().filter(|x| x.abs() < 100.0).fold(0f64, |m, x| m.max(x.abs()));
        assert!(a.iter().zip(&b).all(|(x, y)| (x - y).abs() <= 1e-5 * scale), "{sql}");
    }
}
