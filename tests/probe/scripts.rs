//! Scripts: what is understood, and what is refused with its place and the nearest thing that is known.

use std::path::Path;

use optrode::probe::Script;

use super::{GATE, desk, refused};

fn parse(text: &str) -> optrode::Result<Script> {
    Script::parse(Path::new("folder/gate.toml"), text.to_string())
}

#[test]
fn a_script_is_read_with_defaults_filled_in() {
    let script = parse(GATE).unwrap();
    assert_eq!((script.title.as_str(), script.seed), ("Gate", 3));
    let names: Vec<&str> = script.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["facts", "health"]);
    assert_eq!(script.steps[1].kind.name(), "doctor");
    assert_eq!(script.steps[1].bound.parameters, serde_json::json!({"tokens": 6, "texts": []}));
    assert_eq!(script.steps[1].expectations.len(), 2);
    assert_eq!(script.folder(), Path::new("folder"));
    assert!(script.needs_base().is_none());
}

#[test]
fn the_programs_own_script_is_sound() {
    let script = optrode::probe::audit().unwrap();
    assert!(script.steps.iter().any(|s| !s.expectations.is_empty()));
    assert_eq!(script.folder(), Path::new("."));
}

#[test]
fn mistakes_are_refused_with_line_column_and_the_nearest_name() {
    let head = "title = \"t\"\n";
    let doctor = format!("{head}[[step]]\nstep = \"doctor\"\n");
    for (text, words) in [
        (
            format!("{head}sed = 3\n[[step]]\nstep = \"doctor\"\n"),
            vec!["line 2 column 1", "`sed`", "did you mean `seed`?"],
        ),
        (format!("{head}[[steps]]\nstep = \"doctor\"\n"), vec!["line 2", "`steps`", "did you mean `step`?"]),
        (format!("{head}[model]\npaht = \"m\"\n[[step]]\nstep = \"doctor\"\n"), vec!["line 3 column 1", "`path`?"]),
        ("[[step]]\nstep = \"doctor\"\n".to_string(), vec!["missing field `title`"]),
        (head.to_string(), vec!["no steps"]),
        (format!("{head}step = 3\n"), vec!["line 2 column 8"]),
        (format!("{head}step = [3]\n"), vec!["line 2 column 9", "[[step]]"]),
        (format!("{head}[[step]]\nstep = \"docter\"\n"), vec!["line 3 column 8", "`docter`", "did you mean `doctor`?"]),
        (format!("{head}[[step]]\nname = \"a\"\n"), vec!["line 2", "no key `step`"]),
        (format!("{head}[[step]]\nstep = 4\n"), vec!["line 3 column 8", "integer", "string"]),
        (format!("{doctor}tokes = 3\n"), vec!["line 4 column 1", "`tokes`", "did you mean `tokens`?"]),
        (format!("{doctor}expct = \"doctor.failed == 0\"\n"), vec!["line 4 column 1", "did you mean `expect`?"]),
        (format!("{doctor}tokens = \"many\"\n"), vec!["line 4 column 10", "many"]),
        (format!("{doctor}tokens = -1\n"), vec!["line 4 column 10", "-1"]),
        (format!("{doctor}name = \"base\"\n"), vec!["line 4 column 8", "`base`"]),
        (format!("{doctor}name = \"a.b\"\n"), vec!["line 4 column 8", "`a.b`"]),
        (format!("{doctor}[[step]]\nstep = \"doctor\"\n"), vec!["line 5 column 8", "second step", "`name`"]),
        (format!("{doctor}expect = 3\n"), vec!["line 4 column 10", "integer"]),
        (format!("{doctor}expect = [\"doctor.failed == 0\", 3]\n"), vec!["line 4 column 33", "integer"]),
        (format!("{doctor}expect = \"doctor.failed = 0\"\n"), vec!["line 4 column 10", "character 14", ">="]),
        (
            format!("{doctor}expect = \"doctor.faled == 0\"\n"),
            vec!["line 4 column 10", "`doctor.faled`", "did you mean `doctor.failed`?"],
        ),
        (format!("{doctor}expect = \"failed == 0\"\n"), vec!["did you mean `doctor.failed`?"]),
        (format!("{doctor}expect = \"doctor.failed < base.doctor.pased\"\n"), vec!["did you mean `doctor.passed`?"]),
        (
            format!("{doctor}expect = \"facts.layers > 0\"\n[[step]]\nstep = \"facts\"\n"),
            vec!["`facts.layers`", "this or an earlier step"],
        ),
        (format!("{head}seed = 3 4\n"), vec!["line 2 column 8"]),
        (format!("{head}title = \"again\"\n"), vec!["line 2 column 1", "duplicate"]),
        (format!("{head}x = \"\u{e9}\" y\n"), vec!["line 2 column 9"]),
    ] {
        let error = parse(&text).err().unwrap_or_else(|| panic!("taken: {text}")).to_string();
        assert!(error.starts_with("folder/gate.toml: line ") && !error.contains('\n'), "{error}");
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}\n{text}");
        }
    }
}

#[test]
fn the_program_refuses_typos_before_it_works() {
    let desk = desk();
    desk.write("typo.toml", GATE.replace("tokens", "tokns"));
    refused(&desk, &["run", "typo.toml", "--model", "m"], &["typo.toml", "line 11 column 1", "did you mean `tokens`?"]);
    desk.write("typo.toml", GATE.replace("facts.layers", "facts.layer"));
    refused(&desk, &["run", "typo.toml", "--model", "m"], &["line 12", "did you mean `facts.layers`?"]);
    refused(&desk, &["run", "none.toml", "--model", "m"], &["none.toml", "no such file"]);
    desk.write("latin.toml", b"title = \"\xe9\"");
    refused(&desk, &["run", "latin.toml"], &["latin.toml", "UTF-8"]);
    refused(&desk, &["audit", "absent"], &["absent"]);
    assert!(!desk.path("optrode-report").exists());
}
