//! Results: the shape of lm-evaluation-harness, groups, blocks.

use optrode::analysis::tasks::{TaskResult, harness};
use optrode::data::{Item, Metric, OutputType, Task};
use optrode::report::chart::Plot;
use optrode::report::{Better, Block, Report};
use serde_json::json;

use super::Little;

fn grouped() -> TaskResult {
    let little = Little::new("llama");
    let choice = |id, group: &str| {
        let choices = vec!["a".to_string(), "b".to_string()];
        Item::choice(id, format!("q {id}:"), choices, id % 2).in_group(group)
    };
    let items: Vec<Item> = (0..6).map(|i| choice(i, if i < 4 { "de" } else { "en" })).collect();
    little.evaluate(&Task::new("pick", OutputType::MultipleChoice), &items)
}

#[test]
fn results_have_the_keys_that_readers_of_the_harness_look_for() {
    let result = grouped();
    let little = Little::new("llama");
    let text = Task::new("write", OutputType::GenerateUntil);
    let written = little.evaluate(&Task { max_gen_toks: 2, ..text }, &[Item::text(0, "a", "b")]);
    let json = harness(&[result.clone(), written], json!({"model": "llama"})).unwrap();
    let entry = &json["results"]["pick"];
    assert_eq!(entry["alias"], "pick");
    for key in ["acc,none", "acc_stderr,none", "acc_norm,none", "acc_norm_stderr,none", "acc_bytes,none"] {
        assert!(entry[key].is_f64(), "{key}: {entry}");
    }
    assert_eq!(entry["acc,none"], result.score(Metric::Acc, None).unwrap().value);
    assert!(json["results"]["write"]["exact_match,none"].is_f64());
    assert_eq!(json["results"]["write"]["exact_match_stderr,none"], "N/A", "of a single item there is none");
    assert_eq!(json["group_subtasks"], json!({"pick": ["pick_de", "pick_en"], "write": []}));
    assert_eq!(json["n-samples"]["pick_de"], json!({"effective": 4}));
    assert_eq!(json["versions"]["pick_en"], 1);
    assert_eq!(json["n-shot"]["pick"], 0);
    assert_eq!(json["higher_is_better"]["pick"]["acc"], true);
    assert_eq!(json["configs"]["pick"]["task"], "pick");
    assert_eq!(json["configs"]["pick"]["output_type"], "multiple_choice");
    assert_eq!(json["configs"]["pick"]["metadata"], json!({"version": 1}));
    assert_eq!(json["config"], json!({"model": "llama"}));
    assert_eq!(json["samples"]["pick"].as_array().unwrap().len(), 6);
    let sample = &json["samples"]["pick"][5];
    assert_eq!((sample["doc_id"].as_u64(), sample["target"].as_str()), (Some(5), Some("b")));
    assert_eq!(sample["resps"].as_array().unwrap().len(), 2);
    assert!(sample["acc,none"].is_f64());
    assert_eq!(json["intervals"]["pick"]["acc,none"].as_array().unwrap().len(), 2);
    assert_eq!(json["controls"]["pick"]["acc,none"], json!({"name": "chance", "value": 0.5}));
}

#[test]
fn groups_are_parts_of_the_whole() {
    let result = grouped();
    assert_eq!(result.groups.iter().map(|g| (g.name.as_str(), g.items)).collect::<Vec<_>>(), [("de", 4), ("en", 2)]);
    for (s, all) in result.all.scores.iter().enumerate() {
        let parts: f64 = result.groups.iter().map(|g| g.scores[s].value * g.items as f64).sum();
        assert!((all.value - parts / 6.0).abs() < 1e-12);
    }
    let json = serde_json::to_string(&result).unwrap();
    assert_eq!(serde_json::from_str::<TaskResult>(&json).unwrap(), result);
}

#[test]
fn a_result_shows_itself_and_says_which_way_is_better() {
    let result = grouped();
    let blocks = result.blocks();
    let table = blocks.iter().find_map(|b| if let Block::Table(t) = b { Some(t) } else { None }).unwrap();
    assert_eq!(table.rows.len(), 9, "three metrics of the whole and of two groups");
    assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
    assert!(table.columns.iter().any(|c| c.better == Some(Better::More)));
    let chart = blocks.iter().find_map(|b| if let Block::Chart(c) = b { Some(c) } else { None }).unwrap();
    let Plot::Bars { categories, series, .. } = &chart.plot else { panic!("{chart:?}") };
    assert_eq!(categories, &["de", "en"]);
    assert_eq!(series.iter().map(|s| s.values.len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(series[0].intervals.len(), 2);
    assert_eq!(series[1].values, [0.5, 0.5]);
    assert!(chart.caption.contains("more is better"));
    let little = Little::new("llama");
    let texts = little.evaluate(&Task::new("t", OutputType::Perplexity), &[Item::likelihood(0, "", "abc")]);
    let blocks = texts.blocks();
    let table = blocks.iter().find_map(|b| if let Block::Table(t) = b { Some(t) } else { None }).unwrap();
    assert!(table.columns.iter().any(|c| c.better == Some(Better::Less)));
    assert_eq!(table.rows.len(), 4);
}
