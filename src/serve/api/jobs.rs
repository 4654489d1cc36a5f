//! Jobs: how they stand, what they say, what came out, and an end to them.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{RawPathParams, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use tokio::sync::watch;

use crate::serve::app::App;
use crate::serve::failure::Failure;
use crate::serve::job::{Job, Snapshot};
use crate::serve::route::{Api, Names, Nothing};

/// Pieces of text of one event.
const PIECES: usize = 256;

/// What has been sent.
struct Sent {
    job: Arc<Job>,
    changes: watch::Receiver<()>,
    said: usize,
    last: Option<Snapshot>,
    over: bool,
}

/// The events of a job: `said` for pieces of text, `progress` whenever it has come on, `end` at last.
async fn events(State(app): State<App>, params: RawPathParams) -> Response {
    let job = match Names::of(&params).number("id").and_then(|id| app.jobs.get(id)) {
        Ok(job) => job,
        Err(failure) => return failure.into_response(),
    };
    let changes = job.changes();
    let sent = Sent { job, changes, said: 0, last: None, over: false };
    Sse::new(stream::unfold(sent, next)).keep_alive(KeepAlive::default()).into_response()
}

async fn next(mut sent: Sent) -> Option<(Result<Event, Infallible>, Sent)> {
    loop {
        if sent.over {
            return None;
        }
        sent.changes.borrow_and_update();
        let snapshot = sent.job.snapshot();
        let said = sent.job.said(sent.said);
        let event = if !said.is_empty() {
            let now = &said[..said.len().min(PIECES)];
            sent.said += now.len();
            Some(Event::default().event("said").json_data(now))
        } else if snapshot.status.ended() {
            sent.over = true;
            Some(Event::default().event("end").json_data(&snapshot))
        } else if sent.last.as_ref().is_none_or(|last| {
            (last.status, &last.task, last.done, last.of)
                != (snapshot.status, &snapshot.task, snapshot.done, snapshot.of)
        }) {
            let event = Event::default().event("progress").json_data(&snapshot);
            sent.last = Some(snapshot);
            // A job may come on a thousand times a second; nobody sees more than some of it.
            tokio::time::sleep(std::time::Duration::from_millis(40)).await;
            Some(event)
        } else {
            None
        };
        match event {
            Some(Ok(event)) => return Some((Ok(event), sent)),
            // What cannot be written as JSON is left out.
            Some(Err(_)) => {}
            None => {
                if sent.changes.changed().await.is_err() {
                    return None;
                }
            }
        }
    }
}

pub(super) fn routes(api: &mut Api) {
    api.get("/jobs", "Jobs, the newest first.", async |app: App, _: Names, _: Nothing| {
        Ok(app.jobs.all().iter().map(|j| j.snapshot()).collect::<Vec<_>>())
    });
    api.get("/jobs/{id}", "How a job stands.", async |app: App, names: Names, _: Nothing| {
        Ok(app.jobs.get(names.number("id")?)?.snapshot())
    });
    api.delete("/jobs/{id}", "Stops a job.", async |app: App, names: Names| {
        let job = app.jobs.get(names.number("id")?)?;
        job.stop();
        Ok(job.snapshot())
    });
    api.get("/jobs/{id}/answer", "What came out of a job.", async |app: App, names: Names, _: Nothing| {
        let job = app.jobs.get(names.number("id")?)?;
        let answer = job.answer().ok_or_else(|| {
            let snapshot = job.snapshot();
            let why = snapshot.error.unwrap_or_else(|| "it has not come to its end".to_string());
            Failure::new(axum::http::StatusCode::CONFLICT, format!("the job {} has no answer: {why}", snapshot.id))
        })?;
        Ok((*answer).clone())
    });
    api.events("/jobs/{id}/events", "The events of a job: `said`, `progress` and `end`.", get(events));
}
