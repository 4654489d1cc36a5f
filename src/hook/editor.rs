//! One edit at one site: narrows the tensor to what is selected, finds the operation's values, writes the result back.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::context::Context;
use super::edit::{EditOp, Source, SourceOf, align, by_position, real_first, stored_step};
use super::plan::Plan;
use super::selector::{SelectedSite, Selector};
use super::site::{Axis, Site};
use crate::{Error, Result};

/// One edit at one site.
pub(super) struct Editor {
    pub selector: Selector,
    pub selected: SelectedSite,
    pub op: Arc<dyn EditOp>,
    /// Whether it has changed anything yet.
    pub acted: bool,
}

impl Editor {
    /// The selected part of `x`.
    pub fn narrow(&self, x: &Tensor, site: &Site, call: &Context) -> Result<Tensor> {
        let mut indices = self.selected.indices.iter();
        indices.try_fold(x.clone(), |part, (dim, kept)| pick(&part, *dim, kept, site, call))
    }

    /// The operation's values, laid out for this call.
    pub fn values(
        &self,
        plan: &Plan,
        part: &Tensor,
        site: &Site,
        call: &Context,
        scope: Option<&[bool]>,
    ) -> Result<Vec<Tensor>> {
        self.op.sources().into_iter().map(|s| self.value(plan, s, part, site, call, scope)).collect()
    }

    fn value(
        &self,
        plan: &Plan,
        source: &Source,
        part: &Tensor,
        site: &Site,
        call: &Context,
        scope: Option<&[bool]>,
    ) -> Result<Tensor> {
        if let Some(constant) = source.constant(part.device()) {
            return constant;
        }
        let Source::Of(of) = source else {
            return Err(Error::invalid("an edit value of an unknown kind", "see the edit schema"));
        };
        match &of.tensor {
            Some(name) => self.stored(plan, name, part, site, call, scope),
            None => self.captured(plan, of, call, scope),
        }
    }

    /// A tensor of the bundle: narrowed where it has the site's whole axes, then broadcast or read by position.
    fn stored(
        &self,
        plan: &Plan,
        name: &str,
        part: &Tensor,
        site: &Site,
        call: &Context,
        scope: Option<&[bool]>,
    ) -> Result<Tensor> {
        let stored = plan.stored(name).ok_or_else(|| {
            Error::invalid(format!("the stored tensor `{name}` is missing"), "put it into the bundle")
        })?;
        let whole_run = site.timed && stored.rank() == site.axes.len() + 1 && !self.op.wants_reference_set();
        let mut value = if whole_run { stored_step(stored, call)? } else { stored.clone() };
        for (dim, kept) in &self.selected.indices {
            // Broadcasting counts axes from the right.
            let Some(at) = (dim + value.rank()).checked_sub(part.rank()) else { continue };
            let whole = site.sizes[*dim].is_some_and(|size| size != kept.len() && value.dims()[at] == size);
            if whole {
                let index: Vec<u32> = kept.iter().map(|i| *i as u32).collect();
                value = value.contiguous()?.index_select(&Tensor::from_vec(index, kept.len(), value.device())?, at)?;
            }
        }
        if self.op.wants_reference_set() || !site.by_position() {
            return Ok(value);
        }
        by_position(&value, part.rank(), call, scope)
    }

    /// The value of an earlier site, of this pass or another: narrowed like the edit, maps applied.
    fn captured(&self, plan: &Plan, of: &SourceOf, call: &Context, scope: Option<&[bool]>) -> Result<Tensor> {
        let captured = plan.captured(of).ok_or_else(|| {
            Error::invalid(
                format!("the value of site {:?} is not at hand when `{}` is edited", of.site, self.selector),
                "use a site that the network computes before the edited one",
            )
        })?;
        let mut value = match self.op.wants_reference_set() {
            true if of.rows.is_some() || of.positions.is_some() => {
                return Err(Error::invalid(
                    format!("the edit at `{}` maps rows or positions of a reference set", self.selector),
                    "a reference set is taken whole: leave the maps out",
                ));
            }
            true if captured.site.by_position() => real_first(&captured.tensor.detach(), &captured.call.real)?,
            true if captured.site.timed && of.pass.is_some() => {
                let steps: Vec<&Tensor> = captured.steps.values().collect();
                return narrow_last(&Tensor::stack(&steps, 0)?, &self.selected.indices); // [time, batch, ..]
            }
            true => captured.tensor.detach(),
            false => align(of, captured, call, scope)?,
        };
        if self.op.wants_whole_sources() {
            return Ok(value);
        }
        for (dim, kept) in &self.selected.indices {
            let axis = captured.site.axes.get(*dim);
            let heads = of.heads.as_ref().filter(|_| matches!(axis, Some(Axis::Head | Axis::KvHead)));
            let kept = heads.unwrap_or(kept);
            let open = axis == Some(&Axis::Key);
            if axis.is_none() || !open && kept.iter().any(|i| *i >= value.dims()[*dim]) {
                return Err(Error::invalid(
                    format!("the value {:?} of shape {:?} lacks the selected indices", of.site, value.dims()),
                    "use a value with the site's own axes, or a head map within its heads",
                ));
            }
            value = pick(&value, *dim, kept, &captured.site, call)?;
        }
        Ok(value)
    }

    /// Puts the replacement `new` of `part` into `x`, at the rows and positions in scope.
    pub fn write_back(
        &self,
        x: &Tensor,
        part: &Tensor,
        new: Tensor,
        site: &Site,
        call: &Context,
        scope: Option<&[bool]>,
    ) -> Result<Tensor> {
        if new.dims() != part.dims() {
            return Err(Error::invalid(
                format!("an edit at `{}` gave shape {:?} for {:?}", site.name, new.dims(), part.dims()),
                "an operation must keep the shape",
            ));
        }
        let mut whole = new;
        // Innermost axis last: each step puts the narrowed axis back into the tensor narrowed by the earlier ones only.
        for i in (0..self.selected.indices.len()).rev() {
            let (dim, kept) = &self.selected.indices[i];
            let mut earlier = self.selected.indices[..i].iter();
            let base = earlier.try_fold(x.clone(), |base, (d, k)| pick(&base, *d, k, site, call))?;
            whole = put(&base, &whole, *dim, kept, site, call)?;
        }
        let Some(mask) = self.mask(site, call, scope)? else { return Ok(whole) };
        let mask = mask.to_device(x.device())?.broadcast_as(x.shape())?;
        Ok(mask.where_cond(&whole.contiguous()?, &x.contiguous()?)?)
    }

    /// Where the edit acts, broadcastable to the site; `None` for everywhere.
    ///
    /// In an attention map that is never a padded key nor one after its query, which a pass without padding, or with a
    /// cache, does not have.
    fn mask(&self, site: &Site, call: &Context, scope: Option<&[bool]>) -> Result<Option<Tensor>> {
        if scope.is_none() && site.dim(Axis::Key).is_none() {
            return Ok(None);
        }
        let positional = site.dim(Axis::Pos).or(site.dim(Axis::Query));
        // An image is a row of one position.
        if positional.is_none() && !site.by_row() && call.pos != 1 {
            return Err(Error::invalid(
                format!("`{}` has no positions, yet the edit is scoped by position, phase or row", site.name),
                "edit it without a scope",
            ));
        }
        let mut shape = vec![1; site.axes.len()];
        shape[0] = call.rows;
        if let Some(positional) = positional {
            shape[positional] = call.pos;
        }
        let acts = |at: usize| scope.is_none_or(|s| s[at]);
        let places = 0..call.rows * call.pos;
        let mask: Vec<u8> = match site.dim(Axis::Key) {
            None => places.map(|at| u8::from(acts(at))).collect(),
            Some(key) => {
                shape[key] = call.keys;
                let pairs = places.flat_map(|at| (0..call.keys).map(move |column| (at, column)));
                pairs.map(|(at, column)| u8::from(acts(at) && call.precedes(at, column))).collect()
            }
        };
        Ok(Some(Tensor::from_vec(mask, shape, &Device::Cpu)?))
    }
}

/// A reference set `[time, ...]` of a timed site with the selected indices of the site's own axes.
fn narrow_last(set: &Tensor, indices: &[(usize, Vec<usize>)]) -> Result<Tensor> {
    let mut set = set.clone();
    for (dim, kept) in indices {
        let index: Vec<u32> = kept.iter().map(|i| *i as u32).collect();
        set = set.contiguous()?.index_select(&Tensor::from_vec(index, kept.len(), set.device())?, dim + 1)?;
    }
    Ok(set)
}

/// Slices of `x` along an axis. Key indices are positions of the row; a row that lacks one yields its first key.
fn pick(x: &Tensor, dim: usize, kept: &[usize], site: &Site, call: &Context) -> Result<Tensor> {
    let slices = |x: &Tensor, columns: Vec<u32>| -> Result<Tensor> {
        let index = Tensor::from_vec(columns, kept.len(), x.device())?;
        Ok(x.contiguous()?.index_select(&index, dim)?)
    };
    if site.axes[dim] != Axis::Key {
        return slices(x, kept.iter().map(|i| *i as u32).collect());
    }
    let rows: Result<Vec<Tensor>> = (0..call.rows)
        .map(|row| {
            let columns = kept.iter().map(|p| call.key_column(row, *p).unwrap_or(0) as u32);
            slices(&x.narrow(0, row, 1)?, columns.collect())
        })
        .collect();
    Ok(Tensor::cat(&rows?, 0)?)
}

/// The inverse of [`pick`]: `base` with the picked slices taken from `part`.
fn put(base: &Tensor, part: &Tensor, dim: usize, kept: &[usize], site: &Site, call: &Context) -> Result<Tensor> {
    if site.axes[dim] != Axis::Key {
        return insert(base, part, dim, kept.iter().map(|i| Some(*i)));
    }
    let rows: Result<Vec<Tensor>> = (0..call.rows)
        .map(|row| {
            let columns = kept.iter().map(|p| call.key_column(row, *p));
            insert(&base.narrow(0, row, 1)?, &part.narrow(0, row, 1)?, dim, columns)
        })
        .collect();
    Ok(Tensor::cat(&rows?, 0)?)
}

/// `base` with the slices `columns` of axis `dim` taken from `part`: exact, and with a gradient to both.
fn insert(base: &Tensor, part: &Tensor, dim: usize, columns: impl Iterator<Item = Option<usize>>) -> Result<Tensor> {
    let size = base.dim(dim)?;
    let mut from: Vec<u32> = (0..size as u32).collect();
    for (i, column) in columns.enumerate() {
        if let Some(column) = column {
            from[column] = (size + i) as u32;
        }
    }
    let both = Tensor::cat(&[base, part], dim)?.contiguous()?;
    Ok(both.index_select(&Tensor::from_vec(from, size, base.device())?, dim)?)
}
