//! Long work: what runs, how far it is, what it says meanwhile, what came out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::failure::{Failure, Reply};
use crate::report::{Block, Report, Watcher};
use crate::{Error, Result};

/// Ended jobs that are remembered.
const REMEMBERED: usize = 50;
/// Jobs that wait or run.
const UNDERWAY: usize = 16;
/// The longest a job may run.
const LIMIT: Duration = Duration::from_secs(3600);
/// Pieces of text that a job may say.
const PIECES: usize = 10_000;

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It stands in a queue.
    Waiting,
    /// It runs.
    Running,
    /// It came to its end.
    Done,
    /// It could not be carried out.
    Failed,
    /// Somebody stopped it.
    Stopped,
}

impl Status {
    /// Whether nothing more will come.
    pub fn ended(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// A result: for machines, and as blocks for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The result as the library has it.
    pub result: Value,
    /// What it looks like.
    pub blocks: Vec<Block>,
}

impl Answer {
    /// A result with its blocks.
    ///
    /// # Errors
    /// Values that JSON cannot hold.
    pub fn of(result: &(impl Report + Serialize)) -> Reply<Self> {
        let value = serde_json::to_value(result)
            .map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the result is no JSON: {e}")))?;
        Ok(Self { result: value, blocks: result.blocks() })
    }
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Its number.
    pub id: u64,
    /// What it does, in a word: `generate`, `scan`, `patch`.
    pub kind: String,
    /// What it does, for people.
    pub title: String,
    /// The model or network, if one.
    pub subject: Option<String>,
    /// How it stands.
    pub status: Status,
    /// What it is at.
    pub task: String,
    /// Parts done.
    pub done: u64,
    /// Of so many, where that is known.
    pub of: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
    /// How long it has run.
    pub seconds: f64,
}

/// A piece of text that a job says while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Said {
    /// Which of several texts it belongs to.
    pub side: String,
    /// The piece.
    pub text: String,
}

struct State {
    status: Status,
    task: String,
    done: u64,
    of: Option<u64>,
    error: Option<String>,
    answer: Option<Arc<Answer>>,
    said: Vec<Said>,
    /// When it began to run.
    began: Option<Instant>,
    seconds: Option<f64>,
}

impl State {
    /// How long it has run.
    fn run(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }
}

/// A piece of long work.
pub struct Job {
    /// Its number.
    pub id: u64,
    kind: &'static str,
    title: String,
    subject: Option<String>,
    stop: AtomicBool,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Job {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            id: self.id,
            kind: self.kind.to_string(),
            title: self.title.clone(),
            subject: self.subject.clone(),
            status: state.status,
            task: state.task.clone(),
            done: state.done,
            of: state.of,
            error: state.error.clone(),
            seconds: state.seconds.unwrap_or_else(|| state.run().as_secs_f64()),
        }
    }

    /// What came out, once it is done.
    pub fn answer(&self) -> Option<Arc<Answer>> {
        self.state().answer.clone()
    }

    /// What it has said from the `from`-th piece on.
    pub fn said(&self, from: usize) -> Vec<Said> {
        self.state().said.get(from..).unwrap_or_default().to_vec()
    }

    /// Wakes up whenever something changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Says a piece of text.
    pub fn say(&self, side: &str, text: String) {
        let mut state = self.state();
        if state.said.len() < PIECES {
            state.said.push(Said { side: side.to_string(), text });
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Asks it to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut state = self.state();
        if state.status == Status::Waiting {
            state.status = Status::Stopped;
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Goes on unless it was stopped or its time is over.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped("as it was asked"));
        }
        if self.state().run() > LIMIT {
            return Err(Error::Stopped(
                "it ran for an hour, the most a job of the dashboard may; use the command line",
            ));
        }
        Ok(())
    }

    /// Runs `work` and keeps what comes out; nothing if it was stopped before.
    pub fn carry_out(&self, work: impl FnOnce() -> Reply<Answer>) {
        {
            let mut state = self.state();
            if state.status.ended() {
                return;
            }
            (state.status, state.began) = (Status::Running, Some(Instant::now()));
        }
        self.changed.send_replace(());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let mut state = self.state();
        state.seconds = Some(state.run().as_secs_f64());
        match outcome {
            Ok(Ok(answer)) => (state.status, state.answer) = (Status::Done, Some(Arc::new(answer))),
            Ok(Err(failure)) => {
                let stopped = self.stop.load(Ordering::Relaxed);
                state.status = if stopped { Status::Stopped } else { Status::Failed };
                state.error = Some(failure.message);
            }
            Err(_) => {
                state.status = Status::Failed;
                state.error = Some("the work broke off: this is a defect of optrode, please report it".to_string());
            }
        }
        drop(state);
        self.changed.send_replace(());
    }
}

impl Watcher for Job {
    fn hear(&self, task: &str, done: u64, of: Option<u64>) {
        let mut state = self.state();
        if state.task != task {
            state.task = task.to_string();
        }
        (state.done, state.of) = (done, of);
        drop(state);
        self.changed.send_replace(());
    }

    fn stops(&self) -> bool {
        self.check().is_err()
    }
}

/// All jobs of a server.
#[derive(Default)]
pub struct Jobs(Mutex<(u64, BTreeMap<u64, Arc<Job>>)>);

impl Jobs {
    /// A new job that waits.
    ///
    /// # Errors
    /// Too many that have not ended.
    pub fn begin(&self, kind: &'static str, title: impl Into<String>, subject: Option<String>) -> Reply<Arc<Job>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended: Vec<u64> = all.1.iter().filter(|(_, j)| j.snapshot().status.ended()).map(|(id, _)| *id).collect();
        if all.1.len() - ended.len() >= UNDERWAY {
            let message = format!("{UNDERWAY} jobs wait or run already; stop one, or wait");
            return Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, message));
        }
        for id in ended.iter().take(ended.len().saturating_sub(REMEMBERED)) {
            all.1.remove(id);
        }
        all.0 += 1;
        let state = State {
            status: Status::Waiting,
            task: String::new(),
            done: 0,
            of: None,
            error: None,
            answer: None,
            said: Vec::new(),
            began: None,
            seconds: None,
        };
        let job = Arc::new(Job {
            id: all.0,
            kind,
            title: title.into(),
            subject,
            stop: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: watch::channel(()).0,
        });
        all.1.insert(job.id, Arc::clone(&job));
        Ok(job)
    }

    /// The job of this number.
    ///
    /// # Errors
    /// No such job.
    pub fn get(&self, id: u64) -> Reply<Arc<Job>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.1.get(&id).cloned().ok_or_else(|| {
            Failure::missing(format!("there is no job {id}; the last {REMEMBERED} that ended are remembered"))
        })
    }

    /// All of them, the newest first.
    pub fn all(&self) -> Vec<Arc<Job>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.1.values().rev().cloned().collect()
    }

    /// The newest job of a kind on a subject that has not ended.
    pub fn underway(&self, kind: &str, subject: &str) -> Option<Arc<Job>> {
        let of = |j: &&Arc<Job>| j.kind == kind && j.subject.as_deref() == Some(subject);
        self.all().iter().filter(of).find(|j| !j.snapshot().status.ended()).cloned()
    }
}
