//! How far a run is: on stderr (nothing where stderr is no terminal), or to a watcher, who may stop it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::{Error, Result};

/// Whoever follows a run.
pub trait Watcher: Send + Sync {
    /// The run is at this task, with so many parts done, of so many where that is known.
    fn hear(&self, task: &str, done: u64, of: Option<u64>);

    /// Whether the run should end.
    fn stops(&self) -> bool;
}

/// Says which step runs and how far it is.
pub struct Progress {
    bar: ProgressBar,
    watcher: Option<Arc<dyn Watcher>>,
    task: Mutex<String>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    /// A line on stderr.
    pub fn stderr() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self::of(bar, None)
    }

    /// No line, for programs.
    pub fn hidden() -> Self {
        Self::of(ProgressBar::hidden(), None)
    }

    /// No line; a watcher hears.
    pub fn watched(watcher: Arc<dyn Watcher>) -> Self {
        Self::of(ProgressBar::hidden(), Some(watcher))
    }

    fn of(bar: ProgressBar, watcher: Option<Arc<dyn Watcher>>) -> Self {
        Self { bar, watcher, task: Mutex::default() }
    }

    /// A new task of unknown length ("doctor (2 of 5)").
    pub fn task(&self, name: impl Into<String>) {
        let name = name.into();
        self.style("{spinner} {msg} {elapsed}");
        self.bar.reset();
        self.bar.unset_length();
        self.bar.set_message(name.clone());
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = name;
        self.tell();
    }

    /// The task has this many parts.
    pub fn begin(&self, parts: u64) {
        self.style("{spinner} {msg} [{bar:30}] {pos}/{len} {elapsed} left {eta}");
        self.bar.set_position(0);
        self.bar.set_length(parts);
        self.tell();
    }

    /// So many more parts are done.
    pub fn advance(&self, parts: u64) {
        self.bar.inc(parts);
        self.tell();
    }

    /// Everything is done; the line goes away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Goes on unless the watcher stops the run.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn check(&self) -> Result<()> {
        match &self.watcher {
            Some(watcher) if watcher.stops() => Err(Error::Stopped("nobody waits for it any more")),
            _ => Ok(()),
        }
    }

    fn tell(&self) {
        if let Some(watcher) = &self.watcher {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            watcher.hear(&task, self.bar.position(), self.bar.length());
        }
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}
