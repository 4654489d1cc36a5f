//! Edits: composed, tried on a prompt, measured on texts, saved, exported.

use maud::{Markup, html};
use serde::Deserialize;

use super::{Screen, View, escaped, form, quoted};
use crate::report::visible;
use crate::serve::api::edits::{Operation, Saved, operations, saved};
use crate::serve::api::lab::given;
use crate::serve::api::models::sites;
use crate::serve::app::App;
use crate::serve::failure::Reply;
use crate::serve::route::Names;
use crate::store::Bundle;

/// The edits of the page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    edits: Option<String>,
    saved: Option<String>,
}

pub async fn page(app: App, names: Names, asked: Asked) -> Reply<View> {
    let name = names.get("model")?;
    let served = app.model(name)?;
    let bundle = app.edits(given(&asked.edits), given(&asked.saved))?;
    let sites: Vec<String> = sites(&app, name).await?.into_iter().map(|s| s.name).collect();
    let own = given(&asked.edits).unwrap_or("[]").to_string();
    let saved_name = given(&asked.saved).unwrap_or_default().to_string();
    let body = html! {
        div class="columns" {
            div {
                section aria-labelledby="list" { h2 id="list" { "Edits" } (list(&bundle, &own, &saved_name)) (composer(&sites, &operations())) }
                (keep(name, &own, &saved(&app)?, &saved_name))
            }
            div {
                (tried(name, &own, &saved_name))
                (measured(name, &own, &saved_name))
            }
        }
        (meanings(&operations()))
    };
    let query = format!("edits={}&saved={}", escaped(&own), escaped(&saved_name));
    let file = match saved_name.is_empty() {
        true => "EDITS.json".to_string(),
        false => quoted(&app.place("edits", &saved_name)?.display().to_string()),
    };
    let prompt = quoted(super::lab::PROMPT);
    let command = format!("optrode edit apply {} --edit {file} --prompt {prompt}", quoted(&served.reference));
    let view = View::new(Screen::Edits, "Edits", body).of(name).command(command);
    Ok(if bundle.file.edits.is_empty() {
        view.api("/api/v1/edits")
    } else {
        view.api(format!("/api/v1/models/{name}/inspect?text={}&{query}", escaped(super::lab::PROMPT)))
    })
}

fn list(bundle: &Bundle, own: &str, saved: &str) -> Markup {
    let text = |edit: &crate::hook::Edit| serde_json::to_string(&edit.params).unwrap_or_default();
    let of_saved = bundle.file.edits.len() - serde_json::from_str::<Vec<serde_json::Value>>(own).map_or(0, |l| l.len());
    html! {
        @if bundle.file.edits.is_empty() { p class="quiet" { "None yet. Choose a site and an operation below, or a saved edit." } }
        @else {
            ol class="edits" data-edits=(own) data-saved=(saved) {
                @for (i, edit) in bundle.file.edits.iter().enumerate() {
                    li {
                        code { (edit.site.to_string()) } " " b { (visible(&edit.op)) }
                        @if !edit.params.is_empty() { " " code { (visible(&text(edit)).chars().take(120).collect::<String>()) } }
                        @if i >= of_saved { " " button type="button" data-remove=(i - of_saved) aria-label=(format!("Remove the edit at {}", edit.site)) { "×" } }
                        @else { " " span class="tag" { (visible(saved)) } }
                    }
                }
            }
        }
    }
}

fn composer(sites: &[String], operations: &[Operation]) -> Markup {
    let options: Vec<(String, String)> = operations.iter().map(|o| (o.op.clone(), o.op.clone())).collect();
    html! {
        form class="compose" data-compose="true" {
            div class="fields" {
                label class="wide" {
                    span { "Where" }
                    input type="text" name="site" list="sites" required placeholder="blocks.3.mlp.hook_post[neuron=12,40]@last" autocomplete="off" spellcheck="false";
                }
                (form::choice("op", "Operation", &options, "zero"))
                (form::line("params", "Parameters", "", r#"{"value": 2.5}"#))
            }
            datalist id="sites" { @for site in sites { option value=(site) {} } }
            button type="submit" class="go" { "Add" }
            p class="failure" role="alert" hidden {}
        }
    }
}

fn keep(model: &str, own: &str, all: &[Saved], chosen: &str) -> Markup {
    html! {
        section aria-labelledby="saved" {
            h2 id="saved" { "Saved" }
            @if all.is_empty() { p class="quiet" { "Nothing is saved in the server's folder." } }
            ul class="plain" {
                @for edit in all {
                    li {
                        a href=(format!("?saved={}", escaped(&edit.name))) aria-current=[(edit.name == chosen).then_some("true")] { (visible(&edit.name)) } " "
                        span class="quiet" { (edit.edits) " edits: " (edit.operations.join(", ")) @if let Some(note) = &edit.note { ". " (visible(note)) } }
                    }
                }
            }
            @if own != "[]" {
                form data-put="/api/v1/edits/" {
                    (hidden(own, chosen))
                    div class="fields" { (form::line("name", "Name", "", "no-german")) (form::line("note", "Note", "", "what it is for")) }
                    button type="submit" class="go" { "Save" }
                    p class="failure" role="alert" hidden {}
                }
            }
            @if !chosen.is_empty() {
                h3 { "Export " (visible(chosen)) " into weights" }
                (form::job(&format!("/api/v1/models/{model}/export"), "Export", &html! {
                    input type="hidden" name="saved" value=(chosen);
                    (form::line("name", "Folder", &format!("{model}-{chosen}"), ""))
                }))
            }
        }
    }
}

fn hidden(own: &str, saved: &str) -> Markup {
    html! {
        input type="hidden" name="edits" value=(own) data-type="json";
        input type="hidden" name="saved" value=(saved);
    }
}

fn tried(model: &str, own: &str, saved: &str) -> Markup {
    let query = format!("text={}&edits={}&saved={}", escaped(super::lab::PROMPT), escaped(own), escaped(saved));
    html! {
        section aria-labelledby="try" {
            h2 id="try" { "Without and with them" }
            form class="job" data-post=(format!("/api/v1/models/{model}/generate")) data-streams="true" {
                (hidden(own, saved))
                div class="fields" { (form::area("text", "Prompt", super::lab::PROMPT, 2)) (form::number("tokens", "Tokens", 40, (1, 512))) }
                button type="submit" class="go" { "Continue" }
            }
            div class="outcome" aria-live="polite" {}
            p { a href=(format!("/m/{model}/lab?{query}")) { "Compare both sides in the prompt lab" } }
        }
    }
}

fn measured(model: &str, own: &str, saved: &str) -> Markup {
    html! {
        section aria-labelledby="effect" {
            h2 id="effect" { "What they cost" }
            p { "Loss, KL divergence and agreement on texts, beside the same operations on random units. Without texts, paragraphs in six languages." }
            form class="job" data-post=(format!("/api/v1/models/{model}/effect")) {
                (hidden(own, saved))
                div class="fields" {
                    label class="wide" { span { "Forget, one text a line" } textarea name="forget" rows="2" data-type="lines" spellcheck="false" {} }
                    label class="wide" { span { "Retain, one text a line" } textarea name="retain" rows="2" data-type="lines" spellcheck="false" {} }
                }
                button type="submit" class="go" { "Measure" }
            }
            div class="outcome" aria-live="polite" {}
        }
    }
}

fn meanings(operations: &[Operation]) -> Markup {
    html! {
        details {
            summary { "What the operations do" }
            dl class="meanings" { @for o in operations { dt { code { (o.op) } } dd { (o.meaning) } } }
        }
    }
}
