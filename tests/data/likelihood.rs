//! Perplexities: exp of the mean of a plain loop, every token once whatever the windows, intervals over documents.

use optrode::analysis::tasks::{Options, Perplexities, Start, Subject, perplexities, perplexity};
use optrode::data::{Item, Metric, OutputType, Task, TextSet};
use optrode::hook::{Pass, Registry, Values};
use optrode::report::{Block, Report};

use super::{Little, log_probs, message, run};
use crate::common::edit;

const TEXTS: [&str; 4] =
    ["the cat and the dog.", "a", "one two three four five six seven. the end: 12 + 3 = 15\nmore of that", "q: a b c"];

/// Nats of each token of a text in windows of `limit`, as `get_rolling_token_windows` and `make_disjoint_window` of
/// lm-evaluation-harness cut it, by plain calls.
fn rolling(little: &Little, text: &str, limit: usize) -> Vec<f64> {
    let tokens = little.tokenizer.encode(text, false).unwrap();
    let mut windows: Vec<(Vec<u32>, Vec<u32>)> = Vec::new();
    let first = limit.min(tokens.len());
    windows.push(([vec![1], tokens[..first - 1].to_vec()].concat(), tokens[..first].to_vec()));
    let mut predicted = first;
    while predicted < tokens.len() {
        let count = (tokens.len() - predicted).min(limit);
        let end = predicted + count;
        windows.push((tokens[end - limit - 1..end - 1].to_vec(), tokens[end - count..end].to_vec()));
        predicted += count;
    }
    let mut out = Vec::new();
    for (input, wanted) in windows {
        assert!(input.len() <= limit);
        let rows = log_probs(&little.net, &input);
        let from = input.len() - wanted.len();
        out.extend(wanted.iter().enumerate().map(|(i, id)| -rows[from + i][*id as usize]));
    }
    assert_eq!(out.len(), tokens.len());
    out
}

fn texts() -> Vec<String> {
    TEXTS.iter().map(|t| t.to_string()).collect()
}

fn close(a: f64, b: f64, what: &str) {
    assert!((a - b).abs() <= 1e-5 * b.abs().max(1e-3), "{what}: {a} {b}");
}

/// A tokenizer that puts nothing before a text, though it has a BOS: asked for no more than that, the first token is
/// context.
#[test]
fn nothing_stands_before_a_text_where_only_the_tokenizer_is_asked() {
    let (little, tokenizer) = (Little::new("llama"), super::tokenizer(false));
    let subject = Subject::of(&little.net, &tokenizer, Some(64));
    let always = perplexity(&subject, &texts(), &Options::default(), &mut |_, _| {}).unwrap();
    assert_eq!(always.start, "<s>");
    let options = Options { start: Start::Tokenizer, ..Options::default() };
    let got = perplexity(&subject, &texts(), &options, &mut |_, _| {}).unwrap();
    let (mut sum, mut count) = (0.0, 0);
    for (text, found) in TEXTS.iter().zip(&got.documents) {
        let ids = tokenizer.encode(text, true).unwrap();
        let rows = log_probs(&little.net, &ids);
        let nats: f64 = (1..ids.len()).map(|at| -rows[at - 1][ids[at] as usize]).sum();
        close(found.nats, nats, text);
        assert_eq!(found.tokens, ids.len() - 1);
        (sum, count) = (sum + nats, count + found.tokens);
    }
    close(got.nats_per_token, sum / count as f64, "all");
    assert!(got.start.contains("nothing"), "{}", got.start);
}

#[test]
fn perplexity_is_exp_of_the_mean_nats_of_a_plain_loop() {
    for (name, limit) in [("llama", 64), ("gpt2", 18), ("llama", 16), ("llama", 7), ("bloom", 64)] {
        let little = Little::new(name);
        let subject = Subject::of(&little.net, &little.tokenizer, Some(limit));
        let nats: Vec<Vec<f64>> = TEXTS.iter().map(|t| rolling(&little, t, limit)).collect();
        let (sum, count) = (nats.iter().flatten().sum::<f64>(), nats.iter().flatten().count() as f64);
        let got = perplexity(&subject, &texts(), &Options::default(), &mut |_, _| {}).unwrap();
        close(got.nats_per_token, sum / count, name);
        close(got.per_token(), (sum / count).exp(), name);
        assert_eq!(got.tokens as f64, count);
        assert_eq!(got.start, "<s>");
        let bytes: usize = TEXTS.iter().map(|t| t.len()).sum();
        close(got.bits_per_byte, sum / bytes as f64 / 2f64.ln(), name);
        for (document, nats) in got.documents.iter().zip(&nats) {
            assert_eq!(document.tokens, nats.len());
            close(document.nats, nats.iter().sum(), name);
        }
        // The same texts as a task have the harness's figures.
        let task = Task::new("texts", OutputType::Perplexity);
        let items: Vec<Item> = TEXTS.iter().enumerate().map(|(i, t)| Item::likelihood(i, "", *t)).collect();
        let result = run(&subject, &task, &items);
        let score = |metric| result.score(metric, None).unwrap().value;
        // What re.split(r"\s+", text) gives.
        let words = 5.0 + 1.0 + 17.0 + 4.0;
        close(score(Metric::WordPerplexity), (sum / words).exp(), name);
        close(score(Metric::BytePerplexity), (sum / bytes as f64).exp(), name);
        close(score(Metric::BitsPerByte), sum / bytes as f64 / 2f64.ln(), name);
        close(score(Metric::TokenNats), sum / count, name);
        close(result.samples[2].log_likelihoods[0], -nats[2].iter().sum::<f64>(), name);
        let control = result.score(Metric::TokenNats, None).unwrap().control.as_ref().unwrap();
        close(control.value, (little.tokenizer.vocab_size() as f64).ln(), "uniform");
    }
}

#[test]
fn words_are_counted_as_the_harness_does() {
    let little = Little::new("llama");
    let edits = vec![edit("logits", serde_json::json!({"op": "zero"}))];
    let pass = Pass { edits, ..Pass::default() };
    let subject = little.subject().edited(pass, Registry::elementary(), Values::default());
    let task = Task { metric_list: vec![Metric::WordPerplexity], ..Task::new("w", OutputType::Perplexity) };
    // With uniform tokens the nats are tokens times ln 61; re.split keeps the empty pieces at the ends.
    for (text, words) in [("a b", 2.0), ("a", 1.0), (" a  b\n", 4.0), ("\na", 2.0)] {
        let result = run(&subject, &task, &[Item::likelihood(0, "", text)]);
        let tokens = little.tokenizer.encode(text, false).unwrap().len() as f64;
        close(result.all.scores[0].value, (tokens * 61f64.ln() / words).exp(), text);
    }
}

#[test]
fn a_prompt_is_context_and_the_white_space_at_its_end_is_scored() {
    let little = Little::new("llama");
    let task = Task::new("code", OutputType::Perplexity);
    let result = little.evaluate(&task, &[Item::likelihood(0, "the: \n", "abc 12")]);
    let context = little.tokenizer.encode("the:", true).unwrap();
    let whole = little.tokenizer.encode("the: \nabc 12", true).unwrap();
    let rows = log_probs(&little.net, &whole);
    // ": " is one token, so that the prompt's own tokens are not a beginning of the whole: what is scored starts where
    // they end, as in the harness.
    let scored = &whole[context.len()..];
    let ids = [context.clone(), scored.to_vec()].concat();
    let rows = if whole.starts_with(&context) { rows } else { log_probs(&little.net, &ids) };
    let nats: f64 = scored.iter().enumerate().map(|(i, id)| -rows[context.len() - 1 + i][*id as usize]).sum();
    let score = |metric| result.score(metric, None).unwrap().value;
    close(score(Metric::TokenNats), nats / scored.len() as f64, "nats");
    close(score(Metric::BitsPerByte), nats / " \nabc 12".len() as f64 / 2f64.ln(), "bytes of what is scored");
    assert_eq!(result.samples[0].target, " \nabc 12");
}

#[test]
fn special_tokens_are_context_and_never_scored() {
    let little = Little::new("llama");
    let subject = little.subject();
    let of = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|t| t.to_string()).collect();
        perplexity(&subject, &texts, &Options::default(), &mut |_, _| {})
    };
    let marked = of(&["ab</s>cd"]).unwrap();
    assert_eq!((marked.tokens, marked.documents[0].bytes), (4, 4));
    let rows = log_probs(&little.net, &little.tokenizer.encode("ab</s>cd", true).unwrap());
    let ids = little.tokenizer.encode("ab</s>cd", false).unwrap();
    let kept = [0, 1, 3, 4];
    close(marked.documents[0].nats, kept.iter().map(|i| -rows[*i][ids[*i] as usize]).sum(), "nats");
    let hits = kept.iter().filter(|i| rows[**i].iter().all(|x| *x <= rows[**i][ids[**i] as usize])).count();
    assert_eq!(marked.documents[0].hits, hits);
    assert!(message(of(&["", "</s>"])).contains("no token to score"));
    assert!(message(of(&[])).contains("no token to score"));
    let some = of(&["", "ab"]).unwrap();
    assert_eq!((some.documents[0].tokens, some.documents[1].tokens), (0, 2));
    assert_eq!(some.interval, None, "a single document has no interval");
}

#[test]
fn intervals_hold_the_value_and_do_not_change_with_the_run() {
    let little = Little::new("llama");
    let subject = little.subject();
    let texts: Vec<String> = (0..30).map(|i| format!("{} text {i}.", "ab c".repeat(1 + i % 5))).collect();
    let of = |seed, batch, draws| {
        let options = Options { seed, batch, draws, ..Options::default() };
        perplexity(&subject, &texts, &options, &mut |_, _| {}).unwrap()
    };
    let first = of(0, 8, 1000);
    assert_eq!(first, of(0, 8, 1000));
    let (low, high) = first.interval.unwrap();
    assert!(low < first.nats_per_token && first.nats_per_token < high);
    // The normal interval of a ratio of sums, by its linear form.
    let n = 30.0;
    let tokens: Vec<f64> = first.documents.iter().map(|d| d.tokens as f64).collect();
    let mean = tokens.iter().sum::<f64>() / n;
    let rests = first.documents.iter().map(|d| (d.nats - first.nats_per_token * d.tokens as f64) / mean);
    let deviation = (rests.map(|r| r * r).sum::<f64>() / (n - 1.0) / n).sqrt();
    let half = (high - low) / 2.0;
    assert!((half / (1.96 * deviation) - 1.0).abs() < 0.15, "{half} {deviation}");
    assert_ne!(first.interval, of(1, 8, 1000).interval);
    close(of(0, 1, 1000).nats_per_token, first.nats_per_token, "batch");
}

#[test]
fn sets_of_texts_make_a_table_and_a_chart() {
    let little = Little::new("llama");
    let set = |name: &str, texts: &[&str]| TextSet {
        name: name.to_string(),
        texts: texts.iter().map(|t| t.to_string()).collect(),
    };
    let sets = [set("one", &TEXTS), set("two", &["abc", "def"])];
    let mut heard = Vec::new();
    let found = perplexities(&little.subject(), &sets, &Options::default(), &mut |d, n| heard.push((d, n))).unwrap();
    assert_eq!(heard, [(1, 2), (2, 2)]);
    let blocks = found.blocks();
    let tables: Vec<_> = blocks.iter().filter_map(|b| if let Block::Table(t) = b { Some(t) } else { None }).collect();
    assert_eq!(tables[0].rows.len(), 2);
    assert!(tables[0].rows.iter().all(|r| r.len() == tables[0].columns.len()));
    assert!(blocks.iter().any(|b| matches!(b, Block::Chart(_))));
    assert!(message(perplexities(&little.subject(), &[], &Options::default(), &mut |_, _| {})).contains("no set"));
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Perplexities>(&json).unwrap(), found);
}
