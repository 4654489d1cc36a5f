//! The model card of an exported model: what was edited, and what was measured.

use super::{Baked, Verified};
use crate::Result;
use crate::models::Model;
use crate::store::Bundle;

/// The content of `README.md`.
///
/// # Errors
/// When the model's files cannot be read.
pub(super) fn card(model: &Model, bundle: &Bundle, baked: &Baked, verified: &Verified) -> Result<String> {
    let mut text = format!(
        "# Edited model\n\nMade with optrode {} from `{}` (sha256 {}). Nothing was trained: the edits below are in the \
         weights; every other tensor is as it was, byte for byte.\n\n",
        env!("CARGO_PKG_VERSION"),
        model.folder.name(),
        model.folder.identity()?.sha256
    );
    if let Some(note) = &bundle.file.note {
        text += &format!("{note}\n\n");
    }
    text += "## Edits\n\n";
    for edit in &bundle.file.edits {
        text += &format!("- `{}` at `{}`\n", edit.op, edit.site);
    }
    text += "\n## Weights\n\n| tensor | values | changed | largest difference | rounding |\n| --- | ---: | ---: | ---: | ---: |\n";
    for change in &baked.changes {
        let largest = format!("{:.1e} | {:.1e}", change.largest, change.rounding);
        text += &format!("| `{}` | {} | {} | {largest} |\n", change.tensor, change.of, change.changed);
    }
    if baked.untied {
        text += "\nThe unembedding was tied to the embeddings and is now a tensor of its own.\n";
    }
    text += &format!(
        "\n## Measured\n\nAgainst the original model run under the edits, on {} tokens: largest relative difference of a \
         logit {:.1e}; KL divergence {:.1e} nats per token (to the original model without the edits: {:.1e}).\n",
        verified.tokens, verified.logits, verified.kl, verified.kl_unedited
    );
    Ok(text)
}
