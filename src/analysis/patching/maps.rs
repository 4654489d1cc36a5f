//! Patches of attention maps.
//!
//! A head's pattern belongs to no single token, so that such a patch cannot branch off the base run as those of
//! [`sweep`](crate::analysis::sweep) do. A block's heads are patched together instead: as many copies of the prompt run
//! side by side, each with one head's pattern taken from the source run.

use std::collections::BTreeMap;

use candle_core::DType;

use super::Component;
use crate::Result;
use crate::analysis::sweep::Work;
use crate::hook::{Edit, Output, Pass, Record, Registry, Run};
use crate::models::execute::observe;
use crate::models::{Decoder, Input, Job, Side, Tokens, execute};

/// Copies of a prompt that run side by side.
const COPIES: usize = 32;

/// Hears block, head and the last position's logits of a patch.
type Each<'a> = dyn FnMut(usize, usize, &[f32]) -> Result<()> + 'a;

/// Patches every head's pattern of one prompt, block by block; `each` hears block, head and the last position's logits.
pub(super) fn patch(net: &Decoder, base: &[u32], source: &[u32], each: &mut Each) -> Result<Work> {
    let (blocks, heads) = (net.facts().layers.len(), net.facts().n_heads);
    let site = |block: usize| format!("blocks.{block}.{}", Component::Pattern.site());
    let rows = |ids: &[u32], copies: usize| -> Result<Input> {
        Ok(Input::Tokens(Tokens::from_rows(&vec![ids.to_vec(); copies], Side::Right, 0)?))
    };
    let registry = Registry::elementary();
    let mut work = Work::default();
    for block in 0..blocks {
        // One block's maps at a time: those of all blocks of a long prompt may be large.
        let record = Pass { records: vec![Record::whole(site(block).parse()?)], ..Pass::default() };
        let record = Pass { output: Output::Unread, ..record };
        let pattern = observe(net, &rows(source, 1)?, &record, &registry)?.records.get(&site(block))?.clone();
        for first in (0..heads).step_by(COPIES) {
            let now = first..(first + COPIES).min(heads);
            let edit = |(row, head): (usize, usize)| -> Result<Edit> {
                let edit = Edit::new(format!("{}[head={head}]@rows={row}", site(block)).parse()?, "replace");
                Ok(edit.with("value", serde_json::json!({ "tensor": "pattern" })))
            };
            let edits = now.clone().enumerate().map(edit).collect::<Result<_>>()?;
            let pass = Pass { name: "patched".into(), edits, output: Output::Last, ..Pass::default() };
            let stored = BTreeMap::from([("pattern".to_string(), pattern.clone())]);
            let (run, inputs) = (Run { passes: vec![pass] }, [rows(base, now.len())?]);
            let outcome = execute(net, Job { run: &run, inputs: &inputs, stored, registry: &registry })?;
            let logits = outcome.pass("patched")?.output.squeeze(1)?.to_dtype(DType::F32)?; // [copies, vocab]
            for (head, logits) in now.clone().zip(logits.to_vec2::<f32>()?) {
                each(block, head, &logits)?;
            }
            work.ran += now.len();
            work.tokens += now.len() * base.len() * blocks;
            work.naive += now.len() * base.len() * blocks;
        }
    }
    Ok(work)
}
