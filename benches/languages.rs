//! The counting pass of language neurons against the plain statistics scan over the same tokens:
//! `cargo bench --bench languages [-- MODEL TEXTS]`, the embedded organism and its texts unless given.
//!
//! Both read whole documents in windows of 256 tokens, with no logits. The scan keeps mean and variance of every neuron
//! (`statistics` of `parts`), counting keeps in which tokens it fires, by language and part of the documents. They run in
//! turns; what is printed is the median of the ratios within a round, and both speeds.

use std::hint::black_box;
use std::time::Instant;

use optrode::analysis::Corpus;
use optrode::analysis::languages::{Counted, Reading, Texts, count, neurons, sets, survey};
use optrode::data::organism::embedded;
use optrode::data::{DocumentOptions, Documents, TextSet};
use optrode::hook::reduce::ReducerSpec;
use optrode::hook::{Output, Pass, Plan, Record, Registry, Tap, Values};
use optrode::models::{Input, Model, Network, OpenOptions, State};
use optrode::store::HubOptions;

#[global_allocator]
static ALLOCATOR: optrode::allocator::Allocator = optrode::allocator::Allocator;

const ROUNDS: usize = 5;
/// Documents of each language, at most.
const DOCUMENTS: usize = 200;

fn main() -> optrode::Result<()> {
    optrode::allocator::keep_freed();
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let (folder, texts) = match asked.as_slice() {
        [model, texts] => {
            let documents = Documents::open(texts, DocumentOptions::default(), &HubOptions::from_env())?;
            (model.clone(), sets(Texts::Corpus(&documents), DOCUMENTS, |_| true)?)
        }
        _ => (embedded::folder()?.display().to_string(), embedded::texts()),
    };
    let model = Model::open(&folder, &OpenOptions::default())?;
    let reading = Reading { held_out: 0.0, ..Reading::default() };
    let languages = survey(&model, Texts::Sets(&texts), &reading)?;
    // As many tokens of every language, so that both read the same documents.
    let least = languages.iter().map(|language| language.available).min().unwrap_or(0);
    let texts: Vec<TextSet> = texts.iter().map(|set| first(&model, set, least)).collect::<optrode::Result<_>>()?;
    let languages = survey(&model, Texts::Sets(&texts), &reading)?;
    let reading = Reading { tokens: Some(u64::MAX), ..reading };
    let all: Vec<String> = texts.iter().flat_map(|set| set.texts.clone()).collect();
    let (mut ratios, mut counting, mut scanning) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let counts = count(&model, Texts::Sets(&texts), &languages, &reading, Counted::Texts, &mut |_, _| {})?;
        let between = Instant::now();
        let tokens = scan(&model, &all, &reading)?;
        let (counted, scanned) = ((between - start).as_secs_f64(), between.elapsed().as_secs_f64());
        let read: u64 = black_box(&counts).tokens().iter().sum();
        if round > 0 {
            // Per token: the last document of a language may be left out by one of them.
            let (per_count, per_scan) = (counted / read as f64, scanned / tokens as f64);
            ratios.push(per_count / per_scan);
            counting.push(1.0 / per_count);
            scanning.push(1.0 / per_scan);
        }
        if round == ROUNDS {
            println!("{} languages, {read} tokens counted, {tokens} tokens scanned, {ROUNDS} rounds", texts.len());
        }
    }
    println!(
        "counting {:.0} tokens/s, scan {:.0} tokens/s; time of counting over time of the scan: {:.3}",
        median(counting),
        median(scanning),
        median(ratios)
    );
    Ok(())
}

/// The first texts of a language, with about so many tokens.
fn first(model: &Model, set: &TextSet, tokens: u64) -> optrode::Result<TextSet> {
    let (mut texts, mut seen) = (Vec::new(), 0);
    for text in set.texts.iter().filter(|text| !text.trim().is_empty()) {
        if seen >= tokens {
            break;
        }
        seen += model.tokenizer()?.encode(text, false)?.len() as u64;
        texts.push(text.clone());
    }
    Ok(TextSet { name: set.name.clone(), texts })
}

/// Mean and variance of every neuron; how many tokens were read.
fn scan(model: &Model, texts: &[String], reading: &Reading) -> optrode::Result<usize> {
    let (sites, _) = neurons(model.decoder.sites())?;
    let records = sites.iter().map(|site| Ok(Record::reduced(site.parse()?, ReducerSpec::Moments {})));
    let pass = Pass { records: records.collect::<optrode::Result<_>>()?, output: Output::Unread, ..Pass::default() };
    let mut corpus = Corpus::of_texts(model, texts, reading.window)?;
    corpus.windows.sort_by_key(|window| window.ids.len());
    let mut plan = Plan::compile(model.decoder.sites(), &pass, &Registry::elementary(), Values::default(), &[])?;
    for batch in corpus.batches(reading.batch) {
        model.decoder.forward(&Input::Tokens(batch?.1), &mut State::none(), &mut Tap::new(&mut plan))?;
    }
    black_box(plan.records(model.decoder.sites())?);
    Ok(corpus.counted())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
