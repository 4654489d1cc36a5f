//! What a patch names, and from where on it can change anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::values::Held;
use crate::hook::{Phase, Selector, Site, SiteId};
use crate::models::transformer::{Branch, Trunk};
use crate::models::{Decoder, Network};
use crate::{Error, Result};

/// One site of a patch.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub site: SiteId,
    pub layer: usize,
    /// Indices of the third axis (heads, neurons); `None` for all.
    pub units: Option<Vec<usize>>,
    /// Whether later positions of the same block may read the value.
    spreads: bool,
}

/// A patch in one network.
pub(super) struct Patch {
    pub selector: Selector,
    pub places: Vec<Place>,
}

/// The sites of a patch, each in a block and with one value per token.
pub(super) fn resolve(net: &Decoder, selector: &Selector) -> Result<Vec<Place>> {
    if selector.raw() || selector.phase() != Phase::Any || selector.rows().is_some() || !selector.time().is_all() {
        return Err(Error::invalid(
            format!("the patch `{selector}` is scoped by more than sites, indices and positions"),
            "patches act in prompts, on every pair, after nothing else: leave phase, rows, time and `@raw` out",
        ));
    }
    let table = net.sites();
    let place = |selected: crate::hook::SelectedSite| -> Result<Place> {
        let site = table.get(selected.site);
        let refuse = |what: &str, hint: &str| Err(Error::invalid(format!("the patch `{selector}`: {what}"), hint));
        let Some(layer) = site.layer else {
            return refuse(
                &format!("`{}` lies in no block", site.name),
                "patch `blocks.0.hook_resid_pre` for what comes before, `hook_resid_post` of the last block for after",
            );
        };
        if !site.by_position() {
            return refuse(
                &format!("`{}` has no value of its own for each token", site.name),
                "attention maps are patched by a job of passes, one forward pass each",
            );
        }
        let units = match selected.indices.as_slice() {
            [] => None,
            [(2, units)] => Some(units.clone()),
            _ => {
                return refuse(
                    "it selects indices of an inner axis",
                    "select heads or neurons, whole; a job of passes patches single coordinates of a head",
                );
            }
        };
        Ok(Place { site: selected.site, layer, units, spreads: spreads(net, selected.site, site, layer) })
    };
    selector.resolve(table)?.sites.into_iter().map(place).collect()
}

/// Whether other positions read the value within its block: what keys and values are made of, until attention mixes.
fn spreads(net: &Decoder, id: SiteId, site: &Site, layer: usize) -> bool {
    let mixed = net.sites().find(&format!("blocks.{layer}.attn.hook_z"));
    let part = site.name.split_once("attn.").map_or("", |(_, part)| part);
    let of_queries = part.starts_with("hook_q") || part.starts_with("q_norm") || part == "hook_rot_q";
    mixed.is_none_or(|mixed| id < mixed) && !of_queries && !site.name.ends_with("hook_q_input")
}

/// The positions of a row at which a patch acts, ascending.
pub(super) fn positions(selector: &Selector, base: &Trunk, row: usize) -> Result<Vec<usize>> {
    let context = base.context();
    let columns = context.columns(row, selector)?;
    let acts = columns.iter().enumerate().filter(|(_, acts)| **acts);
    Ok(acts.map(|(column, _)| context.position[row * context.pos + column] as usize).collect())
}

impl Patch {
    /// A patch that acts somewhere in every row of the base run.
    pub fn new(base: &Trunk, selector: &Selector, mut places: Vec<Place>) -> Result<Self> {
        for row in 0..base.context().rows {
            if positions(selector, base, row)?.is_empty() {
                return Err(Error::invalid(
                    format!("the patch `{selector}` acts nowhere in prompt {row}, of {} tokens", base.length(row)),
                    "select positions that every prompt has",
                ));
            }
        }
        places.sort_by_key(|p| p.site);
        Ok(Self { selector: selector.clone(), places })
    }

    /// Where the patched run of a row leaves the base run; `None` if it never does.
    pub fn branch(&self, base: &Trunk, row: usize, held: &BTreeMap<SiteId, Arc<Held>>) -> Option<Branch> {
        let positions = positions(&self.selector, base, row).ok()?;
        let differs = |place: &Place, position: usize| {
            held.get(&place.site).is_none_or(|h| h.differs(base.cell(row, position), place.units.as_deref()))
        };
        let first = positions.iter().copied().find(|p| self.places.iter().any(|place| differs(place, *p)))?;
        // Of one site, what equals the base run may stay; of several, a later one undoes what an earlier one does.
        let start = if self.places.len() == 1 { first } else { positions[0] };
        let layer = self.places.iter().map(|p| p.layer).min()?;
        let spreads = self.places.iter().any(|p| p.layer == layer && p.spreads);
        let end = if spreads { base.length(row) } else { positions.last()? + 1 };
        Some(Branch { row, layer, start, end })
    }
}
