//! Sweeps of activation patches: every patch of a list, one at a time, at the cost of what it can change.
//!
//! A patch is a selector, such as `blocks.3.attn.hook_z[head=6]@5`: in a run on the base prompt, the selected values are
//! replaced by those of a run on the source prompt, which has as many tokens. The edit
//! `{"site": .., "op": "replace", "value": {"pass": "source", "site": ..}}` does the same in a run of its own. A selector
//! that matches several sites (`blocks.{2..12}.hook_mlp_out@4`, causal tracing's window) is one patch at all of them.
//!
//! Patches run as branches of one base run (see [`Decoder::branch`]): each starts at its layer and position, many share
//! every matrix product, and only last positions reach the unembedding. A patch whose values the base run has already,
//! bit by bit, runs nothing.

mod patch;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::DType;
use serde::{Deserialize, Serialize};

use crate::hook::{Edit, EditContext, Form, Pass, Plan, Registry, Selector, SiteId, Tap, Values};
use crate::models::transformer::{Branch, Trunk};
use crate::models::{Decoder, Network, Side, Tokens};
use crate::{Error, Result};

use patch::Patch;
use values::Held;

/// Tokens that run side by side unless said otherwise: enough for large products, few enough for a processor's cache.
pub const TOKENS: usize = 1024;
/// Logits in memory at a time.
const LOGITS: usize = 1 << 22;

/// Pairs of prompts with the runs that patches need.
pub struct Sweep<'n> {
    net: &'n Decoder,
    base: Trunk,
    patches: Vec<Patch>,
    held: BTreeMap<SiteId, Arc<Held>>,
    base_logits: Vec<Vec<f32>>,
    source_logits: Vec<Vec<f32>>,
}

/// What one patch made of one prompt.
#[derive(Clone, Copy, Debug)]
pub struct Patched<'a> {
    /// Which patch of the list.
    pub patch: usize,
    /// Which pair of prompts.
    pub prompt: usize,
    /// The logits at the prompt's last position, `[vocab]`.
    pub logits: &'a [f32],
}

/// How much was computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Patched prompts that were run.
    pub ran: usize,
    /// Patched prompts whose values the base run had already.
    pub skipped: usize,
    /// Tokens times blocks computed.
    pub tokens: usize,
    /// Tokens times blocks of one whole forward pass for each patched prompt.
    pub naive: usize,
}

impl Work {
    /// The work of both.
    pub fn with(self, other: Self) -> Self {
        Self {
            ran: self.ran + other.ran,
            skipped: self.skipped + other.skipped,
            tokens: self.tokens + other.tokens,
            naive: self.naive + other.naive,
        }
    }
}

/// One patch of one prompt that must be run.
struct Task {
    patch: usize,
    branch: Branch,
}

impl<'n> Sweep<'n> {
    /// Runs every pair of prompts once, and finds out what each of `patches` changes.
    ///
    /// Memory holds, for all prompts, every block's stream, keys and values, and the patched sites twice.
    ///
    /// # Errors
    /// Prompts that do not pair up (number of prompts, or tokens of a pair), or that the network cannot take; a patch at
    /// a site outside the blocks, or without one value per token, or that acts nowhere in a prompt.
    pub fn new(net: &'n Decoder, base: &[Vec<u32>], source: &[Vec<u32>], patches: &[Selector]) -> Result<Self> {
        check_pairs(base, source)?;
        let resolved = patches.iter().map(|p| patch::resolve(net, p)).collect::<Result<Vec<_>>>()?;
        let mut sites: Vec<SiteId> = resolved.iter().flatten().map(|place| place.site).collect();
        sites.sort_unstable();
        sites.dedup();
        let names: Vec<String> = sites.iter().map(|id| net.sites().get(*id).name.clone()).collect();
        let trunk = |rows: &[Vec<u32>]| net.trunk(&Tokens::from_rows(rows, Side::Right, 0)?, &names);
        let (base, source) = (trunk(base)?, trunk(source)?);
        let mut held = BTreeMap::new();
        for (id, name) in sites.iter().zip(&names) {
            held.insert(
                *id,
                Arc::new(Held::new(net.sites().get(*id), base.records.get(name)?, source.records.get(name)?)?),
            );
        }
        let mut within = Vec::with_capacity(patches.len());
        for (selector, places) in patches.iter().zip(resolved) {
            within.push(Patch::new(&base, selector, places)?);
        }
        let (base_logits, source_logits) = (last_logits(net, &base)?, last_logits(net, &source)?);
        Ok(Self { net, base, patches: within, held, base_logits, source_logits })
    }

    /// The logits at a prompt's last position, `[vocab]`, without a patch.
    pub fn base_logits(&self, prompt: usize) -> &[f32] {
        &self.base_logits[prompt]
    }

    /// The logits at the last position of a pair's source prompt, `[vocab]`.
    pub fn source_logits(&self, prompt: usize) -> &[f32] {
        &self.source_logits[prompt]
    }

    /// Runs every patch on every prompt, about `tokens` tokens at a time, and calls `each` once for every pair of these,
    /// in no particular order.
    ///
    /// # Errors
    /// What `each` returns, and whatever the network refuses.
    pub fn run(&self, tokens: usize, each: &mut dyn FnMut(Patched) -> Result<()>) -> Result<Work> {
        let blocks = self.net.facts().layers.len();
        let mut work = Work::default();
        let mut tasks = Vec::new();
        for (p, patch) in self.patches.iter().enumerate() {
            for prompt in 0..self.base_logits.len() {
                let length = self.base.length(prompt);
                work.naive += length * blocks;
                let Some(branch) = patch.branch(&self.base, prompt, &self.held) else {
                    work.skipped += 1;
                    each(Patched { patch: p, prompt, logits: &self.base_logits[prompt] })?;
                    continue;
                };
                work.ran += 1;
                work.tokens += branch.end - branch.start + (length - branch.start) * (blocks - 1 - branch.layer);
                tasks.push(Task { patch: p, branch });
            }
        }
        // Neighbours share most of their way, and long ways share it with most.
        tasks.sort_by_key(|t| t.branch.layer);
        let mut rest = tasks.as_slice();
        while !rest.is_empty() {
            let mut sum = 0;
            let fits = |t: &&Task| {
                sum += self.base.length(t.branch.row) - t.branch.start;
                sum <= tokens
            };
            let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            self.batch(now, each)?;
            rest = later;
        }
        Ok(work)
    }

    fn batch(&self, tasks: &[Task], each: &mut dyn FnMut(Patched) -> Result<()>) -> Result<()> {
        let mut plan = self.plan(tasks)?;
        let branches: Vec<Branch> = tasks.iter().map(|t| t.branch).collect();
        let last = self.net.branch(&self.base, &branches, &mut Tap::new(&mut plan))?; // [branches, 1, d_model]
        let vocab = self.net.facts().vocab;
        let rows = (LOGITS / vocab).max(1);
        for (i, tasks) in tasks.chunks(rows).enumerate() {
            let last = last.narrow(0, i * rows, tasks.len())?;
            let logits: Vec<f32> =
                self.net.lens(&last, Form::Inference)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            for (task, logits) in tasks.iter().zip(logits.chunks_exact(vocab)) {
                each(Patched { patch: task.patch, prompt: task.branch.row, logits })?;
            }
        }
        Ok(())
    }

    /// One edit for every site that these tasks patch: it finds their tokens by branch and position.
    fn plan(&self, tasks: &[Task]) -> Result<Plan> {
        let table = self.net.sites();
        let mut writes: BTreeMap<SiteId, values::Writes> = BTreeMap::new();
        for (branch, task) in tasks.iter().enumerate() {
            for place in &self.patches[task.patch].places {
                let Some(held) = self.held.get(&place.site) else { continue };
                let writes = writes.entry(place.site).or_insert_with(|| values::Writes::new(held.clone()));
                let cells = patch::positions(&self.patches[task.patch].selector, &self.base, task.branch.row)?;
                writes.add(branch as u64, cells, &place.units, |p| self.base.cell(task.branch.row, p));
            }
        }
        let mut registry = Registry::elementary();
        let mut pass = Pass::default();
        for (site, writes) in writes {
            let name = &table.get(site).name;
            let tag = format!("patch of {name}");
            registry = registry.with_fn(&tag, move |x: &_, cx: &mut EditContext| writes.apply(x, cx.call));
            pass.edits.push(Edit::new(name.parse()?, tag));
        }
        Plan::compile(table, &pass, &registry, Values::default(), &[])
    }
}

fn check_pairs(base: &[Vec<u32>], source: &[Vec<u32>]) -> Result<()> {
    if base.len() != source.len() {
        return Err(Error::invalid(
            format!("{} base prompts and {} source prompts do not pair up", base.len(), source.len()),
            "give one source prompt for each base prompt",
        ));
    }
    match base.iter().zip(source).position(|(b, s)| b.len() != s.len()) {
        Some(at) => Err(Error::invalid(
            format!(
                "pair {at} (counted from 0) has a base prompt of {} tokens and a source prompt of {}",
                base[at].len(),
                source[at].len()
            ),
            "a patch takes each position from the same position: give prompts of equal length in tokens",
        )),
        None => Ok(()),
    }
}

fn last_logits(net: &Decoder, trunk: &Trunk) -> Result<Vec<Vec<f32>>> {
    Ok(net.lens(&trunk.last()?, Form::Inference)?.squeeze(1)?.to_dtype(DType::F32)?.to_vec2()?)
}
