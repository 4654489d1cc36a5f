//! Alignment in miniature: a network of five artificial languages knows facts in the first one alone, and is then trained
//! on translation pairs of the second and third into the first, among text and facts as before, so that nothing is
//! forgotten. Does it answer in those, and in the fourth and fifth, which no pair has ("spontaneous" alignment)? And what
//! becomes of its language neurons?
//!
//! The control is trained as long on scrambled pairs, whose sentences do not mean the same.

use serde::{Deserialize, Serialize};

use super::report::table;
use super::study::{Agenda, Study, Tests, study};
use super::{Asking, Comparison, Counted, Counts, Options, Reading, Texts, compare, count};
use crate::analysis::{Estimate, Figures};
use crate::data::TextSet;
use crate::data::tongues::{Customs, TONGUES, Tongues};
use crate::models::Model;
use crate::report::chart::{Axis, Bars, Plot};
use crate::report::{Block, Cell, Chart, Report};
use crate::train::tongues::{Diet, Effort, FIRST, Polyglot, Sizes, fact_hits, translated};
use crate::{Error, Result};

/// The languages whose translations are learned.
const ALIGNED: [usize; 2] = [1, 2];
/// Sentences of a line of text.
const SENTENCES: usize = 4;
/// Sentences of each language that are translated.
const TRANSLATIONS: usize = 50;

/// How much is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// Worlds, each with its own languages, facts and network.
    pub worlds: u64,
    /// How far languages differ.
    pub customs: Customs,
    /// How large networks are.
    pub sizes: Sizes,
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

/// What a network knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// By language and noun: 1 where it names the noun's digit when asked in the language, else 0.
    pub facts: Vec<Vec<f64>>,
    /// By language and sentence: the share of the translation's tokens that it foresees.
    pub translations: Vec<Vec<f64>>,
}

impl Known {
    fn of(model: &Model, tongues: &Tongues, seed: u64) -> Result<Self> {
        let net = &model.decoder;
        Ok(Self {
            facts: (0..TONGUES).map(|tongue| fact_hits(net, tongues, tongue)).collect::<Result<_>>()?,
            translations: (0..TONGUES)
                .map(|tongue| translated(net, tongues, tongue, TRANSLATIONS, seed))
                .collect::<Result<_>>()?,
        })
    }
}

/// One world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// Its language neurons before alignment, and what they do.
    pub study: Study,
    /// What is known before alignment.
    pub before: Known,
    /// After pairs.
    pub aligned: Known,
    /// After scrambled pairs.
    pub scrambled: Known,
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
    let tongues = Tongues::new(seed, scale.customs);
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let mut learn = |of: &Polyglot, diet: &Diet, effort: &Effort, name: &str| -> Result<(Polyglot, Model)> {
        let learned = of.learn(&tongues, diet, effort, seed, &mut |done, all| progress(name, done, all))?;
        let model = learned.model(&tongues, &folder.path().join(name.replace(' ', "-")))?;
        Ok((learned, model))
    };
    let fresh = Polyglot::new(&tongues, scale.sizes, seed)?;
    let (polyglot, before) = learn(&fresh, &Diet::World, &scale.learning, "learning languages")?;
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
    let known = |model: &Model| Known::of(model, &tongues, seed);
    Ok(World {
        before: known(&before)?,
        aligned: known(&aligned)?,
        scrambled: known(&scrambled)?,
        comparison: against(&aligned)?,
        control: against(&scrambled)?,
        study,
    })
}

/// The languages by their part in the experiment.
const ROLES: [(&str, &[usize]); 3] =
    [("facts learned in it", &[FIRST]), ("aligned", &ALIGNED), ("not aligned", &[3, 4])];

/// The trials of a network by language: facts or translations.
type Trials = fn(&Known) -> &Vec<Vec<f64>>;
/// One of a world's networks.
type Stage = fn(&World) -> &Known;

/// What is asked of networks, with its name among figures.
const ASKED: [(&str, Trials); 2] = [("facts", |known| &known.facts), ("translation", |known| &known.translations)];
/// The networks, with their names among figures and in words.
const STAGES: [(&str, &str, Stage); 3] = [
    ("before", "before", |world| &world.before),
    ("after", "after pairs", |world| &world.aligned),
    ("scrambled", "after scrambled pairs (control)", |world| &world.scrambled),
];

impl Alignment {
    /// The mean of trials in some languages, with its interval over trials of all worlds.
    pub fn known(&self, trials: impl Fn(&World) -> &Vec<Vec<f64>>, tongues: &[usize]) -> Estimate {
        let in_world = |world| tongues.iter().flat_map(|t| trials(world)[*t].clone()).collect::<Vec<f64>>();
        Estimate::mean(&self.worlds.iter().flat_map(in_world).collect::<Vec<f64>>(), 0)
    }

    /// By how much more is known after pairs than after scrambled ones, trial by trial.
    pub fn gain(&self, trials: impl Fn(&Known) -> &Vec<Vec<f64>>, tongues: &[usize]) -> Estimate {
        let in_world = |world: &World| -> Vec<f64> {
            let of = |tongue: &usize| {
                let both = trials(&world.aligned)[*tongue].iter().zip(&trials(&world.scrambled)[*tongue]);
                both.map(|(a, b)| a - b).collect::<Vec<f64>>()
            };
            tongues.iter().flat_map(of).collect()
        };
        Estimate::mean(&self.worlds.iter().flat_map(in_world).collect::<Vec<f64>>(), 0)
    }

    /// The gain in facts of the languages of pairs, and of the others.
    pub fn gains(&self) -> [Estimate; 2] {
        [1, 2].map(|role| self.gain(|known| &known.facts, ROLES[role].1))
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
        for (asked, trials) in ASKED {
            for (role, (_, tongues)) in ["first", "aligned", "others"].iter().zip(ROLES) {
                for (stage, _, of) in STAGES {
                    let value = self.known(|world| trials(of(world)), tongues).value;
                    figures.push((format!("{asked}.{role}.{stage}"), value));
                }
            }
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
        figures.push(("deactivation.everything".to_string(), loss(super::Deactivation::everything)));
        figures
    }
}

impl Report for Alignment {
    fn blocks(&self) -> Vec<Block> {
        let rows = |trials: Trials| -> Vec<Vec<Cell>> {
            let row = |(role, tongues): &(&str, &[usize])| {
                let names: Vec<String> = tongues.iter().map(|t| (t + 1).to_string()).collect();
                let cells = STAGES.iter().map(|(_, _, of)| self.known(|world| trials(of(world)), tongues).cell(3));
                let head = Cell::text(format!("{role} ({})", names.join(", ")));
                std::iter::once(head).chain(cells).chain([self.gain(trials, tongues).cell(3)]).collect()
            };
            ROLES.iter().map(row).collect()
        };
        let columns =
            |what: &'static str| [what, "before", "after pairs", "after scrambled pairs", "pairs less scrambled"];
        let bars = STAGES.iter().map(|(_, name, of)| {
            let known: Vec<Estimate> = (0..TONGUES).map(|t| self.known(|world| &of(world).facts, &[t])).collect();
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
                "Five artificial languages about one world; facts in the first alone. Training on translation pairs from the \
                 second and third into the first, among text of all and facts in the first as before. Do facts become known \
                 in those two, and in the other two, which no pair has?",
            ),
            table(&columns("facts known in"), rows(|known| &known.facts)),
            Block::Chart(chart),
            Block::text(
                "Share of a translation's tokens that are foreseen, of sentences that no pair need have had: whether \
                 pairs were learned at all.",
            ),
            table(&columns("translated from"), rows(|known| &known.translations)),
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
