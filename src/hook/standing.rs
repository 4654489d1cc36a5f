//! Edits that are part of what a network is.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::edit::{Edit, Registry};

/// Edits that act in every pass on a network, before the pass's own: whatever is measured then is measured of the edited
/// network. What reads weights, as compositions of heads do, sees them as they are.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The edits, in order.
    pub edits: Vec<Edit>,
    /// Their operations.
    pub registry: Registry,
    /// The tensors that they refer to.
    pub stored: BTreeMap<String, Tensor>,
}
