//! Labels in free words, and what a model makes of them.
//!
//! The local model is shown m = 8 selection windows with marks and a stem; candidates are strings that it writes itself,
//! and the unit's rules in words. The best by pmi = log p(d|E) - lambda log p(d) is kept, with lambda = 0.2 and a prior
//! that is the log-mean-exp over R = 4 sets of random windows with random marks: what *any* windows would suggest is no
//! evidence. Scored on test windows, five of every stratum against as many silent ones: reverse pmi (how much likelier a
//! window is after the label than after random text), detection (yes or no), fuzzing (right marks against wrong ones) and
//! simulation (digits read at every token).

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::exemplars::{Exemplar, STRATA, silent, strata, strongest};
use super::reading::{PEAK, Reading, Split};
use super::speaker::{LONGEST, Read, Speaker};
use super::trace::Trace;
use super::windows::{STEPS, marked, plain, step, token};
use crate::Result;
use crate::analysis::label::criteria::LAMBDA;
use crate::analysis::label::{Agreement, Calibration, auroc, log_mean_exp, pmi, ranking};
use crate::hook::random;
use crate::report::number;
use crate::store::Tokenizer;

/// Windows of a prompt.
pub const SHOWN: usize = 8;
/// Sets of random windows of the prior.
const PRIORS: usize = 4;
/// Test windows of every stratum.
pub const PER_STRATUM: usize = 5;
/// Tokens that a verdict may take.
const VERDICT: usize = 8;
/// Temperature of the model's own strings.
const TEMPERATURE: f64 = 0.7;

/// A label in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Who wrote it.
    pub explainer: String,
    /// The label.
    pub text: String,
    /// log p(d|E), log p(d) and the pmi, in nats, over all tokens; `None` from an endpoint.
    pub pmi: Option<[f64; 3]>,
    /// Tokens of the label; 0 from an endpoint.
    pub tokens: usize,
    /// AUROC of the reverse pmi on test windows.
    #[serde(with = "number")]
    pub reverse: f64,
    /// AUROC of detection on test windows.
    #[serde(with = "number")]
    pub detection: f64,
    /// AUROC of fuzzing on test windows.
    #[serde(with = "number")]
    pub fuzzing: f64,
    /// Agreement of simulated with true activations, over all tokens of the test windows; after calibration on windows of
    /// the calibration documents.
    pub simulation: Option<Agreement>,
    /// Active and silent test windows.
    pub windows: [usize; 2],
}

/// Where a window is active, and one where it is not: marks that a judge of fuzzing sees.
pub struct Judged {
    /// The window.
    pub places: Range<usize>,
    /// Whether the unit is active there.
    pub active: bool,
}

/// The test windows of a unit: five of every stratum, and as many silent ones.
pub fn test_windows(reading: &Reading, trace: &Trace, split: Split, per: usize, seed: u64) -> Vec<Judged> {
    let active = strata(reading, trace, split, per, seed);
    let negative = silent(reading, trace, split, per * STRATA, seed);
    let of = |active: bool| move |e: Exemplar| Judged { places: e.places, active };
    active.into_iter().map(of(true)).chain(negative.into_iter().map(of(false))).collect()
}

/// The local model as explainer and judge of one reading.
pub struct Teller<'a> {
    speaker: Speaker<'a>,
    reading: &'a Reading,
    tokenizer: &'a Tokenizer,
    priors: Vec<Read>,
    /// What the reverse score is taken against.
    unrelated: Vec<u32>,
    digits: Option<Vec<u32>>,
    seed: u64,
}

impl<'a> Teller<'a> {
    /// Reads the prompts that all units share.
    ///
    /// # Errors
    /// A model without a tokenizer; whatever the network refuses.
    pub fn new(speaker: Speaker<'a>, reading: &'a Reading, tokenizer: &'a Tokenizer, seed: u64) -> Result<Self> {
        let mut teller =
            Self { speaker, reading, tokenizer, priors: Vec::new(), unrelated: Vec::new(), digits: None, seed };
        for set in 0..PRIORS as u64 {
            let (windows, chosen) = teller.random_windows(set);
            let prompt = teller.evidence(&windows, &|place| chosen.contains(&place))?;
            teller.priors.push(teller.speaker.read(&prompt)?);
        }
        teller.unrelated = teller.speaker.prompt("These are various unrelated texts.\nText:")?;
        let digit =
            |d: u32| tokenizer.encode(&d.to_string(), false).ok().filter(|ids| ids.len() == 1).map(|ids| ids[0]);
        // Tokens that are not told apart (an unknown one for all) are no digits.
        let digits: Option<Vec<u32>> = (0..=STEPS).map(digit).collect();
        let different = |ids: &Vec<u32>| ids.iter().collect::<BTreeSet<_>>().len() == ids.len();
        teller.digits = digits.filter(different);
        Ok(teller)
    }

    /// The windows of a prompt, and random places in them that look active.
    fn random_windows(&self, set: u64) -> (Vec<Range<usize>>, Vec<usize>) {
        let mut tiles: Vec<Range<usize>> = self
            .reading
            .of_split(Split::Selection)
            .flat_map(|d| self.reading.tiles(d))
            .filter(|t| t.len() > 8)
            .collect();
        tiles.sort_by_key(|t| random::key(self.seed, &[set, t.start as u64]));
        tiles.truncate(SHOWN);
        let draw = |t: &Range<usize>| t.start + (PEAK.min(t.len() - 1));
        let chosen = tiles.iter().map(draw).collect();
        (tiles, chosen)
    }

    /// P(E): instruction, as many of the windows as leave room for a label, stem.
    fn evidence(&self, windows: &[Range<usize>], marks: &dyn Fn(usize) -> bool) -> Result<Vec<u32>> {
        let mut prompt = Vec::new();
        for count in (0..=windows.len()).rev() {
            let mut text = "Marks << >> show what a neuron reacts to.\n".to_string();
            for places in &windows[..count] {
                text += &format!("Text: {}\n", marked(self.reading, self.tokenizer, places, marks).trim());
            }
            prompt = self.speaker.prompt(&(text + "The neuron reacts to:"))?;
            if self.speaker.fits(prompt.len()) {
                break;
            }
        }
        Ok(prompt)
    }

    /// The prompt of a unit: its strongest selection windows.
    pub fn prompt(&self, trace: &Trace) -> Result<Vec<u32>> {
        let shown = strongest(self.reading, trace, Split::Selection, SHOWN);
        let windows: Vec<Range<usize>> = shown.into_iter().map(|e| e.places).collect();
        self.evidence(&windows, &|place| trace.active.binary_search_by_key(&(place as u32), |(p, _)| *p).is_ok())
    }

    /// The speaker.
    pub fn speaker(&self) -> &Speaker<'a> {
        &self.speaker
    }

    /// log p(d|E) and log p(d) of every candidate.
    ///
    /// # Errors
    /// Whatever the network refuses.
    pub fn evidence_for(&self, prompt: &[u32], candidates: &[Vec<u32>]) -> Result<Vec<[f64; 2]>> {
        let given = self.speaker.log_probabilities(&self.speaker.read(prompt)?, candidates)?;
        let mut priors = Vec::new();
        for prior in &self.priors {
            priors.push(self.speaker.log_probabilities(prior, candidates)?);
        }
        let prior = |i: usize| log_mean_exp(&priors.iter().map(|p| p[i]).collect::<Vec<_>>());
        Ok(given.into_iter().enumerate().map(|(i, g)| [g, prior(i)]).collect())
    }

    /// The best label in words of a unit, among `draws` strings of the model's own and the given ones, with its scores;
    /// `None` where there is no candidate, or no test window to score it on.
    ///
    /// # Errors
    /// Whatever the network refuses.
    pub fn tell(&self, explainer: &str, trace: &Trace, given: &[String], draws: usize) -> Result<Option<Told>> {
        let prompt = self.prompt(trace)?;
        let mut strings = self.speaker.strings(&prompt, draws, TEMPERATURE, self.seed)?;
        strings.extend(given.iter().filter(|g| !strings.contains(g)).cloned().collect::<Vec<_>>());
        let candidates: Vec<Vec<u32>> = strings.iter().map(|s| self.speaker.suffix(s)).collect::<Result<_>>()?;
        // A string that a tokenizer spells in many tokens would not fit behind the prompt.
        let room = self.speaker.room(prompt.len()).min(4 * LONGEST);
        let fits: Vec<usize> = (0..candidates.len()).filter(|i| candidates[*i].len() <= room).collect();
        let asked: Vec<Vec<u32>> = fits.iter().map(|i| candidates[*i].clone()).collect();
        let logs = self.evidence_for(&prompt, &asked)?;
        let scores: Vec<f64> = logs.iter().map(|[given, prior]| pmi(*given, *prior, LAMBDA)).collect();
        let Some(best) = ranking(&scores).first().copied() else { return Ok(None) };
        let text = strings[fits[best]].clone();
        let mut told = self.score(&text, trace)?;
        told.explainer = explainer.to_string();
        told.pmi = Some([logs[best][0], logs[best][1], scores[best]]);
        told.tokens = asked[best].len();
        Ok(Some(told))
    }

    /// A label's scores on test windows.
    ///
    /// # Errors
    /// Whatever the network refuses.
    pub fn score(&self, text: &str, trace: &Trace) -> Result<Told> {
        let windows = test_windows(self.reading, trace, Split::Test, PER_STRATUM, self.seed);
        let truth: Vec<bool> = windows.iter().map(|w| w.active).collect();
        let area = |scores: Vec<f64>| auroc(&scores, &truth).unwrap_or(f64::NAN);
        let lead = self.speaker.prompt(&format!("These texts are about {text}.\nText:"))?;
        let (after, without) = (self.speaker.read(&lead)?, self.speaker.read(&self.unrelated)?);
        let mut ids: Vec<Vec<u32>> = Vec::new();
        for window in &windows {
            let ids_of = self
                .tokenizer
                .encode(&format!(" {}", plain(self.reading, self.tokenizer, &window.places).trim()), false)?;
            ids.push(ids_of.into_iter().take(self.speaker.room(lead.len().max(self.unrelated.len()))).collect());
        }
        let (a, b) = (self.speaker.log_probabilities(&after, &ids)?, self.speaker.log_probabilities(&without, &ids)?);
        let reverse = area(a.iter().zip(&b).map(|(a, b)| a - b).collect());
        let detection = area(self.answers(&windows, text, false, trace)?);
        let active: Vec<Judged> = windows.into_iter().filter(|w| w.active).collect();
        let right = self.answers(&active, text, true, trace)?;
        let wrong = self.wrong_marks(&active, text, trace)?;
        let both: Vec<bool> = right.iter().map(|_| true).chain(wrong.iter().map(|_| false)).collect();
        let fuzzing = auroc(&[right, wrong].concat(), &both).unwrap_or(f64::NAN);
        let count = truth.iter().filter(|t| **t).count();
        Ok(Told {
            explainer: String::new(),
            text: text.to_string(),
            pmi: None,
            tokens: 0,
            reverse,
            detection,
            fuzzing,
            simulation: self.simulation(text, trace)?,
            windows: [count, truth.len() - count],
        })
    }

    /// P(yes) / (P(yes) + P(no)) for every window; each in a prompt of its own, so that no order leaks.
    fn answers(&self, windows: &[Judged], text: &str, with_marks: bool, trace: &Trace) -> Result<Vec<f64>> {
        let active = |place: usize| trace.active.binary_search_by_key(&(place as u32), |(p, _)| *p).is_ok();
        windows.iter().map(|w| self.answer(&w.places, text, if with_marks { Some(&active) } else { None })).collect()
    }

    fn wrong_marks(&self, windows: &[Judged], text: &str, trace: &Trace) -> Result<Vec<f64>> {
        let active = |place: usize| trace.active.binary_search_by_key(&(place as u32), |(p, _)| *p).is_ok();
        let mut scores = Vec::new();
        for window in windows {
            let marks = window.places.clone().filter(|p| active(*p)).count();
            let mut others: Vec<usize> = window.places.clone().filter(|p| !active(*p)).collect();
            let peak = (window.places.start + PEAK).min(window.places.end - 1);
            // One of them always where right marks have their peak.
            others.sort_by_key(|p| (*p != peak, random::key(self.seed, &[*p as u64])));
            others.truncate(marks);
            scores.push(self.answer(&window.places, text, Some(&|place| others.contains(&place)))?);
        }
        Ok(scores)
    }

    fn answer(&self, places: &Range<usize>, text: &str, marks: Option<&dyn Fn(usize) -> bool>) -> Result<f64> {
        let window = marked(self.reading, self.tokenizer, places, marks.unwrap_or(&|_| false));
        let question = match marks {
            Some(_) => "Do the marks << >> show it?",
            None => "Does the text show it?",
        };
        let prompt = format!("Label: {text}\nText: {}\n{question} Answer yes or no. Answer:", window.trim());
        let prompt = self.speaker.prompt(&prompt)?;
        if self.speaker.room(prompt.len()) < VERDICT {
            return Ok(0.5);
        }
        let read = self.speaker.read(&prompt)?;
        let [yes, no] = [" yes", " no"].map(|word| self.tokenizer.encode(word, false));
        let (yes, no) = (yes?, no?);
        // The first token that tells the words apart; the ones before it they share.
        let [yes, no] = [self.speaker.log_probability(&read, &yes)?, self.speaker.log_probability(&read, &no)?];
        Ok(1.0 / (1.0 + (no - yes).exp()))
    }

    /// The agreement of simulated activations; `None` where the tokenizer has no tokens for digits, or without windows.
    fn simulation(&self, text: &str, trace: &Trace) -> Result<Option<Agreement>> {
        let Some(digits) = &self.digits else { return Ok(None) };
        let of = |split: Split, per: usize| -> Result<(Vec<f64>, Vec<f64>)> {
            let (mut simulated, mut truth) = (Vec::new(), Vec::new());
            for window in test_windows(self.reading, trace, split, per, self.seed) {
                let Some(s) = self.simulate(text, &window.places, digits)? else { continue };
                let values = super::exemplars::values(trace, &window.places);
                truth.extend(values.iter().map(|v| f64::from(step(*v, trace.largest()))));
                simulated.extend(s);
            }
            Ok((simulated, truth))
        };
        let (fit, to) = of(Split::Calibration, 1)?;
        let (simulated, truth) = of(Split::Test, 2)?;
        if fit.is_empty() || truth.is_empty() {
            return Ok(None);
        }
        let calibration = Calibration::fit(&fit, &to);
        let simulated: Vec<f64> = simulated.into_iter().map(|s| calibration.apply(s)).collect();
        Ok(Some(Agreement::of(&simulated, &truth)))
    }

    /// Expected digits at the tokens of a window: one pass, each token followed by a digit that is not known yet.
    fn simulate(&self, text: &str, places: &Range<usize>, digits: &[u32]) -> Result<Option<Vec<f64>>> {
        let mut prompt = self.speaker.prompt(&format!("Activations from 0 to 9 for: {text}\n"))?;
        let mut slots = Vec::new();
        for place in places.clone() {
            prompt.extend(self.tokenizer.encode(&format!("{} =", token(self.reading, self.tokenizer, place)), false)?);
            slots.push(prompt.len() - 1);
            prompt.extend(self.tokenizer.encode("?\n", false)?);
        }
        if prompt.len() > self.speaker.context() {
            return Ok(None);
        }
        let read = self.speaker.slots(&prompt, &slots, digits)?;
        let expected = |logs: Vec<f64>| {
            let weights: Vec<f64> = logs.iter().map(|l| l.exp()).collect();
            weights.iter().enumerate().map(|(v, w)| v as f64 * w).sum::<f64>() / weights.iter().sum::<f64>()
        };
        Ok(Some(read.into_iter().map(expected).collect()))
    }
}
