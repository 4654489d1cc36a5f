//! Reports: scripts to run, what came out, two of them compared.

use maud::{Markup, html};
use serde::Deserialize;

use super::{Screen, View, drawn, form, quoted};
use crate::probe::Outcome;
use crate::report::visible;
use crate::serve::api::reports::{Entry, ScriptEntry, Two, compare, open, reports, scripts};
use crate::serve::app::App;
use crate::serve::failure::Reply;
use crate::serve::route::{Names, Nothing};

/// Two reports to compare.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    a: Option<String>,
    b: Option<String>,
}

pub async fn page(app: App, _: Names, asked: Asked) -> Reply<View> {
    let all = reports(&app)?;
    let compared = match (&asked.a, &asked.b) {
        (Some(a), Some(b)) => Some(compare(&app, &Two { a: a.clone(), b: b.clone() })?),
        _ => None,
    };
    let body = html! {
        section aria-labelledby="all" { h2 id="all" { "Reports" } (list(&all)) (comparing(&all, &asked)) }
        @if let Some(answer) = compared {
            section aria-labelledby="compared" { h2 id="compared" { "Compared" } (drawn(&answer.blocks, "Comparison")?) }
        }
        section aria-labelledby="scripts" {
            h2 id="scripts" { "Run a script" }
            @for model in &app.models {
                h3 { (visible(&model.name)) }
                (starting(&model.name, &scripts()?))
            }
        }
    };
    Ok(View::new(Screen::Reports, "Reports", body).command("optrode audit").api("/api/v1/reports"))
}

fn word(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Passed => ("passed", "✓ passed"),
        Outcome::Failed => ("failed", "✗ failed"),
        Outcome::Error => ("skipped", "– not complete"),
    }
}

fn list(all: &[Entry]) -> Markup {
    html! {
        @if all.is_empty() { p class="quiet" { "None yet in the server's folder." } }
        @else {
            div class="scroll" tabindex="0" role="region" aria-label="Reports" {
                table {
                    thead { tr { th scope="col" { "report" } th scope="col" { "script" } th scope="col" { "model" } th scope="col" { "outcome" } th scope="col" class="number" { "held" } } }
                    tbody {
                        @for report in all {
                            @let (class, words) = word(report.outcome);
                            tr {
                                th scope="row" { a href=(format!("/reports/{}", report.name)) { (visible(&report.name)) } }
                                td { (visible(&report.title)) } td { (visible(&report.model)) }
                                td { span class=(format!("badge {class}")) { (words) } }
                                td class="number" { (report.held.0) " of " (report.held.1) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn comparing(all: &[Entry], asked: &Asked) -> Markup {
    let options: Vec<(String, String)> = all.iter().map(|r| (r.name.clone(), r.name.clone())).collect();
    let second = all.get(1).map(|r| r.name.clone()).unwrap_or_default();
    html! {
        @if all.len() > 1 {
            form method="get" class="ask" {
                div class="fields" {
                    (form::choice("a", "Compare", &options, asked.a.as_deref().unwrap_or_default()))
                    (form::choice("b", "with", &options, asked.b.as_deref().unwrap_or(&second)))
                }
                button type="submit" class="go" { "Compare" }
            }
        }
    }
}

fn starting(model: &str, scripts: &[ScriptEntry]) -> Markup {
    let words = |s: &ScriptEntry| (s.name.clone(), format!("{}: {}", s.title, s.steps.join(", ")));
    let options: Vec<(String, String)> = scripts.iter().map(words).collect();
    form::job(
        &format!("/api/v1/models/{model}/reports"),
        "Run",
        &html! { (form::choice("script", "Script", &options, "audit")) (form::line("name", "Name", "", &format!("audit-{model}"))) },
    )
}

pub async fn one(app: App, names: Names, _: Nothing) -> Reply<View> {
    let name = names.get("name")?;
    let report = open(&app, name)?;
    let (class, words) = word(report.outcome);
    let parts = report.sections();
    let body = html! {
        p class="lead" {
            span class=(format!("badge {class}")) { (words) } " " (visible(&report.model.name)) " "
            span class="quiet" { "sha256 " (report.model.sha256.chars().take(12).collect::<String>()) ", seed " (report.seed) ", optrode " (visible(&report.optrode)) }
        }
        @for (title, blocks) in &parts { section { h2 { (visible(title)) } (drawn(blocks, title)?) } }
    };
    let manifest = app.place("reports", name)?.join("manifest.json");
    Ok(View::new(Screen::Reports, name, body)
        .command(format!("optrode replay {}", quoted(&manifest.display().to_string())))
        .api(format!("/api/v1/reports/{name}")))
}
