//! Labels for units of language models: MILAN's idea on windows of tokens.
//!
//! A unit is one side of a neuron, a head or a coordinate; it is active at the hundredth of the tokens at which its value
//! is largest ([`Trace`]). Documents are dealt to splits ([`Reading`]); rules are searched for on the selection documents
//! ([`Search`]) and scored on the test documents ([`Judge`]), against the labels of other units ([`study()`]).

mod classes;
mod columns;
pub mod exemplars;
mod judge;
mod pass;
mod promotes;
mod reading;
mod rule;
mod sample;
mod search;
mod speaker;
mod spelling;
mod study;
mod told;
mod trace;
pub mod windows;

pub use columns::Columns;
pub use exemplars::Exemplar;
pub use judge::{Held, Judge, active_windows, is_active};
pub use pass::{UnitId, Watch, bytes, traces};
pub use promotes::promoted;
pub use reading::{Document, PEAK, Piece, Reading, Split, Text, WINDOW};
pub use rule::{Field, Rule};
pub use sample::sample;
pub use search::{Candidate, PRICE, Search, tokens_rule};
pub use speaker::{Read, Speaker, clean};
pub use spelling::{Letters, Spelling};
pub(crate) use study::median;
pub use study::{ALPHA, Label, Layer, Options, PROMOTES, RULES, Unit, study};
pub use told::{Judged, SHOWN, Teller, Told, test_windows};
pub use trace::{QUANTILE, Sign, Trace};
