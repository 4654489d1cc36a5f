//! Labels for units (MILAN, Hernandez et al. 2022, and its transposition to language models), each with a held-out score.
//!
//! Parts that know no modality, for tokens and for pixels alike: [`Bits`] and [`Overlap`] (IoU, F1), [`auroc()`],
//! [`criteria`] (pmi), [`Matching`] (WPMI), [`Agreement`] (simulation), [`holm`] and [`Redraws`] (chance).

mod ablation;
mod agreement;
pub mod audit;
mod auroc;
mod bits;
pub mod criteria;
mod overlap;
mod report;
mod run;
mod significance;
pub mod telling;
pub mod text;
mod wpmi;

pub use ablation::{Ablation, Curve, Group, ablate};
pub use agreement::{Agreement, Calibration, correlation};
pub use auroc::{Ranked, auroc, mann_whitney};
pub use bits::Bits;
pub use criteria::{Joint, log_mean_exp, pmi, ranking};
pub use overlap::Overlap;
pub use run::{Evidence, Labelled, Request, Scan, Seconds, Sheet, label, label_atlas, neurons, watches};
pub use significance::{Redraws, holm, normal_tail, null_deviation, spread};
pub use telling::{Telling, ToldUnits, tell};
pub use wpmi::Matching;
