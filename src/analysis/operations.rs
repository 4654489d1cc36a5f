//! The one list of edit operations: the elementary ones of [`hook`](crate::hook::edit::ops), then each method's own.

use super::clamp;
use crate::hook::Registry;

/// Every operation that an edit file, a probe or a training may name.
pub fn registry() -> Registry {
    clamp::kinds().into_iter().fold(Registry::elementary(), Registry::with)
}
