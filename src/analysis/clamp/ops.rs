//! The operations. Rows are queries; keys are named by their position in the row, whatever the padding.

use candle_core::{D, DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analysis::heads::Template;
use crate::hook::{Axis, Context, EditContext, EditOp, Source};
use crate::{Error, Result};

/// What a forbidden score becomes: finite, so that a query all of whose keys are forbidden still has a pattern.
pub const FORBIDDEN: f64 = -1e9;

/// The pattern of an ideal head.
///
/// - `previous`: `strength` on the token before, the rest on the token itself; the first token attends to itself.
/// - `duplicate`, `induction`: `strength` evenly on the candidates that the template allows, the rest evenly on the other
///   candidates; all on the first token where the template allows none. Candidates are the keys that the template could
///   allow, or those given.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attend {
    /// Which head.
    pub template: Template,
    /// Share of the attention that goes where the head should look, 0 to 1. With two candidates a head's induction
    /// strength is 2 s - 1.
    #[serde(default = "whole")]
    pub strength: f64,
    /// Key positions among which attention is shared out.
    #[serde(default)]
    pub candidates: Option<Vec<u32>>,
}

fn whole() -> f64 {
    1.0
}

/// Takes the pattern of an ideal head away: pre-softmax scores there become [`FORBIDDEN`].
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forbid {
    /// Which head's.
    pub template: Template,
}

/// An ideal matcher: attention to what followed the tokens most like the query,
/// softmax over j of cos(x_j, x_i) / temperature, placed on key j + 1. The weights are constants to the gradient.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// What is compared: a site with one vector per token, such as `{"site": "hook_embed"}`.
    pub value: Source,
    /// Temperature; at 0 the most alike takes all, evenly where several are.
    #[serde(default)]
    pub temperature: f64,
    /// Positions j that are compared; all before the query's if not given.
    #[serde(default)]
    pub candidates: Option<Vec<u32>>,
}

/// An ideal copier: the logit of token v is the log-sum-exp of a head's scores over the keys that hold v, and
/// [`FORBIDDEN`] for tokens that no key holds.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyAttended {
    /// The scores: `{"site": "blocks.1.attn.hook_attn_scores"}`; pre-softmax, for attention itself is bounded.
    pub value: Source,
    /// Whose.
    pub head: usize,
    /// Key positions that are copied from; all that the query sees if not given.
    #[serde(default)]
    pub candidates: Option<Vec<u32>>,
}

impl EditOp for Attend {
    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        if !(0.0..=1.0).contains(&self.strength) {
            let what = format!("`attend` at `{}` has the strength {}", cx.site.name, self.strength);
            return Err(Error::invalid(what, "give a share between 0 and 1"));
        }
        let rows = Rows::of("attend", "hook_pattern", x, cx, self.template != Template::Previous)?;
        rows.fill(x, |row, i, weights| {
            if self.template == Template::Previous {
                let before = i.saturating_sub(1);
                weights[row.column[i]] = (1.0 - self.strength) as f32;
                weights[row.column[before]] += if i == 0 { 1.0 } else { self.strength } as f32;
                if i == 0 {
                    weights[row.column[0]] = 1.0;
                }
                return;
            }
            let could = |j: &usize| match &self.candidates {
                Some(list) => *j <= i && list.contains(&(*j as u32)),
                None if self.template == Template::Duplicate => *j < i,
                None => (1..=i).contains(j),
            };
            let (on, off): (Vec<usize>, Vec<usize>) =
                (0..=i).filter(could).partition(|j| self.template.allows(&row.tokens, i, *j));
            if on.is_empty() {
                weights[row.column[0]] = 1.0;
                return;
            }
            let share = if off.is_empty() { 1.0 } else { self.strength };
            for j in &on {
                weights[row.column[*j]] = (share / on.len() as f64) as f32;
            }
            for j in &off {
                weights[row.column[*j]] = ((1.0 - share) / off.len() as f64) as f32;
            }
        })
    }
}

impl EditOp for Forbid {
    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let rows = Rows::of("forbid", "hook_attn_scores", x, cx, self.template != Template::Previous)?;
        let barred = rows.fill(x, |row, i, bars| {
            for j in (0..=i).filter(|j| self.template.allows(&row.tokens, i, *j)) {
                bars[row.column[j]] = 1.0;
            }
        })?;
        let never = (x.ones_like()? * FORBIDDEN)?;
        Ok(barred.ne(0.0)?.where_cond(&never, x)?)
    }
}

impl EditOp for Match {
    fn sources(&self) -> Vec<&Source> {
        vec![&self.value]
    }

    fn wants_whole_sources(&self) -> bool {
        true
    }

    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let vectors = &cx.values[0];
        if vectors.rank() != 3 || vectors.dim(0)? != cx.call.rows || vectors.dim(1)? != cx.call.pos {
            return Err(Error::invalid(
                format!("`match` at `{}` compares one vector per token, got shape {:?}", cx.site.name, vectors.dims()),
                "give a site of the residual stream, such as `hook_embed`",
            ));
        }
        if self.temperature.is_nan() || self.temperature < 0.0 {
            let what = format!("`match` at `{}` has the temperature {}", cx.site.name, self.temperature);
            return Err(Error::invalid(what, "give a number from 0 on"));
        }
        let rows = Rows::of("match", "hook_pattern", x, cx, true)?;
        let lengths = (vectors.sqr()?.sum_keepdim(D::Minus1)?.sqrt()? + 1e-12)?;
        let unit = vectors.detach().broadcast_div(&lengths.detach())?.contiguous()?;
        let alike = unit.matmul(&unit.transpose(1, 2)?.contiguous()?)?; // [b, t, t]
        let alike: Vec<Vec<Vec<f32>>> = alike.to_dtype(DType::F32)?.to_vec3()?;
        rows.fill(x, |row, i, weights| {
            let compared = |j: &usize| self.candidates.as_ref().is_none_or(|list| list.contains(&(*j as u32)));
            let keys: Vec<usize> = (0..i).filter(compared).collect();
            let cosine = |j: usize| f64::from(alike[row.index][row.column[i]][row.column[j]]);
            let top = keys.iter().map(|j| cosine(*j)).fold(f64::NEG_INFINITY, f64::max);
            let weight = |j: usize| match self.temperature {
                0.0 => f64::from(u8::from(cosine(j) >= top - 1e-6)),
                t => ((cosine(j) - top) / t).exp(),
            };
            let total: f64 = keys.iter().map(|j| weight(*j)).sum();
            for j in &keys {
                weights[row.column[j + 1]] = (weight(*j) / total) as f32;
            }
            if keys.is_empty() {
                weights[row.column[0]] = 1.0;
            }
        })
    }
}

impl EditOp for CopyAttended {
    fn sources(&self) -> Vec<&Source> {
        vec![&self.value]
    }

    fn wants_whole_sources(&self) -> bool {
        true
    }

    fn apply(&self, x: &Tensor, cx: &mut EditContext) -> Result<Tensor> {
        let scores = &cx.values[0];
        let call = cx.call;
        let fits = scores.rank() == 4 && scores.dims()[2..] == [call.pos, call.keys] && scores.dim(0)? == call.rows;
        if cx.site.dim(Axis::Vocab).is_none() || x.dim(D::Minus1)? != cx.site.width() || !fits {
            return Err(Error::invalid(
                format!("`copy_attended` at `{}` moves scores {:?} to logits", cx.site.name, scores.dims()),
                "edit `logits` whole, with the value of an `attn.hook_attn_scores`",
            ));
        }
        if self.head >= scores.dim(1)? {
            return Err(Error::invalid(
                format!("`copy_attended` names head {}, the site has {}", self.head, scores.dim(1)?),
                "count heads from 0",
            ));
        }
        let vocab = cx.site.width();
        let rows = row_tables(call, true, "copy_attended")?;
        let mut seen = vec![0f32; call.rows * call.pos * call.keys];
        let mut holds = vec![0f32; call.rows * call.keys * vocab];
        for row in &rows {
            let copied = |j: &usize| self.candidates.as_ref().is_none_or(|list| list.contains(&(*j as u32)));
            for j in (0..row.tokens.len()).filter(copied) {
                let token = row.tokens[j] as usize;
                if token >= vocab {
                    return Err(Error::invalid(
                        format!("`copy_attended` would copy token {token} at position {j}, which has no logit"),
                        "name the positions that are copied from as `candidates`",
                    ));
                }
                holds[(row.index * call.keys + row.column[j]) * vocab + token] = 1.0;
                for i in j..row.tokens.len() {
                    seen[(row.index * call.pos + row.column[i]) * call.keys + row.column[j]] = 1.0;
                }
            }
        }
        let device = x.device();
        let seen = Tensor::from_vec(seen, (call.rows, call.pos, call.keys), device)?;
        let holds = Tensor::from_vec(holds, (call.rows, call.keys, vocab), device)?;
        let own = scores.narrow(1, self.head, 1)?.squeeze(1)?.to_dtype(DType::F32)?; // [b, q, k]
        // Hidden keys hold -inf, whose gradient would be no number: they take the row's top, and then no weight. Not a
        // minimum with 0, which Candle gives half its gradient where both sides are equal, and so at the top itself.
        let visible = seen.ne(0.0)?;
        let hidden = ((&seen - 1.0)? * 1e30)?;
        let shown = (visible.where_cond(&own.detach(), &own.zeros_like()?)? + hidden)?;
        let top = shown.max_keepdim(D::Minus1)?.maximum(-1e29)?; // [b, q, 1]
        let own = visible.where_cond(&own, &top.broadcast_as(own.shape())?.contiguous()?)?;
        let e = (own.broadcast_sub(&top)?.exp()? * &seen)?;
        let sums = e.contiguous()?.matmul(&holds)?; // [b, q, vocab]
        let logits = sums.maximum(1e-37)?.log()?.broadcast_add(&top)?;
        let never = (sums.ones_like()? * FORBIDDEN)?;
        Ok(sums.gt(0.0)?.where_cond(&logits, &never)?.to_dtype(x.dtype())?)
    }
}

/// A row's tokens by position.
struct Row {
    index: usize,
    /// Ids; empty where only positions are needed.
    tokens: Vec<u32>,
    /// The column of each position.
    column: Vec<usize>,
}

/// The rows of a call, for operations on attention maps.
struct Rows<'a> {
    rows: Vec<Row>,
    call: &'a Context,
}

impl<'a> Rows<'a> {
    fn of(op: &str, part: &str, x: &Tensor, cx: &EditContext<'a>, needs_tokens: bool) -> Result<Self> {
        if !cx.site.name.ends_with(part) || x.dims()[2..] != [cx.call.pos, cx.call.keys] {
            return Err(Error::invalid(
                format!("`{op}` acts at whole rows of `attn.{part}`, not at `{}` {:?}", cx.site.name, x.dims()),
                format!("edit `blocks.L.attn.{part}[head=H]`, at positions if need be, without `[key=..]`"),
            ));
        }
        Ok(Self { rows: row_tables(cx.call, needs_tokens, op)?, call: cx.call })
    }

    /// A map like `x`, the same for all heads: zero but for what `each` writes for a query (its row, its position).
    fn fill(&self, x: &Tensor, each: impl Fn(&Row, usize, &mut [f32])) -> Result<Tensor> {
        let (rows, pos, keys) = (self.call.rows, self.call.pos, self.call.keys);
        let mut map = vec![0f32; rows * pos * keys];
        for row in &self.rows {
            for column in (0..pos).filter(|c| self.call.real[row.index * pos + c]) {
                let at = row.index * pos + column;
                each(row, self.call.position[at] as usize, &mut map[at * keys..(at + 1) * keys]);
            }
        }
        let map = Tensor::from_vec(map, (rows, 1, pos, keys), x.device())?.to_dtype(x.dtype())?;
        Ok(map.broadcast_as(x.shape())?.contiguous()?)
    }
}

/// Tokens and columns of every row by position.
fn row_tables(call: &Context, needs_tokens: bool, op: &str) -> Result<Vec<Row>> {
    if needs_tokens && call.keys != call.pos {
        return Err(Error::invalid(
            format!("`{op}` compares tokens, and earlier calls of a cached generation keep theirs no longer"),
            "run without a cache, or scope the edit to the prompt (`@prompt`)",
        ));
    }
    let table = |index: usize| {
        let real = (0..call.keys).filter(|c| call.key_real[index * call.keys + c]);
        let column: Vec<usize> = real.collect(); // real tokens stand in the order of their positions
        let tokens =
            if needs_tokens { column.iter().map(|c| call.tokens[index * call.pos + c]).collect() } else { vec![] };
        Row { index, tokens, column }
    };
    Ok((0..call.rows).map(table).collect())
}
