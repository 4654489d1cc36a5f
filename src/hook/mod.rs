//! The hook layer: what can be named, recorded and edited in a run. Knows tensors, knows no model and no method.

pub mod random;
pub mod reduce;
pub mod site;

pub use site::{Axis, Kind, Site, SiteId, SiteTable};
