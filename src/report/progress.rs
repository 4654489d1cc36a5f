//! How far a run is, on stderr; nothing where stderr is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that says which step runs and how far it is.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A line on stderr.
    pub fn stderr() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// No line, for programs.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// A new task of unknown length ("doctor (2 of 5)").
    pub fn task(&self, name: impl Into<String>) {
        self.style("{spinner} {msg} {elapsed}");
        self.0.reset();
        self.0.unset_length();
        self.0.set_message(name.into());
    }

    /// The task has this many parts.
    pub fn begin(&self, parts: u64) {
        self.style("{spinner} {msg} [{bar:30}] {pos}/{len} {elapsed} left {eta}");
        self.0.set_position(0);
        self.0.set_length(parts);
    }

    /// So many more parts are done.
    pub fn advance(&self, parts: u64) {
        self.0.inc(parts);
    }

    /// Everything is done; the line goes away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
    }
}
