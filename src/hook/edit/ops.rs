//! The elementary operations. `x` is the selected part of the site's tensor, any shape, last axis = coordinates.

use candle_core::{D, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EditContext, EditOp, OpKind, Source};
use crate::hook::random;
use crate::{Error, Result};

/// All elementary operations.
pub(super) fn kinds() -> Vec<OpKind> {
    vec![
        OpKind::of::<Zero>("zero", "x := 0"),
        OpKind::of::<Put>("set", "x := value, a constant"),
        OpKind::of::<Put>("replace", "x := value: a stored record, an earlier pass, or an earlier site"),
        OpKind::of::<Add>("add", "x := x + coefficient * value"),
        OpKind::of::<Scale>("scale", "x := factor * x"),
        OpKind::of::<Clamp>("clamp", "x := min(max(x, lower), upper)"),
        OpKind::of::<Mean>("mean", "x := mean of a reference set, pooled or per position"),
        OpKind::of::<Resample>("resample", "x := the value of a random example of a reference set"),
        OpKind::of::<ProjectOut>("project_out", "x := x - (x . r) r + component * r, with r the direction normalised"),
        OpKind::of::<RankOne>("rank_one", "x := x + left (right . input): what adding left right^T to a weight does"),
        OpKind::of::<Noise>("noise", "x := x + std * standard normal noise"),
    ]
}

/// Zero ablation. Off-distribution for most sites: compare with `mean` and `resample`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Zero {}

impl EditOp for Zero {
    fn apply(&self, x: &Tensor, _: &mut EditContext) -> Result<Tensor> {
        Ok(x.zeros_like()?)
    }
}

/// A value in the place of the site's: a constant (`set`), or a tensor (`replace`: activation patching).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// The value: one number, one per selected coordinate, or a tensor.
    pub value: Source,
}

impl EditOp for Put {
    fn sources(&self) -> Vec<&Source> {
        vec![&self.value]
    }

    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        spread(&cx.values[0], x, cx)
    }
}

/// Addition: steering vectors, edge patching.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// What to add.
    pub value: Source,
    /// Its coefficient.
    #[serde(default = "one")]
    pub coefficient: f64,
}

fn one() -> f64 {
    1.0
}

impl EditOp for Add {
    fn sources(&self) -> Vec<&Source> {
        vec![&self.value]
    }

    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let value = spread(&cx.values[0], x, cx)?;
        Ok((x + value.affine(self.coefficient, 0.0)?)?)
    }
}

/// Multiplication by a number, or by one per selected coordinate.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// The factor.
    pub factor: Source,
}

impl EditOp for Scale {
    fn sources(&self) -> Vec<&Source> {
        vec![&self.factor]
    }

    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        Ok((x * spread(&cx.values[0], x, cx)?)?)
    }
}

/// Clamping to an interval; a side that is not given is open, but not both.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clamp {
    /// Lower end.
    #[serde(default)]
    pub lower: Option<f32>,
    /// Upper end.
    #[serde(default)]
    pub upper: Option<f32>,
}

impl EditOp for Clamp {
    fn apply(&self, x: &Tensor, _: &mut EditContext) -> Result<Tensor> {
        let (lower, upper) = (self.lower, self.upper);
        if lower.is_none() && upper.is_none() {
            return Err(Error::invalid("clamp has neither a lower nor an upper end", "give `lower`, `upper` or both"));
        }
        if let (Some(l), Some(u)) = (lower, upper)
            && l > u
        {
            return Err(Error::invalid(format!("clamp has its lower end {l} above its upper end {u}"), "swap them"));
        }
        let mut y = x.clone();
        if let Some(lower) = lower {
            y = y.maximum(lower as f64)?;
        }
        if let Some(upper) = upper {
            y = y.minimum(upper as f64)?;
        }
        Ok(y)
    }
}

/// Whether a reference mean is taken over everything or position by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// One mean over all examples and positions.
    #[default]
    Pooled,
    /// One mean per position over the examples.
    Position,
}

/// Mean ablation over a reference set `[examples, positions, ...]`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mean {
    /// The reference set, its first two axes examples and positions.
    pub reference: Source,
    /// Pooled over positions, or per position.
    #[serde(default)]
    pub per: Per,
}

impl EditOp for Mean {
    fn sources(&self) -> Vec<&Source> {
        vec![&self.reference]
    }

    fn wants_reference_set(&self) -> bool {
        true
    }

    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let set = reference(x, cx)?;
        if cx.site.timed && self.per == Per::Position {
            return Err(Error::invalid(
                format!("a mean per position is asked at `{}`, a site of a simulation", cx.site.name),
                "leave `per` out: the mean is over the steps and rows of the reference",
            ));
        }
        match self.per {
            Per::Pooled => spread(&mean_of_numbers(&set.flatten(0, 1)?)?.squeeze(0)?, x, cx),
            Per::Position => {
                let mean = mean_of_numbers(&set)?; // [1, positions, ...]
                let mean = super::source::by_position(&mean, x.rank(), cx.call, cx.scope)?;
                spread(&mean, x, cx)
            }
        }
    }
}

/// Mean over the first axis, which stays; NaN (padding of the reference texts) does not count.
fn mean_of_numbers(set: &Tensor) -> Result<Tensor> {
    let counts = set.eq(set)?; // a NaN is not equal to itself
    let numbers = counts.where_cond(set, &set.zeros_like()?)?;
    Ok((numbers.sum_keepdim(0)? / counts.to_dtype(set.dtype())?.sum_keepdim(0)?)?)
}

/// Resample ablation: each row takes one example of the reference set, at the same positions.
///
/// The draw is keyed by (seed, site, document), so that it does not depend on the batch.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resample {
    /// The reference set, its first two axes examples and positions.
    pub reference: Source,
}

impl EditOp for Resample {
    fn sources(&self) -> Vec<&Source> {
        vec![&self.reference]
    }

    fn wants_reference_set(&self) -> bool {
        true
    }

    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let set = reference(x, cx)?;
        if cx.site.timed {
            return spread(&resampled_step(&set, cx)?, x, cx);
        }
        let examples = set.dim(0)? as u64;
        let site = random::name(&cx.site.name);
        let draws: Vec<u32> =
            (cx.call.documents.iter()).map(|d| (random::key(cx.seed, &[site, *d]) % examples) as u32).collect();
        let rows = draws.len();
        let drawn = set.index_select(&Tensor::from_vec(draws, rows, set.device())?, 0)?; // [rows, positions, ...]
        let drawn = super::source::by_position(&drawn, x.rank(), cx.call, cx.scope)?;
        short_examples(&drawn, cx)?;
        spread(&drawn, x, cx)
    }
}

/// For each row the value of a random row at a random step of a reference run `[time, batch, ..]`, keyed by (seed, site,
/// document, step).
fn resampled_step(set: &Tensor, cx: &EditContext) -> Result<Tensor> {
    let set = set.flatten(0, 1)?.contiguous()?; // [time * batch, ..]
    let (examples, site) = (set.dim(0)? as u64, random::name(&cx.site.name));
    let step = cx.call.time.map_or(0, |moment| moment.step as u64);
    let draw = |document: &u64| (random::key(cx.seed, &[site, *document, step]) % examples) as u32;
    let draws: Vec<u32> = cx.call.documents.iter().map(draw).collect();
    Ok(set.index_select(&Tensor::from_vec(draws, cx.call.rows, set.device())?, 0)?)
}

/// Refuses a drawn example that ends before a position at which it is needed.
fn short_examples(drawn: &Tensor, cx: &EditContext) -> Result<()> {
    if drawn.rank() < 2 || drawn.dim(0)? != cx.call.rows || drawn.dim(1)? != cx.call.pos {
        return Ok(());
    }
    let first = drawn.flatten_from(2)?.narrow(2, 0, 1)?.flatten_all()?; // [rows * pos]
    let first = first.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?;
    let needed = |i: usize| cx.call.real[i] && cx.scope.is_none_or(|s| s[i]);
    match first.iter().enumerate().position(|(i, v)| v.is_nan() && needed(i)) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(
            format!(
                "the example drawn for row {} at `{}` ends before position {}",
                at / cx.call.pos,
                cx.site.name,
                cx.call.position[at]
            ),
            "resample from texts that are at least as long, or scope the edit to the positions that all have",
        )),
    }
}

/// Directional ablation: removes (or fixes at `component`) the part of `x` along a direction.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectOut {
    /// The direction, as long as the last axis; it is normalised here. A zero direction is refused.
    pub direction: Source,
    /// The component along the unit direction afterwards.
    #[serde(default)]
    pub component: f64,
}

impl EditOp for ProjectOut {
    fn sources(&self) -> Vec<&Source> {
        vec![&self.direction]
    }

    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let r = &cx.values[0];
        let width = x.dim(D::Minus1)?;
        if r.rank() == 0 || r.dim(D::Minus1)? != width {
            return Err(Error::invalid(
                format!(
                    "project_out at `{}` needs a direction of {width} values, got shape {:?}",
                    cx.site.name,
                    r.dims()
                ),
                "give one value per coordinate of the last axis",
            ));
        }
        let norm = r.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        if norm.min_all()?.to_dtype(candle_core::DType::F32)?.to_scalar::<f32>()? == 0.0 {
            return Err(Error::invalid(
                format!("project_out at `{}` got a direction of length 0", cx.site.name),
                "a difference of equal means has no direction: check the two sets",
            ));
        }
        let r = r.to_dtype(x.dtype())?.broadcast_div(&norm.to_dtype(x.dtype())?)?;
        let along = x.broadcast_mul(&r)?.sum_keepdim(D::Minus1)?; // [.., 1]
        let removed = along.affine(1.0, -self.component)?.broadcast_mul(&r)?;
        Ok((x - removed)?)
    }
}

/// A rank-one update of the map from `input` to x, W := W + left right^T (Meng et al. 2022): at `blocks.L.mlp.hook_out`
/// with `input` `{"site": "blocks.L.mlp.hook_post"}` it is one of the down projection.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RankOne {
    /// What the map reads: an earlier site of the pass.
    pub input: Source,
    /// As long as the last axis of x.
    pub left: Source,
    /// As long as the last axis of the input.
    pub right: Source,
}

impl EditOp for RankOne {
    fn sources(&self) -> Vec<&Source> {
        vec![&self.input, &self.left, &self.right]
    }

    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let [input, left, right] = [0, 1, 2].map(|i| cx.values[i].to_dtype(x.dtype()));
        let (input, left, right) = (input?, left?, right?);
        let fits = |v: &Tensor, of: &Tensor| v.rank() == 1 && v.dims().last() == of.dims().last();
        let lead = |t: &Tensor| t.dims()[..t.rank().saturating_sub(1)].to_vec();
        if input.rank() == 0 || lead(&input) != lead(x) || !fits(&right, &input) || !fits(&left, x) {
            return Err(Error::invalid(
                format!(
                    "rank_one at `{}` of shape {:?} got an input of shape {:?}, left {:?} and right {:?}",
                    cx.site.name,
                    x.dims(),
                    input.dims(),
                    left.dims(),
                    right.dims()
                ),
                "edit all rows and positions; left is as long as the site is wide, right as the input is",
            ));
        }
        let along = input.broadcast_mul(&right)?.sum_keepdim(D::Minus1)?; // [.., 1]
        Ok((x + along.broadcast_mul(&left)?)?)
    }
}

/// Gaussian noise, keyed by (seed, site, document, position, coordinate): the same for a token in any batch.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Standard deviation.
    pub std: f64,
}

impl EditOp for Noise {
    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let (rows, pos) = (cx.call.rows, cx.call.pos);
        if !cx.site.by_place() {
            return Err(Error::invalid(
                format!("noise needs axes batch and pos, `{}` has shape {:?}", cx.site.name, x.dims()),
                "add noise at a site of the residual stream, a head's input or an MLP",
            ));
        }
        let width = x.elem_count() / (rows * pos).max(1);
        let site = random::name(&cx.site.name);
        let mut noise = Vec::with_capacity(x.elem_count());
        for row in 0..rows {
            for column in 0..pos {
                let position = cx.call.position[row * pos + column] as u64;
                let key = random::key(cx.seed, &[site, cx.call.documents[row], position]);
                noise.extend((0..width as u64).map(|i| random::normal(random::key(key, &[i])) as f32));
            }
        }
        let noise = Tensor::from_vec(noise, x.shape(), x.device())?.to_dtype(x.dtype())?;
        Ok((x + noise.affine(self.std, 0.0)?)?)
    }
}

/// `value` broadcast to the shape of `x`.
fn spread(value: &Tensor, x: &Tensor, cx: &EditContext) -> Result<Tensor> {
    let value = value.to_dtype(x.dtype())?;
    value.broadcast_as(x.shape()).map_err(|_| {
        Error::invalid(
            format!("an edit at `{}` needs a value that fits {:?}, got {:?}", cx.site.name, x.dims(), value.dims()),
            "give one number, one per selected coordinate, or a tensor of the site's shape",
        )
    })
}

/// The reference set, whose axes must be `[examples, positions, rest of x]`.
fn reference(x: &Tensor, cx: &EditContext) -> Result<Tensor> {
    if !cx.site.by_place() {
        return Err(Error::invalid(
            format!("a reference set needs a site with axes batch and pos, `{}` has none", cx.site.name),
            "take the mean of, or resample, a site of the stream, a head's vectors or an MLP",
        ));
    }
    let set = &cx.values[0];
    let rest = if cx.site.timed { &x.dims()[1..] } else { &x.dims()[2..] };
    if set.rank() != rest.len() + 2 || set.dims()[2..] != *rest || set.elem_count() == 0 {
        return Err(Error::invalid(
            format!(
                "a reference set must be [examples, positions, {rest:?}] (of a simulation [time, batch, {rest:?}]), got {:?}",
                set.dims()
            ),
            "record the same selector over the reference texts",
        ));
    }
    Ok(set.clone())
}
