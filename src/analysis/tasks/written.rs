//! Tasks in which the model writes its answer.

use super::answer::Judge;
use super::respond::{Prompt, respond};
use super::result::Sample;
use super::{Asked, Measure, Options, Subject, document};
use crate::Result;
use crate::data::{Item, Task};
use crate::hook::random;

/// What the control of a written answer is.
const SHUFFLED: &str = "the same answers against the targets of other items";

pub(super) fn ask(
    subject: &Subject,
    task: &Task,
    items: &[Item],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Asked> {
    let judge = Judge::new(task)?;
    let prompts: Vec<Prompt> =
        items.iter().map(|item| Prompt { text: &item.prompt, document: document(item) }).collect();
    let responses = respond(subject, task, &prompts, options, &mut |done| progress(done, items.len()))?;
    let texts: Vec<&str> = items.iter().map(Item::answer).collect();
    let targets: Vec<String> = texts.iter().map(|text| judge.target(text)).collect();
    let others = others(items, options.seed);
    let filtered: Vec<Vec<String>> = responses.iter().map(|r| judge.filtered(&r.text)).collect();
    let mut measures = Vec::new();
    for (f, filter) in judge.filters().into_iter().enumerate() {
        for metric in task.metrics() {
            let score = |i: usize, target: usize| judge.score(metric, &filtered[i][f], &targets[target]);
            let own = (0..items.len()).map(|i| (score(i, i), 1.0)).collect();
            let control = others.iter().enumerate().map(|(i, other)| other.map_or(f64::NAN, |other| score(i, other)));
            let control = Some((SHUFFLED.to_string(), control.collect()));
            measures.push(Measure { metric, filter: filter.clone(), items: own, control });
        }
    }
    let cut = responses.iter().filter(|r| r.cut).count();
    let samples = responses.into_iter().zip(filtered).enumerate().map(|(i, (response, filtered))| Sample {
        doc_id: items[i].id,
        group: items[i].group.clone(),
        doc: items[i].doc.clone(),
        prompt: items[i].prompt.clone(),
        target: texts[i].to_string(),
        response: response.text,
        finish: response.finish,
        filtered,
        log_likelihoods: Vec::new(),
        scores: measures.iter().map(|m| m.items[i].0).collect(),
    });
    Ok(Asked { samples: samples.collect(), measures, cut })
}

/// For each item another one of its group, every one once: the next in a seeded order. `None` where it is alone.
fn others(items: &[Item], seed: u64) -> Vec<Option<usize>> {
    let mut order: Vec<(Option<&str>, u64, usize)> = items
        .iter()
        .enumerate()
        .map(|(i, item)| (item.group.as_deref(), random::key(seed, &[document(item)]), i))
        .collect();
    order.sort_unstable();
    let mut out = vec![None; items.len()];
    for group in order.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
        for (at, (_, _, i)) in group.iter().enumerate() {
            out[*i] = Some(group[(at + 1) % group.len()].2);
        }
    }
    out
}
