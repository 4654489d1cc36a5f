//! The ways in which the same texts are run: alone and in batches, padded, cached, in both forms. What is recorded is
//! cut to the real positions of each text, so that the same site can be compared whatever the batch looked like.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use crate::hook::{Axis, Pass, Plan, Record, Registry, Site, SiteId, Tap, Values};
use crate::models::{Decoder, Input, Network, Side, State, Tokens};
use crate::{Error, Result};

/// Tokens that a cached run computes one by one at its end.
const STEPS: usize = 6;
/// Columns of padding beyond what rows of different lengths need, so that every row has some.
const EXTRA_PADDING: usize = 2;
/// Values recorded at a time; layers are examined in groups that stay below it.
const GROUP_VALUES: usize = 1 << 26;

/// One way of running the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Each text alone.
    Alone,
    /// Once more.
    Again,
    /// Each with itself backwards in the other row.
    Beside,
    /// All in a batch, padded on the left.
    Left,
    /// All in a batch, padded on the right.
    Right,
    /// Each alone, token by token.
    Cached,
    /// All in a batch, token by token.
    CachedBatch,
    /// Each alone, with a graph for gradients.
    Differentiable,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Alone,
        Self::Again,
        Self::Beside,
        Self::Left,
        Self::Right,
        Self::Cached,
        Self::CachedBatch,
        Self::Differentiable,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alone => "each text alone",
            Self::Again => "each text alone, again",
            Self::Beside => "each text beside another",
            Self::Left => "padded on the left",
            Self::Right => "padded on the right",
            Self::Cached => "token by token, with cache",
            Self::CachedBatch => "token by token, with cache, padded on the left",
            Self::Differentiable => "in the differentiable form",
        }
    }

    /// Needs texts of more than one token.
    pub fn cached(self) -> bool {
        matches!(self, Self::Cached | Self::CachedBatch)
    }

    /// The batches in which the texts are run.
    pub fn batches(self, texts: &[Vec<u32>]) -> Result<Vec<Batch>> {
        let alone = |text: usize| vec![texts[text].clone()];
        let beside = |text: usize| vec![texts[text].clone(), texts[text].iter().rev().copied().collect()];
        let each = |rows: &dyn Fn(usize) -> Vec<Vec<u32>>| -> Result<Vec<Batch>> {
            let batch = |text| {
                let tokens = Tokens::from_rows(&rows(text), Side::Right, 0)?;
                Ok(Batch { steps: self.steps(texts[text].len()), tokens, texts: vec![text] })
            };
            (0..texts.len()).map(batch).collect()
        };
        let all = |side| -> Result<Vec<Batch>> {
            let shortest = texts.iter().map(Vec::len).min().unwrap_or(0);
            let steps = self.steps(shortest);
            Ok(vec![Batch { tokens: padded(texts, side)?, steps, texts: (0..texts.len()).collect() }])
        };
        match self {
            Self::Alone | Self::Again | Self::Cached | Self::Differentiable => each(&alone),
            Self::Beside => each(&beside),
            Self::Left | Self::CachedBatch => all(Side::Left),
            Self::Right => all(Side::Right),
        }
    }

    fn steps(self, length: usize) -> usize {
        if self.cached() { STEPS.min(length.saturating_sub(1)) } else { 0 }
    }
}

/// All texts in one batch, with more padding than they need.
fn padded(texts: &[Vec<u32>], side: Side) -> Result<Tokens> {
    let tight = Tokens::from_rows(texts, side, 0)?;
    let widen = |row: &[u32]| {
        let extra = vec![0; EXTRA_PADDING];
        if side == Side::Left { [&extra, row].concat() } else { [row, &extra].concat() }
    };
    let real: Vec<u32> = tight.real.iter().map(|real| u32::from(*real)).collect();
    let ids: Vec<Vec<u32>> = tight.ids.chunks(tight.pos).map(widen).collect();
    let mask: Vec<Vec<u32>> = real.chunks(tight.pos).map(widen).collect();
    Tokens::from_mask(&ids, &mask)
}

/// Rows that run together; row i is the text `texts[i]`, rows beyond that are company.
#[derive(Clone, Debug)]
pub struct Batch {
    pub tokens: Tokens,
    pub steps: usize,
    pub texts: Vec<usize>,
}

impl Batch {
    /// The forward calls, in order: everything at once, or a prefill and single tokens.
    fn calls(&self) -> Vec<Tokens> {
        let prefill = self.tokens.pos - self.steps;
        let mut calls = vec![columns(&self.tokens, 0, prefill)];
        calls.extend((prefill..self.tokens.pos).map(|column| columns(&self.tokens, column, 1)));
        calls
    }

    /// Runs the batch, with `plan` listening: the logits of all columns.
    pub fn forward(&self, net: &Decoder, mut plan: Option<&mut Plan>) -> Result<Tensor> {
        let mut state = if self.steps > 0 { State::cached() } else { State::none() };
        let mut logits = Vec::new();
        for call in self.calls() {
            let mut tap = match plan.as_deref_mut() {
                Some(plan) => Tap::new(plan),
                None => Tap::off(),
            };
            logits.push(net.forward(&Input::Tokens(call), &mut state, &mut tap)?);
        }
        Ok(Tensor::cat(&logits, 1)?)
    }

    /// The real positions of each text: `[1, .., length, ..]`, keys cut likewise.
    pub fn rows(&self, tensor: &Tensor, axes: &[Axis]) -> Result<Vec<Tensor>> {
        let spans = spans(&self.tokens);
        let row = |row: usize| -> Result<Tensor> {
            let (start, length) = spans[row];
            let mut part = tensor.narrow(0, row, 1)?;
            for (dim, axis) in axes.iter().enumerate() {
                if matches!(axis, Axis::Pos | Axis::Query | Axis::Key) {
                    part = part.narrow(dim, start, length)?;
                }
            }
            Ok(part.contiguous()?)
        };
        (0..self.texts.len()).map(row).collect()
    }
}

/// First column and number of real tokens of each row.
pub(super) fn spans(tokens: &Tokens) -> Vec<(usize, usize)> {
    let span = |row: &[bool]| (row.iter().position(|r| *r).unwrap_or(0), row.iter().filter(|r| **r).count());
    tokens.real.chunks(tokens.pos).map(span).collect()
}

/// Some columns of a batch, as a call of their own.
fn columns(tokens: &Tokens, start: usize, count: usize) -> Tokens {
    let pick = |row: usize| row * tokens.pos + start..row * tokens.pos + start + count;
    Tokens {
        pos: count,
        ids: (0..tokens.rows).flat_map(|row| tokens.ids[pick(row)].to_vec()).collect(),
        real: (0..tokens.rows).flat_map(|row| tokens.real[pick(row)].to_vec()).collect(),
        ..tokens.clone()
    }
}

/// What one way of running the texts showed.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How they ran.
    pub way: Way,
    /// By site: one tensor per text, of real positions.
    pub sites: BTreeMap<String, Vec<Tensor>>,
    /// The network's output, likewise.
    pub output: Vec<Tensor>,
    /// Sites that were not visited, or with another shape than they declare.
    pub problems: Vec<(String, String)>,
}

impl Seen {
    /// The tensors of these sites, if all of them were seen.
    pub fn all<const N: usize>(&self, names: [&str; N]) -> Option<[&[Tensor]; N]> {
        let found: Option<Vec<&[Tensor]>> = names.iter().map(|n| self.sites.get(*n).map(Vec::as_slice)).collect();
        found?.try_into().ok()
    }
}

/// Runs the texts and records `group`.
pub fn observe(net: &Decoder, way: Way, texts: &[Vec<u32>], group: &Group) -> Result<Seen> {
    let mut seen = Seen { way, sites: BTreeMap::new(), output: Vec::new(), problems: Vec::new() };
    let table = net.sites();
    for batch in way.batches(texts)? {
        let mut pass = Pass::default();
        for id in &group.sites {
            pass.records.push(Record::whole(table.get(*id).name.parse()?));
        }
        let mut plan = Plan::compile(table, &pass, &Registry::elementary(), Values::default(), &[])?;
        if way == Way::Differentiable {
            plan = plan.differentiable();
        }
        let logits = batch.forward(net, Some(&mut plan))?;
        seen.output.extend(batch.rows(&logits, &[Axis::Batch, Axis::Pos, Axis::Vocab])?);
        let records = plan.records(table)?;
        for site in group.sites.iter().map(|id| table.get(*id)) {
            let tensor = records.tensors.get(&site.name).map(|r| &r.tensor);
            match tensor.map(|tensor| (tensor, wrong_shape(tensor, site, &batch.tokens))) {
                None => seen.problems.push((site.name.clone(), "it was not visited".to_string())),
                Some((_, Some(wrong))) => seen.problems.push((site.name.clone(), wrong)),
                Some((tensor, None)) => {
                    seen.sites.entry(site.name.clone()).or_default().extend(batch.rows(tensor, &site.axes)?);
                }
            }
        }
    }
    let broken: BTreeSet<&String> = seen.problems.iter().map(|(site, _)| site).collect();
    seen.sites.retain(|site, _| !broken.contains(site));
    Ok(seen)
}

/// What is wrong with the shape of a recorded tensor, if anything.
pub(super) fn wrong_shape(tensor: &Tensor, site: &Site, tokens: &Tokens) -> Option<String> {
    let declared = site.axes.iter().zip(&site.sizes).map(|(axis, size)| match axis {
        Axis::Batch => tokens.rows,
        Axis::Pos | Axis::Query | Axis::Key => tokens.pos,
        _ => size.unwrap_or(1),
    });
    let declared: Vec<usize> = declared.collect();
    (declared != tensor.dims()).then(|| format!("it has shape {:?}, declared is {declared:?}", tensor.dims()))
}

/// Layers that are examined together.
#[derive(Clone, Debug)]
pub struct Group {
    /// The layers.
    pub layers: std::ops::Range<usize>,
    /// Their sites.
    pub sites: Vec<SiteId>,
    /// Holds the last layer, and what comes after it.
    pub last: bool,
}

/// Splits the network so that no group records more than [`GROUP_VALUES`] (one layer at least).
pub fn groups(net: &Decoder, texts: &[Vec<u32>]) -> Result<Vec<Group>> {
    let longest = texts.iter().map(Vec::len).max().unwrap_or(0) + EXTRA_PADDING;
    let values = |site: &Site| {
        let positions = site.axes.iter().filter(|a| matches!(a, Axis::Pos | Axis::Query | Axis::Key)).count();
        site.width() * texts.len().max(2) * longest.pow(positions as u32)
    };
    let layers = net.facts().layers.len();
    let of_layer = |layer| net.sites().iter().filter(move |(_, site)| site.layer == Some(layer));
    let each: usize = of_layer(0).map(|(_, site)| values(site)).sum();
    let together = (GROUP_VALUES / each.max(1)).clamp(1, layers.max(1));
    let mut groups = Vec::new();
    let first_of_block = of_layer(0).map(|(id, _)| id).next();
    for start in (0..layers).step_by(together) {
        let range = start..(start + together).min(layers);
        let last = range.end == layers;
        let mut sites = Vec::new();
        if start > 0 {
            sites.push(net.sites().id(&format!("blocks.{}.hook_resid_post", start - 1))?);
        }
        for (id, site) in net.sites().iter() {
            let inside = match site.layer {
                Some(layer) => range.contains(&layer),
                None if Some(id) < first_of_block => start == 0,
                None => last,
            };
            if inside {
                sites.push(id);
            }
        }
        groups.push(Group { layers: range, sites, last });
    }
    if groups.is_empty() {
        return Err(Error::invalid("the network has no layers", "examine a network with at least one block"));
    }
    Ok(groups)
}
