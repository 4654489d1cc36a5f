//! The page of a unit.

use maud::{Markup, html};
use serde::Deserialize;

use super::{Screen, View, figure, form, quoted};
use crate::analysis::unit::{Effect, Example, KINDS, Neighbour, Page};
use crate::report::chart::Plot;
use crate::report::{Block, Cell, Chart, Column, Table, visible};
use crate::serve::api::{atlas, unit};
use crate::serve::app::App;
use crate::serve::failure::Reply;
use crate::serve::route::Names;

/// A text to test the unit on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    text: Option<String>,
}

/// The histogram's width and height.
const SIZE: (f64, f64) = (560.0, 120.0);

pub async fn page(app: App, names: Names, asked: Asked) -> Reply<View> {
    let (name, site, number) = (names.get("model")?, names.get("site")?, names.number::<usize>("number")?);
    let served = app.model(name)?;
    if !atlas::is_there(&app, name).await? {
        let body = form::underway(atlas::scan(&app, name)?.id, "Reading texts, so that units have something to show…");
        return Ok(View::new(Screen::Unit, format!("{site} {number}"), body).of(name));
    }
    let page = unit::page(&app, name, site, number).await?;
    let text = asked.text.filter(|t| !t.trim().is_empty());
    let along = match &text {
        Some(text) => Some(unit::values(&app, name, (site, number), text).await?),
        None => None,
    };
    let tested = match &along {
        Some(along) => Some(figure(&Chart {
            title: "Your text".to_string(),
            caption: "The unit's value at every token.".to_string(),
            plot: Plot::Tokens { unit: page.site.value.clone(), rows: vec![along.row("text")] },
        })?),
        None => None,
    };
    let body = html! {
        (labels(&page))
        div class="columns" {
            div {
                section aria-labelledby="density" { h2 id="density" { "Density" } (histogram(&page)) (statistics(&page)) }
                (effects(&page)?)
                (neighbours(name, &page))
            }
            div {
                section aria-labelledby="test" {
                    h2 id="test" { "Test a text" }
                    form method="get" {
                        (form::area("text", "Text", text.as_deref().unwrap_or_default(), 2))
                        button type="submit" class="go" { "Test" }
                    }
                    @if let Some(tested) = tested { div class="tested" { (tested) } }
                }
                (clamp(name, &page))
                (examples(&page))
            }
        }
        (groups(&page)?)
    };
    let command = format!("optrode neuron {} {}", quoted(&served.reference), quoted(&page.name));
    Ok(View::new(Screen::Unit, page.name.clone(), body)
        .of(name)
        .command(command)
        .api(format!("/api/v1/models/{name}/units/{site}/{number}")))
}

fn labels(page: &Page) -> Markup {
    let (site, number) = (&page.site.name, page.number);
    html! {
        p class="lead" {
            @for label in &page.labels {
                b { (visible(&label.text)) } " "
                span class="quiet" { (visible(&label.explainer)) @if let Some(score) = label.score { ", held-out score " (format!("{score:.3}")) } } " "
            }
            span class="links" {
                @if number > 0 { a rel="prev" data-key="ArrowLeft" href=(format!("../{site}/{}", number - 1)) { "← " (number - 1) } " " }
                @if number + 1 < page.site.units { a rel="next" data-key="ArrowRight" href=(format!("../{site}/{}", number + 1)) { (number + 1) " →" } }
            }
        }
        p class="quiet" {
            (page.tokens) " tokens of " (page.documents) " documents. Value: " (page.site.value) ". Fires: " (page.site.fires) "."
        }
    }
}

/// Counts on a logarithmic scale; every bar says its bounds, so that a script can find that of a value.
fn histogram(page: &Page) -> Markup {
    let (edges, counts) = &page.histogram;
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let high = |n: u64| if n == 0 { 0.0 } else { SIZE.1 * (1.0 + n as f64).ln() / (1.0 + most as f64).ln() };
    let wide = SIZE.0 / counts.len().max(1) as f64;
    let ends = |i: usize| (edges.get(i).copied().unwrap_or(0.0), edges.get(i + 1).copied().unwrap_or(0.0));
    let zero = edges.iter().position(|e| *e >= 0.0).map(|i| i as f64 * wide);
    html! {
        svg class="chart density" viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1 + 18.0)) role="img" aria-label="Histogram of the unit's values" {
            @for (i, count) in counts.iter().enumerate() {
                @let (low, top) = ends(i);
                @let h = high(*count);
                rect class="bar s0" x=(format!("{:.1}", i as f64 * wide)) y=(format!("{:.1}", SIZE.1 - h)) width=(format!("{:.1}", (wide - 0.6).max(0.4)))
                    height=(format!("{h:.1}")) data-low=(low) data-high=(top) { title { (format!("{low:.4} to {top:.4}: {count}")) } }
            }
            line class="axis" x1="0" x2=(SIZE.0) y1=(SIZE.1) y2=(SIZE.1) {}
            text class="label" x="0" y=(SIZE.1 + 14.0) { (edges.first().map(|e| format!("{e:.3}")).unwrap_or_default()) }
            @if let Some(x) = zero.filter(|x| *x > 60.0 && *x < SIZE.0 - 60.0) { text class="label" x=(format!("{x:.1}")) y=(SIZE.1 + 14.0) text-anchor="middle" { "0" } }
            text class="label" x=(SIZE.0) y=(SIZE.1 + 14.0) text-anchor="end" { (edges.last().map(|e| format!("{e:.3}")).unwrap_or_default()) }
        }
        p class="caption" { "Bins are half octaves; heights are logarithmic. Point at a token to see where its value lies." }
    }
}

fn statistics(page: &Page) -> Markup {
    let s = &page.statistics;
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("–".to_string(), |value| format!("{value:.digits$}").replace('-', "−"))
    };
    let facts = [
        ("mean", number(s.mean, 3)),
        ("std", number(s.std, 3)),
        ("skewness", number(s.skewness, 2)),
        ("excess kurtosis", number(s.kurtosis, 2)),
        ("smallest", number(s.min, 3)),
        ("largest", number(s.max, 3)),
        ("fires at", s.rate.map_or("–".to_string(), |r| format!("{:.1} %", 100.0 * r))),
    ];
    html! { dl class="facts" { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } } }
}

fn effects(page: &Page) -> Reply<Markup> {
    let Some(effects) = &page.effects else { return Ok(html! {}) };
    let cells = |e: Option<&Effect>| match e {
        Some(e) => [Cell::text(&e.token), Cell::Number { value: e.value, digits: 4 }],
        None => [Cell::Empty, Cell::Empty],
    };
    let rows = 0..effects.raised.len().max(effects.lowered.len());
    let rows = rows.map(|i| [cells(effects.raised.get(i)), cells(effects.lowered.get(i))].concat()).collect();
    let table = Table { columns: ["raises", "by", "lowers", "by"].map(Column::new).to_vec(), rows };
    let drawn = super::drawn(&[Block::Table(table)], "Direct effect on the logits")?;
    Ok(html! {
        section aria-labelledby="effects" {
            h2 id="effects" { "Direct effect on the logits" }
            (drawn)
            p class="caption" { "Per unit of activation, over the last norm's scale; the standard deviation over the vocabulary is " (format!("{:.4}", effects.std)) "." }
        }
    })
}

fn neighbours(model: &str, page: &Page) -> Markup {
    let chance = |x: f64| format!("{x:.2}");
    let lists = [
        ("Read alike", &page.reads, "cosine", chance(page.by_chance)),
        ("Write alike", &page.writes, "cosine", chance(page.by_chance)),
        ("Go together", &page.together, "r", chance(page.together_by_chance)),
    ];
    let one = |(title, list, what, chance): &(&str, &Vec<Neighbour>, &str, String)| {
        html! {
            @if !list.is_empty() {
                h3 { (title) }
                ul class="plain near" {
                    @for n in list.iter() {
                        li { a href=(format!("/m/{model}/u/{}/{}", n.site, n.number)) { (n.site) " " (n.number) } " " span class="number" { (format!("{:.3}", n.likeness).replace('-', "−")) } }
                    }
                }
                p class="caption" { "By " (what) "; the largest by chance is about " (chance) "." }
            }
        }
    };
    html! { section aria-labelledby="near" { h2 id="near" { "Neighbours" } @for list in &lists { (one(list)) } } }
}

/// A slider, and the text with the unit held there beside the text as it is.
fn clamp(model: &str, page: &Page) -> Markup {
    let (least, most) = (page.statistics.min.unwrap_or(-1.0), page.statistics.max.unwrap_or(1.0));
    let reach = least.abs().max(most.abs()).max(1e-3) * 4.0;
    if page.site.unit == "head" {
        // A head's number is a norm, which nothing can be held at; switching it off can.
        let site = page.name.replace("hook_result", "hook_z");
        return clamping(model, &format!(r#"[{{"site": "{site}", "op": "zero"}}]"#), None);
    }
    clamping(model, &format!(r#"[{{"site": "{}", "op": "set", "value": VALUE}}]"#, page.name), Some(reach))
}

fn clamping(model: &str, edits: &str, reach: Option<f64>) -> Markup {
    html! {
        section aria-labelledby="clamp" {
            h2 id="clamp" { @if reach.is_some() { "Hold it at a value" } @else { "Switch it off" } }
            form class="job" data-post=(format!("/api/v1/models/{model}/generate")) data-streams="true" data-live=[reach.map(|_| "true")] {
                input type="hidden" name="edits" value=(edits) data-type="json" data-template=(edits);
                div class="fields" {
                    (form::area("text", "Prompt", super::lab::PROMPT, 2))
                    @if let Some(reach) = reach {
                        label class="wide" {
                            span { "Value " output { "0" } }
                            input type="range" aria-label="Value" data-value="true" min=(format!("{:.3}", -reach)) max=(format!("{reach:.3}")) step=(format!("{:.4}", reach / 100.0)) value="0";
                        }
                    }
                    (form::number("tokens", "Tokens", 30, (1, 512)))
                }
                button type="submit" class="go" { "Continue, with and without" }
            }
            div class="outcome" aria-live="polite" {}
        }
    }
}

fn examples(page: &Page) -> Markup {
    let of_kind = |kind: &str| {
        let mut found: Vec<&Example> = page.examples.iter().filter(|e| e.row.kind == kind).collect();
        found.sort_by_key(|e| e.row.rank);
        found
    };
    let group = |index: usize| page.groups.iter().find(|(_, p)| p.group == index).map(|(g, _)| g.name.as_str());
    html! {
        section aria-labelledby="examples" {
            h2 id="examples" { "Examples" }
            @for (kind, words) in KINDS {
                @let found = of_kind(kind);
                @if !found.is_empty() {
                    details open[matches!(kind, "top" | "bottom" | "q75-95")] {
                        summary class="kind" { (words) " · " (found.len()) }
                        ul class="examples" {
                            @for example in found {
                                li {
                                    span class="number" { (format!("{:.3}", example.row.value).replace('-', "−")) }
                                    @if let Some(group) = group(example.row.context.group) { span class="tag" { (visible(group)) } }
                                    q lang="" {
                                        (visible(&example.before))
                                        mark data-value=(example.row.value) title=(format!("{:.4}", example.row.value)) { (printed(&example.token)) }
                                        (visible(&example.after))
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn printed(text: &str) -> String {
    visible(&text.replace('\n', "⏎"))
}

fn groups(page: &Page) -> Reply<Markup> {
    use crate::report::Report;
    // The profile as the report has it: a table and a chart under their heading.
    let blocks = page.blocks();
    let of = blocks.iter().skip_while(|b| **b != Block::heading("By group")).skip(1);
    let own: Vec<Block> = of.take_while(|b| !matches!(b, Block::Heading { .. })).cloned().collect();
    match own.is_empty() {
        true => Ok(html! {}),
        false => Ok(
            html! { section aria-labelledby="groups" { h2 id="groups" { "By group" } (super::drawn(&own, "By group")?) } },
        ),
    }
}
