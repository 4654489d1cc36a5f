//! Results for machines: the result's own fields, and the blocks beside them for whoever only draws.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Block, Report};
use crate::{Error, Result};

/// `{"blocks": [...]}`: blocks alone, as a page or a notebook draws them.
///
/// # Errors
/// [`Error::Invalid`] if a block cannot be written as JSON.
pub fn render(blocks: &[Block]) -> Result<Value> {
    Ok(json!({ "blocks": value(&blocks)? }))
}

/// `{"result": {...}, "blocks": [...]}`: a result with the blocks that show it.
///
/// # Errors
/// [`Error::Invalid`] if the result cannot be written as JSON.
pub fn whole<T: Report + Serialize>(result: &T) -> Result<Value> {
    Ok(json!({ "result": value(result)?, "blocks": value(&result.blocks())? }))
}

fn value<T: Serialize + ?Sized>(x: &T) -> Result<Value> {
    serde_json::to_value(x)
        .map_err(|e| Error::invalid(format!("a result cannot be written as JSON: {e}"), "report this as a defect"))
}
