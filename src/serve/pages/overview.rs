//! The overview: what is served, how it stands, and what there is to look at.

use std::sync::Arc;

use maud::{Markup, html};

use super::{Screen, View, drawn, form, quoted};
use crate::report::visible;
use crate::serve::api::models::{Entry, SiteEntry, facts, sites};
use crate::serve::app::App;
use crate::serve::failure::Reply;
use crate::serve::route::{Names, Nothing};
use crate::serve::{api, job};

pub async fn page(app: App, _: Names, _: Nothing) -> Reply<View> {
    let reports = api::reports::reports(&app)?;
    let body = html! {
        section aria-labelledby="models" {
            h2 id="models" { "Models" }
            @if app.models.is_empty() { p { "None. Name some: " code { "optrode serve MODEL" } } }
            ul class="cards" { @for model in &app.models { (card(&Entry::of(model), health(&app, &model.name))) } }
        }
        @if !app.networks.is_empty() {
            section aria-labelledby="networks" {
                h2 id="networks" { "Simulated networks" }
                ul class="cards" {
                    @for network in &app.networks {
                        li {
                            h3 { a href=(format!("/n/{}", network.name)) { (network.name) } }
                            p { (network.meaning) }
                            p class="quiet" {
                                (network.steps) " steps"
                                @if let Some(paper) = network.paper { ", paper " (format!("{paper:02}")) }
                            }
                        }
                    }
                }
            }
        }
        section aria-labelledby="recent" {
            h2 id="recent" { "Reports and jobs" }
            @if reports.is_empty() {
                p { "No report yet. " a href="/reports" { "Run an audit" } "." }
            }
            ul class="plain" {
                @for report in reports.iter().take(8) {
                    li { a href=(format!("/reports/{}", report.name)) { (visible(&report.name)) } " "
                         span class="quiet" { (visible(&report.title)) ", " (report.held.0) " of " (report.held.1) " expectations held" } }
                }
            }
            (jobs(&app))
        }
    };
    Ok(View::new(Screen::Overview, "Overview", body).api("/api/v1/models"))
}

fn jobs(app: &App) -> Markup {
    let recent: Vec<job::Snapshot> = app.jobs.all().iter().take(6).map(|j| j.snapshot()).collect();
    html! {
        ul class="plain" {
            @for job in recent {
                li { a href=(format!("/jobs/{}", job.id)) { (visible(&job.title)) } " " span class="quiet" { (super::jobs::word(job.status)) } }
            }
        }
    }
}

/// What the doctor last said of a model: invariants that failed, of how many.
fn health(app: &App, model: &str) -> Option<(usize, usize)> {
    let of_model = |j: &Arc<job::Job>| {
        let snapshot = j.snapshot();
        snapshot.kind == "doctor" && snapshot.subject.as_deref() == Some(model)
    };
    let answer = app.jobs.all().into_iter().filter(of_model).find_map(|j| j.answer())?;
    let findings = answer.result.get("findings")?.as_array()?;
    let failed = findings.iter().filter(|f| f.get("verdict").is_some_and(|v| v == "failed")).count();
    Some((failed, findings.len()))
}

fn card(model: &Entry, health: Option<(usize, usize)>) -> Markup {
    let address = |part: &str| format!("/m/{}/{part}", model.name);
    html! {
        li {
            h3 { a href=(format!("/m/{}", model.name)) { (visible(&model.name)) } }
            @match model.state.as_str() {
                "ready" => {
                    p {
                        (model.family.as_deref().unwrap_or_default()) ": "
                        (model.layers.unwrap_or(0)) " blocks, " (model.heads.unwrap_or(0)) " heads, "
                        (model.neurons.unwrap_or(0)) " neurons a block, d_model " (model.d_model.unwrap_or(0)) ", "
                        (spoken(model.parameters.unwrap_or(0))) " parameters"
                    }
                }
                "loading" => { p class="quiet" data-poll="2000" { "is being read" } }
                _ => { p class="failure" { (visible(model.error.as_deref().unwrap_or_default())) } }
            }
            @match health {
                Some((0, all)) => { p { span class="badge passed" { "✓ all " (all) " invariants hold" } } }
                Some((failed, all)) => { p { span class="badge failed" { "✗ " (failed) " of " (all) " invariants fail" } } }
                None => {}
            }
            p class="links" {
                a href=(address("lab")) { "Prompt lab" } " " a href=(address("atlas")) { "Atlas" } " "
                a href=(address("edits")) { "Edits" } " " a href=(address("sweeps")) { "Sweeps" }
            }
        }
    }
}

/// `2.6 million`.
fn spoken(n: u64) -> String {
    match n {
        0..1_000_000 => n.to_string(),
        1_000_000..1_000_000_000 => format!("{:.1} million", n as f64 / 1e6),
        _ => format!("{:.1} billion", n as f64 / 1e9),
    }
}

/// One model: facts, the doctor, sites.
pub async fn model(app: App, names: Names, _: Nothing) -> Reply<View> {
    let name = names.get("model")?;
    let served = app.model(name)?;
    let (facts, sites) = (facts(&app, name).await?, sites(&app, name).await?);
    let body = html! {
        section aria-labelledby="health" {
            h2 id="health" { "Health" }
            p { "The doctor proves on this machine that the checkpoint is computed as it should be." }
            (form::job(&format!("/api/v1/models/{name}/doctor"), "Run the doctor", &html! {}))
        }
        section aria-labelledby="facts" { h2 id="facts" { "Facts" } (drawn(&facts.blocks, "Facts")?) }
        section aria-labelledby="sites" {
            h2 id="sites" { (sites.len()) " sites" }
            (tree(&sites))
        }
    };
    let command = format!("optrode sites {}", quoted(&served.reference));
    Ok(View::new(Screen::Overview, name, body).of(name).command(command).api(format!("/api/v1/models/{name}/facts")))
}

/// Sites, block by block.
pub fn tree(sites: &[SiteEntry]) -> Markup {
    let mut layers: Vec<Option<usize>> = sites.iter().map(|s| s.layer).collect();
    layers.dedup();
    let groups = layers.into_iter().map(|layer| {
        let of: Vec<&SiteEntry> = sites.iter().filter(|s| s.layer == layer).collect();
        (layer, of)
    });
    let mut seen = Vec::new();
    html! {
        @for (layer, of) in groups {
            @if !seen.contains(&layer) {
                @let () = seen.push(layer);
                details open[layer.is_none_or(|l| l == 0)] {
                    summary { @match layer { Some(l) => { "Block " (l) } None => { "Outside blocks" } } " · " (of.len()) }
                    div class="scroll" tabindex="0" role="region" aria-label="Sites" {
                        table {
                            thead { tr { th scope="col" { "site" } th scope="col" { "axes" } th scope="col" { "meaning" } } }
                            tbody {
                                @for site in of {
                                    tr { th scope="row" { code { (site.name) } } td { (axes(site)) } td { (site.meaning) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn axes(site: &SiteEntry) -> String {
    let axis = |(name, size): (&String, &Option<usize>)| match size {
        Some(size) => format!("{name} {size}"),
        None => name.clone(),
    };
    let each: Vec<String> = site.axes.iter().zip(&site.sizes).map(axis).collect();
    let step = if site.timed { " every step" } else { "" };
    format!("[{}]{step}", each.join(", "))
}
