//! Scripted audits: TOML files of steps and expectations, their report, their manifest, and replay.
//!
//! ```no_run
//! use optrode::models::OpenOptions;
//! use optrode::probe::{Job, Script, run};
//! use optrode::report::Progress;
//! let script = Script::open("gate.toml")?;
//! let job = Job { seed: script.seed, script, model: Some("models/mine".into()), edits: vec![],
//!                 against: None, options: OpenOptions::default() };
//! let done = run(&job, &Progress::hidden())?;
//! println!("{:?}", done.report.outcome);
//! # Ok::<(), optrode::Error>(())
//! ```

pub mod document;
pub mod expect;
mod files;
pub mod junit;
pub mod manifest;
pub mod replay;
mod run;
pub mod script;
pub mod step;
pub mod steps;
mod subject;

pub use document::{AuditReport, Outcome};
pub use files::{NAMES, files};
pub use manifest::Manifest;
pub use run::{Against, Done, Job, run};
pub use script::Script;
pub use step::{Context, StepKind, StepOutput};
pub use subject::ModelRecord;

use std::path::Path;

use crate::Result;

/// The script of `optrode audit`.
///
/// # Errors
/// None, as the tests show.
pub fn audit() -> Result<Script> {
    Script::parse(Path::new("audit.toml"), include_str!("../../probes/audit.toml").to_string())
}
