//! Spikes on their way.

use crate::{Error, Result};

/// What was sent in the last `delay` steps. A delay is at least one step: what is sent in step t arrives in t + delay.
#[derive(Clone, Debug, PartialEq)]
pub struct DelayRing {
    width: usize,
    slots: Vec<f32>,
    next: usize,
}

impl DelayRing {
    /// Nothing on its way.
    ///
    /// # Errors
    /// A delay of 0 steps.
    pub fn new(delay: usize, width: usize) -> Result<Self> {
        if delay == 0 {
            return Err(Error::invalid(
                "a synaptic delay of 0 steps",
                "give at least 1: a spike cannot arrive before it is fired",
            ));
        }
        Ok(Self { width, slots: vec![0.0; delay * width], next: 0 })
    }

    /// What arrives now; its place is free for what is sent now.
    pub fn arriving(&self) -> &[f32] {
        &self.slots[self.next * self.width..][..self.width]
    }

    /// Sends `values`, once per step, after [`DelayRing::arriving`].
    pub fn send(&mut self, values: &[f32]) {
        self.slots[self.next * self.width..][..self.width].copy_from_slice(values);
        self.next = (self.next + 1) % (self.slots.len() / self.width.max(1)).max(1);
    }

    /// `[delay, width]`, what arrives first first.
    pub fn contents(&self) -> Vec<f32> {
        let (after, before) = self.slots.split_at(self.next * self.width);
        [before, after].concat()
    }

    /// Puts [`DelayRing::contents`] back.
    ///
    /// # Errors
    /// Another number of values.
    pub fn restore(&mut self, contents: &[f32]) -> Result<()> {
        if contents.len() != self.slots.len() {
            return Err(Error::invalid(
                format!("{} values on their way, expected {}", contents.len(), self.slots.len()),
                "give the state of the same network with as many rows",
            ));
        }
        self.slots.copy_from_slice(contents);
        self.next = 0;
        Ok(())
    }
}
