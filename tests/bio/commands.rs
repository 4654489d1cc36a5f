//! `optrode bio`, and what other commands know of simulated networks.

use candle_core::npy::NpzTensors;
use serde_json::{Value, json};

use crate::cli::{refuses, succeeds};

fn silence(scope: &str) -> String {
    json!({"version": 1, "edits": [{"site": format!("inh.hook_spikes{scope}"), "op": "zero"}]}).to_string()
}

#[test]
fn networks_are_listed_examined_and_their_sites_shown() {
    let here = tempfile::tempdir().unwrap();
    let list: Value = serde_json::from_str(&succeeds(here.path(), &["bio", "list", "--json"])).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    let table = succeeds(here.path(), &["bio", "list"]);
    assert!(names.contains(&"izhikevich") && names.iter().all(|n| table.contains(n)));
    for name in names {
        let sites: Value = serde_json::from_str(&succeeds(here.path(), &["sites", name, "--json"])).unwrap();
        assert!(sites["rules"][0].as_str().unwrap().starts_with("order: "));
        assert!(sites["sites"].as_array().unwrap().iter().all(|s| s["timed"] == true && s["meaning"] != ""));
    }
    let shown = succeeds(here.path(), &["sites", "izhikevich"]);
    assert!(
        shown.contains("two half steps of v, then u, dt 1 ms") && shown.contains("syn.exc_inh.hook_weight"),
        "{shown}"
    );
    let proof: Value = serde_json::from_str(&succeeds(here.path(), &["doctor", "ei-reservoir", "--json"])).unwrap();
    assert_eq!(proof["passed"], true);
    let checks: Vec<&str> =
        (proof["examination"]["findings"].as_array().unwrap().iter()).map(|f| f["name"].as_str().unwrap()).collect();
    for name in ["f-I curve", "RLS = ridge", "recording", "own records", "pieces"] {
        assert!(checks.contains(&name), "{checks:?}");
    }
    refuses(here.path(), &["doctor", "bio", "--text", "a"], &["reads no texts"]);
}

#[test]
fn a_run_is_recorded_and_edited_with_itself_as_the_control() {
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("late.json"), silence("@t=60..")).unwrap();
    let args = ["bio", "run", "izhikevich", "--steps", "100", "--edit", "late.json", "--out", "run.npz", "--json"];
    let ran: Value = serde_json::from_str(&succeeds(here.path(), &args)).unwrap();
    let sites = ran["result"]["sites"].as_array().unwrap();
    let names: Vec<&str> = sites.iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["exc.hook_spikes", "inh.hook_spikes"]);
    assert_eq!(sites[1]["shape"], json!([100, 1, 200]));
    assert!(sites[0]["mean"].as_f64() > sites[0]["unedited"].as_f64());
    let course = |of: &str| sites[0][of].as_array().unwrap()[..60].to_vec();
    assert_eq!(course("course"), course("unedited_course"));
    // Events stand for the spikes, and none is late.
    let file = NpzTensors::new(here.path().join("run.npz")).unwrap();
    let array = |name: &str| file.get(name).unwrap().unwrap();
    let t: Vec<i64> = array("inh.hook_spikes.t").to_vec1().unwrap();
    let i: Vec<i64> = array("inh.hook_spikes.i").to_vec1().unwrap();
    assert_eq!(t.len(), i.len());
    assert!(t.is_sorted() && t.iter().all(|t| *t < 60) && i.iter().all(|i| *i < 200));
    assert_eq!(t.len() as f64, (sites[1]["mean"].as_f64().unwrap() * 20_000.0).round());
    assert!(file.get("inh.hook_spikes").unwrap().is_none());
    // The same request gives the same bytes.
    let bytes = std::fs::read(here.path().join("run.npz")).unwrap();
    succeeds(here.path(), &args);
    assert_eq!(bytes, std::fs::read(here.path().join("run.npz")).unwrap());
}

#[test]
fn weights_are_written_as_synapses_and_a_report_shows_them() {
    let here = tempfile::tempdir().unwrap();
    let args = ["bio", "run", "ei-reservoir-adapting", "--steps", "90", "--record", "syn.inh.hook_weight@every=40"];
    let out = succeeds(here.path(), &[&args[..], &["--out", "w.npz", "--report", "w.html"]].concat());
    assert!(out.contains("syn.inh.hook_weight"), "{out}");
    let file = NpzTensors::new(here.path().join("w.npz")).unwrap();
    let array = |name: &str| file.get(name).unwrap().unwrap();
    assert_eq!(array("syn.inh.hook_weight").dims(), [3, 5000]);
    assert_eq!(array("syn.inh.hook_weight.steps").to_vec1::<i64>().unwrap(), [0, 40, 80]);
    assert!(array("syn.inh.hook_weight.pre").to_vec1::<i64>().unwrap().iter().all(|i| *i < 100));
    assert_eq!(array("syn.inh.hook_weight.post").dims(), [5000]);
    let page = std::fs::read_to_string(here.path().join("w.html")).unwrap();
    assert!(page.contains("weights at step 0") && page.contains("weights at step 80"));
}

#[test]
fn bad_requests_are_refused_in_one_line() {
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("never.json"), silence("@t=500..")).unwrap();
    std::fs::write(here.path().join("tokens.json"), silence("@last")).unwrap();
    let run = |rest: &[&'static str]| [&["bio", "run"], rest].concat();
    for (args, words) in [
        (run(&["izhikevitch"]), ["no network `izhikevitch`", "nearest: izhikevich"]),
        (run(&["izhikevich", "--steps", "0"]), ["0 steps", "give 1 to"]),
        (run(&["izhikevich", "--steps", "9", "--edit", "never.json"]), ["acted nowhere", "its time never comes"]),
        (run(&["izhikevich", "--steps", "9", "--edit", "tokens.json"]), ["token positions", "@t="]),
        (run(&["izhikevich", "--steps", "9", "--record", "exc.hook_spike"]), ["no site matches", "exc.hook_spikes"]),
        (run(&["izhikevich", "--steps", "9", "--record", "exc.hook_mem@t=20"]), ["run ends before", "exc.hook_mem"]),
        (run(&["izhikevich", "--out", "run.json"]), ["not .npz", "run.json"]),
    ] {
        refuses(here.path(), &args, &words);
    }
}
