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
use serde_json::{Map, Value, json};

pub(crate) use source::{Captured, align, by_position, real_first, stored_step};
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
        Self { site, op: op.into(), params: Map::new() }
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

    /// Whether the sources come whole, whatever indices the edit selects: they are no values of the edited site.
    fn wants_whole_sources(&self) -> bool {
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
    schema: Value,
}

impl OpKind {
    /// An operation whose parameters are a serde struct.
    pub fn of<P>(tag: &str, meaning: &str) -> Self
    where
        P: EditOp + JsonSchema + for<'de> Deserialize<'de> + 'static,
    {
        let owner = tag.to_string();
        let schema = schemars::schema_for!(P).to_value();
        let takes = parameters(&schema);
        Self {
            tag: tag.to_string(),
            meaning: meaning.to_string(),
            build: Arc::new(move |params| {
                let op: P = serde_json::from_value(Value::Object(params.clone())).map_err(|e| {
                    Error::invalid(
                        format!("the parameters of edit operation `{owner}` are wrong: {e}"),
                        format!("`{owner}` takes {takes}"),
                    )
                })?;
                Ok(Arc::new(op))
            }),
            schema,
        }
    }
}

/// The parameters that a schema describes, for people.
fn parameters(schema: &Value) -> String {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &String| required.is_some_and(|list| list.iter().any(|r| r == name));
    let names = schema.get("properties").and_then(Value::as_object).map(|p| p.keys());
    let shown = names.into_iter().flatten().map(|name| match is_required(name) {
        true => format!("`{name}`"),
        false => format!("`{name}` (optional)"),
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "no parameters besides `site` and `op`".to_string() } else { shown.join(", ") }
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
        let owner = tag.to_string();
        self.with(OpKind {
            tag: tag.to_string(),
            meaning: "a closure of the program that uses the library".to_string(),
            build: Arc::new(move |params| match params.keys().next() {
                None => Ok(op.clone()),
                Some(key) => Err(Error::invalid(
                    format!("the edit operation `{owner}` is a closure and got the parameter `{key}`"),
                    "a closure takes no parameters besides `site` and `op`",
                )),
            }),
            schema: json!({ "type": "object", "additionalProperties": false }),
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
        (kind.build)(&edit.params).map_err(|e| match e {
            Error::Invalid { what, hint } => Error::invalid(format!("the edit at `{}`: {what}", edit.site), hint),
            other => other,
        })
    }

    /// Replaces the open definition of [`Edit`] in a schema that uses it by one alternative per operation.
    pub(crate) fn embed_into(&self, mut schema: Value) -> Value {
        let mut shared = Map::new();
        let alternatives: Vec<Value> = self.kinds.values().map(|k| op_schema(k, &mut shared)).collect();
        let Some(root) = schema.as_object_mut() else {
            return schema;
        };
        let defs = root.entry("$defs").or_insert_with(|| Value::Object(Map::new()));
        if let Some(defs) = defs.as_object_mut() {
            defs.extend(shared);
            let edit = json!({ "description": "One change at one or more sites.", "oneOf": alternatives });
            defs.insert("Edit".into(), edit);
        }
        schema
    }
}

/// The schema of one operation's edit: its parameters plus `site` and `op`. What the parameters refer to goes into
/// `shared`, for references count from the root of the whole schema.
fn op_schema(kind: &OpKind, shared: &mut Map<String, Value>) -> Value {
    let mut whole = kind.schema.as_object().cloned().unwrap_or_default();
    whole.remove("$schema");
    if let Some(Value::Object(defs)) = whole.remove("$defs") {
        shared.extend(defs);
    }
    let mut properties = Map::new();
    properties.insert("site".into(), json!({ "$ref": "#/$defs/Selector" }));
    properties.insert("op".into(), json!({ "const": kind.tag }));
    if let Some(Value::Object(own)) = whole.remove("properties") {
        properties.extend(own);
    }
    let mut required = vec![json!("site"), json!("op")];
    if let Some(Value::Array(own)) = whole.remove("required") {
        required.extend(own);
    }
    whole.insert("title".into(), kind.tag.clone().into());
    whole.insert("description".into(), kind.meaning.clone().into());
    whole.insert("properties".into(), properties.into());
    whole.insert("required".into(), required.into());
    Value::Object(whole)
}
