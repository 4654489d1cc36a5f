//! Ablations in two passes, grafts between checkpoints, and which query heads an edit of shared keys or values touches.

use std::collections::BTreeMap;

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::analysis::registry;
use crate::hook::{Axis, Edit, Output, Pass, Record, Registry, Run, SiteTable};
use crate::models::execute::observe;
use crate::models::{Decoder, Input, Job, Network, execute};
use crate::{Error, Result};

/// What an ablation leaves as it was in the run without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preserve {
    /// Nothing: all that follows is recomputed.
    #[default]
    Nothing,
    /// Every head's attention pattern: what an ablation then changes flows through values.
    Patterns,
    /// Every head's values: what an ablation then changes flows through patterns.
    Values,
}

/// Ablates `heads`, given as (layer, head), by zeroing their z, while patterns or values of all layers stay what they
/// were: a pass `clean` that fills the cache, if there is one, then the pass `ablated`.
///
/// What is preserved is put in place first; ablation acts afterwards.
///
/// # Errors
/// A head that the network does not have.
pub fn ablation(table: &SiteTable, heads: &[(usize, usize)], preserve: Preserve) -> Result<Run> {
    let part = match preserve {
        Preserve::Nothing => None,
        Preserve::Patterns => Some("attn.hook_pattern"),
        Preserve::Values => Some("attn.hook_v"),
    };
    let mut passes = Vec::new();
    let mut edits = Vec::new();
    if let Some(part) = part {
        passes.push(Pass { name: "clean".into(), output: Output::Unread, ..Pass::default() });
        for (_, site) in table.iter().filter(|(_, site)| site.name.ends_with(part)) {
            let value = json!({ "pass": "clean", "site": site.name });
            edits.push(Edit::new(site.name.parse()?, "replace").with("value", value));
        }
    }
    for (layer, head) in heads {
        let edit = Edit::new(format!("blocks.{layer}.attn.hook_z[head={head}]").parse()?, "zero");
        edit.site.resolve(table)?;
        edits.push(edit);
    }
    passes.push(Pass { name: "ablated".into(), edits, ..Pass::default() });
    Ok(Run { passes })
}

/// The output of `into` when the block output of `layer` is that of `from`: "graft in" if `from` is the other
/// checkpoint, "graft out" if `into` is.
///
/// # Errors
/// A layer that one of them lacks, streams of different widths, and what either refuses.
pub fn graft(from: &dyn Network, into: &dyn Network, input: &Input, layer: usize) -> Result<Tensor> {
    let site = format!("blocks.{layer}.hook_resid_post");
    let record = Pass { records: vec![Record::whole(site.parse()?)], output: Output::Unread, ..Pass::default() };
    let stream = observe(from, input, &record, &Registry::elementary())?.records.get(&site)?.clone();
    let edit = Edit::new(site.parse()?, "replace").with("value", json!({ "tensor": "graft" }));
    let run = Run { passes: vec![Pass { name: "grafted".into(), edits: vec![edit], ..Pass::default() }] };
    let stored = BTreeMap::from([("graft".to_string(), stream)]);
    let job = Job { run: &run, inputs: std::slice::from_ref(input), stored, registry: &registry() };
    let passes = execute(into, job)?.passes;
    let grafted = passes.into_iter().next().map(|p| p.output);
    grafted.ok_or_else(|| Error::invalid("the graft ran no pass", "report this as a defect"))
}

/// For every edit of keys or values that several query heads share: which query heads it touches, in words.
///
/// # Errors
/// A selector that the network cannot resolve.
pub fn shared_heads(net: &Decoder, edits: &[Edit]) -> Result<Vec<String>> {
    let group = net.facts().n_heads / net.facts().n_kv_heads.max(1);
    let mut notes = Vec::new();
    for edit in edits.iter().filter(|_| group > 1) {
        for selected in edit.site.resolve(net.sites())?.sites {
            let site = net.sites().get(selected.site);
            let Some(dim) = site.dim(Axis::KvHead) else { continue };
            let all: Vec<usize> = (0..net.facts().n_kv_heads).collect();
            let kept = selected.indices.iter().find(|(d, _)| *d == dim).map_or(&all, |(_, kept)| kept);
            let heads: Vec<String> =
                kept.iter().flat_map(|kv| kv * group..(kv + 1) * group).map(|h| h.to_string()).collect();
            notes.push(format!("the edit at `{}` touches query heads {}", edit.site, heads.join(", ")));
        }
    }
    Ok(notes)
}
