//! Labels in words: the local model as explainer and judge, and chat models behind an address.

use std::time::{Duration, Instant};

use optrode::analysis::label::pmi;
use optrode::analysis::label::text::{Speaker, Teller, Trace, test_windows, windows};
use optrode::analysis::label::text::{Split, exemplars};
use optrode::store::Endpoint;
use optrode::store::atlas::{DATABASE, Database};
use serde_json::Value;

use super::stub::{Mood, Stub, endless};
use super::{organism, reading, tokenizer};
use crate::cli::{Desk, Ran};
use crate::scan::{corpus, desk, run, scans};

/// A unit that reacts to a common token.
fn trace() -> Trace {
    let reading = reading();
    let id = tokenizer().encode("the", false).unwrap()[0];
    let value = |p: usize| if reading.tokens[p] == id { 1.0 + (p % 7) as f32 } else { 0.0 };
    Trace::of(reading.counted.iter().map(|p| (p as u32, value(p))), reading.count())
}

#[test]
fn a_cached_prefix_changes_no_score() {
    let model = organism();
    let speaker = Speaker::new(&model).unwrap();
    let prompt = speaker
        .prompt("Marks << >> show what a neuron reacts to.\nText: the <<cat>> sat\nThe neuron reacts to:")
        .unwrap();
    let strings = ["a", "the word cat", "Katzen und Hunde", "12 + 7 = 19", "кошка"];
    let ids: Vec<Vec<u32>> = strings.iter().map(|s| speaker.suffix(s).unwrap()).collect();
    let read = speaker.read(&prompt).unwrap();
    let cached = speaker.log_probabilities(&read, &ids).unwrap();
    let uncached = speaker.uncached(&prompt, &ids).unwrap();
    for ((a, b), s) in cached.iter().zip(&uncached).zip(strings) {
        assert!((a - b).abs() < 1e-4 && *a < 0.0, "{s}: {a} {b}");
    }
    // Alone, and after others have been scored on the same prompt.
    for (i, ids) in ids.iter().enumerate() {
        assert!((speaker.log_probability(&read, ids).unwrap() - cached[i]).abs() < 1e-4);
    }
    // A prompt that adds nothing: pmi 0 for every string.
    let again = speaker.log_probabilities(&speaker.read(&prompt).unwrap(), &ids).unwrap();
    assert!(cached.iter().zip(&again).all(|(a, b)| pmi(*a, *b, 1.0) == 0.0));
    assert!(speaker.log_probabilities(&read, &[]).unwrap().is_empty());
    assert!(speaker.log_probabilities(&read, &[vec![]]).is_err());
    assert!(speaker.log_probabilities(&read, &[vec![600]]).is_err());
    // One token is a distribution.
    let all: Vec<Vec<u32>> = (0..512).map(|id| vec![id]).collect();
    let total: f64 = speaker.log_probabilities(&read, &all).unwrap().iter().map(|l| l.exp()).sum();
    assert!((total - 1.0).abs() < 1e-6);
}

#[test]
fn the_local_model_tells_and_judges() {
    let model = organism();
    let trace = trace();
    let teller = Teller::new(Speaker::new(&model).unwrap(), reading(), tokenizer(), 0).unwrap();
    let given = ["the token the".to_string()];
    let told = teller.tell("x", &trace, &given, 2).unwrap().unwrap();
    let [given_log, prior, score] = told.pmi.unwrap();
    assert!((score - (given_log - 0.2 * prior)).abs() < 1e-12 && given_log < 0.0 && told.tokens > 0);
    assert_eq!(told.windows[0], told.windows[1].min(told.windows[0]));
    assert!(told.windows[0] >= 40, "{:?}", told.windows);
    for area in [told.reverse, told.detection, told.fuzzing] {
        assert!((0.0..=1.0).contains(&area));
    }
    assert!(told.simulation.unwrap().correlation.abs() <= 1.0);
    let prompt = teller.prompt(&trace).unwrap();
    let strings = || teller.speaker().strings(&prompt, 2, 0.7, 0).unwrap();
    assert_eq!(strings(), strings());
}

#[test]
fn windows_show_marks_and_activations() {
    let (reading, trace) = (reading(), trace());
    let best = &exemplars::strongest(reading, &trace, Split::Selection, 1)[0];
    let active = |place: usize| trace.active.iter().any(|(p, _)| *p as usize == place);
    let shown = windows::marked(reading, tokenizer(), &best.places, &active);
    assert!(shown.contains("<<") && shown.matches("<<").count() == shown.matches(">>").count(), "{shown}");
    let plain = windows::plain(reading, tokenizer(), &best.places);
    assert_eq!(shown.replace("<<", "").replace(">>", ""), plain);
    let told = windows::activations(reading, tokenizer(), &best.places, &trace);
    assert!(told.split(", ").all(|t| t.rsplit(' ').next().unwrap().parse::<u32>().unwrap() <= 9), "{told}");
    assert_eq!([0.0, -1.0, 3.5, 7.0].map(|v| windows::step(v, 7.0)), [0, 0, 5, 9]);
    let windows = test_windows(reading, &trace, Split::Test, 2, 0);
    assert!(windows.iter().any(|w| w.active) && windows.iter().any(|w| !w.active));
}

#[test]
fn an_endpoint_is_bounded_in_time_and_bytes() {
    let ask = |base: &str| {
        let endpoint = Endpoint::new(base, "m", Duration::from_millis(800)).unwrap();
        let clock = Instant::now();
        let answer = endpoint.ask("Is it so?", 8);
        assert!(clock.elapsed() < Duration::from_secs(10));
        answer
    };
    let stub = Stub::start(Mood::Good);
    assert!(ask(&stub.base).unwrap().contains("words of the corpus"));
    let asked = &stub.asked()[0];
    assert_eq!(
        (asked["model"].as_str(), asked["max_tokens"].as_u64(), asked["stream"].as_bool()),
        (Some("m"), Some(8), Some(false))
    );
    for (mood, says) in [
        (Mood::NoJson, "not JSON"),
        (Mood::OtherJson, "choices[0].message.content"),
        (Mood::Fails, "status 500: out ofmemory"),
        (Mood::Hangs, "within 0.8 s"),
        (Mood::Redirects, "status 302"),
    ] {
        stub.set(mood);
        let error = ask(&stub.base).unwrap_err().to_string();
        assert!(error.contains(says) && error.lines().count() == 1, "{mood:?}: {error}");
    }
    let error = ask(&endless()).unwrap_err().to_string();
    assert!(error.contains("longer than 1048576 bytes"), "{error}");
    let error = ask("http://127.0.0.1:1/v1").unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1"), "{error}");
    for wrong in ["127.0.0.1:8080", "file:///etc/passwd", "http://", "not an address"] {
        assert!(Endpoint::new(wrong, "m", Duration::from_secs(1)).is_err(), "{wrong}");
    }
}

const UNITS: &str = "blocks.0.mlp.hook_post[neuron=0..4]";

fn label(desk: &Desk, more: &[&str]) -> Ran {
    let fixed = ["label", "m", "atlas", "--least", "3", "--window", "16", "--units", UNITS];
    run(desk, &fixed.iter().chain(more).copied().collect::<Vec<_>>())
}

fn texts(desk: &Desk, explainer: &str) -> Vec<String> {
    let database = Database::open(&desk.path("atlas").join(DATABASE)).unwrap();
    let labels = database.labels(None).unwrap().into_iter().filter(|l| l.explainer == explainer);
    labels.map(|l| l.text).collect()
}

#[test]
fn explainers_stand_side_by_side_and_go_on_where_they_stopped() {
    let desk = desk("llama");
    corpus(&desk);
    scans(&desk, "atlas", &[]);
    let stub = Stub::start(Mood::GoodFor(30));
    let asks = ["--json", "--explainer", &stub.base, "--explainer-model", "judge", "--explainer-timeout", "5"];
    // Nobody is asked unless that is wanted.
    assert_eq!(label(&desk, &["--json", "--generate", "1"]).code, 0);
    assert!(stub.asked().is_empty());
    let generated = texts(&desk, "optrode generated");
    assert!(!generated.is_empty());
    // A server that fails after a while: what there is stays, and the command says so.
    let failed = label(&desk, &asks);
    assert!(failed.code == 2 && failed.err.contains("out of memory"), "{}", failed.err);
    let some = texts(&desk, "endpoint judge");
    assert!(!some.is_empty() && some.iter().all(|t| t == "words of the corpus"));
    stub.set(Mood::Good);
    let before = stub.asked().len();
    let done = label(&desk, &asks);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&done.out).unwrap();
    let told = &found["result"]["told"];
    assert_eq!(told["found"].as_u64().unwrap() as usize, some.len());
    assert!(told["made"].as_u64().unwrap() > 0 && stub.asked().len() > before);
    let all = texts(&desk, "endpoint judge").len();
    assert_eq!(all as u64, told["made"].as_u64().unwrap() + told["found"].as_u64().unwrap());
    // Everything is there: nothing is asked.
    let asked = stub.asked().len();
    assert_eq!(label(&desk, &asks).code, 0);
    assert_eq!(stub.asked().len(), asked);
    assert_eq!(texts(&desk, "optrode generated"), generated);
    let refused = label(&desk, &["--explainer", "nowhere"]);
    assert!(refused.code == 2 && refused.err.contains("nowhere"), "{}", refused.err);
}
