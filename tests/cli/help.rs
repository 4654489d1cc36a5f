//! Every example of every `--help` runs as it stands.

use std::path::Path;

use clap::CommandFactory;
use serde_json::json;

use super::{program, run, succeeds};
use crate::common::shared::shared;
use crate::probe::GATE;

/// The paths of all commands: `[]`, `["hub"]`, `["hub", "list"]` and so on.
fn commands() -> Vec<Vec<String>> {
    let mut paths = vec![Vec::new()];
    let mut open = vec![(Vec::new(), optrode::cli::Cli::command())];
    while let Some((path, command)) = open.pop() {
        for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
            let mut deeper: Vec<String> = path.clone();
            deeper.push(sub.get_name().to_string());
            paths.push(deeper.clone());
            open.push((deeper, sub.clone()));
        }
    }
    paths
}

fn help(path: &[String]) -> String {
    let here = tempfile::tempdir().unwrap();
    let output = program(here.path()).env("COLUMNS", "120").args(path).arg("--help").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{path:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines under `Examples:`.
fn examples(help: &str) -> Vec<String> {
    let under = help.lines().skip_while(|l| l.trim() != "Examples:").skip(1);
    let lines = under.take_while(|l| !l.trim().is_empty());
    lines.map(|l| l.trim().to_string()).collect()
}

#[test]
fn help_goes_to_stdout_and_names_every_command() {
    let top = help(&[]);
    for path in commands().iter().filter(|p| p.len() == 1) {
        assert!(top.contains(&format!("  {} ", path[0])), "{path:?}");
    }
}

#[test]
fn a_bare_call_shows_the_help_and_fails() {
    let here = tempfile::tempdir().unwrap();
    let ran = run(here.path(), &[]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("Usage: optrode"), "{}", ran.err);
}

/// The organism's recipe for a network of one small layer, over in three updates.
fn small_recipe() -> String {
    let own = include_str!("../../src/train/organism/recipe.toml");
    let (head, _) = own.split_once("[[phase]]").unwrap();
    let replaced = |head: String, key: &str, value: &str| {
        let line = head.lines().find(|l| l.starts_with(&format!("{key} = "))).unwrap().to_string();
        head.replace(&line, &format!("{key} = {value}"))
    };
    let sizes = [
        ("vocabulary", "300"),
        ("hidden_size", "16"),
        ("intermediate_size", "16"),
        ("num_hidden_layers", "2"),
        ("num_attention_heads", "2"),
        ("num_key_value_heads", "2"),
    ];
    let head = sizes.iter().fold(head.to_string(), |head, (key, value)| replaced(head, key, value));
    let phase = "[[phase]]\nname = \"all\"\nupdates = 3\ntext = 1\nrepeats = 1\nskills = 2\nwidth = 64\npool = 48\n\
        period = 12\nweights = [1, 1, 1, 1, 1, 1, 1]\nemphasis = [1.0, 1.0, 1.0]\n";
    head + phase
}

fn small_books(root: &Path) {
    for book in ["alice", "gatsby", "moby-dick"] {
        std::fs::create_dir_all(root.join(book)).unwrap();
        for language in optrode::data::organism::LANGUAGES {
            let lines: String =
                (0..40).map(|i| format!("{book} {language} {i}: the white rabbit ran past.\n")).collect();
            std::fs::write(root.join(book).join(format!("{language}.txt")), lines).unwrap();
        }
    }
}

#[test]
fn every_example_of_every_help_runs() {
    let Some(model) = shared("models/stories260K") else {
        return;
    };
    let here = tempfile::tempdir().unwrap();
    let write = |name: &str, content: String| std::fs::write(here.path().join(name), content).unwrap();
    let edit = json!({"version": 1, "edits": [{"site": "blocks.3.attn.hook_z[head=6]", "op": "zero"}]});
    write("edit.json", edit.to_string());
    let item = |prompt: &str, concept: &str| json!({"name": prompt, "prompt": prompt, "intermediates": [concept]});
    let items = [item("Lily was so", "happy"), item("Tim was her best", "friend")];
    write("lens-eval-words.json", json!({"items": items}).to_string());
    let silence = json!({"version": 1, "edits": [{"site": "inh.hook_spikes@t=100..", "op": "zero"}]});
    write("silence.json", silence.to_string());
    write("zero-head.json", edit.to_string());
    write("ids.json", "[[1, 403, 407], [1, 261, 378]]".to_string());
    write("gate.toml", GATE.to_string());
    write("small.toml", small_recipe());
    small_books(&here.path().join("data/parallel-books"));
    write("terms.txt", "# what to look for\nrabbit\n".to_string());
    write("prompts.jsonl", "{\"question\": \"Once upon a time\"}\n".to_string());
    std::os::unix::fs::symlink(&model, here.path().join("stories260K")).unwrap();
    for (path, name) in [
        ("models/mnist-cnn", "mnist-cnn"),
        ("data/mnist/t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte"),
        ("data/mnist/t10k-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"),
    ] {
        std::os::unix::fs::symlink(shared(path).unwrap(), here.path().join(name)).unwrap();
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    std::os::unix::fs::symlink(fixtures, here.path().join("fixtures")).unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let cached = here.path().join("hf/hub/models--HuggingFaceTB--SmolLM2-135M");
    std::fs::create_dir_all(cached.join("refs")).unwrap();
    std::fs::create_dir_all(cached.join("snapshots")).unwrap();
    std::fs::write(cached.join("refs/main"), commit).unwrap();
    std::os::unix::fs::symlink(&model, cached.join("snapshots").join(commit)).unwrap();

    let story = |i: usize| format!("{{\"story\": \"Tom had a red ball {i}.\", \"kind\": \"{}\"}}\n", ["a", "b"][i % 2]);
    write("stories.jsonl", (0..6).map(story).collect());
    for name in ["a", "b"] {
        let line = |i: usize| format!("{{\"story\": \"There was a ball {name} {i}.\"}}\n");
        write(&format!("{name}.jsonl"), (0..8).map(line).collect());
    }

    succeeds(here.path(), &["audit", "./stories260K", "--out", "audited"]);
    let texts = "fixtures/organism/texts";
    succeeds(here.path(), &["scan", "./stories260K", texts, "--heads", "--documents", "2", "--out", "scanned"]);
    for shard in ["1/2", "2/2"] {
        let out = format!("part-{}", &shard[..1]);
        let args =
            ["scan", "./stories260K", texts, "--documents", "20", "--chunk", "32", "--shard", shard, "--out", &out];
        succeeds(here.path(), &args);
    }

    let bin = assert_cmd::cargo::cargo_bin("optrode");
    let folders = [bin.parent().unwrap(), Path::new("/usr/bin"), Path::new("/bin")];
    let path = std::env::join_paths(folders).unwrap();
    let mut count = 0;
    for command in commands() {
        let text = help(&command);
        for example in examples(&text) {
            assert!(example.starts_with("optrode "), "no command: {example}");
            // A server runs until it is interrupted.
            let serves = example.starts_with("optrode serve");
            let wrapped = format!("timeout --preserve-status -s INT 3 {example}");
            let start = std::time::Instant::now();
            let output = std::process::Command::new("sh")
                .args(["-c", if serves { &wrapped } else { &example }])
                .current_dir(here.path())
                .env("PATH", &path)
                .env("HF_HOME", here.path().join("hf"))
                .env("HF_HUB_OFFLINE", "1")
                .env("XDG_CACHE_HOME", here.path().join("cache"))
                .env_remove("HF_HUB_CACHE")
                .output()
                .unwrap();
            println!("{:6.1} s  {example}", start.elapsed().as_secs_f64());
            let err = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && err.is_empty(), "{example}: {err}");
            assert!(!output.stdout.is_empty(), "{example} said nothing");
            count += 1;
        }
    }
    assert!(count >= 11, "only {count} examples were found");
}
