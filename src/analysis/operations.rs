//! The one list of edit operations: the elementary ones of [`hook`](crate::hook::edit::ops), then each method's own.

use super::clamp;
use super::dendrites::DropActive;
use super::unlearn::{KeySpace, NeuronAdjust};
use crate::hook::{OpKind, Registry};

/// Every operation that an edit file, a probe or a training may name.
pub fn registry() -> Registry {
    let own = clamp::kinds().into_iter().fold(Registry::elementary(), Registry::with);
    own.with(OpKind::of::<NeuronAdjust>(
        "neuron_adjust",
        "x := its mirror image in the retained distribution, where the forgotten one is the likelier",
    ))
    .with(OpKind::of::<DropActive>("drop_active", "x := 0 at a share of the coordinates that are not 0, drawn anew"))
    .with(OpKind::of::<KeySpace>("key_space", "raises `abstain` where x lies in the cube around a skill's keys"))
}
