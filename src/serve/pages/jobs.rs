//! Jobs: a list, and one with its progress or its result.

use axum::extract::{RawPathParams, State};
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};

use super::{Screen, View, drawn};
use crate::report::visible;
use crate::serve::app::App;
use crate::serve::failure::Reply;
use crate::serve::job::{Job, Status};
use crate::serve::route::{Names, Nothing};

/// A status in a word.
pub fn word(status: Status) -> &'static str {
    match status {
        Status::Waiting => "waits",
        Status::Running => "runs",
        Status::Done => "done",
        Status::Failed => "failed",
        Status::Stopped => "stopped",
    }
}

pub async fn page(app: App, _: Names, _: Nothing) -> Reply<View> {
    let jobs = app.jobs.all();
    let body = html! {
        @if jobs.is_empty() { p { "None yet." } }
        @else {
            div class="scroll" tabindex="0" role="region" aria-label="Jobs" {
                table {
                    thead { tr { th scope="col" { "job" } th scope="col" { "what" } th scope="col" { "status" } th scope="col" class="number" { "seconds" } } }
                    tbody {
                        @for job in jobs {
                            @let s = job.snapshot();
                            tr {
                                td { (s.id) }
                                th scope="row" { a href=(format!("/jobs/{}", s.id)) { (visible(&s.title)) } }
                                td { (word(s.status)) }
                                td class="number" { (format!("{:.1}", s.seconds)) }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(View::new(Screen::Jobs, "Jobs", body).api("/api/v1/jobs"))
}

pub async fn one(app: App, names: Names, _: Nothing) -> Reply<View> {
    let job = app.jobs.get(names.number("id")?)?;
    let snapshot = job.snapshot();
    let body = match snapshot.status.ended() {
        true => outcome(&job)?,
        false => html! { div class="outcome" aria-live="polite" data-job=(snapshot.id) {} },
    };
    let mut view = View::new(Screen::Jobs, &snapshot.title, body).api(format!("/api/v1/jobs/{}/answer", snapshot.id));
    view.subject = snapshot.subject;
    Ok(view)
}

/// What came out of a job, for a page that followed it.
pub async fn fragment(State(app): State<App>, params: RawPathParams) -> Response {
    let found = Names::of(&params).number("id").and_then(|id| app.jobs.get(id));
    match found.and_then(|job| outcome(&job)) {
        Ok(markup) => Html(markup.0).into_response(),
        Err(failure) => failure.into_response(),
    }
}

fn outcome(job: &Job) -> Reply<Markup> {
    let snapshot = job.snapshot();
    let Some(answer) = job.answer() else {
        let why = snapshot.error.unwrap_or_default();
        return Ok(
            html! { p class="failure" role="alert" { (word(snapshot.status)) @if !why.is_empty() { ": " (visible(&why)) } } },
        );
    };
    Ok(html! {
        (drawn(&answer.blocks, &snapshot.title)?)
        p class="quiet" {
            (format!("{:.1} s. ", snapshot.seconds))
            a href=(format!("/jobs/{}", snapshot.id)) { "This result" } " · "
            a href=(format!("/api/v1/jobs/{}/answer", snapshot.id)) download="optrode.json" { "JSON" }
        }
    })
}
