//! Where an edit takes its values from: a constant, a stored record, an earlier pass, or an earlier site of this pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hook::context::Context;
use crate::hook::site::Site;
use crate::{Error, Result};

/// A value in an edit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "a value is a number, a list of numbers, or an object that names a `tensor`, or a `site` with or without a `pass`"
)]
pub enum Source {
    /// One number for every selected value.
    Number(f32),
    /// One number per selected coordinate of the last axis.
    List(Vec<f32>),
    /// A tensor that is made elsewhere.
    Of(SourceOf),
}

/// A tensor from a bundle, from an earlier pass, or from an earlier site of the same pass.
///
/// Exactly one of `tensor` and `site` is given; `pass` goes with `site`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceOf {
    /// Name of a tensor in the bundle's `tensors.safetensors`. Broadcast from the right; at a site with axes batch and
    /// pos, with as many axes as the site, or one fewer and a leading axis longer than 1, it is read by position; at a
    /// site of a simulation, with one axis more than the site, by time step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
    /// Name of an earlier pass of the same job; absent for the same pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    /// Full name of the site whose (edited) value is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// For each row of this pass, the row of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<usize>>,
    /// For each position of this pass, the position of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positions: Option<Vec<u32>>,
    /// For each selected head of this pass, the head of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<Vec<usize>>,
    /// Cut the gradient through the source (true unless said otherwise).
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub detach: bool,
}

fn yes() -> bool {
    true
}

fn is_true(b: &bool) -> bool {
    *b
}

impl SourceOf {
    /// Checks that the source says where it comes from, once.
    pub fn check(&self) -> Result<()> {
        let hint = "give either `tensor`, or `site` with or without `pass`";
        match (&self.tensor, &self.site) {
            (Some(_), Some(_)) => Err(Error::invalid("an edit value names both a tensor and a site", hint)),
            (None, None) => Err(Error::invalid("an edit value names neither a tensor nor a site", hint)),
            (Some(t), None) if self.pass.is_some() => {
                Err(Error::invalid(format!("the edit value `{t}` is a stored tensor, yet names a pass"), hint))
            }
            (Some(t), None) if self.rows.is_some() || self.positions.is_some() || self.heads.is_some() => {
                Err(Error::invalid(
                    format!("the edit value `{t}` is a stored tensor, yet has a row, position or head map"),
                    "maps go with the value of a site; store the tensor in the order that is wanted",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// A recorded tensor with the call that it was recorded in.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub tensor: Tensor,
    pub call: Context,
    pub site: Arc<Site>,
    /// Of a timed site that a later pass uses: the value of every step.
    pub steps: BTreeMap<usize, Tensor>,
}

impl Source {
    /// Checks what can be checked without a tensor.
    pub(crate) fn check(&self) -> Result<()> {
        let numbers = match self {
            Self::Number(x) => std::slice::from_ref(x),
            Self::List(xs) => xs.as_slice(),
            Self::Of(of) => return of.check(),
        };
        if numbers.is_empty() || numbers.iter().any(|x| !x.is_finite()) {
            return Err(Error::invalid(
                "an edit value is an empty list, or holds a number beyond the range of f32",
                "give finite numbers",
            ));
        }
        Ok(())
    }

    /// A constant as a tensor that broadcasts to the input.
    pub(crate) fn constant(&self, device: &Device) -> Option<Result<Tensor>> {
        match self {
            Self::Number(x) => Some(Tensor::new(*x, device).map_err(Error::from)),
            Self::List(xs) => Some(Tensor::new(xs.as_slice(), device).map_err(Error::from)),
            Self::Of(_) => None,
        }
    }
}

/// Lays a captured tensor `[rows, pos, ...]` out over the rows and columns of `call`, row and position maps applied.
///
/// Columns outside `scope` (and padding) take any value; a position inside it that the source lacks is an error.
pub(crate) fn align(of: &SourceOf, from: &Captured, call: &Context, scope: Option<&[bool]>) -> Result<Tensor> {
    if from.site.timed {
        return at_step(of, from, call);
    }
    let value = if of.detach { from.tensor.detach() } else { from.tensor.clone() };
    if of.rows.is_none() && of.positions.is_none() && from.call.same_layout(call) {
        return Ok(value);
    }
    let (rows, pos) = (from.call.rows, from.call.pos);
    if !from.site.by_position() {
        return Err(Error::invalid(
            format!(
                "the value {:?} of shape {:?} has no position axis to map rows or positions on",
                of.site,
                value.dims()
            ),
            "use a site with axes batch and pos, or passes of the same length and padding",
        ));
    }
    let mut index = Vec::with_capacity(call.rows * call.pos);
    for row in 0..call.rows {
        let source_row = of.rows.as_ref().map_or(Some(row), |m| m.get(row).copied());
        let source_row = source_row.filter(|r| *r < rows).ok_or_else(|| {
            Error::invalid(
                format!("row {row} has no counterpart among the {rows} rows of the value's pass"),
                "give both passes as many rows, or a row map with an entry per row",
            )
        })?;
        for column in 0..call.pos {
            let at = row * call.pos + column;
            let position = call.position[at];
            let wanted = match &of.positions {
                Some(map) => map.get(position as usize).copied(),
                None => Some(position),
            };
            let found = wanted.and_then(|p| from.call.column_of(source_row, p));
            let needed = call.real[at] && scope.is_none_or(|s| s[at]);
            match found {
                Some(c) => index.push((source_row * pos + c) as u32),
                None if !needed => index.push(0),
                None => {
                    return Err(Error::invalid(
                        format!("position {position} of row {row} has no counterpart in the value's pass"),
                        "scope the edit to positions that both passes have, or give a position map",
                    ));
                }
            }
        }
    }
    let index = Tensor::from_vec(index, call.rows * call.pos, value.device())?;
    let mut shape = value.dims().to_vec();
    let picked = value.flatten(0, 1)?.index_select(&index, 0)?; // [rows*pos, ...]
    shape[0] = call.rows;
    shape[1] = call.pos;
    Ok(picked.reshape(shape)?)
}

/// The value of a timed site in this step: of the same pass the one just computed, of an earlier pass that of the same
/// step there.
fn at_step(of: &SourceOf, from: &Captured, call: &Context) -> Result<Tensor> {
    let step = call.time.map_or(0, |moment| moment.step);
    let value = match &of.pass {
        None => Some(&from.tensor),
        Some(_) => from.steps.get(&step),
    };
    let value = value.map(Tensor::detach).ok_or_else(|| {
        Error::invalid(
            format!("step {step} has no counterpart among the steps of the value {:?}", of.site),
            "scope the edit to the steps that both passes have (`@t=0..100`)",
        )
    })?;
    match (&of.positions, &of.rows) {
        (Some(_), _) => Err(Error::invalid(
            format!("the value {:?} is mapped by position, which a step of a simulation does not have", of.site),
            "leave the map out: every step takes the value of the same step",
        )),
        (None, None) => Ok(value),
        (None, Some(rows)) if from.site.by_row() && rows.iter().all(|row| *row < from.call.rows) => {
            let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
            let index = Tensor::from_vec(rows, of.rows.as_ref().map_or(0, Vec::len), value.device())?;
            Ok(value.contiguous()?.index_select(&index, 0)?)
        }
        (None, Some(_)) => Err(Error::invalid(
            format!("the row map of the value {:?} reaches beyond its {} rows", of.site, from.call.rows),
            "name rows of the value's pass, at a site that has rows",
        )),
    }
}

/// A stored tensor `[time, ...]` in this step.
pub(crate) fn stored_step(stored: &Tensor, call: &Context) -> Result<Tensor> {
    let (steps, step) = (stored.dim(0)?, call.time.map_or(0, |moment| moment.step));
    if step >= steps {
        return Err(Error::invalid(
            format!("a stored value has {steps} time steps, the edit needs step {step}"),
            "scope the edit to the stored steps (`@t=0..100`), or store more",
        ));
    }
    Ok(stored.narrow(0, step, 1)?.squeeze(0)?)
}

/// Lays a stored tensor out over `call`: broadcast as it is, or read by position (see [`SourceOf::tensor`]).
pub(crate) fn by_position(stored: &Tensor, rank: usize, call: &Context, scope: Option<&[bool]>) -> Result<Tensor> {
    let per_row = stored.rank() == rank && stored.dim(1)? > 1;
    let shared = stored.rank() + 1 == rank && stored.dim(0)? > 1;
    if !per_row && !shared {
        return Ok(stored.clone());
    }
    let table = if shared { stored.unsqueeze(0)? } else { stored.clone() }; // [rows or 1, positions, ...]
    let (rows, positions) = (table.dim(0)?, table.dim(1)?);
    if rows != 1 && rows != call.rows {
        return Err(Error::invalid(
            format!("a stored value has {rows} rows, the batch has {}", call.rows),
            "store one row for all, or as many as the batch has",
        ));
    }
    let mut index = Vec::with_capacity(call.rows * call.pos);
    for at in 0..call.rows * call.pos {
        let row = if rows == 1 { 0 } else { at / call.pos };
        let position = call.position[at] as usize;
        let needed = call.real[at] && scope.is_none_or(|s| s[at]);
        if needed && position >= positions {
            return Err(Error::invalid(
                format!("a stored value has {positions} positions, the edit needs position {position}"),
                "scope the edit to the stored positions, or store more",
            ));
        }
        index.push((row * positions + position.min(positions - 1)) as u32);
    }
    let index = Tensor::from_vec(index, call.rows * call.pos, table.device())?;
    let mut shape = table.dims().to_vec();
    shape[0] = call.rows;
    shape[1] = call.pos;
    Ok(table.flatten(0, 1)?.index_select(&index, 0)?.reshape(shape)?)
}

/// A tensor `[rows, columns, ...]` with each row's real tokens moved to the front, in order: column = position. What is
/// left of a row is NaN, so that padding can never pass for a value.
///
/// `real` is `[rows, columns]`.
pub(crate) fn real_first(x: &Tensor, real: &[bool]) -> Result<Tensor> {
    let (rows, columns) = (x.dim(0)?, x.dim(1)?);
    if real.iter().all(|r| *r) {
        return Ok(x.clone());
    }
    let nothing = (rows * columns) as u32;
    let mut index = Vec::with_capacity(rows * columns);
    for (row, real) in real.chunks(columns).enumerate() {
        let before = index.len();
        index.extend((0..columns).filter(|c| real[*c]).map(|c| (row * columns + c) as u32));
        index.resize(before + columns, nothing);
    }
    let flat = x.flatten(0, 1)?.contiguous()?; // [rows * columns, ...]
    let padding = flat.narrow(0, 0, 1)?.affine(0.0, f64::NAN)?;
    let index = Tensor::from_vec(index, rows * columns, x.device())?;
    Ok(Tensor::cat(&[&flat, &padding], 0)?.index_select(&index, 0)?.reshape(x.shape())?)
}
