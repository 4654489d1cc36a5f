//! The hook layer: what can be named, recorded and edited in a run. Knows tensors, knows no model and no method.

pub mod selector;
pub mod site;

pub use selector::{IndexList, Phase, Positions, SelectedSite, Selection, Selector, Times};
pub use site::{Axis, Kind, Site, SiteId, SiteTable};
