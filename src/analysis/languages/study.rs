//! The whole study of a model's languages: counts, neurons, scripts by layer, and what the neurons do.

use serde::{Deserialize, Serialize};

use super::deactivate::{Asking, Deactivation, deactivate};
use super::lens::{ScriptLens, script_lens};
use super::pass::{Counted, count};
use super::report::texts_blocks;
use super::steer::{Helm, Steering, steer};
use super::texts::{Language, Reading, Texts, held_out, notes, sets, survey};
use super::{Comparison, Counts, Languages, Masks, Options, Rates, languages};
use crate::Result;
use crate::analysis::Figures;
use crate::models::Model;
use crate::report::{Block, Report};

/// Tokens of each language at which the lens looks.
const LENS: usize = 1024;

/// What a study does.
#[derive(Clone, Debug)]
pub struct Agenda {
    /// How texts are read.
    pub reading: Reading,
    /// What is counted.
    pub counted: Counted,
    /// How neurons are chosen.
    pub options: Options,
    /// Texts of each language to test on, at most.
    pub tests: usize,
    /// Look at scripts by layer.
    pub lens: bool,
    /// Silence neurons.
    pub asking: Option<Asking>,
    /// Steer by neurons.
    pub helm: Option<Helm>,
}

impl Default for Agenda {
    fn default() -> Self {
        Self {
            reading: Reading::default(),
            counted: Counted::Texts,
            options: Options::default(),
            tests: 40,
            lens: true,
            asking: Some(Asking::default()),
            helm: None,
        }
    }
}

/// What a study found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// What was read; empty where counts came from a file.
    pub texts: Vec<Language>,
    /// The language neurons.
    pub found: Languages,
    /// Scripts by layer.
    pub lens: Option<ScriptLens>,
    /// What languages lose without the neurons of one.
    pub deactivation: Option<Deactivation>,
    /// Whether neurons change the language of what is written.
    pub steering: Option<Steering>,
    /// Another model.
    pub comparison: Option<Comparison>,
}

impl Study {
    /// A study of counts alone.
    pub fn of(found: Languages) -> Self {
        Self { texts: Vec::new(), found, lens: None, deactivation: None, steering: None, comparison: None }
    }
}

/// What tests are made on, and with which neurons.
#[derive(Clone, Copy, Default)]
pub struct Tests<'a> {
    /// Counts that were made before; the texts are counted if `None`.
    pub counts: Option<&'a Counts>,
    /// Texts to test on; those that are held out if `None`.
    pub texts: Option<Texts<'a>>,
    /// Neurons to test; those that are found if `None`.
    pub masks: Option<&'a Masks>,
}

/// Carries out a study. `progress` hears what is done, and how much of it (done, in all).
///
/// # Errors
/// Those of its parts; masks or test texts of other languages.
pub fn study(
    model: &Model,
    texts: Texts,
    tests: &Tests,
    agenda: &Agenda,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<(Study, Counts)> {
    let reading = &agenda.reading;
    let surveyed = survey(model, texts, reading)?;
    let counts = match tests.counts {
        Some(counts) => counts.clone(),
        None => {
            count(model, texts, &surveyed, reading, agenda.counted, &mut |done, all| progress("counting", done, all))?
        }
    };
    progress("scoring", 0, 1);
    let mut study = Study { texts: surveyed, ..Study::of(languages(&counts, &agenda.options)?) };
    if !agenda.lens && agenda.asking.is_none() && agenda.helm.is_none() {
        return Ok((study, counts));
    }
    let test = match tests.texts {
        Some(texts) => sets(texts, agenda.tests, |_| true)?,
        None => held_out(texts, reading, agenda.tests)?,
    };
    // In the order of the counts, whatever the order of the files.
    let by_name = |name: &String| {
        let set = test.iter().find(|set| set.name == *name);
        set.cloned().ok_or_else(|| {
            crate::Error::invalid(format!("there is no text of `{name}` to test on"), "give texts of all languages")
        })
    };
    let test = counts.languages.iter().map(by_name).collect::<Result<Vec<_>>>()?;
    if agenda.lens {
        progress("scripts by layer", 0, 1);
        study.lens = Some(script_lens(model, &test, LENS, reading.window)?);
    }
    let masks = match tests.masks {
        Some(masks) => masks.in_order(&counts.languages)?,
        None => study.found.chosen().masks.clone(),
    };
    let rates = Rates::of(&counts);
    if let Some(asking) = &agenda.asking {
        let mut progress = |done, all| progress("deactivation", done, all);
        study.deactivation = Some(deactivate(model, &masks, &rates, &test, asking, &mut progress)?);
    }
    if let Some(helm) = &agenda.helm {
        let mut progress = |done, all| progress("steering", done, all);
        study.steering = Some(steer(model, &masks, &rates, &test, helm, &mut progress)?);
    }
    Ok((study, counts))
}

impl Figures for Study {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = self.found.figures();
        figures.extend(self.deactivation.iter().flat_map(Figures::figures));
        figures.extend(self.steering.iter().flat_map(Figures::figures));
        figures.extend(self.comparison.iter().flat_map(Figures::figures));
        figures
    }
}

impl Report for Study {
    fn blocks(&self) -> Vec<Block> {
        self.sections().into_iter().flat_map(|(_, blocks)| blocks).collect()
    }
}

impl Study {
    /// What a reader should know of the texts before believing the rest.
    pub fn notes(&self) -> Vec<String> {
        notes(&self.texts, &self.found.tokens)
    }

    /// The parts of its report, each with a name.
    pub fn sections(&self) -> Vec<(&'static str, Vec<Block>)> {
        let mut sections = vec![("Neurons", self.found.blocks())];
        if !self.texts.is_empty() {
            sections.push(("Texts", texts_blocks(&self.texts, &self.notes())));
        }
        let more = [
            ("Scripts", self.lens.as_ref().map(Report::blocks)),
            ("Deactivation", self.deactivation.as_ref().map(Report::blocks)),
            ("Steering", self.steering.as_ref().map(Report::blocks)),
            ("Two models", self.comparison.as_ref().map(Report::blocks)),
        ];
        sections.extend(more.into_iter().filter_map(|(name, blocks)| Some((name, blocks?))));
        sections
    }
}
