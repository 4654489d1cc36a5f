//! Multiple choice: the log-likelihood of each choice is that of a plain call, whatever the batch and the order.

use optrode::analysis::tasks::{Options, Subject, evaluate};
use optrode::data::{Item, Metric, OutputType, Task};
use optrode::hook::{Pass, Registry, Values};

use super::{Little, log_probs, message, run};
use crate::common::{config, edit, load, shared::golden};

fn task() -> Task {
    Task::new("pick", OutputType::MultipleChoice)
}

fn choices(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| t.to_string()).collect()
}

fn items() -> Vec<Item> {
    vec![
        Item::choice(0, "one and two. q:", choices(&["a", "B"]), 0),
        Item::choice(1, "the q", choices(&["the answer", "another", "c"]), 1),
        Item::choice(2, "a: ", choices(&["b", "bc d"]), 0),
        Item::choice(3, "x", choices(&["0", "1", "2", "3"]), 3),
        Item::choice(4, "", choices(&["abc", "d"]), 1),
    ]
}

/// Context and continuation as lm-evaluation-harness's `_encode_pair` makes them, with BOS before the text.
fn pair(little: &Little, prompt: &str, continuation: &str) -> (Vec<u32>, Vec<u32>) {
    let spaces = prompt.len() - prompt.trim_end().len();
    let (prompt, moved) = prompt.split_at(prompt.len() - spaces);
    let whole = little.tokenizer.encode(&format!("{prompt}{moved}{continuation}"), true).unwrap();
    let context = little.tokenizer.encode(prompt, true).unwrap();
    (context.clone(), whole[context.len()..].to_vec())
}

fn direct(little: &Little, item: &Item, choice: &str) -> f64 {
    let (context, continuation) = pair(little, &item.prompt, &format!(" {choice}"));
    assert!(!continuation.is_empty());
    let ids = [context.clone(), continuation.clone()].concat();
    let log_probs = log_probs(&little.net, &ids);
    let each = continuation.iter().enumerate().map(|(i, id)| log_probs[context.len() - 1 + i][*id as usize]);
    each.sum()
}

#[test]
fn log_likelihoods_are_those_of_a_plain_call() {
    for name in ["llama", "gpt2", "gemma2"] {
        let little = Little::new(name);
        let result = little.evaluate(&task(), &items());
        let (mut acc, mut norm, mut bytes) = (0.0, 0.0, 0.0);
        for (item, sample) in items().iter().zip(&result.samples) {
            let optrode::data::Target::Choice { choices, right } = &item.target else { unreachable!() };
            let expected: Vec<f64> = choices.iter().map(|c| direct(&little, item, c)).collect();
            for (got, expected) in sample.log_likelihoods.iter().zip(&expected) {
                assert!((got - expected).abs() < 1e-4 * expected.abs(), "{name} {}: {got} {expected}", item.id);
            }
            let best = |scaled: Vec<f64>| {
                let best = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                f64::from(u8::from(scaled[*right] == best))
            };
            let lengths = |of: fn(&String) -> usize| {
                expected.iter().zip(choices).map(|(l, c)| l / of(c) as f64).collect::<Vec<_>>()
            };
            acc += best(expected.clone()) / 5.0;
            norm += best(lengths(|c| c.chars().count())) / 5.0;
            bytes += best(lengths(|c| c.len())) / 5.0;
            assert_eq!(sample.target, choices[*right]);
        }
        let score = |metric| result.score(metric, None).unwrap().value;
        assert!((score(Metric::Acc) - acc).abs() < 1e-12, "{name}");
        assert!((score(Metric::AccNorm) - norm).abs() < 1e-12, "{name}");
        assert!((score(Metric::AccBytes) - bytes).abs() < 1e-12, "{name}");
        let chance = result.score(Metric::Acc, None).unwrap().control.as_ref().unwrap();
        assert!((chance.value - (0.5 + 1.0 / 3.0 + 0.5 + 0.25 + 0.5) / 5.0).abs() < 1e-12);
    }
}

#[test]
fn neither_batch_nor_order_change_a_score() {
    let little = Little::new("llama");
    let subject = little.subject();
    let of = |items: &[Item], batch: usize| {
        let options = Options { batch, ..Options::default() };
        evaluate(&subject, &task(), items, &options, &mut |_, _| {}).unwrap()
    };
    let one = of(&items(), 1);
    assert_eq!(of(&items(), 1), one, "a rerun is bit-equal");
    let mut turned = items();
    turned.reverse();
    for (result, turned) in [(of(&items(), 16), false), (of(&items(), 3), false), (of(&turned, 4), true)] {
        let mut samples = result.samples;
        if turned {
            samples.reverse();
        }
        for (a, b) in samples.iter().zip(&one.samples) {
            assert_eq!((a.doc_id, &a.response), (b.doc_id, &b.response));
            for (x, y) in a.log_likelihoods.iter().zip(&b.log_likelihoods) {
                assert!((x - y).abs() <= 1e-5 * y.abs(), "{x} {y}");
            }
        }
    }
}

#[test]
fn choices_of_one_token_share_a_call() {
    let little = Little::new("llama");
    let mut seen = Vec::new();
    let one = [Item::choice(0, "one:", choices(&["a", "B"]), 0)];
    let result = evaluate(&little.subject(), &task(), &one, &Options::default(), &mut |d, n| seen.push((d, n)));
    assert_eq!(seen, [(1, 1)]);
    let (first, second) = (&result.as_ref().unwrap().samples[0].log_likelihoods[0], direct(&little, &one[0], "a"));
    assert!((first - second).abs() < 1e-5 * second.abs());
}

#[test]
fn an_edit_acts_while_a_task_is_scored() {
    let little = Little::new("llama");
    let edits = vec![edit("logits", serde_json::json!({"op": "zero"}))];
    let pass = Pass { edits, ..Pass::default() };
    let subject = little.subject().edited(pass, Registry::elementary(), Values::default());
    let result = run(&subject, &task(), &items());
    // Without logits every token has the probability 1 / 61.
    let vocabulary = config(&golden("llama"))["vocab_size"].as_f64().unwrap();
    for (item, sample) in items().iter().zip(&result.samples) {
        let optrode::data::Target::Choice { choices, .. } = &item.target else { unreachable!() };
        for (choice, got) in choices.iter().zip(&sample.log_likelihoods) {
            let tokens = pair(&little, &item.prompt, &format!(" {choice}")).1.len() as f64;
            assert!((got + tokens * vocabulary.ln()).abs() < 1e-5, "{choice}: {got}");
        }
    }
    let plain = little.evaluate(&task(), &items());
    assert_ne!(plain.samples[0].log_likelihoods, result.samples[0].log_likelihoods);
    // An edit of the continuation alone leaves the first scored token, which the prompt predicts, as it was.
    let generated = edit("blocks.0.hook_resid_pre@generated", serde_json::json!({"op": "zero"}));
    let pass = Pass { edits: vec![generated], ..Pass::default() };
    let subject = little.subject().edited(pass, Registry::elementary(), Values::default());
    let part = run(&subject, &task(), &items());
    assert_eq!(part.samples[3].log_likelihoods.len(), 4);
    let close = |a: f64, b: f64| (a - b).abs() < 1e-5 * b.abs();
    for (item, (a, b)) in items().iter().zip(part.samples.iter().zip(&plain.samples)) {
        let optrode::data::Target::Choice { choices, .. } = &item.target else { unreachable!() };
        for (c, choice) in choices.iter().enumerate() {
            let tokens = pair(&little, &item.prompt, &format!(" {choice}")).1.len();
            let same = close(a.log_likelihoods[c], b.log_likelihoods[c]);
            assert_eq!(same, tokens == 1, "{choice} of item {}", item.id);
        }
    }
}

#[test]
fn a_prompt_beyond_the_context_keeps_its_end_and_its_bos() {
    let little = Little::new("llama");
    let long = format!("{}q:", "abcdefgh ".repeat(12));
    let item = Item::choice(0, long.clone(), choices(&["a", "bcd"]), 0);
    let result = little.evaluate(&task(), std::slice::from_ref(&item));
    assert_eq!(result.truncated, 1);
    for (choice, got) in ["a", "bcd"].iter().zip(&result.samples[0].log_likelihoods) {
        let (context, continuation) = pair(&little, &long, &format!(" {choice}"));
        let room = 64 + 1 - continuation.len();
        let mut kept = vec![context[0]];
        kept.extend_from_slice(&context[context.len() - (room - 1)..]);
        let log_probs =
            log_probs(&little.net, &[kept.clone(), continuation[..continuation.len() - 1].to_vec()].concat());
        let each = continuation.iter().enumerate().map(|(i, id)| log_probs[kept.len() - 1 + i][*id as usize]);
        let expected: f64 = each.sum();
        assert!((got - expected).abs() < 1e-4 * expected.abs(), "{got} {expected}");
    }
}

#[test]
fn items_that_do_not_fit_are_refused_before_anything_runs() {
    let little = Little::new("llama");
    let subject = little.subject();
    let fails = |task: &Task, items: &[Item]| {
        message(evaluate(&subject, task, items, &Options::default(), &mut |_, _| panic!("it ran")))
    };
    assert!(fails(&task(), &[]).contains("has no items"));
    let text = Item::text(0, "a", "b");
    assert!(fails(&task(), &[items()[0].clone(), text.clone()]).contains("item 1 (counted from 0) does not fit"));
    assert!(fails(&task(), &[Item::choice(0, "a", choices(&["a", "b"]), 2)]).contains("does not fit"));
    assert!(fails(&Task::new("t", OutputType::Perplexity), &[text]).contains("does not fit"));
    let net = load(&golden("gpt2"));
    let broken = Subject::of(&net, &little.tokenizer, Some(64));
    let edits = vec![edit("logits", serde_json::json!({"op": "scale", "factor": f32::MAX}))];
    let broken = broken.edited(Pass { edits, ..Pass::default() }, Registry::elementary(), Values::default());
    let text = message(evaluate(&broken, &task(), &items(), &Options::default(), &mut |_, _| {}));
    assert!(text.contains("are not numbers"), "{text}");
}
