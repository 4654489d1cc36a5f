//! What the doctor's results look like.

use std::collections::BTreeMap;

use super::{Comparison, Examination, Finding, SiteDifference};
use crate::report::{Better, Block, Cell, Column, Figure, Judged, Report, Table, Verdict};

impl Report for Examination {
    fn blocks(&self) -> Vec<Block> {
        let texts = match self.seed {
            Some(seed) => format!("random tokens (seed {seed})"),
            None => "tokens, as given".to_string(),
        };
        let mut blocks = vec![
            Block::heading(format!("doctor: {}, {} layers, {} parameters", self.family, self.layers, self.parameters)),
            Block::text(format!(
                "Examined on texts of {} {texts}. Errors are relative to the largest value of their site.",
                list(&self.lengths)
            )),
        ];
        blocks.extend(self.notes.iter().map(Block::text));
        let columns = vec![
            Column::new("check"),
            Column::new("verdict"),
            Column::new("relative error").better(Better::Less),
            Column::new("absolute").better(Better::Less),
            Column::new("tolerance"),
            Column::new("largest at [text, position]"),
        ];
        blocks.push(Block::Table(Table { columns, rows: self.findings.iter().map(row).collect() }));
        let verdicts: Vec<Judged> = self.findings.iter().filter(|f| f.verdict != Verdict::Passed).map(judged).collect();
        if !verdicts.is_empty() {
            blocks.push(Block::Verdicts { verdicts });
        }
        let count = |verdict| self.findings.iter().filter(|f| f.verdict == verdict).count();
        blocks.push(Block::text(format!(
            "{} passed, {} failed, {} skipped.",
            count(Verdict::Passed),
            count(Verdict::Failed),
            count(Verdict::Skipped)
        )));
        blocks
    }
}

/// Rows of findings without a place: name, verdict, error, tolerance, meaning.
pub(in crate::analysis) fn finding_rows(findings: &[Finding]) -> Vec<Vec<Cell>> {
    let row = |f: &Finding| {
        let [error, tolerance] = [f.absolute, f.tolerance].map(Cell::Error);
        vec![Cell::text(&f.name), Cell::Verdict(f.verdict), error, tolerance, Cell::text(&f.meaning)]
    };
    findings.iter().map(row).collect()
}

fn list(lengths: &[usize]) -> String {
    lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

fn row(finding: &Finding) -> Vec<Cell> {
    let measured = |error: f64| {
        if finding.verdict == Verdict::Skipped { Cell::Empty } else { Cell::Error(error) }
    };
    vec![
        Cell::text(&finding.name),
        Cell::Verdict(finding.verdict),
        measured(finding.relative),
        measured(finding.absolute),
        Cell::Error(finding.tolerance),
        match &finding.place {
            Some(place) => Cell::text(format!("{} [{}, {}]", place.site, place.text, place.position)),
            None => Cell::Empty,
        },
    ]
}

/// A finding that did not pass, in words.
fn judged(finding: &Finding) -> Judged {
    let mut reason = finding.meaning.clone();
    if let Some(why) = &finding.reason {
        reason = format!("{reason}; {why}");
    }
    let mut figures = Vec::new();
    if let (Verdict::Failed, Some(place)) = (finding.verdict, &finding.place) {
        reason = format!("{reason}; largest {}", place.run);
        figures.push(Figure::new("relative error", Cell::Error(finding.relative)));
        figures.push(Figure::new("tolerance", Cell::Error(finding.tolerance)));
    }
    Judged { name: finding.name.clone(), verdict: finding.verdict, reason, figures }
}

impl Report for Comparison {
    /// The layers of a site share one line; sites that differ are listed one by one after it.
    fn blocks(&self) -> Vec<Block> {
        let mut kinds: Vec<(String, usize, &SiteDifference)> = Vec::new();
        let mut index: BTreeMap<String, usize> = BTreeMap::new();
        for site in &self.sites {
            let kind = without_layer(&site.site);
            let at = *index.entry(kind.clone()).or_insert_with(|| {
                kinds.push((kind, 0, site));
                kinds.len() - 1
            });
            kinds[at].1 += 1;
            if site.absolute > kinds[at].2.absolute {
                kinds[at].2 = site;
            }
        }
        let columns = vec![
            Column::new("site"),
            Column::new("verdict"),
            Column::new("tensors"),
            Column::new("absolute error").better(Better::Less),
            Column::new("relative").better(Better::Less),
            Column::new("largest at [text, position]"),
        ];
        let row = |(kind, count, worst): &(String, usize, &SiteDifference)| {
            vec![
                Cell::text(kind),
                Cell::Verdict(verdict(worst)),
                Cell::count(*count),
                Cell::Error(worst.absolute),
                Cell::Error(worst.relative),
                worst.row.map_or(Cell::Empty, |row| Cell::text(format!("{} [{row}, {}]", worst.site, worst.position))),
            ]
        };
        let mut blocks = vec![
            Block::heading("doctor: against reference activations"),
            Block::text(format!(
                "{} tensors over rows of {} tokens; absolute errors up to {:.0e} pass. The reference lacks {} sites.",
                self.sites.len(),
                list(&self.lengths),
                self.tolerance,
                self.without_reference
            )),
            Block::Table(Table { columns, rows: kinds.iter().map(row).collect() }),
        ];
        let failed: Vec<Judged> = self.sites.iter().filter(|s| !s.passed).map(|s| differs(s, self.tolerance)).collect();
        let count = failed.len();
        if !failed.is_empty() {
            blocks.push(Block::Verdicts { verdicts: failed });
        }
        blocks.push(Block::text(format!("{} passed, {count} failed.", self.sites.len() - count)));
        blocks
    }
}

fn verdict(site: &SiteDifference) -> Verdict {
    if site.passed { Verdict::Passed } else { Verdict::Failed }
}

fn differs(site: &SiteDifference, tolerance: f64) -> Judged {
    Judged {
        name: site.site.clone(),
        verdict: Verdict::Failed,
        reason: format!("differs at row {}, position {}", site.row.unwrap_or(0), site.position),
        figures: vec![
            Figure::new("absolute", Cell::Error(site.absolute)),
            Figure::new("relative", Cell::Error(site.relative)),
            Figure::new("tolerance", Cell::Error(tolerance)),
        ],
    }
}

/// `blocks.3.hook_z` as `blocks.*.hook_z`.
fn without_layer(site: &str) -> String {
    let rest = site.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
    rest.map_or_else(|| site.to_string(), |(_, rest)| format!("blocks.*.{rest}"))
}
