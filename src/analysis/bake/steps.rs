//! What an edit would be in the weights: a step per site, or the reason why there is none.

use std::fmt;

use serde_json::Value;

use crate::hook::{Axis, Edit, Phase, Positions, SelectedSite, SiteTable, Source};
use crate::models::transformer::facts::{Facts, Placement};
use crate::store::Bundle;
use crate::{Error, Result};

/// A weight that writes to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Embed,
    Positions,
    Attention(usize),
    Mlp(usize),
}

/// A change of weights.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Inputs of a map: x_j := factor_j x_j + shift_j.
    Inputs { target: Target, units: Vec<Unit> },
    /// The part of what is written along a direction is removed; the direction has length 1.
    Project { target: Target, direction: Vec<f64> },
    /// W := W + left right^T.
    RankOne { target: Target, left: Vec<f64>, right: Vec<f64> },
    /// The part of the stream before this layer along a direction is removed: nothing is left to do if all that wrote
    /// to it before has lost it.
    Stream { layer: usize, direction: Vec<f64> },
}

/// One input of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Unit {
    pub index: usize,
    pub factor: f64,
    pub shift: f64,
}

/// The layer and the part of a block in a site's name.
fn place(site: &str) -> Option<(usize, &str)> {
    let (layer, part) = site.strip_prefix("blocks.")?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

/// The steps of an edit.
///
/// # Errors
/// An edit that no weights of this family give, with the reason.
pub(super) fn steps(edit: &Edit, bundle: &Bundle, table: &SiteTable, facts: &Facts) -> Result<Vec<Step>> {
    let selector = &edit.site;
    if *selector.positions() != Positions::All || selector.phase() != Phase::Any || selector.rows().is_some() {
        return Err(cannot(edit, "it acts at some positions, rows or phases, and weights act at all"));
    }
    let sites = selector.resolve(table)?.sites;
    sites.iter().map(|site| step(edit, site, bundle, table, facts)).collect()
}

fn step(edit: &Edit, site: &SelectedSite, bundle: &Bundle, table: &SiteTable, facts: &Facts) -> Result<Step> {
    let stream = facts.placement != Placement::AfterAdd;
    // Where a norm follows the map, what is added to the stream is no linear function of the weights.
    let adds_raw = !facts.placement.norms_contributions();
    let plain_embed = !facts.embed.norm && facts.embed.width == facts.d_model;
    let project = |target: Target| Ok(Step::Project { target, direction: direction(edit, bundle, facts.d_model)? });
    match (edit.op.as_str(), site.name.as_str(), place(&site.name)) {
        ("zero" | "scale" | "set" | "replace", _, Some((l, "mlp.hook_post"))) => {
            inputs(edit, site, bundle, table, Target::Mlp(l))
        }
        ("zero" | "scale" | "set" | "replace", _, Some((l, "attn.hook_z"))) => {
            inputs(edit, site, bundle, table, Target::Attention(l))
        }
        ("project_out", "hook_embed", _) if plain_embed => project(Target::Embed),
        ("project_out", "hook_pos_embed", _) => project(Target::Positions),
        ("project_out", _, Some((l, "attn.hook_out"))) => project(Target::Attention(l)),
        ("project_out", _, Some((l, "mlp.hook_out"))) => project(Target::Mlp(l)),
        ("project_out", _, Some((l, "hook_attn_out"))) if adds_raw => project(Target::Attention(l)),
        ("project_out", _, Some((l, "hook_mlp_out"))) if adds_raw => project(Target::Mlp(l)),
        ("project_out", _, Some((layer, "hook_resid_pre"))) if adds_raw && stream && plain_embed => {
            Ok(Step::Stream { layer, direction: direction(edit, bundle, facts.d_model)? })
        }
        ("rank_one", _, Some((l, "mlp.hook_out"))) => {
            let reads = format!("blocks.{l}.mlp.hook_post");
            let input = edit.params.get("input").and_then(|v| v.get("site")).and_then(Value::as_str);
            if input.is_none_or(|site| table.find(site) != table.find(&reads)) {
                return Err(cannot(edit, format!("its input is not `{reads}`, which the weight reads")));
            }
            if !edit.site.indices().is_empty() {
                return Err(cannot(edit, "it changes a part of what the weight writes only"));
            }
            let (left, right) = (numbers(edit, "left", bundle)?, numbers(edit, "right", bundle)?);
            Ok(Step::RankOne { target: Target::Mlp(l), left, right })
        }
        ("zero" | "scale" | "set" | "replace" | "project_out" | "rank_one", name, _) => {
            Err(cannot(edit, format!("no weights of the family `{}` give this at `{name}`", facts.family)))
        }
        _ => Err(cannot(edit, format!("what `{}` does depends on the activations", edit.op))),
    }
}

/// The steps of an edit of what a map reads: factors and shifts of the selected inputs.
fn inputs(edit: &Edit, site: &SelectedSite, bundle: &Bundle, table: &SiteTable, target: Target) -> Result<Step> {
    let sizes = &table.get(site.site).sizes;
    let selected = |dim: usize| -> Vec<usize> {
        let named = site.indices.iter().find(|(d, _)| *d == dim).map(|(_, kept)| kept.clone());
        named.unwrap_or_else(|| (0..sizes[dim].unwrap_or(0)).collect())
    };
    let last = sizes.len() - 1;
    let (columns, width) = (selected(last), sizes[last].unwrap_or(0));
    let heads = if table.get(site.site).dim(Axis::Head).is_some() { selected(last - 1) } else { vec![0] };
    type Affine = fn(f64) -> (f64, f64);
    let (key, affine): (_, Affine) = match edit.op.as_str() {
        "zero" => ("", |_| (0.0, 0.0)),
        "scale" => ("factor", |value| (value, 0.0)),
        _ => ("value", |value| (0.0, value)),
    };
    let values = if key.is_empty() { vec![0.0] } else { numbers(edit, key, bundle)? };
    if values.len() != 1 && values.len() != columns.len() {
        return Err(cannot(
            edit,
            format!("`{key}` has {} numbers at `{}`, where {} are selected", values.len(), site.name, columns.len()),
        ));
    }
    let unit = |head: usize, at: usize, column: usize| {
        let (factor, shift) = affine(values[if values.len() == 1 { 0 } else { at }]);
        Unit { index: head * width + column, factor, shift }
    };
    let of_head = |head: &usize| {
        let head = *head;
        columns.iter().enumerate().map(move |(at, column)| unit(head, at, *column)).collect::<Vec<_>>()
    };
    Ok(Step::Inputs { target, units: heads.iter().flat_map(of_head).collect() })
}

/// The unit direction of a `project_out` that leaves nothing along it.
fn direction(edit: &Edit, bundle: &Bundle, width: usize) -> Result<Vec<f64>> {
    if edit.params.get("component").and_then(Value::as_f64).unwrap_or(0.0) != 0.0 {
        return Err(cannot(edit, "it fixes the component at another value than 0"));
    }
    if !edit.site.indices().is_empty() {
        return Err(cannot(edit, "it projects a part of the stream's coordinates only"));
    }
    let r = numbers(edit, "direction", bundle)?;
    let norm = r.iter().map(|x| x * x).sum::<f64>().sqrt();
    if r.len() != width || !(norm > 0.0 && norm.is_finite()) {
        return Err(cannot(
            edit,
            format!("its direction has {} numbers and the length {norm}, expected {width}", r.len()),
        ));
    }
    Ok(r.into_iter().map(|x| x / norm).collect())
}

/// The numbers of a parameter: one, a list, or a stored tensor.
fn numbers(edit: &Edit, key: &str, bundle: &Bundle) -> Result<Vec<f64>> {
    let value = edit.params.get(key).cloned().unwrap_or_default();
    let wide = |xs: Vec<f32>| xs.into_iter().map(f64::from).collect();
    match serde_json::from_value::<Source>(value) {
        Ok(Source::Number(x)) => Ok(vec![f64::from(x)]),
        Ok(Source::List(xs)) => Ok(wide(xs)),
        Ok(Source::Of(of)) => match of.tensor.as_ref().and_then(|name| bundle.tensors.get(name)) {
            Some(tensor) => Ok(wide(tensor.flatten_all()?.to_vec1::<f32>()?)),
            None => Err(cannot(edit, format!("`{key}` is the value of a run, not a number or a stored tensor"))),
        },
        Err(e) => Err(cannot(edit, format!("`{key}` cannot be read: {e}"))),
    }
}

/// Why an edit stays a bundle.
pub(super) fn cannot(edit: &Edit, why: impl fmt::Display) -> Error {
    Error::invalid(
        format!("`{}` at `{}` cannot be baked into weights: {why}", edit.op, edit.site),
        "it stays an edit: apply the file with --edit",
    )
}
