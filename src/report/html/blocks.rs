//! Blocks as markup.

use maud::{Markup, PreEscaped, html};

use super::{Section, table};
use crate::Result;
use crate::report::visible::Shown;
use crate::report::{Block, Chart, Judged, Verdict, svg};

pub(super) fn section(section: &Section, anchor: &str) -> Result<Markup> {
    let drawn = all(&section.blocks, &section.name)?;
    let heading = format!("{anchor}-heading");
    Ok(html! {
        section id=(anchor) aria-labelledby=(heading) {
            h2 id=(heading) { (Shown(&section.name)) }
            (drawn)
        }
    })
}

/// Blocks one after the other.
pub(super) fn all(blocks: &[Block], subject: &str) -> Result<Markup> {
    let mut subject = subject;
    let mut drawn = Vec::new();
    for block in blocks {
        if let Block::Heading { text } = block {
            subject = text;
        }
        drawn.push(draw(block, subject)?);
    }
    Ok(html! { @for block in drawn { (block) } })
}

/// One block; `subject` is what the words before it are about.
fn draw(block: &Block, subject: &str) -> Result<Markup> {
    Ok(match block {
        Block::Heading { text } => html! { h3 { (Shown(text)) } },
        Block::Text { text } => {
            html! { @for line in text.split('\n').filter(|l| !l.trim().is_empty()) { p { (Shown(line)) } } }
        }
        Block::Table(table) => table::draw(table, subject),
        Block::Chart(chart) => figure(chart)?,
        Block::Verdicts { verdicts } => html! { ul class="verdicts" { @for v in verdicts { (verdict(v, None)) } } },
    })
}

pub(super) fn figure(chart: &Chart) -> Result<Markup> {
    let drawing = svg::render(chart)?;
    Ok(html! {
        figure {
            figcaption class="title" { (Shown(&chart.title)) }
            div class="scroll" tabindex="0" role="region" aria-label=(Shown(&chart.title)) { (PreEscaped(drawing)) }
            @if !chart.caption.is_empty() { p class="caption" { (Shown(&chart.caption)) } }
        }
    })
}

/// The class of a verdict, and its word on a page, where colour and shape carry the stress.
pub(super) fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Skipped => "skipped",
    }
}

/// A verdict as a badge: colour, shape and word.
pub(super) fn badge(verdict: Verdict) -> Markup {
    let shape = match verdict {
        Verdict::Passed => "✓",
        Verdict::Failed => "✗",
        Verdict::Skipped => "–",
    };
    html! { span class=(format!("badge {}", class(verdict))) { span aria-hidden="true" { (shape) } " " (class(verdict)) } }
}

/// A judged expectation; with a link to its section where it stands elsewhere.
pub(super) fn verdict(judged: &Judged, link: Option<(&str, &str)>) -> Markup {
    html! {
        li {
            (badge(judged.verdict))
            div {
                span class="expectation" { (Shown(&judged.name)) }
                @if let Some((name, anchor)) = link { " " a href=(format!("#{anchor}")) { (Shown(name)) } }
                @if !judged.reason.is_empty() { p class="reason" { (Shown(&judged.reason)) } }
                @if !judged.figures.is_empty() {
                    p class="figures" {
                        @for (i, figure) in judged.figures.iter().enumerate() {
                            @if i > 0 { " " }
                            span { (Shown(&figure.name)) " " b { (table::cell(&figure.value)) } }
                        }
                    }
                }
            }
        }
    }
}
