//! Attribution: which parts of a network an answer comes from.
//!
//! - [`direct`]: what each component adds to the logits by itself (direct logit attribution);
//! - [`attribution_patching`]: the effect of every activation patch, estimated from one backward pass (Nanda 2023), beside
//!   the exact effect; [`integrated`]: the same along the way from one run to the other (integrated gradients);
//! - [`paths`]: the effect of one head through one later reader alone (path patching, Wang 2022).
//!
//! The metric is the logit difference LD = logit(correct) - logit(wrong) at the last position.

mod direct;
mod gradient;
mod path;
mod report;

pub use direct::{Direct, NeuronShare, direct};
pub use gradient::{Attribution, Integrated, Scatter, attribution_patching, integrated};
pub use path::{PathForm, Paths, Receiver, path_run, paths};
