//! Simulated networks: run, recorded and clamped with the same selectors and edits as language models.

use maud::html;
use serde::Deserialize;

use super::{Screen, View, bio_unit, form, overview, quoted};
use crate::serve::api::bio::{STEPS, sites};
use crate::serve::api::edits::operations;
use crate::serve::api::lab::given;
use crate::serve::app::App;
use crate::serve::failure::Reply;
use crate::serve::route::Names;

/// A run in an address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    steps: Option<usize>,
    seed: Option<u64>,
    record: Option<String>,
    edits: Option<String>,
}

pub async fn page(app: App, names: Names, asked: Asked) -> Reply<View> {
    let name = names.get("network")?;
    let named = app.network(name)?;
    let all = sites(&app, name).await?;
    let steps = asked.steps.unwrap_or(named.steps.min(1000)).clamp(1, STEPS);
    let emits = |name: &str| name.ends_with("hook_spikes") || name.ends_with("hook_state");
    let first = all.iter().find(|s| !s.name.starts_with("syn.") && emits(&s.name)).or(all.first());
    let example =
        first.map_or_else(String::new, |s| format!(r#"[{{"site": "{}@t={}..", "op": "zero"}}]"#, s.name, steps / 2));
    let options: Vec<(String, String)> = operations().into_iter().map(|o| (o.op.clone(), o.op)).collect();
    let edits = given(&asked.edits).unwrap_or("[]");
    let body = html! {
        p class="lead" { (named.meaning) }
        section aria-labelledby="run" {
            h2 id="run" { "Run" }
            form class="job" data-post=(format!("/api/v1/networks/{name}/run")) data-address="true" {
                div class="fields" {
                    (form::number("steps", "Steps", steps as i64, (1, STEPS as i64)))
                    (form::number("seed", "Seed", asked.seed.unwrap_or(0) as i64, (0, i64::from(u32::MAX))))
                    label class="wide" {
                        span { "Record, one selector a line; spikes or rates if empty" }
                        textarea name="record" rows="2" data-type="lines" spellcheck="false" placeholder=(first.map(|s| s.name.as_str()).unwrap_or_default()) { (asked.record.as_deref().unwrap_or_default()) }
                    }
                    label class="wide" {
                        span { "Edits; the run without them is the control" }
                        textarea name="edits" rows="3" data-type="json" spellcheck="false" placeholder=(example) { @if edits != "[]" { (edits) } }
                    }
                }
                button type="submit" class="go" { "Run" }
            }
            div class="outcome" aria-live="polite" {}
        }
        section aria-labelledby="clamp" {
            h2 id="clamp" { "Clamp" }
            p { "Adds an edit to the run above." }
            form class="compose" data-compose="into-run" {
                div class="fields" {
                    label class="wide" {
                        span { "Where and when" }
                        input type="text" name="site" list="sites" required placeholder=(format!("{}@t={}..", first.map(|s| s.name.as_str()).unwrap_or_default(), steps / 2)) autocomplete="off" spellcheck="false";
                    }
                    (form::choice("op", "Operation", &options, "zero"))
                    (form::line("params", "Parameters", "", r#"{"value": 1.0}"#))
                }
                datalist id="sites" { @for site in &all { option value=(site.name) {} } }
                button type="submit" class="go" { "Add" }
                p class="failure" role="alert" hidden {}
            }
        }
        section aria-labelledby="units-of" {
            h2 id="units-of" { "Units" }
            p class="links" {
                @for site in all.iter().filter(|s| bio_unit::units(s).is_some() && !s.name.starts_with("syn.")) {
                    a href=(format!("/n/{name}/u/{}/0", site.name)) { (site.name) " 0" } " "
                }
            }
        }
        section aria-labelledby="sites-of" { h2 id="sites-of" { (all.len()) " sites" } (overview::tree(&all)) }
    };
    let mut command = format!("optrode bio run {name} --steps {steps} --seed {}", asked.seed.unwrap_or(0));
    let records = asked.record.as_deref().unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty());
    let records: Vec<String> = records.map(quoted).collect();
    if !records.is_empty() {
        command += &format!(" --record {}", records.join(" "));
    }
    if edits != "[]" {
        command += " --edit EDITS.json";
    }
    let mut view =
        View::new(Screen::Bio, name, body).of(name).command(command).api(format!("/api/v1/networks/{name}/sites"));
    if let Some(paper) = named.paper {
        view.body = html! { (view.body) p class="quiet" { "Its paper's claims: " code { "optrode reproduce " (format!("{paper:02}")) } } };
    }
    Ok(view)
}
