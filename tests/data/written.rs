//! Written answers: the text, where it stops, and how it is compared.

use optrode::analysis::tasks::{Options, TaskResult, evaluate, grade};
use optrode::data::{Compare, Filter, Item, Metric, OutputType, Select, Task};

use super::{Little, log_probs};

fn task() -> Task {
    Task { max_gen_toks: 12, ..Task::new("write", OutputType::GenerateUntil) }
}

/// The likeliest tokens after a prompt, one plain call each.
fn greedy(little: &Little, prompt: &str, count: usize) -> Vec<u32> {
    let mut ids = little.tokenizer.encode(prompt, true).unwrap();
    let start = ids.len();
    while ids.len() < start + count && ids.last() != Some(&2) {
        let last = log_probs(&little.net, &ids).pop().unwrap();
        let best = last.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        ids.push(last.iter().position(|x| *x == best).unwrap() as u32);
    }
    ids[start..].to_vec()
}

const PROMPTS: [&str; 6] = ["the cat", "q: a b c 123?", "abc", "one two three. four", "zzz", "a = 1, b = 2,"];

fn written(little: &Little, prompt: &str) -> String {
    little.tokenizer.decode(&greedy(little, prompt, 12), true).unwrap()
}

fn items(targets: impl Fn(usize) -> String) -> Vec<Item> {
    PROMPTS.iter().enumerate().map(|(i, p)| Item::text(i, *p, targets(i))).collect()
}

fn responses(result: &TaskResult) -> Vec<String> {
    result.samples.iter().map(|s| s.response.clone()).collect()
}

#[test]
fn the_answer_is_the_likeliest_text_in_any_batch() {
    let little = Little::new("llama");
    let expected: Vec<String> = PROMPTS.iter().map(|p| written(&little, p)).collect();
    for batch in [1, 4, 16] {
        let options = Options { batch, ..Options::default() };
        let items = items(|i| expected[i].clone());
        let result = evaluate(&little.subject(), &task(), &items, &options, &mut |_, _| {}).unwrap();
        assert_eq!(responses(&result), expected, "batch {batch}");
        assert_eq!(result.score(Metric::ExactMatch, None).unwrap().value, 1.0);
    }
}

#[test]
fn a_stop_text_ends_the_answer_and_is_not_part_of_it() {
    let little = Little::new("llama");
    let free: Vec<String> = PROMPTS.iter().map(|p| written(&little, p)).collect();
    // Two letters that some answer has in its middle: more than one token.
    let middle: String = free.iter().find(|t| t.chars().count() > 6).unwrap().chars().skip(3).take(2).collect();
    let task = Task { until: vec![middle.clone(), "never written".to_string()], ..task() };
    let result = little.evaluate(&task, &items(|_| String::new()));
    let mut stopped = 0;
    for (sample, free) in result.samples.iter().zip(&free) {
        assert_eq!(sample.response, free[..free.find(&middle).unwrap_or(free.len())]);
        let stops = free.contains(&middle);
        stopped += usize::from(stops && sample.finish == "stop");
        assert_eq!(stops, sample.finish == "stop", "{free:?}");
    }
    assert!(stopped > 0);
}

#[test]
fn shares_have_wilsons_interval_and_the_shuffled_control() {
    let little = Little::new("llama");
    let expected: Vec<String> = PROMPTS.iter().map(|p| written(&little, p)).collect();
    let result = little.evaluate(&task(), &items(|i| if i < 4 { expected[i].clone() } else { format!("no {i}") }));
    let score = result.score(Metric::ExactMatch, None).unwrap();
    assert_eq!(score.value, 4.0 / 6.0);
    // Wilson 1927 for 4 of 6, and the sample deviation over the root of 6.
    let (z, n, p) = (1.959963984540054f64, 6.0, 4.0 / 6.0);
    let root = (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let (low, high) = score.interval.unwrap();
    assert!((low - (p + z * z / (2.0 * n) - z * root) / (1.0 + z * z / n)).abs() < 1e-12);
    assert!((high - (p + z * z / (2.0 * n) + z * root) / (1.0 + z * z / n)).abs() < 1e-12);
    assert!((low - 0.3000).abs() < 1e-3 && (high - 0.9032).abs() < 1e-3, "{low} {high}");
    let variance: f64 = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0].iter().map(|x: &f64| (x - p).powi(2)).sum::<f64>() / 5.0;
    assert!((score.stderr - (variance / 6.0).sqrt()).abs() < 1e-12);
    let distinct = expected.iter().collect::<std::collections::BTreeSet<_>>().len() == expected.len();
    assert!(distinct, "the prompts were chosen so that the answers differ");
    assert_eq!(score.control.as_ref().unwrap().value, 0.0, "no answer is another item's target");
    let same = little.evaluate(&task(), &items(|_| expected[0].clone()));
    let score = same.score(Metric::ExactMatch, None).unwrap();
    assert_eq!(score.value, score.control.as_ref().unwrap().value, "where all targets are one, shuffling is nothing");
    let ends = |task: &Task, target: &dyn Fn(usize) -> String| {
        little.evaluate(task, &items(target)).score(Metric::ExactMatch, None).unwrap().interval.unwrap()
    };
    let (low, high) = ends(&task(), &|i| format!("no {i}"));
    assert!(low == 0.0 && (high - z * z / (n + z * z)).abs() < 1e-12, "none of six: {low} {high}");
    let (low, high) = ends(&task(), &|i| expected[i].clone());
    assert!(high == 1.0 && (low - n / (n + z * z)).abs() < 1e-12, "six of six: {low} {high}");
    let alone = little.evaluate(&task(), &items(|i| expected[i].clone())[..1]);
    let score = alone.score(Metric::ExactMatch, None).unwrap();
    assert!(score.stderr.is_nan() && score.control.is_none());
}

#[test]
fn a_prompt_beyond_the_context_keeps_its_end() {
    let little = Little::new("llama");
    let long = "abc de ".repeat(20);
    let items = [Item::text(0, long.clone(), "x")];
    let result = little.evaluate(&task(), &items);
    assert_eq!(result.truncated, 1);
    let ids = little.tokenizer.encode(&long, true).unwrap();
    let mut kept = vec![1];
    kept.extend_from_slice(&ids[ids.len() - (64 - 12 - 1)..]);
    let last = log_probs(&little.net, &kept).pop().unwrap();
    let best = last.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let first = last.iter().position(|x| *x == best).unwrap() as u32;
    assert!(result.samples[0].response.starts_with(&little.tokenizer.decode(&[first], true).unwrap()));
}

fn only(task: &Task, answer: &str, target: &str) -> f64 {
    grade(task, answer, target).unwrap()[0].scores[0].1
}

#[test]
fn numbers_compare_by_value() {
    let task = Task { compare: Compare { number: true, ..Compare::default() }, ..task() };
    let same =
        [("18", "18"), ("$1,234.50", "1234.5"), ("007", "7"), ("-0.0", "0"), ("+3.", "3"), (".5", "0.50"), ("x", "x")];
    for (a, b) in same {
        assert_eq!(only(&task, a, b), 1.0, "{a} {b}");
    }
    // Beyond the 53 bits of a float the last digit still counts.
    let different =
        [("18", "-18"), ("9007199254740993", "9007199254740992"), ("1.5", "15"), ("", "0"), ("3 apples", "3")];
    for (a, b) in different {
        assert_eq!(only(&task, a, b), 0.0, "{a} {b}");
    }
    assert_eq!(only(&self::task(), "18.0", "18"), 0.0, "as texts they differ");
}

#[test]
fn filters_pick_a_part_and_no_match_is_never_right() {
    let filter = |name: &str, regex: &str, select| Filter { name: name.into(), regex: regex.into(), select };
    let filters = vec![
        filter("strict", r"answer is (-?\d+)", Select::First),
        filter("last", r"(-?[$0-9.,]{2,})|(-?[0-9]+)", Select::Last),
    ];
    let compare = Compare { number: true, target_regex: Some("#### (.*)".into()), ..Compare::default() };
    let task = Task { filters, compare, ..task() };
    let both = |answer: &str| {
        let grades = grade(&task, answer, "2 + 2 = 4\n#### 12").unwrap();
        let kept = grades.iter().map(|g| g.kept.clone()).collect::<Vec<_>>();
        (kept, grades.iter().map(|g| g.scores[0].1).collect::<Vec<_>>())
    };
    assert_eq!(both("so the answer is 12. The answer is 13"), (vec!["12".into(), "13".into()], vec![1.0, 0.0]));
    assert_eq!(both("it costs $12.00"), (vec!["[invalid]".into(), "$12.00".into()], vec![0.0, 1.0]));
    assert_eq!(both(""), (vec!["[invalid]".into(), "[invalid]".into()], vec![0.0, 0.0]));
}

#[test]
fn texts_compare_by_words_in_any_script() {
    let compare = Compare { ignore_case: true, ignore_punctuation: true, ..Compare::default() };
    let metric_list = vec![Metric::ExactMatch, Metric::F1, Metric::Contains];
    let task = Task { compare, metric_list, ..task() };
    let scores = |answer: &str, target: &str| {
        let scores = &grade(&task, answer, target).unwrap()[0].scores;
        (scores[0].1, scores[1].1, scores[2].1)
    };
    assert_eq!(scores(" The Cat!", "the cat"), (1.0, 1.0, 1.0));
    let (exact, f1, contains) = scores("the black cat", "The cat");
    assert!(exact == 0.0 && contains == 0.0 && (f1 - 2.0 * 2.0 / 5.0).abs() < 1e-12);
    let (exact, f1, contains) = scores("in the year 1969, then", "1969");
    assert!(exact == 0.0 && contains == 1.0 && (f1 - 2.0 / 6.0).abs() < 1e-12);
    let (_, f1, contains) = scores("在北京市。", "北京");
    assert!(contains == 1.0 && (f1 - 2.0 * 2.0 / 6.0).abs() < 1e-12, "{f1}");
    assert_eq!(scores("", "x"), (0.0, 0.0, 0.0));
    assert_eq!(scores("x x", "x").1, 2.0 / 3.0, "a word counts as often as both have it");
}
