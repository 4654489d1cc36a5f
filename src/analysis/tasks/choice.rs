//! Tasks about the likelihood of given texts: multiple choice and perplexity.

use super::coder::{Coder, Request};
use super::likelihood::{Likelihood, likelihoods};
use super::result::Sample;
use super::{Asked, Measure, Options, Subject, document};
use crate::data::{Item, Metric, Target, Task};
use crate::{Error, Result};

/// A text with the likelihood of its tokens, over all windows.
#[derive(Clone, Default)]
struct Told {
    nats: f64,
    tokens: usize,
}

/// The likelihoods by owner; `owners` is how many there are.
fn tell(
    subject: &Subject,
    requests: &[Request],
    owners: usize,
    options: &Options,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Told>> {
    let mut out = vec![Told::default(); owners];
    let found: Vec<Likelihood> = likelihoods(subject, requests, options, &mut |n| done(n))?;
    for (request, likelihood) in requests.iter().zip(&found) {
        out[request.owner].nats -= likelihood.log_probs.iter().sum::<f64>();
        out[request.owner].tokens += likelihood.log_probs.len();
    }
    Ok(out)
}

fn sample(item: &Item) -> Sample {
    Sample {
        doc_id: item.id,
        group: item.group.clone(),
        doc: item.doc.clone(),
        prompt: item.prompt.clone(),
        ..Sample::default()
    }
}

fn no_tokens(task: &Task, item: usize) -> Error {
    Error::invalid(
        format!("task `{}`: a text of item {item} (counted from 0) has no token to score", task.name),
        "leave out empty texts",
    )
}

pub(super) fn ask_choices(
    subject: &Subject,
    task: &Task,
    items: &[Item],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Asked> {
    let coder = Coder::new(subject)?;
    let (mut requests, mut owners, mut cut) = (Vec::new(), 0, 0);
    for (i, item) in items.iter().enumerate() {
        let mut item_cut = false;
        for choice in choices(item) {
            let pair = coder.pair(&item.prompt, &format!("{}{choice}", item.delimiter))?;
            let (windows, was_cut) = coder.windows(owners, document(item), pair);
            if windows.is_empty() {
                return Err(no_tokens(task, i));
            }
            requests.extend(windows);
            owners += 1;
            item_cut |= was_cut;
        }
        cut += usize::from(item_cut);
    }
    let all = requests.len();
    let share = |done: usize| done * items.len() / all.max(1);
    let told = tell(subject, &requests, owners, options, &mut |done| progress(share(done), items.len()))?;
    let mut samples = Vec::with_capacity(items.len());
    let mut next = 0;
    for item in items {
        let choices = choices(item);
        let told = &told[next..next + choices.len()];
        next += choices.len();
        let log_likelihoods: Vec<f64> = told.iter().map(|t| -t.nats).collect();
        samples.push(Sample {
            target: choices[right(item)].clone(),
            response: choices[best(&log_likelihoods)].clone(),
            log_likelihoods,
            ..sample(item)
        });
    }
    let measure = |metric: Metric| {
        let hit = |(item, sample): (&Item, &Sample)| {
            let length = |choice: &String| match metric {
                Metric::AccNorm => choice.chars().count() as f64,
                Metric::AccBytes => choice.len() as f64,
                _ => 1.0,
            };
            let each = sample.log_likelihoods.iter().zip(choices(item));
            let scaled: Vec<f64> = each.map(|(l, choice)| l / length(choice)).collect();
            (f64::from(u8::from(best(&scaled) == right(item))), 1.0)
        };
        let chance = items.iter().map(|item| 1.0 / choices(item).len() as f64).collect();
        Measure {
            metric,
            filter: "none".to_string(),
            items: items.iter().zip(&samples).map(hit).collect(),
            control: Some(("chance".to_string(), chance)),
        }
    };
    let measures: Vec<Measure> = task.metrics().into_iter().map(measure).collect();
    for (i, sample) in samples.iter_mut().enumerate() {
        sample.scores = measures.iter().map(|m| m.items[i].0).collect();
    }
    Ok(Asked { samples, measures, cut })
}

fn choices(item: &Item) -> &[String] {
    match &item.target {
        Target::Choice { choices, .. } => choices,
        _ => &[],
    }
}

fn right(item: &Item) -> usize {
    match &item.target {
        Target::Choice { right, .. } => *right,
        _ => 0,
    }
}

/// The index of the largest; of equals the first.
fn best(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}

pub(super) fn ask_texts(
    subject: &Subject,
    task: &Task,
    items: &[Item],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Asked> {
    let coder = Coder::new(subject)?;
    let (mut requests, mut texts, mut cut) = (Vec::new(), Vec::new(), 0);
    for (i, item) in items.iter().enumerate() {
        let Target::Likelihood(text) = &item.target else { continue };
        let delimiter = if item.prompt.is_empty() { "" } else { &item.delimiter };
        let text = format!("{delimiter}{text}");
        let pair = coder.pair(&item.prompt, &text)?;
        // Exactly what is scored, so that bytes and words are those of the scored tokens.
        texts.push(format!("{}{text}", pair.moved));
        let (windows, was_cut) = coder.windows(i, document(item), pair);
        if windows.is_empty() {
            return Err(no_tokens(task, i));
        }
        requests.extend(windows);
        cut += usize::from(was_cut);
    }
    let all = requests.len();
    let share = |done: usize| done * items.len() / all.max(1);
    let told = tell(subject, &requests, items.len(), options, &mut |done| progress(share(done), items.len()))?;
    let uniform = (subject.tokenizer.vocab_size() as f64).ln();
    let measure = |metric: Metric| {
        let weight = |i: usize| match metric {
            Metric::WordPerplexity => words(&texts[i]) as f64,
            Metric::TokenNats => told[i].tokens as f64,
            _ => texts[i].len() as f64,
        };
        let control = (metric == Metric::TokenNats)
            .then(|| ("every token as likely as any other".to_string(), vec![uniform; items.len()]));
        let items = (0..items.len()).map(|i| (told[i].nats, weight(i))).collect();
        Measure { metric, filter: "none".to_string(), items, control }
    };
    let measures: Vec<Measure> = task.metrics().into_iter().map(measure).collect();
    let samples = items.iter().enumerate().map(|(i, item)| Sample {
        target: texts[i].clone(),
        log_likelihoods: vec![-told[i].nats],
        scores: measures.iter().map(|m| m.of_item(i, options)).collect(),
        ..sample(item)
    });
    Ok(Asked { samples: samples.collect(), measures, cut })
}

/// Words as lm-evaluation-harness counts them: the pieces between runs of white space, empty ones at the ends included.
fn words(text: &str) -> usize {
    let mut runs = 0;
    let mut inside = false;
    for c in text.chars() {
        runs += usize::from(c.is_whitespace() && !inside);
        inside = c.is_whitespace();
    }
    runs + 1
}
