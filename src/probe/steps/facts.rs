//! What the model is: its architecture and its files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Result;
use crate::models::{Model, Network};
use crate::probe::step::{Context, StepKind, StepOutput};
use crate::report::{Block, Cell, Column, Table};

/// Says what the model is.
pub struct Facts;

/// It has none.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {}

impl StepKind for Facts {
    const NAME: &'static str = "facts";
    const SUMMARY: &'static str = "The architecture and the files with their hashes.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        ("parameters", "numbers that training sets"),
        ("layers", "blocks"),
        ("d_model", "width of the residual stream"),
        ("heads", "query heads of a layer"),
        ("kv_heads", "key and value heads of a layer"),
        ("d_head", "width of a head"),
        ("d_mlp", "neurons of a layer"),
        ("vocab", "tokens of the vocabulary"),
        ("sites", "named places that can be recorded"),
    ];
    type Params = Params;

    fn applies_to(&self, _: &Model) -> std::result::Result<(), String> {
        Ok(())
    }

    fn run(&self, context: &Context, _: &Params) -> Result<StepOutput> {
        let decoder = &context.model.decoder;
        let facts = decoder.facts();
        let identity = context.model.folder.identity()?;
        let parameters: usize = decoder.parameters().iter().map(|(_, p)| p.elem_count()).sum();
        let sizes = [
            ("parameters", parameters),
            ("layers", facts.layers.len()),
            ("d_model", facts.d_model),
            ("heads", facts.n_heads),
            ("kv_heads", facts.n_kv_heads),
            ("d_head", facts.d_head),
            ("d_mlp", facts.d_mlp),
            ("vocab", facts.vocab),
            ("sites", decoder.sites().len()),
        ];
        let tokenizer = context.model.tokenizer().ok().map(|t| t.rule());
        let mut rows = vec![vec![Cell::text("family"), Cell::text(facts.family)]];
        rows.extend(sizes.map(|(name, size)| vec![Cell::text(name), Cell::count(size)]));
        let limit = facts.context.map_or_else(|| "none".to_string(), |c| c.to_string());
        rows.push(vec![Cell::text("longest text"), Cell::text(limit)]);
        rows.push(vec![Cell::text("special tokens"), Cell::text(tokenizer.unwrap_or("no tokenizer"))]);
        let files = identity.files.iter().map(|f| vec![Cell::text(&f.name), Cell::text(&f.sha256)]);
        let blocks = vec![
            table(["fact", "value"], rows),
            Block::text(format!("The model's sha256, over its files: {}", identity.sha256)),
            table(["file", "sha256"], files.collect()),
        ];
        let figures = sizes.map(|(name, size)| (name.to_string(), size as f64)).to_vec();
        let mut result = json!({
            "family": facts.family,
            "context": facts.context,
            "special_tokens": tokenizer,
            "identity": identity,
        });
        for (name, size) in sizes {
            result[name] = json!(size);
        }
        Ok(StepOutput { blocks, figures, result })
    }
}

fn table(names: [&str; 2], rows: Vec<Vec<Cell>>) -> Block {
    Block::Table(Table { columns: names.map(Column::new).to_vec(), rows })
}
