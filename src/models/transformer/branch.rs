//! Runs that leave an earlier run where they come to differ from it.
//!
//! A change at block L and position p leaves alone every block before L, every position before p (attention is
//! causal), and, where it comes after attention has mixed, the other positions of block L. A [`Trunk`] keeps one run's
//! streams, keys and values; a [`Branch`] computes what is left: positions p.. of the blocks from L on, against the
//! trunk's keys and values of the positions before p. Many branches run as one flat list of tokens: each joins as the
//! blocks reach its own, so that the matrix products are large and nothing is padded. After the last attention only
//! last positions go on.
//!
//! The blocks are those of every other run, taps included; tokens of the list are rows of one column, `[tokens, 1, ..]`,
//! whose document is the index of the branch. Attention maps do not exist as tensors here and cannot be tapped.
//!
//! A token costs `2 P` operations in a block of P weights. With T positions and N blocks, one branch for every block
//! and position costs T (T + 1) / 2 * N (N + 1) / 2 of these, a run for each T^2 N^2: a quarter remains, and the
//! logits of last positions only.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};

use super::Decoder;
use super::call::{Call, CallRope};
use crate::hook::{Context, Form, Output, Pass, Plan, Record, Records, Registry, Tap, Values};
use crate::models::{Input, Network, State, Tokens};
use crate::nn::{PackedRow, RopeTables};
use crate::{Error, Result};

/// A run that others leave: its streams, keys and values.
pub struct Trunk {
    call: Call,
    /// What each block got, then what the last one gave: `[rows * pos, d_model]`.
    streams: Vec<Tensor>,
    /// Rotated keys and values of each block, `[rows, pos, kv_head, d_head]`.
    keys: Vec<[Tensor; 2]>,
    /// One row for each cell of the batch, `[rows * pos, 1, dim / 2]`.
    ropes: Vec<RopeTables>,
    /// Columns of padding before each row.
    pads: Vec<usize>,
    /// What was recorded on the way.
    pub records: Records,
}

/// Where a run leaves its trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The row of the trunk.
    pub row: usize,
    /// The first block with a change.
    pub layer: usize,
    /// The first position with a change.
    pub start: usize,
    /// One past the last position that the change can reach within that block; in later ones it reaches all.
    pub end: usize,
}

/// What attention must know of a flat list of tokens.
pub(super) struct Packed {
    pub rows: Vec<PackedRow>,
    /// The trunk's keys and values in the block that runs.
    pub earlier: [Tensor; 2],
    /// In the last block: the tokens that go on after attention, as the tap shall see them.
    kept: Option<(Tensor, Context)>,
}

impl Packed {
    /// Those tokens of `[tokens, ..]` that go on.
    pub fn keep(&self, x: Tensor) -> Result<Tensor> {
        match &self.kept {
            Some((kept, _)) => Ok(x.index_select(kept, 0)?),
            None => Ok(x),
        }
    }

    /// From here on the tap sees those that go on.
    pub fn enter(&self, tap: &mut Tap) {
        if let Some((_, context)) = &self.kept {
            tap.enter(context.clone());
        }
    }
}

/// A branch among the tokens of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    branch: usize,
    start: usize,
    end: usize,
}

impl Trunk {
    /// The positions of a row.
    pub fn length(&self, row: usize) -> usize {
        self.call.context.real_keys(row) as usize
    }

    /// The rows and positions of the run.
    pub fn context(&self) -> &Context {
        &self.call.context
    }

    /// The cell of the batch at a position of a row.
    pub fn cell(&self, row: usize, position: usize) -> usize {
        row * self.call.context.pos + self.pads[row] + position
    }

    /// The stream after the last block at the last position of each row, `[rows, 1, d_model]`.
    pub fn last(&self) -> Result<Tensor> {
        let rows = 0..self.call.context.rows;
        let cells: Vec<u32> = rows.map(|row| self.cell(row, self.length(row) - 1) as u32).collect();
        let cells = Tensor::from_vec(cells, self.call.context.rows, self.device())?;
        Ok(self.streams[self.keys.len()].index_select(&cells, 0)?.unsqueeze(1)?)
    }

    fn device(&self) -> &Device {
        self.streams[0].device()
    }

    fn check(&self, branch: &Branch, tokens: usize) -> Result<()> {
        let layers = self.keys.len();
        let rows = self.call.context.rows;
        if branch.row < rows && branch.layer < layers && tokens > 0 && branch.end <= self.length(branch.row) {
            return Ok(());
        }
        Err(Error::invalid(
            format!(
                "a branch leaves row {} at block {} and positions {}..{}, of a trunk with {rows} rows and {layers} blocks",
                branch.row, branch.layer, branch.start, branch.end
            ),
            "leave it within its rows, blocks and positions",
        ))
    }

    /// The branches that block `layer` computes, and their positions there.
    fn places(&self, branches: &[Branch], order: &[usize], layer: usize) -> Vec<Place> {
        let joined = order.iter().take_while(|b| branches[**b].layer <= layer);
        let place = |b: &usize| {
            let branch = &branches[*b];
            let end = if branch.layer == layer { branch.end } else { self.length(branch.row) };
            Place { branch: *b, start: branch.start, end }
        };
        joined.map(place).collect()
    }

    /// The stream of the trunk before `layer` at these cells, but for what the tokens `x` of `before` have computed:
    /// `[cells, 1, d_model]`.
    fn gather(
        &self,
        branches: &[Branch],
        running: Option<(&Tensor, &[Place])>,
        wanted: impl Iterator<Item = (usize, usize)>,
        layer: usize,
    ) -> Result<Tensor> {
        let stream = &self.streams[layer];
        let (both, places) = match running {
            Some((x, places)) => (Tensor::cat(&[&x.squeeze(1)?, stream], 0)?, places),
            None => (stream.clone(), &[][..]),
        };
        let computed = both.dim(0)? - stream.dim(0)?;
        let mut found = vec![None; branches.len()];
        let mut at = 0;
        for place in places {
            found[place.branch] = Some((at, place));
            at += place.end - place.start;
        }
        let index = |(branch, position): (usize, usize)| match found[branch] {
            Some((at, place)) if (place.start..place.end).contains(&position) => (at + position - place.start) as u32,
            _ => (computed + self.cell(branches[branch].row, position)) as u32,
        };
        let index: Vec<u32> = wanted.map(index).collect();
        let count = index.len();
        if count == computed && index.iter().enumerate().all(|(i, from)| i == *from as usize) {
            return Ok(both.narrow(0, 0, count)?.unsqueeze(1)?);
        }
        Ok(both.index_select(&Tensor::from_vec(index, count, self.device())?, 0)?.unsqueeze(1)?)
    }

    /// What the tap must know of the tokens at these places.
    fn context_of(&self, branches: &[Branch], tokens: &[(usize, usize)]) -> Context {
        let trunk = &self.call.context;
        let row = |t: &(usize, usize)| branches[t.0].row;
        let mut context = Context {
            rows: tokens.len(),
            pos: 1,
            real: vec![true; tokens.len()],
            position: tokens.iter().map(|(_, position)| *position as u32).collect(),
            tokens: tokens.iter().map(|t| trunk.tokens[self.cell(row(t), t.1)]).collect(),
            documents: tokens.iter().map(|(branch, _)| *branch as u64).collect(),
            prompt: tokens.iter().map(|t| trunk.prompt[row(t)]).collect(),
            special: trunk.special.clone(),
            ..Context::default()
        };
        context.follow(None);
        context
    }

    /// The call of a block that computes these places.
    fn call(&self, branches: &[Branch], places: &[Place], layer: usize) -> Result<Call> {
        let is_last = layer + 1 == self.keys.len();
        let row = |place: &Place| {
            let row = branches[place.branch].row;
            let keys = place.end - place.start;
            let queries = if is_last { 1 } else { keys };
            PackedRow { row, pad: self.pads[row], start: place.start, keys, queries }
        };
        let tokens = tokens(places);
        let cells: Vec<u32> = tokens.iter().map(|(b, p)| self.cell(branches[*b].row, *p) as u32).collect();
        let cells = Tensor::from_vec(cells, tokens.len(), self.device())?;
        let rope = |(rope, tables): (&CallRope, &RopeTables)| -> Result<CallRope> {
            let pick = |table: &Tensor| table.index_select(&cells, 0);
            let queries = RopeTables { cos: pick(&tables.cos)?, sin: pick(&tables.sin)? };
            Ok(CallRope { rope: rope.rope.clone(), queries, keys: None })
        };
        let ropes = self.call.ropes.iter().zip(&self.ropes).map(rope).collect::<Result<_>>()?;
        let kept = is_last.then(|| -> Result<(Tensor, Context)> {
            let ends: Vec<(usize, usize)> = places.iter().map(|p| (p.branch, p.end - 1)).collect();
            let mut at = 0;
            let last = |place: &Place| {
                at += place.end - place.start;
                at as u32 - 1
            };
            let index: Vec<u32> = places.iter().map(last).collect();
            Ok((Tensor::from_vec(index, places.len(), self.device())?, self.context_of(branches, &ends)))
        });
        let packed = Packed {
            rows: places.iter().map(row).collect(),
            earlier: self.keys[layer].clone(),
            kept: kept.transpose()?,
        };
        Ok(self.call.packed(self.context_of(branches, &tokens), ropes, packed))
    }
}

/// Branch and position of each token.
fn tokens(places: &[Place]) -> Vec<(usize, usize)> {
    places.iter().flat_map(|p| (p.start..p.end).map(|position| (p.branch, position))).collect()
}

impl Decoder {
    /// Runs `tokens` and keeps what branches need, and the sites `record`.
    ///
    /// # Errors
    /// Tokens that the network cannot take, sites that it does not have.
    pub fn trunk(&self, tokens: &Tokens, record: &[String]) -> Result<Trunk> {
        let layers = self.blocks.len();
        let mut streams: Vec<String> = (0..layers).map(|l| format!("blocks.{l}.hook_resid_pre")).collect();
        streams.push(format!("blocks.{}.hook_resid_post", layers.max(1) - 1));
        let names: BTreeSet<&String> = streams.iter().chain(record).collect();
        let records = names.into_iter().map(|name| Ok(Record::whole(name.parse()?))).collect::<Result<_>>()?;
        let pass = Pass { records, output: Output::Unread, ..Pass::default() };
        let mut plan = Plan::compile(self.sites(), &pass, &Registry::elementary(), Values::default(), &[])?;
        let mut state = State::cached();
        self.forward(&Input::Tokens(tokens.clone()), &mut state, &mut Tap::new(&mut plan))?;
        let records = plan.records(self.sites())?;
        let call = Call::new(&self.facts, tokens.context(None), true, &Tap::off(), &self.device)?;
        let cells = tokens.rows * tokens.pos;
        let flat = |name: &String| -> Result<Tensor> { Ok(records.get(name)?.reshape((cells, ()))?.contiguous()?) };
        let streams = streams.iter().map(flat).collect::<Result<_>>()?;
        let keys = (0..layers).map(|l| self.kept_keys(&state, &call, l)).collect::<Result<_>>()?;
        let ropes = call.ropes.iter().map(|rope| by_cell(&rope.queries, tokens.rows)).collect::<Result<_>>()?;
        let pads = tokens.real.chunks(tokens.pos).map(|row| row.iter().position(|r| *r).unwrap_or(0)).collect();
        Ok(Trunk { call, streams, keys, ropes, pads, records })
    }

    /// The keys, rotated, and values that a call has left of a block.
    fn kept_keys(&self, state: &State, call: &Call, layer: usize) -> Result<[Tensor; 2]> {
        let kept = |which: &str| {
            let name = format!("blocks.{layer}.attn.cache_{which}");
            state.tensors.get(&name).cloned().ok_or_else(|| {
                Error::invalid(format!("the run left no `{name}`"), "this is a defect of the network: report it")
            })
        };
        let (keys, values) = (kept("k")?, kept("v")?.contiguous()?);
        let keys = match self.facts.layers[layer].rope.map(|index| &call.ropes[index]) {
            Some(CallRope { rope, keys: Some(tables), .. }) => rope.apply(&keys, tables, Form::Inference)?,
            _ => keys,
        };
        Ok([keys.contiguous()?, values])
    }

    /// The stream after the last block at the last position of each branch, `[branches, 1, d_model]`; with
    /// [`Decoder::lens`] it gives the logits. The edits of `tap` are what makes branches differ from the trunk.
    ///
    /// # Errors
    /// Branches beyond the trunk, and a tap that listens to attention maps.
    pub fn branch(&self, trunk: &Trunk, branches: &[Branch], tap: &mut Tap) -> Result<Tensor> {
        match tap.form() {
            // As in every other run: a thread of the pool hands out parts of its work at once.
            Form::Inference => rayon::scope(|_| self.run_branches(trunk, branches, tap)),
            Form::Differentiable => self.run_branches(trunk, branches, tap),
        }
    }

    fn run_branches(&self, trunk: &Trunk, branches: &[Branch], tap: &mut Tap) -> Result<Tensor> {
        for branch in branches {
            trunk.check(branch, branch.end.saturating_sub(branch.start))?;
        }
        let mut order: Vec<usize> = (0..branches.len()).collect();
        order.sort_by_key(|b| branches[*b].layer);
        let first = order.first().map_or(self.blocks.len(), |b| branches[*b].layer);
        let mut running: Option<(Tensor, Vec<Place>)> = None;
        for (layer, block) in self.blocks.iter().enumerate().skip(first) {
            let places = trunk.places(branches, &order, layer);
            let before = running.as_ref().map(|(x, places)| (x, places.as_slice()));
            let x = trunk.gather(branches, before, tokens(&places).into_iter(), layer)?; // [tokens, 1, d]
            let call = trunk.call(branches, &places, layer)?;
            tap.enter(call.context.clone());
            // Such a call stops nowhere.
            let Some(x) = block.forward(x, &call, &mut State::none(), tap)? else { break };
            running = Some((x, places));
        }
        // After the last block one token of each branch is left, its last one there.
        let ends = |p: &Place| Place { start: p.end - 1, ..*p };
        let running = running.map(|(x, places)| (x, places.iter().map(ends).collect::<Vec<Place>>()));
        let last = branches.iter().enumerate().map(|(b, branch)| (b, trunk.length(branch.row) - 1));
        trunk.gather(branches, running.as_ref().map(|(x, p)| (x, p.as_slice())), last, self.blocks.len())
    }
}

/// Tables `[rows or 1, pos, half]` as `[rows * pos, 1, half]`.
fn by_cell(tables: &RopeTables, rows: usize) -> Result<RopeTables> {
    let spread = |table: &Tensor| -> Result<Tensor> {
        let (_, pos, half) = table.dims3()?;
        Ok(table.broadcast_as((rows, pos, half))?.reshape((rows * pos, 1, half))?.contiguous()?)
    };
    Ok(RopeTables { cos: spread(&tables.cos)?, sin: spread(&tables.sin)? })
}
