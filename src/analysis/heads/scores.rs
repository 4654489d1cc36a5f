//! Attention along the stripes of repeated rows, and the loss of both halves.

use candle_core::{DType, Tensor};

use super::Options;
use super::rows::Rows;
use super::template::{Measure, Template, similarity};
use crate::analysis::corpus::permutation;
use crate::analysis::registry;
use crate::hook::{Edit, Pass, Record};
use crate::models::execute::observe;
use crate::models::{Decoder, Input, Side, Tokens};
use crate::{Error, Result};

/// Attention weights that are recorded at a time.
const WEIGHTS: usize = 1 << 25;
/// Logits of one forward pass.
const LOGITS: usize = 1 << 25;

/// The scores of one head, row by row.
#[derive(Clone, Debug, Default)]
pub(super) struct RowScores {
    pub previous: Vec<f64>,
    pub duplicate: Vec<f64>,
    pub induction: Vec<f64>,
    /// Sums over rows of the template scores, in the order of [`Template::ALL`].
    pub mul: [f64; 3],
    /// The same under [`Measure::Abs`].
    pub abs: [f64; 3],
    /// The same as `mul` with the templates of shuffled tokens.
    pub mul_shuffled: [f64; 3],
}

/// What was seen of the rows.
#[derive(Default)]
pub(super) struct Measured {
    /// By layer and head.
    pub heads: Vec<Vec<RowScores>>,
    /// Mean nats of each row's first half without its first token.
    pub first: Vec<f64>,
    /// The same of the second half.
    pub second: Vec<f64>,
}

/// The score of attention that is even over what each query sees: the mean of 1 / (keys seen) over the `n` queries from
/// position `first` on whose key `offset` tokens back is seen, 0 for the others.
pub fn uniform(first: usize, n: usize, offset: usize, window: Option<usize>) -> f64 {
    let weight = |query: usize| {
        let seen = window.map_or(query + 1, |w| w.min(query + 1));
        if offset < seen { 1.0 / seen as f64 } else { 0.0 }
    };
    (first..first + n).map(weight).sum::<f64>() / n as f64
}

/// Runs the rows, some rows and layers at a time; the logits come with the first layers.
///
/// Under `edits`, if there are any.
pub(super) fn measure(net: &Decoder, rows: &Rows, options: &Options, edits: &[Edit]) -> Result<Measured> {
    let (layers, heads) = (net.facts().layers.len(), net.facts().n_heads);
    let per_layer = heads * rows.length().pow(2);
    let together = (WEIGHTS / per_layer).clamp(1, layers);
    let by_logits = LOGITS / (rows.length() * net.facts().vocab).max(1);
    let batch = (WEIGHTS / (per_layer * together)).min(by_logits).max(1);
    let mut measured =
        Measured { heads: vec![vec![RowScores::default(); heads]; layers], first: Vec::new(), second: Vec::new() };
    for ids in rows.ids.chunks(batch) {
        let templates: Vec<Templates> = ids.iter().map(|row| Templates::new(row, options)).collect();
        let input = Input::Tokens(Tokens::from_rows(ids, Side::Right, 0)?);
        for start in (0..layers).step_by(together) {
            let group = start..(start + together).min(layers);
            let site = |layer: usize| format!("blocks.{layer}.attn.hook_pattern");
            let mut pass = Pass { edits: edits.to_vec(), ..Pass::default() };
            for layer in group.clone() {
                pass.records.push(Record::whole(site(layer).parse()?));
            }
            let outcome = observe(net, &input, &pass, &registry())?;
            for layer in group {
                let pattern = outcome.records.get(&site(layer))?;
                stripes(pattern, rows, &templates, options, &mut measured.heads[layer])?;
            }
            if start == 0 {
                losses(&outcome.output, ids, rows, &mut measured)?;
            }
        }
    }
    Ok(measured)
}

/// The templates of a row, and of its tokens in another order.
struct Templates {
    own: [Vec<bool>; 3],
    shuffled: [Vec<bool>; 3],
}

impl Templates {
    fn new(tokens: &[u32], options: &Options) -> Self {
        let order = permutation(tokens.len(), options.seed, u64::from(tokens.last().copied().unwrap_or(0)));
        let other: Vec<u32> = order.into_iter().map(|i| tokens[i]).collect();
        let of = |tokens: &[u32]| Template::ALL.map(|template| template.matrix(tokens));
        Self { own: of(tokens), shuffled: of(&other) }
    }
}

/// Means along the three stripes, `[batch, head, query, key]` to one number per row and head; template scores are added.
fn stripes(
    pattern: &Tensor,
    rows: &Rows,
    templates: &[Templates],
    options: &Options,
    into: &mut [RowScores],
) -> Result<()> {
    let (batch, _, _, keys) = pattern.dims4()?;
    for (row, templates) in templates.iter().enumerate().take(batch) {
        for (head, scores) in into.iter_mut().enumerate() {
            let weights = pattern.get(row)?.get(head)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            let mean = |offset: usize| {
                let queries = rows.first_query()..rows.length();
                queries.map(|i| f64::from(weights[i * keys + i - offset])).sum::<f64>() / rows.n as f64
            };
            scores.previous.push(mean(1));
            scores.duplicate.push(mean(rows.n));
            scores.induction.push(mean(rows.n - 1));
            for (k, own) in templates.own.iter().enumerate() {
                scores.mul[k] += similarity(&weights, own, Measure::Mul, options.excluded);
                scores.abs[k] += similarity(&weights, own, Measure::Abs, options.excluded);
                scores.mul_shuffled[k] += similarity(&weights, &templates.shuffled[k], Measure::Mul, options.excluded);
            }
        }
    }
    Ok(())
}

/// Mean -log probability of both halves without their first tokens, row by row.
pub(super) fn losses(logits: &Tensor, ids: &[Vec<u32>], rows: &Rows, measured: &mut Measured) -> Result<()> {
    for (row, ids) in ids.iter().enumerate() {
        let logits = logits.get(row)?.to_dtype(DType::F32)?.to_vec2::<f32>()?; // [t, vocab]
        let nats = |target: usize| {
            let x = &logits[target - 1];
            let top = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let total: f64 = x.iter().map(|x| (f64::from(*x) - top).exp()).sum();
            top + total.ln() - f64::from(x[ids[target] as usize])
        };
        let half = |first: usize| (first + 1..first + rows.n).map(nats).sum::<f64>() / (rows.n - 1) as f64;
        let (first, second) = (half(rows.start), half(rows.first_query()));
        if !first.is_finite() || !second.is_finite() {
            return Err(Error::invalid("the network's logits are not finite", "run `doctor` on it"));
        }
        measured.first.push(first);
        measured.second.push(second);
    }
    Ok(())
}
