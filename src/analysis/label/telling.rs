//! Labels in words for the units of an atlas, unit by unit, each written as soon as it is there: an interrupted run goes
//! on where it stopped.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::auroc;
use super::run::{Evidence, Labelled, Request, Scan};
use super::text::{RULES, Sign, Speaker, Split, Teller, Told, Trace, Unit, exemplars, test_windows, windows};
use crate::models::Model;
use crate::report::Progress;
use crate::store::atlas::{Labeller, NewLabel};
use crate::store::{Endpoint, sha256_bytes};
use crate::{Error, Result};

/// The explainer that lets the model itself speak.
pub const GENERATED: &str = "optrode generated";
/// Failures one after another after which an endpoint is left alone.
const PATIENCE: usize = 3;
/// Tokens of an endpoint's label and of its verdict.
const LABEL: usize = 60;
const VERDICT: usize = 8;

/// Who tells labels in words.
#[derive(Debug, Default)]
pub struct Telling<'e> {
    /// Strings that the local model writes for every unit; 0 for none of its own.
    pub draws: usize,
    /// A chat model that writes a label and judges it.
    pub endpoint: Option<&'e Endpoint>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ToldUnits {
    /// Labels made now.
    pub made: usize,
    /// Labels that an earlier run had made.
    pub found: usize,
    /// Units for which the endpoint gave no usable answer.
    pub failed: usize,
}

/// Adds labels in words to the units, and to the atlas as they come.
///
/// # Errors
/// An endpoint that fails three times in a row; whatever the network or the atlas refuses. What was written stays.
pub fn tell(
    model: &Model,
    scan: &Scan,
    evidence: &Evidence,
    labelled: &mut Labelled,
    telling: &Telling,
    request: &Request,
    progress: &Progress,
) -> Result<ToldUnits> {
    let tokenizer = model.tokenizer()?;
    let seed = request.options.seed;
    let teller = Teller::new(Speaker::new(model)?, &evidence.reading, tokenizer, seed)?;
    let ids = scan.unit_ids()?;
    let mut explainers: Vec<(String, Option<&Endpoint>)> = Vec::new();
    if telling.draws > 0 {
        explainers.push((GENERATED.to_string(), None));
    }
    explainers.extend(telling.endpoint.map(|e| (format!("endpoint {}", e.model()), Some(e))));
    let mut done = ToldUnits::default();
    let mut labeller = Labeller::open(scan.database())?;
    for (explainer, endpoint) in explainers {
        let stamp = json!({ "rules": scan.stamp(request)?, "draws": telling.draws, "explainer": explainer });
        let stamp = sha256_bytes(stamp.to_string().as_bytes());
        let mut known = known(scan, &explainer, &stamp)?;
        let mut failures = 0;
        // Both sides of a unit are written together.
        let mut sides: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (i, (id, _)) in evidence.traces.iter().enumerate().filter(|(i, _)| !labelled.units[*i].too_rare) {
            sides.entry((id.watch, id.number)).or_default().push(i);
        }
        progress.task(format!("{explainer}: labels in words"));
        progress.begin(sides.len() as u64);
        for members in sides.into_values() {
            progress.advance(1);
            let first = &labelled.units[members[0]];
            let Some(unit) = ids.get(&first.site).and_then(|ids| ids.get(first.number)).copied() else { continue };
            let mut found = known.remove(&unit).unwrap_or_default();
            let mut rows = Vec::new();
            let made = done.made;
            for i in members {
                if let Some(told) = found.remove(&labelled.units[i].sign) {
                    done.found += 1;
                    rows.push(row(unit, &labelled.units[i], &told, &stamp));
                    labelled.units[i].told.push(told);
                    continue;
                }
                let (unit_now, trace) = (&labelled.units[i], &evidence.traces[i].1);
                let told = match endpoint {
                    None => {
                        let given: Vec<String> = unit_now.by(RULES).map(|l| l.text.clone()).into_iter().collect();
                        teller.tell(&explainer, trace, &given, telling.draws)?
                    }
                    Some(endpoint) => match asked(endpoint, &explainer, evidence, &teller, model, trace, seed) {
                        Ok(told) => {
                            failures = 0;
                            Some(told)
                        }
                        Err(error) => {
                            tracing::warn!(unit = unit_now.name(), %error, "no label");
                            (failures, done.failed) = (failures + 1, done.failed + 1);
                            if failures >= PATIENCE {
                                labeller.put(&rows, &[])?;
                                return Err(error);
                            }
                            None
                        }
                    },
                };
                let Some(told) = told else { continue };
                done.made += 1;
                rows.push(row(unit, unit_now, &told, &stamp));
                labelled.units[i].told.push(told);
            }
            if done.made > made {
                labeller.put(&rows, &[])?;
            }
        }
    }
    Ok(done)
}

/// Labels of this explainer and job that the atlas holds, by unit and sign.
fn known(scan: &Scan, explainer: &str, stamp: &str) -> Result<BTreeMap<i64, BTreeMap<Sign, Told>>> {
    let mut known: BTreeMap<i64, BTreeMap<Sign, Told>> = BTreeMap::new();
    for row in scan.labels()?.into_iter().filter(|row| row.explainer == explainer) {
        let provenance: Value = serde_json::from_str(&row.provenance).unwrap_or_default();
        let told = provenance.get("told").and_then(|told| serde_json::from_value(told.clone()).ok());
        let sign = provenance.get("sign").and_then(|sign| serde_json::from_value(sign.clone()).ok());
        if let (Some(told), Some(sign), Some(true)) = (told, sign, provenance.get("job").map(|j| j == stamp)) {
            known.entry(row.unit).or_default().insert(sign, told);
        }
    }
    Ok(known)
}

fn row(id: i64, unit: &Unit, told: &Told, stamp: &str) -> NewLabel {
    // The local model's score is the reverse pmi's; an endpoint's is its own detection.
    let score = if told.pmi.is_some() { told.reverse } else { told.detection };
    let provenance = json!({
        "optrode": env!("CARGO_PKG_VERSION"),
        "job": stamp,
        "sign": unit.sign,
        "criterion": if told.pmi.is_some() { "pmi, lambda 0.2, prior of random windows" } else { "one answer" },
        "score": if told.pmi.is_some() { "AUROC of the reverse pmi on test windows" } else { "AUROC of detection on test windows" },
        "told": told,
    });
    NewLabel {
        unit: id,
        explainer: told.explainer.clone(),
        text: told.text.clone(),
        score: score.is_finite().then_some(score),
        coverage: None,
        provenance: provenance.to_string(),
    }
}

/// A label from an endpoint, judged by it on one window of every stratum against as many silent ones, and by the local
/// model.
fn asked(
    endpoint: &Endpoint,
    explainer: &str,
    evidence: &Evidence,
    teller: &Teller,
    model: &Model,
    trace: &Trace,
    seed: u64,
) -> Result<Told> {
    let (reading, tokenizer) = (&evidence.reading, model.tokenizer()?);
    let active = |place: usize| trace.active.binary_search_by_key(&(place as u32), |(p, _)| *p).is_ok();
    let mut question = "A neuron of a language model is active at the tokens that are marked << >> in these texts; \
                        numbers from 0 to 9 say how strongly. What does it react to? Answer with one short phrase.\n"
        .to_string();
    for e in exemplars::strongest(reading, trace, Split::Selection, super::text::SHOWN) {
        let text = windows::marked(reading, tokenizer, &e.places, &active);
        let values = windows::activations(reading, tokenizer, &e.places, trace);
        question += &format!("\nText: {}\nActive: {values}\n", text.trim());
    }
    let text = super::text::clean(endpoint.ask(&question, LABEL)?.lines().find(|l| !l.trim().is_empty()).unwrap_or(""));
    if text.is_empty() {
        return Err(Error::invalid("the explainer gave an empty label", "try another model"));
    }
    let (mut scores, mut truth) = (Vec::new(), Vec::new());
    for window in test_windows(reading, trace, Split::Test, 1, seed) {
        let plain = windows::plain(reading, tokenizer, &window.places);
        let question = format!(
            "A neuron reacts to: {text}\nText: {}\nDoes the text hold what the neuron reacts to? Answer yes or no.",
            plain.trim()
        );
        let answer = endpoint.ask(&question, VERDICT)?.trim().to_lowercase();
        scores.push(match () {
            () if answer.starts_with("yes") => 1.0,
            () if answer.starts_with("no") => 0.0,
            () => 0.5,
        });
        truth.push(window.active);
    }
    let local = teller.score(&text, trace)?;
    let count = truth.iter().filter(|t| **t).count();
    Ok(Told {
        explainer: explainer.to_string(),
        detection: auroc(&scores, &truth).unwrap_or(f64::NAN),
        windows: [count, truth.len() - count],
        ..local
    })
}
