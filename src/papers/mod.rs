//! Reproduced papers: the claim, an experiment that tests it here, and the verdict.
//!
//! `optrode reproduce list` shows the registry, `optrode reproduce NN` carries an experiment out and writes its report
//! (`report.html`, `report.json`, `manifest.json`).
//!
//! # Adding a paper
//! 1. Write `src/papers/pNN_NAME.rs` with a unit struct that implements [`Paper`]: `NN` is the paper's row of the
//!    mission, and the method itself belongs in [`crate::analysis`] (or [`crate::models`], [`crate::train`]), not there.
//! 2. Name it here (`mod pNN_NAME;`) and in [`ALL`], which is sorted by number.
//! 3. [`Scale::Quick`] takes about two minutes offline on what the program carries ([`Context::organism`]) or generates;
//!    [`Scale::Full`] may read models and data of the user ([`Context::model`], [`Context::file`]).
//! 4. Return a [`Finding`]: blocks in reading order (the published figures beside ours, each with its control and its
//!    interval), figures that a replay must give again, and one [`Judged`](crate::report::Judged) per part of the claim.
//!
//! ```
//! use optrode::papers::{Context, Finding, Paper, Scale};
//! use optrode::report::{Block, Judged, Verdict};
//!
//! struct Sum;
//! impl Paper for Sum {
//!     fn number(&self) -> u8 { 99 }
//!     fn name(&self) -> &'static str { "sum" }
//!     fn title(&self) -> &'static str { "On sums" }
//!     fn source(&self) -> &'static str { "nowhere, 2020" }
//!     fn claim(&self) -> &'static str { "1 + 1 is 2." }
//!     fn run(&self, _: Scale, _: &Context) -> optrode::Result<Finding> {
//!         let holds = Judged { name: "1 + 1 is 2".into(), verdict: Verdict::Passed, reason: String::new(),
//!                              figures: Vec::new() };
//!         Ok(Finding { blocks: vec![Block::text("Two.")], figures: vec![("sum".into(), 2.0)],
//!                      verdicts: vec![holds], ..Finding::default() })
//!     }
//! }
//! ```

mod context;
mod p01_skill_unlearning;
mod p04_ncap_swimmer;
mod p05_ei_reservoir;
mod p14_elm_neuron;
mod p24_nalsm;
mod p26_induction_clamps;
mod p31_milan;
mod p36_language_neurons;
mod p39_active_dendrites;
mod p42_long_timescales;
mod paper;
mod reproduction;

pub use context::Context;
pub use paper::{Finding, Paper, Scale};
pub use reproduction::{ModelUsed, NAMES, Outcome, PaperRecord, Reproduction, Request, reproduce};

use crate::store::text::nearest;
use crate::{Error, Result};

/// Every reproduced paper, by number.
pub static ALL: &[&dyn Paper] = &[
    &p01_skill_unlearning::SkillUnlearning,
    &p04_ncap_swimmer::NcapSwimmer,
    &p05_ei_reservoir::BalancedReservoir,
    &p14_elm_neuron::ElmNeuron,
    &p24_nalsm::AstrocyteLiquid,
    &p26_induction_clamps::InductionClamps,
    &p31_milan::Milan,
    &p36_language_neurons::LanguageNeurons,
    &p39_active_dendrites::ActiveDendrites,
    &p42_long_timescales::LongTimescales,
];

/// The paper of this number (`1`, `01`) or name.
///
/// # Errors
/// No such paper; the message names the nearest.
pub fn find(word: &str) -> Result<&'static dyn Paper> {
    let number: Option<u8> = word.parse().ok();
    let found = ALL.iter().copied().find(|p| Some(p.number()) == number || p.name() == word);
    found.ok_or_else(|| {
        let near = nearest(word, ALL.iter().map(|p| p.name()), 3);
        let hint = format!("`optrode reproduce list` shows all; nearest: {near}");
        Error::invalid(format!("no paper `{word}` is reproduced here"), hint)
    })
}
