//! Attribution patching and integrated gradients.
//!
//! ```text
//! AtP = sum (a_source - a_base) . dLD/da |base           one number per patch, all from one backward pass
//! IG  = sum (a_source - a_base) . mean_k dLD/da |a_base + t_k (a_source - a_base),   t_k = (k - 1/2) / m
//! ```
//!
//! The base is the run that is changed: the corrupted one when denoising, the clean one when noising. AtP is exact where the
//! metric is linear in the site; its known failures are saturated softmaxes, effects that cancel, and norms of early streams.
//! The exact effects beside it are those of [`patching`](crate::analysis::patching).

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::analysis::patching::{Columns, Component, Direction, Map, Pair, Patching, patching};
use crate::analysis::unwatched;
use crate::hook::{Edit, Output, Pass, Record, Registry, Values};
use crate::models::execute::observe;
use crate::models::{Decoder, Input, Side, Tokens, gradients};
use crate::report::number;
use crate::{Error, Result};

/// The estimated effects beside the exact ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// The exact effects.
    pub exact: Patching,
    /// The estimates, component by component: block by block, column by column.
    pub estimated: Vec<Scatter>,
}

/// Estimates of one family of patches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scatter {
    /// What would be patched.
    pub component: Component,
    /// Shares of the logit difference, as in [`Map::effect`].
    #[serde(with = "number::nested")]
    pub effect: Vec<Vec<f64>>,
    /// Pearson's correlation with the exact effects over all patches; NaN where either is constant.
    #[serde(with = "number")]
    pub correlation: f64,
}

/// Estimates the effects of all patches of `components` and computes them.
///
/// # Errors
/// As [`patching`].
pub fn attribution_patching(
    net: &Decoder,
    pairs: &[Pair],
    components: &[Component],
    direction: Direction,
) -> Result<Attribution> {
    let exact = patching(net, pairs, components, direction, &mut unwatched)?;
    let blocks = net.facts().layers.len();
    let site = |component: &Component, block: usize| format!("blocks.{block}.{}", component.site());
    let mut sites = Vec::new();
    for component in components {
        sites.extend((0..blocks).map(|block| site(component, block)));
    }
    let mut sums: Vec<Vec<Vec<f64>>> =
        exact.maps.iter().map(|map| vec![vec![0.0; map.effect.first().map_or(0, Vec::len)]; blocks]).collect();
    for pair in pairs {
        let (base, source) = ends(pair, direction);
        let records: Vec<Record> = sites.iter().map(|s| Ok(Record::whole(s.parse()?))).collect::<Result<_>>()?;
        let there = Pass { records: records.clone(), output: Output::Unread, ..Pass::default() };
        let there = observe(net, &input(source)?, &there, &Registry::elementary())?.records;
        let gradient = sites.iter().map(|s| s.parse()).collect::<Result<_>>()?;
        let here = Pass { records, gradients: gradient, output: Output::Last, ..Pass::default() };
        let here = gradients(net, &input(base)?, &here, &Registry::elementary(), Values::default(), |logits| {
            difference(pair, logits)
        })?;
        for (component, sums) in components.iter().zip(&mut sums) {
            for (block, sums) in sums.iter_mut().enumerate() {
                let name = site(component, block);
                let change = (there.get(&name)? - here.records.get(&name)?)?;
                let product = (change * here.sites[&name].to_dtype(DType::F32)?)?.to_dtype(DType::F64)?.squeeze(0)?;
                let parts: Vec<f64> = match component.columns() {
                    Columns::Positions => product.sum(1)?.to_vec1()?, // [t, d_model]
                    _ if *component == Component::Pattern => product.sum((1, 2))?.to_vec1()?, // [h, query, key]
                    _ => product.sum((0, 2))?.to_vec1()?,             // [t, h, d_head]
                };
                sums.iter_mut().zip(parts).for_each(|(s, x)| *s += x);
            }
        }
    }
    let span = exact.clean - exact.corrupted;
    let sign = if direction == Direction::Denoise { 1.0 } else { -1.0 };
    let scale = sign / (span * pairs.len() as f64);
    let estimated = exact.maps.iter().zip(sums).map(|(map, sums)| {
        let effect: Vec<Vec<f64>> = sums.into_iter().map(|row| row.into_iter().map(|x| x * scale).collect()).collect();
        Scatter { component: map.component, correlation: correlation(map, &effect), effect }
    });
    Ok(Attribution { estimated: estimated.collect(), exact })
}

/// The run that is changed, and the one that values come from.
fn ends(pair: &Pair, direction: Direction) -> (&Vec<u32>, &Vec<u32>) {
    match direction {
        Direction::Denoise => (&pair.corrupted, &pair.clean),
        Direction::Noise => (&pair.clean, &pair.corrupted),
    }
}

fn input(ids: &[u32]) -> Result<Input> {
    Ok(Input::Tokens(Tokens::from_rows(&[ids.to_vec()], Side::Right, 0)?))
}

/// LD of the last position's logits `[1, 1, vocab]`.
fn difference(pair: &Pair, logits: &Tensor) -> Result<Tensor> {
    let flat = logits.flatten_all()?;
    let one = |id: u32| flat.narrow(0, id as usize, 1);
    Ok((one(pair.correct)? - one(pair.wrong)?)?.sum_all()?)
}

fn correlation(map: &Map, estimated: &[Vec<f64>]) -> f64 {
    let (x, y): (Vec<f64>, Vec<f64>) = map.effect.iter().flatten().zip(estimated.iter().flatten()).unzip();
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let sum = |f: &dyn Fn(f64, f64) -> f64| x.iter().zip(&y).map(|(a, b)| f(a - mx, b - my)).sum::<f64>();
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

/// Integrated gradients at a whole site.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Integrated {
    /// IG, in units of the logit difference.
    #[serde(with = "number")]
    pub estimate: f64,
    /// What putting the source's values at the whole site does to LD.
    #[serde(with = "number")]
    pub exact: f64,
}

/// Integrated gradients of LD at `site`, from the base run of `direction` to its source, in `steps` steps.
///
/// By completeness the estimate comes to the exact effect as the steps become many, with an error of 1 / steps^2.
///
/// # Errors
/// A site that the network lacks, no step, and what [`patching`] refuses of a pair.
pub fn integrated(net: &Decoder, pair: &Pair, direction: Direction, site: &str, steps: usize) -> Result<Integrated> {
    if steps == 0 || pair.clean.len() != pair.corrupted.len() {
        return Err(Error::invalid(
            format!("{steps} steps between prompts of {} and {} tokens", pair.clean.len(), pair.corrupted.len()),
            "give at least one step, and prompts of equal length in tokens",
        ));
    }
    let (base, source) = ends(pair, direction);
    let record = |ids: &[u32]| -> Result<Tensor> {
        let pass = Pass { records: vec![Record::whole(site.parse()?)], output: Output::Unread, ..Pass::default() };
        Ok(observe(net, &input(ids)?, &pass, &Registry::elementary())?.records.get(site)?.clone())
    };
    let (from, to) = (record(base)?, record(source)?);
    let change = (&to - &from)?;
    let edit = Edit::new(site.parse()?, "replace").with("value", serde_json::json!({ "tensor": "point" }));
    let at = |point: Tensor, gradient: bool| -> Result<crate::models::Gradients> {
        let mut pass = Pass { edits: vec![edit.clone()], output: Output::Last, ..Pass::default() };
        if gradient {
            pass.gradients.push(site.parse()?);
        }
        let mut values = Values::default();
        values.stored.insert("point".into(), point);
        gradients(net, &input(base)?, &pass, &Registry::elementary(), values, |logits| difference(pair, logits))
    };
    let mut estimate = 0.0;
    for k in 0..steps {
        let t = (k as f64 + 0.5) / steps as f64;
        let found = at((&from + (&change * t)?)?, true)?;
        let gradient = found.sites.values().next().cloned();
        let gradient = gradient.ok_or_else(|| Error::invalid("the site has no gradient", "report this as a defect"))?;
        estimate += (&change * gradient)?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()? / steps as f64;
    }
    let value =
        |point: Tensor| -> Result<f64> { Ok(at(point, false)?.value.to_dtype(DType::F64)?.to_scalar::<f64>()?) };
    Ok(Integrated { estimate, exact: value(to)? - value(from)? })
}
