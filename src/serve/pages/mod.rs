//! Pages: each is a call of the API and a view of its answer, with all of its state in the address.

mod atlas;
mod bio;
mod bio_unit;
mod edits;
mod form;
mod jobs;
mod lab;
mod overview;
mod reports;
mod sweeps;
mod unit;

use std::future::Future;

use axum::Router;
use axum::extract::{RawPathParams, State};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::de::DeserializeOwned;

use super::app::App;
use super::assets;
use super::failure::{Failure, Reply};
use super::route::{Names, query};
use crate::report::{Block, Chart, html, visible};

/// A screen of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Screen {
    Overview,
    Lab,
    Unit,
    Atlas,
    Edits,
    Sweeps,
    Bio,
    Reports,
    Jobs,
}

/// A page before it is laid out.
struct View {
    screen: Screen,
    title: String,
    /// The model or network that it is of.
    subject: Option<String>,
    body: Markup,
    /// What does the same on the command line.
    command: Option<String>,
    /// What gives the same as JSON.
    api: Option<String>,
}

impl View {
    fn new(screen: Screen, title: impl Into<String>, body: Markup) -> Self {
        Self { screen, title: title.into(), subject: None, body, command: None, api: None }
    }

    fn of(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_string());
        self
    }

    fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    fn api(mut self, address: impl Into<String>) -> Self {
        self.api = Some(address.into());
        self
    }
}

/// All pages.
pub fn routes() -> Router<App> {
    let router = Router::new().route("/assets/{file}", get(assets::file)).route("/jobs/{id}/view", get(jobs::fragment));
    let router = page(router, "/", overview::page);
    let router = page(router, "/m/{model}", overview::model);
    let router = page(router, "/m/{model}/lab", lab::page);
    let router = page(router, "/m/{model}/u/{site}/{number}", unit::page);
    let router = page(router, "/m/{model}/atlas", atlas::page);
    let router = page(router, "/m/{model}/edits", edits::page);
    let router = page(router, "/m/{model}/sweeps", sweeps::page);
    let router = page(router, "/n/{network}", bio::page);
    let router = page(router, "/n/{network}/u/{site}/{number}", bio_unit::page);
    let router = page(router, "/reports", reports::page);
    let router = page(router, "/reports/{name}", reports::one);
    let router = page(router, "/jobs", jobs::page);
    page(router, "/jobs/{id}", jobs::one)
}

/// Adds a page whose parameters are of the type `Q`.
fn page<Q, F, Fut>(router: Router<App>, path: &'static str, handler: F) -> Router<App>
where
    Q: DeserializeOwned + Send + 'static,
    F: Fn(App, Names, Q) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Reply<View>> + Send,
{
    router.route(
        path,
        get(move |State(app): State<App>, params: RawPathParams, uri: Uri| async move {
            let view = async { handler(app.clone(), Names::of(&params), query(&uri)?).await };
            match view.await {
                Ok(view) => Html(laid_out(&app, &view).0).into_response(),
                Err(failure) => failure_of(&app, &failure),
            }
        }),
    )
}

/// No page has this address.
pub async fn nothing(State(app): State<App>, uri: Uri) -> Response {
    let failure = Failure::missing(format!("there is nothing at {}", super::app::short(uri.path())));
    if uri.path().starts_with("/api/") { failure.into_response() } else { failure_of(&app, &failure) }
}

/// The page of a failure; it shows nothing of what is served, for whoever asked may not be let in.
pub fn failure(_: &App, failure: &Failure) -> Response {
    let body = html! {
        main class="alone" {
            h1 { (failure.status.canonical_reason().unwrap_or("Error")) }
            p { (visible(&failure.message)) }
        }
    };
    (failure.status, Html(document("optrode", &body).0)).into_response()
}

/// The page of a failure for who is let in.
fn failure_of(app: &App, failure: &Failure) -> Response {
    let heading = match failure.status {
        StatusCode::NOT_FOUND => "Not found",
        status if status.is_server_error() => "This went wrong",
        _ => "This cannot be done",
    };
    let body = html! { p class="failure" role="alert" { (visible(&failure.message)) } p { a href="/" { "Overview" } } };
    let view = View::new(Screen::Overview, heading, body);
    (failure.status, Html(laid_out(app, &view).0)).into_response()
}

fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (visible(title)) " · optrode" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/assets/style.css";
                script type="module" src="/assets/app.js" {}
            }
            body class="dashboard" { (body) }
        }
    }
}

fn laid_out(app: &App, view: &View) -> Markup {
    let body = html! {
        a class="skip" href="#content" { "Skip to the content" }
        (navigation(app, view))
        main id="content" {
            header class="head" {
                h1 { (visible(&view.title)) }
                div class="tools" {
                    @if let Some(command) = &view.command {
                        button type="button" data-copy=(command) title=(visible(command)) { "Copy as CLI" }
                    }
                    @if let Some(api) = &view.api { a class="button" href=(api) download="optrode.json" { "JSON" } }
                }
            }
            (view.body)
        }
    };
    document(&view.title, &body)
}

fn navigation(app: &App, view: &View) -> Markup {
    let current = |here: bool| here.then_some("page");
    let model = view.subject.as_deref().filter(|s| app.models.iter().any(|m| m.name == *s));
    let model = model.or_else(|| app.models.first().map(|m| m.name.as_str()));
    let screens = [
        (Screen::Lab, "lab", "Prompt lab"),
        (Screen::Atlas, "atlas", "Atlas"),
        (Screen::Edits, "edits", "Edits"),
        (Screen::Sweeps, "sweeps", "Heads and sweeps"),
    ];
    html! {
        nav class="side" aria-label="Screens" {
            a class="brand" href="/" { "optrode" }
            a href="/" aria-current=[current(view.screen == Screen::Overview)] { "Overview" }
            @for served in &app.models {
                @let open = Some(served.name.as_str()) == model;
                a class="model" href=(format!("/m/{}/lab", served.name)) aria-current=[(open && view.subject.is_some()).then_some("true")] {
                    (visible(&served.name))
                }
                @if open {
                    ul {
                        @for (screen, part, name) in screens {
                            @let here = view.screen == screen || (view.screen == Screen::Unit && screen == Screen::Atlas);
                            li { a href=(format!("/m/{}/{part}", served.name)) aria-current=[current(here)] { (name) } }
                        }
                    }
                }
            }
            @if !app.networks.is_empty() { span class="label" { "Simulated" } }
            @for network in &app.networks {
                @let here = view.screen == Screen::Bio && view.subject.as_deref() == Some(network.name);
                a href=(format!("/n/{}", network.name)) aria-current=[current(here)] { (network.name) }
            }
            span class="label" { "Results" }
            a href="/reports" aria-current=[current(view.screen == Screen::Reports)] { "Reports" }
            a href="/jobs" aria-current=[current(view.screen == Screen::Jobs)] { "Jobs" }
        }
    }
}

/// Blocks as markup.
fn drawn(blocks: &[Block], subject: &str) -> Reply<Markup> {
    Ok(PreEscaped(html::fragment(blocks, subject)?))
}

/// A chart as markup.
fn figure(chart: &Chart) -> Reply<Markup> {
    Ok(PreEscaped(html::figure(chart)?))
}

/// A part of a query, escaped.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A word of a shell's command line.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '=' | '@');
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_string(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
