//! The page of a unit of a simulated network: its own course, what else is known of it, and a clamp.

use axum::http::StatusCode;
use maud::html;

use super::{Screen, View, form};
use crate::serve::api::bio::{STEPS, sites};
use crate::serve::api::models::SiteEntry;
use crate::serve::app::App;
use crate::serve::failure::{Failure, Reply};
use crate::serve::route::{Names, Nothing};

/// Other sites of the same unit that are recorded with it.
const BESIDE: usize = 3;

/// The axis that counts a site's units and how many there are: the one after the batch, where no other follows.
pub fn units(site: &SiteEntry) -> Option<(&str, usize)> {
    match (site.axes.as_slice(), site.sizes.as_slice()) {
        ([batch, axis], [_, Some(size)]) if batch == "batch" && site.timed => Some((axis, *size)),
        _ => None,
    }
}

pub async fn page(app: App, names: Names, _: Nothing) -> Reply<View> {
    let (name, wanted, number) = (names.get("network")?, names.get("site")?, names.number::<usize>("number")?);
    let named = app.network(name)?;
    let all = sites(&app, name).await?;
    let site = all
        .iter()
        .find(|s| s.name == wanted)
        .ok_or_else(|| Failure::missing(format!("{name} has no site `{}`", crate::serve::app::short(wanted))))?;
    let (axis, size) = units(site)
        .filter(|(_, size)| number < *size)
        .ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, format!("{wanted} has no unit {number} with a page")))?;
    let population = wanted.rsplit_once('.').map_or("", |(population, _)| population);
    let same = |s: &&SiteEntry| {
        s.name != wanted
            && units(s) == Some((axis, size))
            && s.name.rsplit_once('.').is_some_and(|(p, _)| p == population)
    };
    let of = |site: &str| format!("{site}[{axis}={number}]");
    let mut records = vec![of(wanted)];
    records.extend(all.iter().filter(same).take(BESIDE).map(|s| of(&s.name)));
    let steps = named.steps.min(500);
    let edits = format!(r#"[{{"site": "{}@t={}..", "op": "set", "value": VALUE}}]"#, of(wanted), steps / 2);
    let reach = 100.0;
    let body = html! {
        p class="lead" {
            (site.meaning) ". "
            span class="links" {
                @if number > 0 { a rel="prev" data-key="ArrowLeft" href=(format!("../{wanted}/{}", number - 1)) { "← " (number - 1) } " " }
                @if number + 1 < size { a rel="next" data-key="ArrowRight" href=(format!("../{wanted}/{}", number + 1)) { (number + 1) " →" } }
            }
        }
        section aria-labelledby="course" {
            h2 id="course" { "Its course" }
            form class="job" data-post=(format!("/api/v1/networks/{name}/run")) {
                div class="fields" {
                    (form::number("steps", "Steps", steps as i64, (1, STEPS as i64)))
                    (form::number("seed", "Seed", 0, (0, i64::from(u32::MAX))))
                    label class="wide" { span { "Record" } textarea name="record" rows="3" data-type="lines" spellcheck="false" { (records.join("\n")) } }
                }
                button type="submit" class="go" { "Run" }
            }
            div class="outcome" aria-live="polite" {}
        }
        section aria-labelledby="clamp" {
            h2 id="clamp" { "Held at a value from half time on" }
            form class="job" data-post=(format!("/api/v1/networks/{name}/run")) data-live="true" {
                input type="hidden" name="edits" value=(edits) data-type="json" data-template=(edits);
                input type="hidden" name="steps" value=(steps) data-type="number";
                input type="hidden" name="record" value=(records.join("\n")) data-type="lines";
                div class="fields" {
                    label class="wide" {
                        span { "Value " output { "0" } }
                        input type="range" aria-label="Value" data-value="true" min=(-reach) max=(reach) step="1" value="0";
                    }
                }
                button type="submit" class="go" { "Run with and without" }
            }
            div class="outcome" aria-live="polite" {}
        }
    };
    let command = format!("optrode bio run {name} --steps {steps} --record '{}'", records.join("' '"));
    Ok(View::new(Screen::Bio, of(wanted), body).of(name).command(command).api(format!("/api/v1/networks/{name}/sites")))
}
