//! Selectors: one line of text that says which sites, indices, positions, phases and times are meant.
//!
//! ```text
//! NAME [axis=LIST]... @SCOPE...
//!
//! blocks.{3..7}.mlp.hook_post[neuron=12,40]@last        two neurons in four layers, last token of each row
//! blocks.*.attn.hook_z[head=6]@all                      head 6 of every layer
//! **.hook_pattern@0..5                                  all attention patterns, the first five positions
//! blocks.{1,-1}.attn.hook_{q,k,v}@-1@generated          layer 1 and the last layer, while generating
//! res.hook_spikes@t=0..500@every=100                    time steps 0, 100, 200, 300 and 400
//! ```
//!
//! - NAME is literal text in which `*` stands for any run of characters without a dot, `**` for any run at all, `{LIST}`
//!   for whole numbers and `{q,k,v}` for one of these words. A negative number in braces counts back from the number of
//!   blocks at that place of the name. Without `*`, NAME may also be an alias that the network registered, a short name
//!   of TransformerLens (`pre5`, `k6`, `scale4ln1`, `embed`; also `resid_pre3`) or an address of interp-engine
//!   (`mlp_act.5`), each with braces in place of the layer (`pre{0..3}`).
//! - LIST is `12,40,100..200,0..=3,2..,-1`: numbers and ranges (half open, or closed with `=`); negative counts from
//!   the end. Brackets on several axes combine as a product.
//! - SCOPE, each kind at most once: positions `@all` (default), `@last`, `@LIST`; phase `@prompt` or `@generated`
//!   (default both); `@raw` (before edits); time `@t=LIST` and `@every=N` (the steps divisible by N); `@rows=LIST`.
//!
//! Indices and layers beyond the network are errors, not silently dropped; so is a selector that matches nothing.

mod index;
mod names;
mod parse;
mod pattern;
mod resolve;

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use index::IndexList;
pub use resolve::{SelectedSite, Selection};

use crate::hook::Axis;
use crate::{Error, Result};
use pattern::Pattern;

/// The longest text of a selector, in bytes.
pub const MAX_TEXT: usize = 4096;

/// A site selector, such as `blocks.{3..7}.mlp.hook_post[neuron=12,40]@last`: a name pattern, then index lists in
/// brackets, then scopes after `@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend(
    "maxLength" = 4096,
    "pattern" = r"^[^\s\[\]@]+(\[[a-z_]+=[-0-9.,=]+\])*(@[-a-z0-9.,=]+)*$"
))]
pub struct Selector {
    pattern: Pattern,
    /// Sorted by axis name, so that the order of the brackets does not matter.
    indices: Vec<(Axis, IndexList)>,
    positions: Positions,
    phase: Phase,
    raw: bool,
    times: Times,
    rows: Option<IndexList>,
}

impl Selector {
    /// The name pattern, without brackets and scopes.
    pub fn name(&self) -> String {
        self.pattern.to_string()
    }

    /// The lists in brackets, sorted by axis name.
    pub fn indices(&self) -> &[(Axis, IndexList)] {
        &self.indices
    }

    /// The token positions of each row.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// The part of a generation: the prompt, the generated tokens or both.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// True for `@raw`: the value before any edit.
    pub fn raw(&self) -> bool {
        self.raw
    }

    /// The time steps of a simulation.
    pub fn time(&self) -> &Times {
        &self.times
    }

    /// The rows of the batch; `None` for all.
    pub fn rows(&self) -> Option<&IndexList> {
        self.rows.as_ref()
    }
}

impl FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse::selector(text)
    }
}

impl fmt::Display for Selector {
    /// The canonical text: brackets by axis name, scopes in the order of the module's list, defaults left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pattern)?;
        for (axis, list) in &self.indices {
            write!(f, "[{}={list}]", axis.name())?;
        }
        if self.positions != Positions::All {
            write!(f, "@{}", self.positions)?;
        }
        match self.phase {
            Phase::Any => {}
            Phase::Prompt => f.write_str("@prompt")?,
            Phase::Generated => f.write_str("@generated")?,
        }
        if self.raw {
            f.write_str("@raw")?;
        }
        if let Some(steps) = &self.times.steps {
            write!(f, "@t={steps}")?;
        }
        if let Some(every) = self.times.every {
            write!(f, "@every={every}")?;
        }
        if let Some(rows) = &self.rows {
            write!(f, "@rows={rows}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Selector {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

/// Token positions of a row, counted from its first real token whatever the padding: `all`, `last` (the last real
/// token) or a list such as `0..5,-1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = r"^(all|last|[-0-9.,=]+)$"))]
pub enum Positions {
    /// Every real token.
    #[default]
    All,
    /// The last real token of each row.
    Last,
    /// These positions.
    List(IndexList),
}

impl Positions {
    /// Whether position `i` of a row with `len` real tokens is meant.
    pub fn contains(&self, i: usize, len: usize) -> bool {
        match self {
            Self::All => i < len,
            Self::Last => i + 1 == len,
            Self::List(list) => list.contains(i, len),
        }
    }
}

impl FromStr for Positions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse::positions(text)
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Last => f.write_str("last"),
            Self::List(list) => write!(f, "{list}"),
        }
    }
}

impl TryFrom<String> for Positions {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Positions> for String {
    fn from(positions: Positions) -> Self {
        positions.to_string()
    }
}

/// The part of a generation that a selector means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Prompt and generated tokens alike.
    #[default]
    Any,
    /// The tokens that were given.
    Prompt,
    /// The tokens that the network produced.
    Generated,
}

/// Time steps of a simulation: those in `steps` that are divisible by `every`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Times {
    /// `@t=LIST`; `None` for all steps.
    pub steps: Option<IndexList>,
    /// `@every=N`; `None` for no thinning.
    pub every: Option<NonZeroUsize>,
}

impl Times {
    /// Whether step `t` of a run with `len` steps is meant.
    pub fn contains(&self, t: usize, len: usize) -> bool {
        t < len
            && self.every.is_none_or(|n| t.is_multiple_of(n.get()))
            && self.steps.as_ref().is_none_or(|list| list.contains(t, len))
    }

    /// True if no time scope was given.
    pub fn is_all(&self) -> bool {
        self.steps.is_none() && self.every.is_none()
    }
}
