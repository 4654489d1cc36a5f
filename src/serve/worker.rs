//! One thread owns each loaded model: short questions and long work come to it in queues.
//!
//! While long work runs, short questions are answered between two of its steps ([`Desk::pause`]), so that pages stay
//! responsive; nothing ever runs beside something else on one model.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use axum::http::StatusCode;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::failure::{Failure, Reply};
use super::job::{Answer, Job};
use crate::Result;
use crate::analysis::facts::{Facts, facts};
use crate::models::{Model, OpenOptions};
use crate::report::Watcher;

/// Questions that may wait.
const WAITING: usize = 256;

type Short = Box<dyn FnOnce(&Desk) + Send>;
type Long = (Arc<Job>, Box<dyn FnOnce(&Desk, &Arc<Job>) -> Reply<Answer> + Send>);

enum Message {
    Short(Short),
    Long(Long),
}

/// Whether a model is there.
#[derive(Clone, Debug)]
pub enum State {
    /// It is being read.
    Loading,
    /// It is there.
    Ready(Arc<Facts>),
    /// It cannot be read.
    Broken(String),
}

/// The queue of a model.
pub struct Worker {
    inbox: Sender<Message>,
    waiting: Arc<AtomicUsize>,
    state: Arc<Mutex<State>>,
}

/// An atlas of a model.
pub enum Atlas {
    /// A folder that the user named.
    Named(PathBuf),
    /// A quick scan of the program's own texts; its folder goes away with this.
    Quick(TempDir),
}

impl Atlas {
    /// Its folder.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Named(path) => path.clone(),
            Self::Quick(folder) => folder.path().join(crate::analysis::scan::QUICK),
        }
    }
}

/// What the thread of a model has before it.
pub struct Desk {
    /// The model.
    pub model: Model,
    /// How it was opened.
    pub options: OpenOptions,
    /// Its atlas, if there is one.
    pub atlas: RefCell<Option<Atlas>>,
    inbox: Receiver<Message>,
    later: RefCell<VecDeque<Long>>,
}

impl Desk {
    /// Answers the questions that wait, and goes on unless the job was stopped.
    ///
    /// # Errors
    /// [`crate::Error::Stopped`].
    pub fn pause(&self, job: &Job) -> Result<()> {
        job.check()?;
        self.drain();
        Ok(())
    }

    /// What long work tells how far it is: the job hears it, others' questions are answered, and a stop is an error.
    pub fn watched<'a>(&'a self, job: &'a Job, task: &'a str) -> impl FnMut(usize, usize) -> Result<()> + 'a {
        move |done, of| {
            job.hear(task, done as u64, Some(of as u64));
            self.pause(job)
        }
    }

    fn work(&self) {
        loop {
            if self.later.borrow().is_empty() {
                match self.inbox.recv() {
                    Ok(message) => self.take(message),
                    Err(_) => return,
                }
            }
            self.drain();
            let next = self.later.borrow_mut().pop_front();
            if let Some((job, work)) = next {
                job.carry_out(|| work(self, &job));
            }
        }
    }

    fn drain(&self) {
        while let Ok(message) = self.inbox.try_recv() {
            self.take(message);
        }
    }

    /// Answers what is short, keeps the rest for later.
    fn take(&self, message: Message) {
        match message {
            Message::Short(short) => short(self),
            Message::Long(long) => {
                let mut later = self.later.borrow_mut();
                // What was stopped while it waited need not be kept.
                later.retain(|(job, _)| !job.snapshot().status.ended());
                later.push_back(long);
            }
        }
    }
}

/// A question that waits, counted as long as this is there.
struct Waits(Arc<AtomicUsize>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    /// Starts the thread, which opens the model first and ends with the queue.
    pub fn start(
        name: &str,
        options: OpenOptions,
        atlas: Option<PathBuf>,
        open: impl FnOnce(&OpenOptions) -> Result<Model> + Send + 'static,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (inbox, messages) = channel();
        let state = Arc::new(Mutex::new(State::Loading));
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name(format!("model {name}")).spawn(move || {
            let set = |new: State| *shared.lock().unwrap_or_else(PoisonError::into_inner) = new;
            let opened =
                catch_unwind(AssertUnwindSafe(|| open(&options).and_then(|model| Ok((facts(&model)?, model)))));
            let opened = opened.map_err(|_| "reading it broke off".to_string());
            match opened.and_then(|opened| opened.map_err(|error| error.to_string())) {
                Ok((facts, model)) => {
                    set(State::Ready(Arc::new(facts)));
                    let atlas = RefCell::new(atlas.map(Atlas::Named));
                    Desk { model, options, atlas, inbox: messages, later: RefCell::default() }.work();
                }
                Err(why) => {
                    set(State::Broken(why.clone()));
                    // Jobs that wait, and those that come, hear it; questions are answered by their being dropped.
                    for message in messages {
                        if let Message::Long((job, _)) = message {
                            let failure =
                                Failure::new(StatusCode::CONFLICT, format!("the model could not be opened: {why}"));
                            job.carry_out(|| Err(failure));
                        }
                    }
                }
            }
        })?;
        Ok((Self { inbox, waiting: Arc::default(), state }, thread))
    }

    /// Whether the model is there.
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks something short.
    ///
    /// # Errors
    /// What the question gives; a model that could not be opened; too many questions that wait.
    pub async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Desk) -> Reply<T> + Send + 'static) -> Reply<T> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let message = format!("{WAITING} questions wait for this model already; ask again later");
            return Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, message));
        }
        let waits = Waits(Arc::clone(&self.waiting));
        let (reply, answer) = oneshot::channel();
        let short: Short = Box::new(move |desk| {
            // Gone with the question, whether it is answered, dropped, or its asker has gone away.
            let _waits = waits;
            if reply.is_closed() {
                return;
            }
            let told = catch_unwind(AssertUnwindSafe(|| question(desk))).unwrap_or_else(|_| {
                let message = "the question broke off: this is a defect of optrode, please report it";
                Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message))
            });
            // Whoever asked may have gone away.
            let _ = reply.send(told);
        });
        let sent = self.inbox.send(Message::Short(short));
        match sent {
            Ok(()) => answer.await.map_err(|_| self.gone()).and_then(|told| told),
            Err(_) => Err(self.gone()),
        }
    }

    /// Puts a job into the queue.
    ///
    /// # Errors
    /// A model that could not be opened.
    pub fn begin(
        &self,
        job: Arc<Job>,
        work: impl FnOnce(&Desk, &Arc<Job>) -> Reply<Answer> + Send + 'static,
    ) -> Reply<()> {
        self.inbox.send(Message::Long((job, Box::new(work)))).map_err(|_| self.gone())
    }

    /// Why nobody answers.
    fn gone(&self) -> Failure {
        match self.state() {
            State::Broken(why) => Failure::new(StatusCode::CONFLICT, format!("the model could not be opened: {why}")),
            _ => Failure::new(StatusCode::CONFLICT, "the model is not open any more; start the server again"),
        }
    }
}
