//! Language neurons of two models, such as before and after alignment: with the threshold and lambda of the first for
//! both, and with each one's own.
//!
//! The number of selected neurons is fixed by the share, so that what can change is what they are: the paper's claim for
//! alignment is fewer specific and more related ones, also for languages that were not trained on.

use serde::{Deserialize, Serialize};

use super::kinds::{Identified, identify, jaccard};
use super::report::table;
use super::score::Rates;
use super::{Counts, Options};
use crate::analysis::Figures;
use crate::report::chart::{Axis, Line, Plot};
use crate::report::{Block, Cell, Chart, Report, number};
use crate::{Error, Result};

/// Two models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The languages.
    pub languages: Vec<String>,
    /// Whether the second model was trained on each; empty where that is not known.
    pub trained: Vec<bool>,
    /// Thresholds of both models.
    pub thresholds: [f64; 2],
    /// The first model.
    pub before: Identified,
    /// The second with threshold and lambda of the first.
    pub common: Identified,
    /// The second with its own.
    pub own: Identified,
    /// By language: the Jaccard overlap of its neurons before and after (common threshold).
    #[serde(with = "number::nested")]
    pub kept: Vec<f64>,
}

/// A language's specific and related neurons.
type Kinds = [usize; 2];

/// Compares counts of two models over the same texts; `trained` names the languages that the second was trained on.
///
/// # Errors
/// Counts that [`Counts::check`] refuses, of other languages or sizes; a trained language that is not there.
pub fn compare(before: &Counts, after: &Counts, trained: &[String], options: &Options) -> Result<Comparison> {
    before.check()?;
    after.check()?;
    let shape = |counts: &Counts| (counts.layers, counts.neurons);
    if before.languages != after.languages || shape(before) != shape(after) {
        return Err(Error::invalid(
            format!(
                "counts of {} in {:?} layers x neurons cannot be compared with those of {} in {:?}",
                before.languages.join(", "),
                shape(before),
                after.languages.join(", "),
                shape(after)
            ),
            "count the same languages in two models of one architecture",
        ));
    }
    if let Some(name) = trained.iter().find(|name| !before.languages.contains(name)) {
        let what = format!("there is no language `{name}`");
        return Err(Error::invalid(what, format!("the languages are {}", before.languages.join(", "))));
    }
    let [first, second] = [before, after].map(Rates::of);
    let thresholds = [first.threshold(), second.threshold()];
    let find =
        |rates: &Rates, lambda, threshold| identify(rates, before.layers, options.by, options.share, lambda, threshold);
    let base = find(&first, options.lambda, thresholds[0]);
    let common = find(&second, Some(base.lambda), thresholds[0]);
    let own = find(&second, options.lambda, thresholds[1]);
    Ok(Comparison {
        languages: before.languages.clone(),
        trained: match trained.is_empty() {
            true => Vec::new(),
            false => before.languages.iter().map(|name| trained.contains(name)).collect(),
        },
        thresholds,
        kept: base.masks.iter().zip(&common.masks).map(|(a, b)| jaccard(a, b)).collect(),
        before: base,
        common,
        own,
    })
}

/// Specific and related neurons of a language.
fn kinds(found: &Identified, language: usize) -> Kinds {
    let mut kinds = [0, 0];
    for (layer, neurons) in found.masks[language].iter().enumerate() {
        for neuron in neurons {
            match found.masks.iter().filter(|mask| mask[layer].binary_search(neuron).is_ok()).count() {
                1 => kinds[0] += 1,
                n if n < found.masks.len() => kinds[1] += 1,
                _ => {}
            }
        }
    }
    kinds
}

impl Comparison {
    /// Change of specific and related neurons summed over some languages, with the common threshold.
    fn change(&self, wanted: impl Fn(usize) -> bool) -> [f64; 2] {
        let mut change = [0.0; 2];
        for language in (0..self.languages.len()).filter(|k| wanted(*k)) {
            let (before, after) = (kinds(&self.before, language), kinds(&self.common, language));
            (0..2).for_each(|i| change[i] += after[i] as f64 - before[i] as f64);
        }
        change
    }
}

impl Figures for Comparison {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![
            ("change.specific".to_string(), self.common.specific() as f64 - self.before.specific() as f64),
            ("change.related".to_string(), self.common.related() as f64 - self.before.related() as f64),
            ("change.own.specific".to_string(), self.own.specific() as f64 - self.before.specific() as f64),
            ("change.own.related".to_string(), self.own.related() as f64 - self.before.related() as f64),
        ];
        if !self.trained.is_empty() {
            for (name, trained) in [("trained", true), ("untrained", false)] {
                let [specific, related] = self.change(|k| self.trained[k] == trained);
                figures.push((format!("change.{name}.specific"), specific));
                figures.push((format!("change.{name}.related"), related));
            }
        }
        figures
    }
}

impl Report for Comparison {
    fn blocks(&self) -> Vec<Block> {
        let row = |name: &str, found: &Identified, threshold: f64| {
            vec![
                Cell::text(name),
                Cell::Number { value: threshold, digits: 4 },
                Cell::Number { value: found.lambda, digits: 6 },
                Cell::count(found.specific()),
                Cell::count(found.related()),
                Cell::count(found.appear[0]),
                Cell::count(found.appear[self.languages.len()]),
                Cell::count(found.layers.iter().map(|l| l.everywhere).sum::<usize>()),
            ]
        };
        let [first, second] = self.thresholds;
        let models = vec![
            row("first", &self.before, first),
            row("second, as strict as the first", &self.common, first),
            row("second, by its own threshold", &self.own, second),
        ];
        let names = [
            "model",
            "threshold",
            "lambda",
            "specific",
            "related",
            "selected for none",
            "selected for all",
            "shared by all",
        ];
        let language = |(k, name): (usize, &String)| {
            let counts = [&self.before, &self.common, &self.own].map(|found| kinds(found, k));
            let mut cells = vec![Cell::text(name)];
            cells.push(self.trained.get(k).map_or(Cell::Empty, |t| Cell::text(if *t { "yes" } else { "no" })));
            cells.extend(counts.iter().flatten().map(|n| Cell::count(*n)));
            cells.push(if self.kept[k].is_nan() {
                Cell::Empty
            } else {
                Cell::Number { value: self.kept[k], digits: 3 }
            });
            cells
        };
        let columns = [
            "language",
            "trained on",
            "specific: first",
            "related: first",
            "specific: second",
            "related: second",
            "specific: by own threshold",
            "related: by own threshold",
            "neurons kept (Jaccard)",
        ];
        let curve = |name: &str, found: &Identified, related: bool, reference: bool| Line {
            name: name.to_string(),
            points: (found.layers.iter().enumerate())
                .map(|(l, kinds)| (l as f64, if related { kinds.related } else { kinds.specific } as f64))
                .collect(),
            band: Vec::new(),
            reference,
        };
        let chart = Chart {
            title: "Language neurons before and after, by layer".to_string(),
            caption: "Both with the threshold and lambda of the first model; dashed: the first model.".to_string(),
            plot: Plot::Lines {
                x: Axis::new("layer"),
                y: Axis::new("neurons"),
                series: vec![
                    curve("specific, first", &self.before, false, true),
                    curve("related, first", &self.before, true, true),
                    curve("specific, second", &self.common, false, false),
                    curve("related, second", &self.common, true, false),
                ],
            },
        };
        vec![
            Block::heading("Two models"),
            table(&names, models),
            table(&columns, self.languages.iter().enumerate().map(language).collect()),
            Block::Chart(chart),
        ]
    }
}
