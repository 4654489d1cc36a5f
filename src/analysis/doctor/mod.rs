//! The doctor: proves on the user's machine that a checkpoint is computed as it should be.
//!
//! Some texts are run in several ways (alone, in batches, padded on either side, token by token with a cache, in the
//! differentiable form) and every site is recorded. What must hold between sites, and between runs, is asked; the
//! largest error of each question is reported with the place where it was found. Nothing but the checkpoint is needed;
//! [`against_reference`] compares with activations that were made elsewhere.
//!
//! ```no_run
//! use optrode::{analysis::doctor, models::{Model, OpenOptions}, report::{Report, terminal}};
//! let model = Model::open("fixtures/goldens/llama", &OpenOptions::default())?;
//! let examination = doctor::doctor(&model.decoder, &[], &doctor::Options::default(), &mut optrode::analysis::unwatched)?;
//! print!("{}", terminal::render(&examination.blocks(), &terminal::Style::stdout()));
//! std::process::exit(if examination.passed() { 0 } else { 1 });
//! # Ok::<(), optrode::Error>(())
//! ```

mod closed_forms;
pub mod compare;
mod identities;
mod invariants;
pub mod probe;
pub mod reference;
mod report;
mod runs;

use serde::{Deserialize, Serialize};

use crate::models::{Decoder, Network};
use crate::report::{Verdict, number};
use crate::{Error, Result};

pub use closed_forms::closed_forms;
pub use compare::{Difference, Equality, compare};
pub use invariants::{EXACT, ROUNDING};
pub use reference::{Comparison, REFERENCE, Reference, SiteDifference, against_reference};
pub(in crate::analysis) use report::finding_rows;

use invariants::{Scene, TABLE, Tally};
use runs::{Way, groups, observe};

/// What the doctor's own tests take apart, and nobody else should. Tests that lie in the library would have all of it
/// compiled twice.
#[doc(hidden)]
pub mod parts {
    pub use super::compare::values;
    pub use super::identities::{RowError, row_error};
    pub use super::invariants::{Scene, TABLE, Tally};
    pub use super::runs::{Group, Seen, Way, groups, observe};
}

/// What to examine a network on when no text is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Seed of the random tokens.
    pub seed: u64,
    /// Tokens of the longest random text; less where the network's context is shorter.
    pub tokens: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, tokens: 12 }
    }
}

/// What the doctor found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Examination {
    /// `model_type` of the network.
    pub family: String,
    /// Its layers.
    pub layers: usize,
    /// Its parameters.
    pub parameters: u64,
    /// Tokens of each text that it was examined on.
    pub lengths: Vec<usize>,
    /// Seed of the random tokens; `None` if the caller gave the texts.
    pub seed: Option<u64>,
    /// What a reader of the findings should know.
    pub notes: Vec<String>,
    /// One entry per invariant, always in the same order.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// True when nothing failed.
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|f| f.verdict != Verdict::Failed)
    }

    /// The finding of this name.
    pub fn finding(&self, name: &str) -> Option<&Finding> {
        self.findings.iter().find(|f| f.name == name)
    }
}

/// One invariant, with its largest error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its name.
    pub name: String,
    /// What it says.
    pub meaning: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// Why it failed in words, or why it was skipped.
    pub reason: Option<String>,
    /// The largest relative error that counts as holding.
    #[serde(with = "number")]
    pub tolerance: f64,
    /// The largest error over the largest magnitude of its site; decides.
    #[serde(with = "number")]
    pub relative: f64,
    /// The same error, absolute.
    #[serde(with = "number")]
    pub absolute: f64,
    /// Where it was found; `None` if there is no error at all.
    pub place: Option<Place>,
    /// How many values were compared.
    pub compared: u64,
}

/// Where an error was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The site.
    pub site: String,
    /// The text, counted from 0.
    pub text: usize,
    /// The position in the text, counted over its real tokens.
    pub position: usize,
    /// How the text was run.
    pub run: String,
}

/// Examines a network on `texts` (token ids), or on random tokens if there are none.
///
/// Every text costs about twelve forward passes; large networks are examined a few layers at a time, with as many
/// passes for each group of layers. `watch` hears (runs done, runs in all) and ends the examination with an error.
///
/// # Errors
/// Texts that the network cannot take. What is wrong with the network is a finding, not an error.
pub fn doctor(
    net: &Decoder,
    texts: &[Vec<u32>],
    options: &Options,
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Examination> {
    let facts = net.facts();
    let random = texts.is_empty();
    let texts = if random { probe::texts(facts, options.seed, options.tokens) } else { texts.to_vec() };
    let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
    if texts.iter().any(Vec::is_empty) {
        return Err(Error::invalid(
            "a text to examine the network on has no tokens",
            "give at least one token per text",
        ));
    }
    let steady = match probe::steady_length(facts, longest)? {
        Some(length) => texts.iter().map(|text| text[..text.len().min(length)].to_vec()).collect(),
        None => texts.clone(),
    };
    let mut notes = Vec::new();
    if steady != texts {
        let kept = steady.iter().map(Vec::len).max().unwrap_or(0);
        notes.push(format!(
            "Rotary frequencies change with the length of the text; cached runs are compared on the first {kept} tokens, \
             where they do not."
        ));
    }
    let mut tallies = vec![Tally::default(); TABLE.len()];
    let groups = groups(net, &texts)?;
    let (mut done, of) = (0, groups.len() * Way::ALL.len());
    for group in groups {
        let alone = observe(net, Way::Alone, &texts, &group)?;
        let steady_alone = if steady == texts { alone.clone() } else { observe(net, Way::Alone, &steady, &group)? };
        for way in Way::ALL {
            watch(done, of)?;
            done += 1;
            tracing::debug!(layers = ?group.layers, run = way.name(), "examining");
            let (texts, alone) = if way.cached() { (&steady, &steady_alone) } else { (&texts, &alone) };
            let asked = TABLE.iter().zip(&mut tallies).filter(|(invariant, _)| invariant.on.contains(&way));
            if way.cached() && texts.iter().all(|text| text.len() == 1) {
                asked.for_each(|(_, tally)| tally.skipped = Some(one_token(longest).to_string()));
                continue;
            }
            let seen = if way == Way::Alone { alone.clone() } else { observe(net, way, texts, &group)? };
            let scene = Scene { net, texts, group: &group, seen: &seen, alone };
            for (invariant, tally) in asked {
                (invariant.check)(&scene, tally)?;
            }
        }
    }
    Ok(Examination {
        family: facts.family.to_string(),
        layers: facts.layers.len(),
        parameters: net.parameters().iter().map(|(_, p)| p.elem_count() as u64).sum(),
        lengths: texts.iter().map(Vec::len).collect(),
        seed: random.then_some(options.seed),
        notes,
        findings: TABLE.iter().zip(tallies).map(|(invariant, tally)| finding(invariant, tally)).collect(),
    })
}

/// Why nothing can be cached.
fn one_token(longest: usize) -> &'static str {
    match longest {
        1 => "the texts have one token each, and a cache needs a second one",
        _ => "rotary frequencies change with the length of the text from the second token on",
    }
}

fn finding(invariant: &invariants::Invariant, tally: Tally) -> Finding {
    let failed = tally.problem.is_some() || tally.relative > invariant.tolerance;
    let verdict = match (failed, tally.compared) {
        (true, _) => Verdict::Failed,
        (false, 0) => Verdict::Skipped,
        (false, _) => Verdict::Passed,
    };
    let not_asked = || tally.skipped.unwrap_or_else(|| "this architecture has no site that it speaks of".to_string());
    Finding {
        name: invariant.name.to_string(),
        meaning: invariant.meaning.to_string(),
        verdict,
        reason: tally.problem.or_else(|| (verdict == Verdict::Skipped).then(not_asked)),
        tolerance: invariant.tolerance,
        relative: tally.relative,
        absolute: tally.absolute,
        place: tally.place,
        compared: tally.compared,
    }
}
