//! Pages: a report as one HTML file that opens offline, and the figures that a dashboard shows.
//!
//! A page holds no script and loads nothing: its content policy forbids both, and permits exactly its own style sheet
//! (by hash). All text is escaped; control characters and those that turn the direction of writing are shown as
//! `\u{..}`.

mod blocks;
mod table;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::visible::Shown;
use super::{Block, Chart, Figure, Judged, Verdict, svg};
use crate::Result;

/// A report.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// What it is a report of.
    pub title: String,
    /// One sentence about it; may be empty.
    pub subtitle: String,
    /// The facts that a reader needs first: model, date, hashes, seed.
    pub facts: Vec<Figure>,
    /// Its parts, in reading order.
    pub sections: Vec<Section>,
}

/// A part of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Its heading.
    pub name: String,
    /// The last part of links to it. What is not a letter, a digit or `-` becomes `-`, and what is taken gets a number.
    pub anchor: String,
    /// Its content.
    pub blocks: Vec<Block>,
}

impl Section {
    /// Blocks in parts: a summary, then one part for each heading.
    pub fn of_blocks(blocks: Vec<Block>) -> Vec<Self> {
        let mut sections = vec![Self { name: "Summary".into(), anchor: "summary".into(), blocks: Vec::new() }];
        for block in blocks {
            match (block, sections.last_mut()) {
                (Block::Heading { text }, _) => {
                    sections.push(Self { anchor: text.to_lowercase(), name: text, blocks: Vec::new() });
                }
                (other, Some(section)) => section.blocks.push(other),
                (_, None) => {}
            }
        }
        sections
    }
}

/// The whole page. The same page gives the same bytes.
///
/// # Errors
/// [`crate::Error::Invalid`] if a chart is not well-formed; see [`svg::render`].
pub fn page(page: &Page) -> Result<String> {
    let style = style();
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        STANDARD.encode(Sha256::digest(style.as_bytes()))
    );
    let anchors = anchors(&page.sections);
    let body = body(page, &anchors)?;
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (Shown(&page.title)) }
                style { (PreEscaped(style)) }
            }
            body { (body) }
        }
    };
    Ok(whole.0)
}

/// A chart with its title and caption.
///
/// # Errors
/// As [`svg::render`].
pub fn figure(chart: &Chart) -> Result<String> {
    Ok(blocks::figure(chart)?.0)
}

/// Blocks without a page around them; `subject` is what they are about.
///
/// # Errors
/// As [`svg::render`].
pub fn fragment(blocks: &[Block], subject: &str) -> Result<String> {
    Ok(blocks::all(blocks, subject)?.0)
}

/// The style sheet of pages and figures.
pub fn style() -> String {
    format!("{}{}", include_str!("page.css"), svg::style())
}

fn body(page: &Page, anchors: &[String]) -> Result<Markup> {
    let sections = page.sections.iter().zip(anchors);
    let drawn = sections.map(|(s, anchor)| blocks::section(s, anchor)).collect::<Result<Vec<_>>>()?;
    Ok(html! {
        a class="skip" href="#content" { "Skip to the content" }
        header {
            h1 { (Shown(&page.title)) }
            @if !page.subtitle.is_empty() { p class="subtitle" { (Shown(&page.subtitle)) } }
            @if !page.facts.is_empty() {
                dl class="facts" {
                    @for fact in &page.facts {
                        div { dt { (Shown(&fact.name)) } dd { (table::cell(&fact.value)) } }
                    }
                }
            }
        }
        (contents(page, anchors))
        main id="content" {
            (summary(page, anchors))
            @for section in drawn { (section) }
        }
        footer { "optrode " (env!("CARGO_PKG_VERSION")) ". This page holds no script and loads nothing." }
    })
}

fn judged(section: &Section) -> impl Iterator<Item = &Judged> {
    section
        .blocks
        .iter()
        .filter_map(|b| if let Block::Verdicts { verdicts } = b { Some(verdicts) } else { None })
        .flatten()
}

fn count(section: &Section, verdict: Verdict) -> usize {
    judged(section).filter(|j| j.verdict == verdict).count()
}

fn contents(page: &Page, anchors: &[String]) -> Markup {
    html! {
        @if page.sections.len() > 1 {
            nav aria-label="Contents" {
                ol {
                    @for (section, anchor) in page.sections.iter().zip(anchors) {
                        li {
                            a href=(format!("#{anchor}")) { (Shown(&section.name)) }
                            @let failed = count(section, Verdict::Failed);
                            @if failed > 0 { " " span class="count failed" { (failed) " failed" } }
                        }
                    }
                }
            }
        }
    }
}

/// How many expectations held; those that did not, first and in full.
fn summary(page: &Page, anchors: &[String]) -> Markup {
    let total = |verdict| page.sections.iter().map(|s| count(s, verdict)).sum::<usize>();
    let counts = [Verdict::Failed, Verdict::Passed, Verdict::Skipped].map(|v| (v, total(v)));
    let asked: usize = counts.iter().map(|c| c.1).sum();
    let open = [Verdict::Failed, Verdict::Skipped];
    html! {
        @if asked > 0 {
            section class="summary" aria-labelledby="verdicts-heading" {
                h2 id="verdicts-heading" { "Verdicts" }
                ul class="counts" {
                    @for (verdict, n) in counts {
                        @let class = if n > 0 { blocks::class(verdict) } else { "none" };
                        li class=(class) { b { (n) } " " (blocks::class(verdict)) }
                    }
                }
                @if open.iter().any(|v| total(*v) > 0) {
                    ul class="verdicts" {
                        @for verdict in open {
                            @for (section, anchor) in page.sections.iter().zip(anchors) {
                                @for judged in judged(section).filter(|j| j.verdict == verdict) {
                                    (blocks::verdict(judged, Some((&section.name, anchor))))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One anchor per section: plain letters, each once.
fn anchors(sections: &[Section]) -> Vec<String> {
    let mut taken: Vec<String> = vec!["content".into(), "verdicts-heading".into()];
    let reserved = taken.len();
    for section in sections {
        let plain: String = section
            .anchor
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        let plain = match plain.trim_matches('-') {
            "" => "section".to_string(),
            name => name.to_string(),
        };
        let numbered = (2..).map(|n| format!("{plain}-{n}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|a| !taken.contains(a));
        taken.extend(free);
    }
    taken.split_off(reserved)
}
