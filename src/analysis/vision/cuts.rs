//! What units are for: accuracy with some of them silenced (MILAN's analysis and editing applications).

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::units::Unit;
use crate::data::ImageSet;
use crate::hook::random::Stream;
use crate::hook::{Edit, Pass, Registry};
use crate::models::{Convolutional, Input, execute::observe};
use crate::{Error, Result};

/// Images of a forward pass.
const BATCH: usize = 250;

/// Edits that set units to zero.
///
/// # Errors
/// None for units of a network.
pub fn silencing(units: &[&Unit]) -> Result<Vec<Edit>> {
    let mut by_layer: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    units.iter().for_each(|u| {
        by_layer.entry(u.layer).or_default().insert(u.channel);
    });
    let edit = |(layer, channels): (usize, BTreeSet<usize>)| -> Result<Edit> {
        let channels: Vec<String> = channels.iter().map(usize::to_string).collect();
        let site = format!("conv.{layer}.hook_post[channel={}]", channels.join(","));
        serde_json::from_value(serde_json::json!({ "site": site, "op": "zero" }))
            .map_err(|e| Error::invalid(format!("an edit of {site}: {e}"), "report this defect"))
    };
    by_layer.into_iter().map(edit).collect()
}

/// The outputs `[image, class]` of a network, `edits` in force.
///
/// # Errors
/// Images of another size than the network's, and what the edits refuse.
pub fn outputs(net: &Convolutional, set: &ImageSet, edits: &[Edit]) -> Result<Tensor> {
    let pass = Pass { name: "run".into(), edits: edits.to_vec(), ..Pass::default() };
    let all: Vec<usize> = (0..set.len()).collect();
    let batch = |at: &[usize]| -> Result<Tensor> {
        Ok(observe(net, &Input::Images(set.batch(at)?), &pass, &Registry::elementary())?.output)
    };
    let parts = all.chunks(BATCH).map(batch).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}

/// Whether each image's largest output is its label.
///
/// # Errors
/// Images without labels.
pub fn right(net: &Convolutional, set: &ImageSet, edits: &[Edit]) -> Result<Vec<f64>> {
    if set.labels.len() != set.len() {
        return Err(Error::invalid(
            format!("{} labels for {} images", set.labels.len(), set.len()),
            "give images whose classes are known",
        ));
    }
    let best: Vec<u32> = outputs(net, set, edits)?.argmax(1)?.to_vec1()?;
    Ok(best.iter().zip(&set.labels).map(|(a, b)| f64::from(u8::from(a == b))).collect())
}

/// Per class, the share of images about which a network of yes-or-no outputs is right, halves weighted alike: the mean of
/// the shares among those that show the class and those that do not. `targets` are `[image, class]`.
///
/// # Errors
/// Images of another size than the network's, and what the edits refuse.
pub fn balanced(net: &Convolutional, set: &ImageSet, targets: &[f32], edits: &[Edit]) -> Result<Vec<f64>> {
    let outputs: Vec<Vec<f32>> = outputs(net, set, edits)?.to_vec2()?;
    let classes = net.config().classes.len();
    let share = |class: usize, wanted: bool| {
        let of = outputs.iter().enumerate().filter(|(i, _)| (targets[i * classes + class] > 0.5) == wanted);
        let (right, all) = of.fold((0.0, 0.0), |(right, all), (_, row)| {
            (right + f64::from(u8::from((row[class] > 0.0) == wanted)), all + 1.0)
        });
        right / f64::max(all, 1.0)
    };
    Ok((0..classes).map(|class| (share(class, true) + share(class, false)) / 2.0).collect())
}

/// A curve: accuracy after the first n units of an order were silenced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What ordered the units.
    pub name: String,
    /// (units silenced, accuracy).
    pub points: Vec<(usize, f64)>,
}

/// Accuracies with the first n of `order` silenced, for each n of `counts`; `accuracy` measures.
///
/// # Errors
/// Those of `accuracy`.
pub fn curve(
    name: &str,
    order: &[&Unit],
    counts: &[usize],
    accuracy: &dyn Fn(&[Edit]) -> Result<f64>,
) -> Result<Curve> {
    let point = |n: &usize| Ok((*n, accuracy(&silencing(&order[..(*n).min(order.len())])?)?));
    Ok(Curve { name: name.into(), points: counts.iter().map(point).collect::<Result<_>>()? })
}

/// Units in a random order.
pub fn at_random(units: &[Unit], seed: u64, draw: u64) -> Vec<&Unit> {
    let mut order: Vec<&Unit> = units.iter().collect();
    Stream::new(seed, &[0xc7, draw]).shuffle(&mut order);
    order
}
