//! The files of a report folder.

use serde::Serialize;

use super::run::Done;
use crate::report::html::{self, Page, Section};
use crate::report::{Cell, Figure};
use crate::{Error, Result};

/// Every file that a report folder may hold.
pub const NAMES: &[&str] = &["report.html", "report.json", "manifest.json"];

/// The files of a finished run, by name.
///
/// # Errors
/// Values that JSON cannot hold.
pub fn files(done: &Done) -> Result<Vec<(&'static str, Vec<u8>)>> {
    Ok(vec![
        ("report.html", page(done)?.into_bytes()),
        ("report.json", json(&done.report)?),
        ("manifest.json", json(&done.manifest)?),
    ])
}

/// The report as one page.
fn page(done: &Done) -> Result<String> {
    let (report, manifest) = (&done.report, &done.manifest);
    let fact = |name: &str, value: &str| Figure::new(name, Cell::text(value));
    let mut facts = vec![fact("model", &report.model.name), fact("sha256 of the model", &report.model.sha256)];
    for edit in &report.model.edits {
        facts.push(fact("edited by", &edit.path.file_name().unwrap_or_default().to_string_lossy()));
        facts.push(fact("sha256 of the edit", &edit.sha256));
    }
    if let Some(base) = &report.against {
        facts.push(fact("compared with", &base.model.name));
    }
    facts.push(fact("date", &manifest.started));
    facts.push(fact("sha256 of the script", &report.script));
    facts.push(Figure::new("seed", Cell::count(report.seed)));
    facts.push(fact("optrode", &report.optrode));
    let sections = report.sections().into_iter().enumerate().map(|(i, (name, blocks))| Section {
        // The first part has the report's own title, which stands at the head of the page already.
        name: if i == 0 { "Summary".to_string() } else { name.clone() },
        anchor: if i == 0 { "summary".to_string() } else { name },
        blocks,
    });
    html::page(&Page {
        title: report.title.clone(),
        subtitle: format!("of {}, to be repeated with `optrode replay manifest.json`", report.model.name),
        facts,
        sections: sections.collect(),
    })
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::invalid(format!("the report cannot be written as JSON: {e}"), "report this defect"))?;
    text.push(b'\n');
    Ok(text)
}
