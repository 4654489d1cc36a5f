//! From [`Selector`] and [`SiteTable`] to sites and indices.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use super::pattern::{Pattern, Places, Token};
use super::{IndexList, Selector, names};
use crate::hook::{Axis, Site, SiteId, SiteTable};
use crate::{Error, Result};

/// The sites that a selector matches in one network, in the order of its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// At least one.
    pub sites: Vec<SelectedSite>,
}

/// One site of a [`Selection`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedSite {
    /// The site.
    pub site: SiteId,
    /// Its full name.
    pub name: String,
    /// For each axis with a bracket its dimension and the indices (sorted, unique); by dimension.
    pub indices: Vec<(usize, Vec<usize>)>,
}

impl Selector {
    /// The sites and indices that this selector means in the network with this table.
    ///
    /// # Errors
    /// [`Error::UnknownSite`] with the nearest names if nothing matches; [`Error::Invalid`] if a layer or an index
    /// reaches beyond the network, or a site lacks an axis that stands in brackets.
    pub fn resolve(&self, table: &SiteTable) -> Result<Selection> {
        let mut sites = Vec::new();
        for id in select(&self.pattern, table)? {
            let site = table.get(id);
            sites.push(SelectedSite { site: id, name: site.name.clone(), indices: self.indices_at(site)? });
        }
        Ok(Selection { sites })
    }

    fn indices_at(&self, site: &Site) -> Result<Vec<(usize, Vec<usize>)>> {
        let mut out = Vec::with_capacity(self.indices().len());
        for (axis, list) in self.indices() {
            let dim = site.dim(*axis).ok_or_else(|| no_axis(site, *axis))?;
            let indices = match site.sizes.get(dim).copied().flatten() {
                Some(size) => list.resolve(size),
                None => list.resolve_open(),
            };
            let indices = indices.and_then(|i| list.ascending(i));
            out.push((dim, indices.map_err(|e| at_site(site, *axis, e))?));
        }
        out.sort_by_key(|(dim, _)| *dim);
        Ok(out)
    }
}

/// Names first; then, without stars, aliases and short names. Stars never reach aliases: every site would match twice.
fn select(pattern: &Pattern, table: &SiteTable) -> Result<BTreeSet<SiteId>> {
    let short = names::expand(pattern);
    let found = match pattern.plain() {
        Some(name) => {
            let full = short.as_ref().and_then(Pattern::plain);
            let id = table.find(name).or_else(|| full.and_then(|full| table.find(full)));
            id.into_iter().collect()
        }
        None => {
            let names = || table.iter().map(|(id, site)| (site.name.as_str(), id));
            let mut found = matching(pattern, names())?;
            if found.is_empty() && !pattern.has_star() {
                found = matching(pattern, table.aliases())?;
            }
            if let (true, Some(full)) = (found.is_empty(), &short) {
                found = matching(full, names())?;
            }
            found
        }
    };
    if found.is_empty() {
        return Err(Error::UnknownSite {
            name: pattern.to_string(),
            nearest: table.nearest(&short.as_ref().unwrap_or(pattern).sample()),
        });
    }
    Ok(found)
}

fn matching<'a>(pattern: &Pattern, names: impl Iterator<Item = (&'a str, SiteId)>) -> Result<BTreeSet<SiteId>> {
    let names: Vec<(&str, SiteId)> = names.collect();
    let mut places = Places::default();
    names.iter().for_each(|(name, _)| places.add(name));
    let mut reach = HashMap::new();
    let hits = names.iter().filter(|(name, _)| pattern.matches(name, &places, &mut reach));
    let found: BTreeSet<SiteId> = hits.map(|(_, id)| *id).collect();
    for (t, token) in pattern.0.iter().enumerate() {
        if let (Token::Numbers(list), Some(count)) = (token, reach.get(&t)) {
            list.spans(*count).map_err(|e| outside(pattern, list, e))?;
        }
    }
    Ok(found)
}

fn outside(pattern: &Pattern, list: &IndexList, error: Error) -> Error {
    match error {
        Error::Invalid { what, hint } => Error::invalid(format!("in `{{{list}}}` of `{pattern}`, {what}"), hint),
        other => other,
    }
}

fn at_site(site: &Site, axis: Axis, error: Error) -> Error {
    match error {
        Error::Invalid { what, hint } => {
            Error::invalid(format!("at `{}` [{}], axis `{}`: {what}", site.name, shape(site), axis.name()), hint)
        }
        other => other,
    }
}

fn no_axis(site: &Site, axis: Axis) -> Error {
    let what = format!("`{}` [{}] has no axis `{}`", site.name, shape(site), axis.name());
    match axis {
        Axis::Head if site.dim(Axis::KvHead).is_some() => Error::invalid(
            format!("{what}: under grouped-query attention one key/value head serves a group of query heads"),
            "select the shared head with `[kv_head=...]`, or a single query head at `hook_z` with `[head=...]`",
        ),
        Axis::KvHead if site.dim(Axis::Head).is_some() => {
            Error::invalid(what, "this site has one entry per query head: use `[head=...]`")
        }
        _ => Error::invalid(what, "narrow the name to sites with that axis, or select on another one"),
    }
}

/// Axes with the sizes that the network fixes: `batch, pos, neuron 3072`.
fn shape(site: &Site) -> String {
    let axis = |(i, a): (usize, &Axis)| match site.sizes.get(i).copied().flatten() {
        Some(size) => format!("{} {size}", a.name()),
        None => a.name().to_string(),
    };
    site.axes.iter().enumerate().map(axis).collect::<Vec<_>>().join(", ")
}

impl Selection {
    /// This selection, if it has exactly `n` sites.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what matched (the first ten).
    pub fn expect(self, n: usize) -> Result<Self> {
        if self.sites.len() == n {
            return Ok(self);
        }
        let mut names: Vec<&str> = self.sites.iter().take(10).map(|s| s.name.as_str()).collect();
        if self.sites.len() > names.len() {
            names.push("...");
        }
        Err(Error::invalid(
            format!("the number of matching sites should be {n} but is {}: {}", self.sites.len(), names.join(", ")),
            "make the selector narrower or wider",
        ))
    }

    /// The sites' indices in the table, ascending.
    pub fn ids(&self) -> impl Iterator<Item = SiteId> {
        self.sites.iter().map(|s| s.site)
    }

    /// One line per site: name, selected indices, shape.
    pub fn show(&self, table: &SiteTable) -> String {
        let mut out = String::new();
        for selected in &self.sites {
            let site = table.get(selected.site);
            out.push_str(&selected.name);
            for (dim, indices) in &selected.indices {
                let axis = site.axes.get(*dim).map_or("?", |a| a.name());
                let _ = write!(out, "[{axis}={}]", IndexList::compact(indices));
            }
            let _ = writeln!(out, " of [{}]", shape(site));
        }
        out
    }
}
