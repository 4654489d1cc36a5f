//! The files of a report folder.

use serde::Serialize;

use super::run::Done;
use crate::{Error, Result};

/// Every file that a report folder may hold.
pub const NAMES: &[&str] = &["report.html", "report.json", "manifest.json"];

/// The files of a finished run, by name.
///
/// # Errors
/// Values that JSON cannot hold.
pub fn files(done: &Done) -> Result<Vec<(&'static str, Vec<u8>)>> {
    Ok(vec![("report.json", json(&done.report)?), ("manifest.json", json(&done.manifest)?)])
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::invalid(format!("the report cannot be written as JSON: {e}"), "report this defect"))?;
    text.push(b'\n');
    Ok(text)
}
