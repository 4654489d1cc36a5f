//! A delay with a time of its own for every number.

/// Steps of a delay.
pub(super) struct Delay {
    /// One per number, or one for all.
    steps: Vec<usize>,
    longest: usize,
    /// Whether a time had to be rounded to whole steps.
    pub rounded: bool,
}

/// What is on its way, `[longest, rows, size]`; `next` is what was sent longest ago.
#[derive(Default)]
pub(super) struct Ring {
    slots: Vec<f32>,
    next: usize,
}

impl Delay {
    /// Of these seconds.
    pub fn new(seconds: &[f64], dt: f64) -> Self {
        let exact: Vec<f64> = seconds.iter().map(|s| s * 1000.0 / dt).collect();
        // A float beyond all integers becomes the largest; its memory is refused by the caller.
        let steps: Vec<usize> = exact.iter().map(|s| s.round() as usize).collect();
        let rounded = exact.iter().any(|s| (s - s.round()).abs() > 1e-6 * s.max(1.0));
        Self { longest: steps.iter().copied().max().unwrap_or(0), steps, rounded }
    }

    /// Whether nothing passes in its own step.
    pub fn waits(&self) -> bool {
        self.steps.iter().all(|s| *s > 0)
    }

    /// The longest, in steps.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// A ring with what a state holds.
    pub fn ring(&self, contents: Vec<f32>) -> Ring {
        Ring { slots: contents, next: 0 }
    }

    /// What arrives now; `input` is read where there is no delay.
    pub fn emit(&self, ring: &Ring, input: &[f32], size: usize, out: &mut [f32]) {
        let n = out.len();
        for (at, out) in out.iter_mut().enumerate() {
            let steps = self.steps[(at % size) % self.steps.len()];
            *out = match steps {
                0 => input[at],
                _ => ring.slots[(ring.next + self.longest - steps) % self.longest * n + at],
            };
        }
    }

    /// Sends `input`, once per step.
    pub fn send(&self, ring: &mut Ring, input: &[f32]) {
        if self.longest > 0 {
            ring.slots[ring.next * input.len()..][..input.len()].copy_from_slice(input);
            ring.next = (ring.next + 1) % self.longest;
        }
    }
}

impl Ring {
    /// What was sent longest ago first.
    pub fn contents(&self, width: usize) -> Vec<f32> {
        let (after, before) = self.slots.split_at(self.next * width);
        [before, after].concat()
    }
}
