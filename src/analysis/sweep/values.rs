//! The values that patches take, and the edit that puts them in.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::hook::{Context, Site};
use crate::{Error, Result};

/// A site's values in the source run, and which of them differ from the base run's.
pub(super) struct Held {
    /// Heads or neurons of one token; the third axis of the site.
    units: usize,
    /// `[cells * units, width]`, source run.
    source: Tensor,
    /// `[cells * units]`
    differs: Vec<bool>,
}

impl Held {
    /// Of a site `[rows, pos, units, ..]` in both runs.
    pub fn new(site: &Site, base: &Tensor, source: &Tensor) -> Result<Self> {
        if base.dims() != source.dims() || base.rank() < 3 {
            return Err(Error::invalid(
                format!(
                    "`{}` is {:?} in the base run and {:?} in the source run",
                    site.name,
                    base.dims(),
                    source.dims()
                ),
                "give prompts of equal length",
            ));
        }
        let units = base.dim(2)?;
        let flat = |x: &Tensor| x.reshape((base.dim(0)? * base.dim(1)? * units, ()))?.contiguous();
        let (base, source) = (flat(base)?, flat(source)?);
        let width = base.dim(1)?.max(1);
        let (a, b) = (base.flatten_all()?.to_vec1::<f32>()?, source.flatten_all()?.to_vec1::<f32>()?);
        let differ = |(a, b): (&[f32], &[f32])| a.iter().zip(b).any(|(a, b)| a.to_bits() != b.to_bits());
        let differs = a.chunks(width).zip(b.chunks(width)).map(differ).collect();
        Ok(Self { units, source, differs })
    }

    /// Whether the runs differ in these units of a cell.
    pub fn differs(&self, cell: usize, units: Option<&[usize]>) -> bool {
        let of_cell = &self.differs[cell * self.units..][..self.units];
        match units {
            None => of_cell.iter().any(|d| *d),
            Some(units) => units.iter().any(|u| of_cell[*u]),
        }
    }
}

/// What is written at one site: for each branch the positions, the cells of the batch they come from, and the units.
pub(super) struct Writes {
    held: Arc<Held>,
    of: BTreeMap<u64, Write>,
}

/// What is written of one branch.
struct Write {
    /// Cells by position.
    cells: BTreeMap<u32, usize>,
    units: Option<Vec<usize>>,
}

impl Writes {
    pub fn new(held: Arc<Held>) -> Self {
        Self { held, of: BTreeMap::new() }
    }

    pub fn add(
        &mut self,
        branch: u64,
        positions: Vec<usize>,
        units: &Option<Vec<usize>>,
        cell: impl Fn(usize) -> usize,
    ) {
        let cells = positions.into_iter().map(|p| (p as u32, cell(p))).collect();
        self.of.insert(branch, Write { cells, units: units.clone() });
    }

    /// `x` `[tokens, 1, units, ..]` with the source's values at the tokens of the branches.
    pub fn apply(&self, x: &Tensor, call: &Context) -> Result<Tensor> {
        let units = self.held.units;
        let out = x.contiguous()?.copy()?;
        let flat = out.reshape((call.rows * units, ()))?;
        let source = self.held.source.to_dtype(x.dtype())?;
        for (token, (branch, position)) in call.documents.iter().zip(&call.position).enumerate() {
            let Some(write) = self.of.get(branch) else { continue };
            let Some(cell) = write.cells.get(position) else { continue };
            match &write.units {
                None => flat.slice_set(&source.narrow(0, cell * units, units)?, 0, token * units)?,
                Some(wanted) => {
                    for unit in wanted {
                        flat.slice_set(&source.narrow(0, cell * units + unit, 1)?, 0, token * units + unit)?;
                    }
                }
            }
        }
        Ok(out)
    }
}
