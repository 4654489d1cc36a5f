//! Records: what is kept of a site's tensor. A whole tensor (narrowed by the selector), or a reducer's state.
//!
//! A site that is visited several times in a run (generation steps, time steps) says how its repeats combine
//! ([`Repeats`]). Recorded tensors are f32.

use std::collections::BTreeMap;

use candle_core::{D, DType, Storage, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::reduce::{DEFAULT_LIMIT, Observation, PADDING, Reducer, ReducerSpec};
use super::selector::{SelectedSite, Selector};
use super::site::{Axis, Site};
use crate::{Error, Result};

/// One thing to keep of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Where and when; `@raw` records the value before the edits.
    pub site: Selector,
    /// How the visits of a site in one run combine (whole tensors only).
    #[serde(default)]
    pub repeats: Repeats,
    /// Keep a reducer's state instead of the tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce: Option<ReducerSpec>,
    /// Let the reducer see BOS, EOS and other special tokens too.
    #[serde(default)]
    pub special: bool,
    /// Let the reducer see the Euclidean norm along the last axis instead of its values: one unit per head, say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub norms: bool,
}

impl Record {
    /// Keeps the whole (selected) tensor.
    pub fn whole(site: Selector) -> Self {
        Self { site, repeats: Repeats::default(), reduce: None, special: false, norms: false }
    }

    /// Keeps a reducer's state.
    pub fn reduced(site: Selector, reduce: ReducerSpec) -> Self {
        Self { reduce: Some(reduce), ..Self::whole(site) }
    }
}

/// How repeated visits of a site combine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Repeats {
    /// Joined along the position (or query) axis: what one uncached pass over the whole text would show. Steps of a
    /// simulation are stacked along a new leading `time` axis.
    #[default]
    Join,
    /// Stacked along a new leading `time` axis.
    Stack,
    /// The last visit only.
    Last,
}

/// A recorded tensor and the names of its axes.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The values, f32.
    pub tensor: Tensor,
    /// One per axis of `tensor`.
    pub axes: Vec<Axis>,
}

/// Everything that one pass recorded, by site name (`NAME@raw` for values before the edits).
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Whole tensors.
    pub tensors: BTreeMap<String, Recorded>,
    /// Reducer states: at each site, by kind.
    pub reducers: BTreeMap<String, BTreeMap<&'static str, Reducer>>,
}

impl Records {
    /// The reducer of this kind (`moments`, `firing`, ...) at a site.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none.
    pub fn reducer(&self, name: &str, kind: &str) -> Result<&Reducer> {
        self.reducers.get(name).and_then(|kinds| kinds.get(kind)).ok_or_else(|| {
            let known: Vec<&str> = self.reducers.keys().map(String::as_str).take(8).collect();
            Error::invalid(
                format!("no {kind} were reduced at `{name}`"),
                format!("sites with reducers: {}", known.join(", ")),
            )
        })
    }

    /// The tensor recorded at a site.
    ///
    /// # Errors
    /// [`Error::Invalid`] when nothing was recorded under that name.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).map(|r| &r.tensor).ok_or_else(|| {
            let known: Vec<&str> = self.tensors.keys().map(String::as_str).take(8).collect();
            Error::invalid(format!("no tensor was recorded at `{name}`"), format!("recorded: {}", known.join(", ")))
        })
    }
}

/// One record at one site while the pass runs.
pub(crate) struct Recorder {
    pub key: String,
    pub record: Record,
    pub selected: SelectedSite,
    visits: Vec<Tensor>,
    /// Bytes of the visits.
    bytes: u64,
    reducer: Option<Reducer>,
}

impl Recorder {
    pub fn new(key: String, record: Record, selected: SelectedSite, site: &Site) -> Result<Self> {
        let reducer = match &record.reduce {
            None => None,
            Some(spec) => {
                if !site.by_place() {
                    return Err(Error::invalid(
                        format!("a reducer needs a site with axes batch and pos, `{}` has {}", site.name, axes(site)),
                        "record the whole tensor, or reduce a site of the stream, a head's vectors or an MLP",
                    ));
                }
                let mut width = 1;
                let places = if site.timed { 1 } else { 2 };
                for (dim, size) in site.sizes.iter().enumerate().skip(places) {
                    let named = selected.indices.iter().find(|(d, _)| *d == dim);
                    let last = dim + 1 == site.sizes.len();
                    width *= match named {
                        _ if last && record.norms => 1,
                        Some((_, kept)) => kept.len(),
                        None => size.unwrap_or(1),
                    };
                }
                Some(spec.build(width)?)
            }
        };
        Ok(Self { key, record, selected, visits: Vec::new(), bytes: 0, reducer })
    }

    /// Whether both would be kept under the same name.
    pub fn clashes(&self, other: &Self) -> bool {
        let kind = |r: &Self| r.record.reduce.as_ref().map(ReducerSpec::kind);
        self.key == other.key && kind(self) == kind(other)
    }

    /// True when there is something to keep.
    pub fn visited(&self) -> bool {
        self.reducer.is_some() || !self.visits.is_empty()
    }

    /// Takes one visit of the site.
    pub fn visit(&mut self, site: &Site, x: &Tensor, call: &Context) -> Result<()> {
        let mut y = x.detach();
        for (dim, kept) in &self.selected.indices {
            y = narrow(&y, *dim, kept, site, call)?;
        }
        if self.reducer.is_some() {
            return self.reduce(&y, call);
        }
        let y = y.to_dtype(DType::F32)?;
        let positional = site.dim(Axis::Pos).or(site.dim(Axis::Query));
        let y = match positional {
            Some(dim) => at_positions(&y, dim, &self.record.site, call)?,
            None => Some(at_rows(y, &self.record.site, call)?),
        };
        match y {
            None => {}
            Some(y) if self.record.repeats == Repeats::Last => self.visits = vec![y],
            Some(y) => {
                self.bytes += (y.elem_count() * y.dtype().size_in_bytes()) as u64;
                check_stack(site, self.bytes)?;
                self.visits.push(y);
            }
        }
        Ok(())
    }

    fn reduce(&mut self, y: &Tensor, call: &Context) -> Result<()> {
        let Some(reducer) = &mut self.reducer else {
            return Ok(());
        };
        let (rows, pos) = (call.rows, call.pos);
        let scope = call.scope(&self.record.site)?;
        let keep: Vec<bool> = (0..rows * pos)
            .map(|i| {
                call.real[i]
                    && scope.as_ref().is_none_or(|s| s[i])
                    && (self.record.special || !call.special.contains(&call.tokens[i]))
            })
            .collect();
        let mut y = y.to_dtype(DType::F32)?;
        if self.record.norms {
            y = y.sqr()?.sum(D::Minus1)?.sqrt()?;
        }
        let width = y.elem_count() / (rows * pos).max(1);
        let offset = |at: usize| call.offsets.get(at / pos).copied().unwrap_or(0);
        let place = |at: usize| if call.real[at] { call.position[at].saturating_add(offset(at)) } else { PADDING };
        let positions: Vec<u32> = (0..rows * pos).map(place).collect();
        with_values(&y, |values| {
            reducer.observe(&Observation {
                values,
                rows,
                pos,
                width,
                keep: &keep,
                tokens: &call.tokens,
                documents: &call.documents,
                positions: &positions,
            })
        })
    }

    /// What the pass recorded here.
    pub fn finish(self, site: &Site, into: &mut Records) -> Result<()> {
        if let Some(reducer) = self.reducer {
            let kind = reducer.spec().kind();
            into.reducers.entry(self.key).or_default().insert(kind, reducer);
            return Ok(());
        }
        if self.visits.is_empty() {
            return Err(Error::invalid(
                format!("`{}` selected no position of this run", self.record.site),
                if site.timed {
                    "the run ends before the selected time steps"
                } else {
                    "the texts are shorter than the selected positions, or the phase never came"
                },
            ));
        }
        let mut axes = site.axes.clone();
        let tensor = match self.record.repeats {
            Repeats::Stack | Repeats::Join if site.timed || self.record.repeats == Repeats::Stack => {
                axes.insert(0, Axis::Time);
                Tensor::stack(&self.visits, 0)?
            }
            _ => join(&self.visits, site)?,
        };
        into.tensors.insert(self.key, Recorded { tensor, axes });
        Ok(())
    }
}

/// Refuses a record of many visits that would not fit into memory.
pub(super) fn check_stack(site: &Site, bytes: u64) -> Result<()> {
    if bytes <= DEFAULT_LIMIT {
        return Ok(());
    }
    Err(Error::invalid(
        format!("the visits of `{}` in this run take more than {} GiB", site.name, DEFAULT_LIMIT >> 30),
        "keep fewer steps (`@t=0..100`, `@every=10`), fewer indices, or a reducer",
    ))
}

/// The scoped rows of a site without positions.
fn at_rows(x: Tensor, selector: &Selector, call: &Context) -> Result<Tensor> {
    let Some(list) = selector.rows() else { return Ok(x) };
    let rows: Vec<u32> = (0..call.rows).filter(|r| list.contains(*r, call.rows)).map(|r| r as u32).collect();
    let index = Tensor::from_vec(rows.clone(), rows.len(), x.device())?;
    Ok(x.contiguous()?.index_select(&index, 0)?)
}

/// Hands over the numbers of an f32 tensor, in order; where they lie, if the processor can reach them there.
fn with_values<T>(x: &Tensor, use_them: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = x.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(cpu), Some((start, end))) => use_them(&cpu.as_slice::<f32>()?[start..end]),
        _ => {
            drop(storage);
            use_them(&x.flatten_all()?.to_vec1::<f32>()?)
        }
    }
}

fn axes(site: &Site) -> String {
    site.axes.iter().map(|a| a.name()).collect::<Vec<_>>().join(", ")
}

/// Keeps the indices `kept` of an axis. Key indices are positions of the row, whatever the padding.
fn narrow(x: &Tensor, dim: usize, kept: &[usize], site: &Site, call: &Context) -> Result<Tensor> {
    let size = x.dim(dim)?;
    if site.axes[dim] == Axis::Key {
        let rows: Result<Vec<Tensor>> = (0..call.rows)
            .map(|row| {
                let columns: Result<Vec<u32>> = kept.iter().map(|p| key_column(call, row, *p)).collect();
                let columns = Tensor::from_vec(columns?, kept.len(), x.device())?;
                Ok(x.narrow(0, row, 1)?.index_select(&columns, dim)?)
            })
            .collect();
        return Ok(Tensor::cat(&rows?, 0)?);
    }
    if let Some(beyond) = kept.iter().find(|i| **i >= size) {
        return Err(Error::invalid(
            format!("index {beyond} of axis {} at `{}` is beyond its size {size}", site.axes[dim].name(), site.name),
            "select an index below the size",
        ));
    }
    let index: Vec<u32> = kept.iter().map(|i| *i as u32).collect();
    Ok(x.contiguous()?.index_select(&Tensor::from_vec(index, kept.len(), x.device())?, dim)?)
}

fn key_column(call: &Context, row: usize, position: usize) -> Result<u32> {
    call.key_column(row, position).map(|c| c as u32).ok_or_else(|| {
        Error::invalid(
            format!("row {row} has no key at position {position}"),
            "select key positions that every row has",
        )
    })
}

/// Gathers the scoped positions of every row, left-aligned; rows with fewer of them end in NaN.
///
/// `None` when the scope takes nothing of this call.
fn at_positions(x: &Tensor, dim: usize, selector: &Selector, call: &Context) -> Result<Option<Tensor>> {
    let Some(scope) = call.scope(selector)? else {
        return Ok(Some(x.clone()));
    };
    let rows: Vec<usize> =
        (0..call.rows).filter(|r| selector.rows().is_none_or(|l| l.contains(*r, call.rows))).collect();
    let columns: Vec<Vec<u32>> =
        (rows.iter()).map(|r| (0..call.pos).filter(|c| scope[r * call.pos + c]).map(|c| c as u32).collect()).collect();
    let most = columns.iter().map(Vec::len).max().unwrap_or(0);
    if most == 0 {
        return Ok(None);
    }
    let mut gathered = Vec::with_capacity(rows.len());
    for (row, columns) in rows.iter().zip(&columns) {
        let missing = most - columns.len();
        let index = Tensor::from_vec(columns.clone(), columns.len(), x.device())?;
        let mut part = x.narrow(0, *row, 1)?.contiguous()?.index_select(&index, dim)?;
        if missing > 0 {
            let mut shape = part.dims().to_vec();
            shape[dim] = missing;
            part = Tensor::cat(&[part, Tensor::full(f32::NAN, shape, x.device())?], dim)?;
        }
        gathered.push(part);
    }
    Ok(Some(Tensor::cat(&gathered, 0)?))
}

/// Joins visits along the position axis; attention maps, whose key axis grows, are filled up with what masking gives.
fn join(visits: &[Tensor], site: &Site) -> Result<Tensor> {
    let Some(dim) = site.dim(Axis::Pos).or(site.dim(Axis::Query)) else {
        return visits.last().cloned().ok_or_else(|| Error::invalid("no visit to join", "record at a visited site"));
    };
    let Some(key) = site.dim(Axis::Key) else {
        return Ok(Tensor::cat(visits, dim)?);
    };
    let keys = visits.iter().map(|v| v.dim(key)).collect::<candle_core::Result<Vec<_>>>()?;
    let most = keys.iter().copied().max().unwrap_or(0);
    let masked = if site.name.ends_with("scores") { f32::NEG_INFINITY } else { 0.0 };
    let mut filled = Vec::with_capacity(visits.len());
    for (visit, have) in visits.iter().zip(keys) {
        if have == most {
            filled.push(visit.clone());
            continue;
        }
        let mut shape = visit.dims().to_vec();
        shape[key] = most - have;
        let fill = Tensor::full(masked, shape, visit.device())?;
        filled.push(Tensor::cat(&[visit, &fill], key)?);
    }
    Ok(Tensor::cat(&filled, dim)?)
}
