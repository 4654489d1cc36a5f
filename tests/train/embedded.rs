//! The organism that the program carries, against its recipe and its generators.

use std::path::{Path, PathBuf};

use optrode::data::organism::Skill;
use optrode::train::organism::Recipe;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join(name)).unwrap()).unwrap()
}

#[test]
fn the_embedded_organism_comes_from_the_recipe_of_the_sources() {
    let recipe = Recipe::own().unwrap();
    assert_eq!(read("organism/config.json"), Value::Object(recipe.config()));
    assert_eq!(read("untrained/config.json"), Value::Object(recipe.smaller().config()));
    let exam = read("organism/exam.json");
    assert_eq!((&exam["updates"], &exam["seed"]), (&json!(recipe.updates()), &json!(0)));
}

#[test]
fn the_items_beside_the_organism_are_the_held_out_ones() {
    for skill in Skill::ALL {
        let lines = std::fs::read_to_string(fixtures().join(format!("organism/held_out/{}.jsonl", skill.name())));
        let lines: Vec<Value> = lines.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected: Vec<Value> =
            skill.test(500).iter().map(|i| json!({"prompt": i.prompt, "answer": i.answer})).collect();
        assert_eq!(lines, expected, "{}", skill.name());
    }
}

#[test]
fn what_is_embedded_stays_within_8_mb() {
    let files = |folder: PathBuf| walkdir(&folder).iter().map(|f| f.metadata().unwrap().len()).sum::<u64>();
    let bytes = files(fixtures().join("organism")) + files(fixtures().join("untrained"));
    assert!(bytes <= 8_000_000, "{bytes} bytes");
}

fn walkdir(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walkdir(&path) } else { vec![path] }).collect()
}
