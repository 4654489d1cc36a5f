//! Alignment in miniature: a network of five artificial languages knows facts in the first one alone, and is then trained
//! on translation pairs of the second and third into the first, without a fact. Does it answer in those, and in the
//! fourth and fifth, which it was not trained on ("spontaneous" alignment)? And what becomes of its language neurons?
//!
//! The control is trained as long on scrambled pairs, whose sentences do not mean the same.

use serde::{Deserialize, Serialize};

use super::report::table;
use super::study::{Agenda, Study, Tests, study};
use super::{Asking, Comparison, Counted, Counts, Options, Reading, Texts, compare, count};
use crate::analysis::{Estimate, Figures};
use crate::data::TextSet;
use crate::data::tongues::{TONGUES, Tongues};
use crate::models::Model;
use crate::report::chart::{Axis, Bars, Plot};
use crate::report::{Block, Cell, Chart, Report};
use crate::train::tongues::{Diet, Effort, FIRST, Polyglot, fact_hits};
use crate::{Error, Result};

/// The languages whose translations are learned.
const ALIGNED: [usize; 2] = [1, 2];
/// Sentences of a line of text.
const SENTENCES: usize = 4;

/// How much is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// Worlds, each with its own languages, facts and network.
    pub worlds: u64,
    /// Learning languages and facts.
    pub learning: Effort,
    /// Learning pairs.
    pub pairs: Effort,
    /// Lines of text of each language, to count and to test on.
    pub lines: usize,
    /// Share of the neurons that is selected: a small network has few.
    pub share: f64,
    /// Seed of the first world.
    pub seed: u64,
}

/// One world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// Its language neurons before alignment, and what they do.
    pub study: Study,
    /// By language and noun: whether the fact is known before alignment.
    pub before: Vec<Vec<f64>>,
    /// After pairs.
    pub aligned: Vec<Vec<f64>>,
    /// After scrambled pairs.
    pub scrambled: Vec<Vec<f64>>,
    /// Neurons before and after pairs.
    pub comparison: Comparison,
    /// Neurons before and after scrambled pairs.
    pub control: Comparison,
}

/// All worlds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alignment {
    /// In order of their seeds.
    pub worlds: Vec<World>,
}

/// Carries out the experiment. `progress` hears what is done, and how much of it.
///
/// # Errors
/// Those of training and of the study; a folder for the networks that cannot be written.
pub fn alignment(scale: &Scale, progress: &mut dyn FnMut(&str, usize, usize)) -> Result<Alignment> {
    let worlds = (0..scale.worlds).map(|n| world(scale, scale.seed + n, progress)).collect::<Result<_>>()?;
    Ok(Alignment { worlds })
}

fn world(scale: &Scale, seed: u64, progress: &mut dyn FnMut(&str, usize, usize)) -> Result<World> {
    let tongues = Tongues::new(seed);
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let mut learn = |of: &Polyglot, diet: &Diet, effort: &Effort, name: &str| -> Result<(Polyglot, Model)> {
        let learned = of.learn(&tongues, diet, effort, seed, &mut |done, all| progress(name, done, all))?;
        let model = learned.model(&tongues, &folder.path().join(name.replace(' ', "-")))?;
        Ok((learned, model))
    };
    let (polyglot, before) = learn(&Polyglot::new(seed)?, &Diet::World, &scale.learning, "learning languages")?;
    let pairs = |scrambled| Diet::Pairs { from: ALIGNED.to_vec(), scrambled };
    let (_, aligned) = learn(&polyglot, &pairs(false), &scale.pairs, "learning pairs")?;
    let (_, scrambled) = learn(&polyglot, &pairs(true), &scale.pairs, "learning scrambled pairs")?;

    let names = Tongues::names();
    let set = |(tongue, name): (usize, &String)| TextSet {
        name: name.clone(),
        texts: tongues.texts(tongue, scale.lines, SENTENCES, seed),
    };
    let sets: Vec<TextSet> = names.iter().enumerate().map(set).collect();
    let agenda = Agenda {
        reading: Reading { seed, ..Reading::default() },
        options: Options { share: scale.share, seed, ..Options::default() },
        asking: Some(Asking { seed, ..Asking::default() }),
        ..Agenda::default()
    };
    let (study, counts) = study(&before, Texts::Sets(&sets), &Tests::default(), &agenda, progress)?;
    let trained: Vec<String> = ALIGNED.iter().chain([&FIRST]).map(|k| names[*k].clone()).collect();
    let against = |model: &Model| -> Result<Comparison> {
        let after: Counts =
            count(model, Texts::Sets(&sets), &study.texts, &agenda.reading, Counted::Texts, &mut |_, _| {})?;
        compare(&counts, &after, &trained, &agenda.options)
    };
    let hits = |model: &Model| -> Result<Vec<Vec<f64>>> {
        (0..TONGUES).map(|tongue| fact_hits(&model.decoder, &tongues, tongue)).collect()
    };
    Ok(World {
        before: hits(&before)?,
        aligned: hits(&aligned)?,
        scrambled: hits(&scrambled)?,
        comparison: against(&aligned)?,
        control: against(&scrambled)?,
        study,
    })
}

/// The languages by their part in the experiment.
const ROLES: [(&str, &[usize]); 3] =
    [("facts learned in it", &[FIRST]), ("aligned", &ALIGNED), ("not aligned", &[3, 4])];

impl Alignment {
    /// Share of facts that are known in some languages, with its interval over facts of all worlds.
    pub fn known(&self, of: impl Fn(&World) -> &Vec<Vec<f64>>, tongues: &[usize]) -> Estimate {
        let hits: Vec<f64> = self
            .worlds
            .iter()
            .flat_map(|w| tongues.iter().flat_map(|t| of(w)[*t].clone()).collect::<Vec<_>>())
            .collect();
        Estimate::mean(&hits, 0)
    }

    /// The mean over worlds.
    fn mean(&self, of: impl Fn(&World) -> f64) -> f64 {
        self.worlds.iter().map(of).sum::<f64>() / self.worlds.len() as f64
    }
}

/// A figure of a comparison.
fn figure(comparison: &Comparison, name: &str) -> f64 {
    comparison.figures().into_iter().find(|(n, _)| n == name).map_or(f64::NAN, |(_, value)| value)
}

/// Figures of comparisons that are shown, with their meaning.
const CHANGES: [(&str, &str); 8] = [
    ("change.specific", "specific neurons"),
    ("change.related", "related neurons"),
    ("change.trained.specific", "specific neurons, languages of the pairs"),
    ("change.trained.related", "related neurons, languages of the pairs"),
    ("change.untrained.specific", "specific neurons, other languages"),
    ("change.untrained.related", "related neurons, other languages"),
    ("change.own.specific", "specific neurons, each model's own threshold"),
    ("change.own.related", "related neurons, each model's own threshold"),
];

impl Figures for Alignment {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = Vec::new();
        for (role, tongues) in [("first", ROLES[0].1), ("aligned", ROLES[1].1), ("others", ROLES[2].1)] {
            figures.push((format!("facts.{role}.before"), self.known(|w| &w.before, tongues).value));
            figures.push((format!("facts.{role}.after"), self.known(|w| &w.aligned, tongues).value));
            figures.push((format!("facts.{role}.scrambled"), self.known(|w| &w.scrambled, tongues).value));
        }
        for (name, _) in CHANGES {
            figures.push((name.to_string(), self.mean(|w| figure(&w.comparison, name))));
            figures.push((format!("scrambled.{name}"), self.mean(|w| figure(&w.control, name))));
        }
        let loss =
            |of: fn(&super::Deactivation) -> f64| self.mean(|w| w.study.deactivation.as_ref().map_or(f64::NAN, of));
        figures.push(("deactivation.diagonal".to_string(), loss(super::Deactivation::diagonal)));
        figures.push(("deactivation.off_diagonal".to_string(), loss(super::Deactivation::off_diagonal)));
        figures.push(("deactivation.same_script".to_string(), loss(super::Deactivation::same_script)));
        figures.push(("deactivation.other_script".to_string(), loss(super::Deactivation::other_script)));
        figures.push(("deactivation.random.same_layers".to_string(), loss(super::Deactivation::control_layers)));
        figures.push(("deactivation.random.same_rates".to_string(), loss(super::Deactivation::control_rates)));
        figures
    }
}

impl Report for Alignment {
    fn blocks(&self) -> Vec<Block> {
        type Losses = fn(&World) -> &Vec<Vec<f64>>;
        let after: [(&str, Losses); 3] = [
            ("before", |w| &w.before),
            ("after pairs", |w| &w.aligned),
            ("after scrambled pairs (control)", |w| &w.scrambled),
        ];
        let row = |(role, tongues): &(&str, &[usize])| {
            let names: Vec<String> = tongues.iter().map(|t| (t + 1).to_string()).collect();
            let head = Cell::text(format!("{role} ({})", names.join(", ")));
            std::iter::once(head).chain(after.iter().map(|(_, of)| self.known(of, tongues).cell(3))).collect()
        };
        let bars = after.iter().map(|(name, of)| {
            let known: Vec<Estimate> = (0..TONGUES).map(|t| self.known(of, &[t])).collect();
            Bars {
                name: (*name).to_string(),
                values: known.iter().map(|e| e.value).collect(),
                intervals: known.iter().map(Estimate::ends).collect(),
            }
        });
        let chart = Chart {
            title: "Facts known in each language".to_string(),
            caption: format!(
                "Share of {} facts in {} worlds; lines are 95 % intervals over facts. One digit in ten is right by chance.",
                Tongues::facts(),
                self.worlds.len()
            ),
            plot: Plot::Bars {
                y: Axis::new("share of facts known").range(0.0, 1.0),
                categories: Tongues::names(),
                series: bars.collect(),
            },
        };
        let change = |(name, meaning): &(&str, &str)| {
            let number = |value: f64| Cell::Number { value, digits: 1 };
            vec![
                Cell::text(*meaning),
                number(self.mean(|w| figure(&w.comparison, name))),
                number(self.mean(|w| figure(&w.control, name))),
            ]
        };
        let mut blocks = vec![
            Block::heading("Alignment in miniature"),
            Block::text(
                "Five artificial languages of one grammar; facts in the first alone. Training on translation pairs from the \
                 second and third into the first, without a fact. Do facts become known in those, and in the other two, \
                 which no pair has?",
            ),
            table(&["language", "before", "after pairs", "after scrambled pairs"], ROLES.iter().map(row).collect()),
            Block::Chart(chart),
            Block::text(
                "Change of language neurons, with the threshold before alignment unless said otherwise, mean over worlds:",
            ),
            table(&["neurons", "after pairs", "after scrambled pairs"], CHANGES.iter().map(change).collect()),
        ];
        if let Some(first) = self.worlds.first() {
            blocks.push(Block::heading("The first world before alignment"));
            blocks.extend(first.study.blocks());
        }
        blocks
    }
}
