//! The hook layer: what can be named, recorded and edited in a run. Knows tensors, knows no model and no method.

pub mod context;
pub mod edit;
mod editor;
pub mod plan;
pub mod random;
pub mod record;
pub mod reduce;
pub mod run;
pub mod selector;
pub mod site;
pub mod standing;
pub mod tap;

pub use context::{Context, Moment};
pub use edit::{Edit, EditContext, EditOp, Event, OpKind, Registry, Source, SourceOf};
pub use plan::{Plan, Values};
pub use record::{Record, Recorded, Records, Repeats};
pub use run::{Output, Pass, Run};
pub use selector::{IndexList, Phase, Positions, SelectedSite, Selection, Selector, Times};
pub use site::{Axis, Kind, Site, SiteId, SiteTable};
pub use standing::Standing;
pub use tap::{Form, Tap};
