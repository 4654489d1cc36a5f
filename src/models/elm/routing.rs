//! Which input each synapse listens to.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How inputs are led to synapses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElmRouting {
    /// One synapse per input and one branch per synapse.
    Simple,
    /// `branches` of `synapses` each. Excitatory and inhibitory inputs are interlocked, `[0, N/2, 1, N/2 + 1, ...]`, and
    /// branch p listens to a window of that order that begins at p ceil(N / branches). Slots beyond its end are void.
    Branches {
        /// P.
        branches: usize,
        /// Synapses of a branch.
        synapses: usize,
    },
}

/// The slots of all branches: branch p has slots p n to (p + 1) n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// P.
    pub branches: usize,
    /// `[slots]`: the input of each slot; void ones name the last of the order.
    pub input: Vec<u32>,
    /// `[slots]`: false for void ones.
    pub valid: Vec<bool>,
    /// Per input, the valid slots that listen to it.
    slots: Vec<Vec<u32>>,
}

impl Routing {
    /// The slots for `inputs` inputs.
    ///
    /// # Errors
    /// No inputs, branches or synapses; branches for an odd number of inputs.
    pub fn new(inputs: usize, routing: ElmRouting) -> Result<Self> {
        let (branches, synapses, order): (_, _, Vec<usize>) = match routing {
            ElmRouting::Simple => (inputs, 1, (0..inputs).collect()),
            ElmRouting::Branches { branches, synapses } => {
                (branches, synapses, (0..inputs / 2).flat_map(|i| [i, inputs / 2 + i]).collect())
            }
        };
        if inputs == 0 || branches == 0 || synapses == 0 || order.len() != inputs {
            return Err(Error::invalid(
                format!("{inputs} inputs are led to {branches} branches of {synapses} synapses"),
                "give at least one of each; branches need an even number of inputs, excitatory ones first",
            ));
        }
        let stride = inputs.div_ceil(branches);
        let places = (0..branches).flat_map(|p| p * stride..p * stride + synapses);
        let (mut input, mut valid) = (Vec::new(), Vec::new());
        let mut slots = vec![Vec::new(); inputs];
        for (slot, place) in places.enumerate() {
            let listens = order[place.min(inputs - 1)];
            input.push(listens as u32);
            valid.push(place < inputs);
            if place < inputs {
                slots[listens].push(slot as u32);
            }
        }
        Ok(Self { branches, input, valid, slots })
    }

    /// Synapses of a branch, void ones too.
    pub fn synapses(&self) -> usize {
        self.input.len() / self.branches
    }

    /// The valid slots that listen to an input.
    pub(super) fn listening(&self, input: usize) -> &[u32] {
        &self.slots[input]
    }
}
