//! Edits: changes made to a site's tensor while the network runs.
//!
//! An [`Edit`] is data: `{"site": "blocks.3.attn.hook_z[head=6]@all", "op": "zero"}`. The tag `op` names an entry of a
//! [`Registry`]; the other keys are that operation's parameters. The elementary operations live in [`ops`]; a method
//! registers its own beside them, and a library user may register a closure under a name, so that a manifest can say
//! what ran.
//!
//! An operation sees the selected part of the tensor (indexed axes narrowed, all rows and positions kept) and returns
//! its replacement; the tap writes it back at the selected rows and positions only.

pub mod ops;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use source::{Captured, align, by_position};
pub use source::{Source, SourceOf};

use super::context::Context;
use super::selector::Selector;
use super::site::{Site, edit_distance};
use crate::{Error, Result};

/// One change at one or more sites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Edit {
    /// Where and when: sites, indices, positions, rows, phase.
    pub site: Selector,
    /// The operation's tag.
    pub op: String,
    /// The operation's parameters.
    #[serde(flatten)]
    pub params: Map<String, Value>,
}

impl Edit {
    /// An edit without parameters.
    pub fn new(site: Selector, op: impl Into<String>) -> Self {
        Self {
            site,
            op: op.into(),
            params: Map::new(),
        }
    }

    /// The same edit with one more parameter.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.params.insert(key.to_string(), value.into());
        self
    }
}

/// Something an operation noticed about a row, for the loop that runs the network (Key Space raises `abstain`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Row of the batch.
    pub row: usize,
    /// Position in the row at which it was raised.
    pub position: u32,
    /// What happened.
    pub name: String,
}

/// What an operation may know and do besides its input.
pub struct EditContext<'a> {
    /// The site that is edited.
    pub site: &'a Site,
    /// Rows, positions and padding of this call.
    pub call: &'a Context,
    /// `[rows, pos]`: where the result will be used; `None` for everywhere.
    pub scope: Option<&'a [bool]>,
    /// The operation's sources, in the order of [`EditOp::sources`], each broadcastable to the input.
    pub values: &'a [Tensor],
    /// Seed of the run.
    pub seed: u64,
    /// Events raised so far.
    pub events: &'a mut Vec<Event>,
}

/// An operation on the selected part of a site's tensor.
pub trait EditOp: Send + Sync {
    /// The values that must be at hand before [`EditOp::apply`].
    fn sources(&self) -> Vec<&Source> {
        Vec::new()
    }

    /// How the sources must be shaped; elementary broadcasting unless the operation draws from a reference set.
    fn wants_reference_set(&self) -> bool {
        false
    }

    /// The replacement of `x`, of the same shape.
    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor>;
}

impl<F> EditOp for F
where
    F: Fn(&Tensor, &mut EditContext) -> Result<Tensor> + Send + Sync,
{
    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        self(x, cx)
    }
}

type Build = dyn Fn(&Map<String, Value>) -> Result<Arc<dyn EditOp>> + Send + Sync;

/// One entry of the registry.
#[derive(Clone)]
pub struct OpKind {
    /// The tag in `op`.
    pub tag: String,
    /// One line for people.
    pub meaning: String,
    build: Arc<Build>,
    schema: Option<Value>,
}

impl OpKind {
    /// An operation whose parameters are a serde struct.
    pub fn of<P>(tag: &str, meaning: &str) -> Self
    where
        P: EditOp + JsonSchema + for<'de> Deserialize<'de> + 'static,
    {
        let owner = tag.to_string();
        Self {
            tag: tag.to_string(),
            meaning: meaning.to_string(),
            build: Arc::new(move |params| {
                let op: P = serde_json::from_value(Value::Object(params.clone())).map_err(|e| {
                    Error::invalid(
                        format!("the parameters of edit operation `{owner}` are wrong: {e}"),
                        "see the edit schema for what it takes",
                    )
                })?;
                Ok(Arc::new(op))
            }),
            schema: Some(schemars::schema_for!(P).to_value()),
        }
    }
}

/// The table from tag to operation.
#[derive(Clone)]
pub struct Registry {
    kinds: BTreeMap<String, OpKind>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::elementary()
    }
}

impl Registry {
    /// The elementary operations of [`ops`].
    pub fn elementary() -> Self {
        let kinds = ops::kinds().into_iter().map(|k| (k.tag.clone(), k)).collect();
        Self { kinds }
    }

    /// The same table with one more operation; a later entry of the same tag wins.
    pub fn with(mut self, kind: OpKind) -> Self {
        self.kinds.insert(kind.tag.clone(), kind);
        self
    }

    /// The same table with a closure under a name; edits that use it take no parameters.
    pub fn with_fn<F>(self, tag: &str, f: F) -> Self
    where
        F: Fn(&Tensor, &mut EditContext) -> Result<Tensor> + Send + Sync + 'static,
    {
        let op: Arc<dyn EditOp> = Arc::new(f);
        self.with(OpKind {
            tag: tag.to_string(),
            meaning: "a closure of the program that uses the library".to_string(),
            build: Arc::new(move |_| Ok(op.clone())),
            schema: None,
        })
    }

    /// All operations by tag.
    pub fn kinds(&self) -> impl Iterator<Item = &OpKind> {
        self.kinds.values()
    }

    /// The operation of an edit, its parameters checked.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown tag (with the nearest known ones) or wrong parameters.
    pub fn build(&self, edit: &Edit) -> Result<Arc<dyn EditOp>> {
        let Some(kind) = self.kinds.get(&edit.op) else {
            let mut known: Vec<&str> = self.kinds.keys().map(String::as_str).collect();
            known.sort_by_key(|k| edit_distance(k, &edit.op));
            return Err(Error::invalid(
                format!("unknown edit operation `{}` at `{}`", edit.op, edit.site),
                format!("the operations are {}", known.join(", ")),
            ));
        };
        (kind.build)(&edit.params)
    }

    /// JSON schema of an edit: one alternative per operation with parameters that are known ahead.
    pub fn schema(&self) -> Value {
        let site = schemars::schema_for!(Selector).to_value();
        let alternatives: Vec<Value> = self.kinds.values().filter_map(|k| op_schema(k, &site)).collect();
        serde_json::json!({ "title": "Edit", "oneOf": alternatives })
    }
}

/// The schema of one operation's edit: its parameters plus `site` and `op`.
fn op_schema(kind: &OpKind, site: &Value) -> Option<Value> {
    let mut schema = kind.schema.clone()?;
    let object = schema.as_object_mut()?;
    object.remove("$schema");
    object.insert("title".into(), kind.tag.clone().into());
    object.insert("description".into(), kind.meaning.clone().into());
    let properties = object.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    if let Some(properties) = properties.as_object_mut() {
        let mut site = site.clone();
        if let Some(s) = site.as_object_mut() {
            s.remove("$schema");
        }
        properties.insert("site".into(), site);
        properties.insert("op".into(), serde_json::json!({ "const": kind.tag }));
    }
    let required = object.entry("required").or_insert_with(|| Value::Array(Vec::new()));
    if let Some(required) = required.as_array_mut() {
        required.push("site".into());
        required.push("op".into());
    }
    Some(schema)
}
