//! What heads do is known by taking them away: ablation of heads on repeated random tokens, adding them back one by one,
//! and forbidding the pattern that later heads build on.
//!
//! Losses are those of [`heads`](super::heads): mean nats of the first half and of the second half, each without its first
//! token. The control of an ablation is the same number of other heads of the same layers, drawn at random: as many
//! different sets as were asked for, or as there are.
//!
//! A model that never learned to predict noise may lose its head in the first half of random tokens, so that a change of
//! its loss there means little. The same ablation on text that is given twice shows what the heads are to a first half
//! that the model knows how to read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rows::Rows;
use super::scores::{Measured, losses, measure};
use super::{Head, Heads, Options, PREVIOUS, Pool, check_head, heads};
use crate::analysis::{Estimate, registry, unwatched};
use crate::hook::random::Stream;
use crate::hook::{Edit, Output, Pass, Run};
use crate::models::{Decoder, Input, Job, Side, Tokens, execute};
use crate::{Error, Result};

/// What takes the place of an ablated head's z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing: off-distribution for most heads.
    Zero,
    /// Its mean at the position over rows of which nothing repeats.
    #[default]
    Mean,
    /// What it is in a random one of these rows.
    Resample,
}

/// What to ablate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CausalOptions {
    /// The rows.
    pub rows: Options,
    /// How many induction heads, strongest first.
    pub top: usize,
    /// What takes their place.
    pub kind: Kind,
    /// Random sets of heads to compare with.
    pub draws: usize,
}

impl Default for CausalOptions {
    fn default() -> Self {
        Self { rows: Options::default(), top: 5, kind: Kind::Mean, draws: 8 }
    }
}

/// The losses of both halves, and what they rose by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// First half, nats a token.
    pub first: Estimate,
    /// Second half.
    pub second: Estimate,
    /// Rise of the first half, row by row.
    pub first_rise: Estimate,
    /// Rise of the second half, row by row.
    pub second_rise: Estimate,
}

/// One set of heads ablated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesion {
    /// (layer, head).
    pub heads: Vec<(usize, usize)>,
    /// What came of it.
    pub effect: Effect,
}

/// What rows are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Random tokens, and then the same again.
    #[default]
    Random,
    /// The beginning of a text, and then the same again.
    Text,
}

/// What ablation showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ablation {
    /// What took the heads' place.
    pub kind: Kind,
    /// What the rows are.
    pub on: On,
    /// How many.
    pub rows: usize,
    /// Tokens of a half.
    pub n: usize,
    /// Nothing ablated.
    pub clean: (Estimate, Estimate),
    /// The heads in question.
    pub target: Lesion,
    /// As many other heads of the same layers, one lesion for each set that was drawn; no set twice.
    pub controls: Vec<Lesion>,
    /// All ablated, then the first one added back, then the second as well, ...: losses of the second half.
    pub added_back: Vec<Estimate>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Causal {
    /// The strongest induction heads ablated; `None` if the network has none.
    pub ablation: Option<Ablation>,
    /// The same on text given twice; `None` without induction heads or texts.
    pub text: Option<Ablation>,
    /// Forbidding the previous-token pattern; `None` without a previous-token head before an induction head.
    pub forbidden: Option<Forbidden>,
}

/// K composition: a later head can match prefixes only because an earlier one attends to the token before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forbidden {
    /// The previous-token heads whose pattern was forbidden.
    pub heads: Vec<(usize, usize)>,
    /// The strongest induction head.
    pub induction_head: (usize, usize),
    /// Its induction score as it is.
    pub before: Estimate,
    /// Its score afterwards.
    pub after: Estimate,
    /// The control: the pattern forbidden in as many other heads of the same layers, set by set.
    pub controls: Vec<Estimate>,
    /// Every induction head after one of them, strongest first.
    pub later: Vec<Reader>,
}

/// An induction head's score without the pattern that it may build on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reader {
    /// (layer, head).
    pub head: (usize, usize),
    /// Its induction score as it is.
    pub before: Estimate,
    /// With the pattern forbidden in the previous-token heads.
    pub after: Estimate,
    /// With the pattern forbidden in other heads instead: mean over the controls; `None` without one.
    pub control: Option<Estimate>,
}

/// Ablates `targets`, (layer, head), strongest first.
///
/// # Errors
/// No head, a head that the network lacks, or rows that show no repetition.
pub fn ablate(net: &Decoder, pool: &Pool, targets: &[(usize, usize)], options: &CausalOptions) -> Result<Ablation> {
    check(net, targets)?;
    ablated(net, &Rows::draw(net, pool, &options.rows)?, On::Random, targets, options)
}

/// The same on the beginnings of `texts`, given twice; texts that are too short are left out.
///
/// # Errors
/// As [`ablate`], and too few texts.
pub fn ablate_text(
    net: &Decoder,
    start: Option<u32>,
    texts: &[Vec<u32>],
    targets: &[(usize, usize)],
    options: &CausalOptions,
) -> Result<Ablation> {
    check(net, targets)?;
    ablated(net, &Rows::of_texts(net, start, texts, &options.rows)?, On::Text, targets, options)
}

fn ablated(
    net: &Decoder,
    rows: &Rows,
    on: On,
    targets: &[(usize, usize)],
    options: &CausalOptions,
) -> Result<Ablation> {
    let seed = options.rows.seed;
    let mean = |values: &[f64]| Estimate::mean(values, seed);
    let clean = lesioned(net, rows, &[], options)?;
    let effect = |heads: &[(usize, usize)]| -> Result<Lesion> {
        let found = lesioned(net, rows, heads, options)?;
        let rise = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
        let effect = Effect {
            first: mean(&found.first),
            second: mean(&found.second),
            first_rise: mean(&rise(&found.first, &clean.first)),
            second_rise: mean(&rise(&found.second, &clean.second)),
        };
        Ok(Lesion { heads: heads.to_vec(), effect })
    };
    let controls =
        others(net, targets, seed, options.draws).iter().map(|heads| effect(heads)).collect::<Result<_>>()?;
    let added_back = (0..=targets.len()).map(|n| Ok(effect(&targets[n..])?.effect.second)).collect::<Result<_>>()?;
    Ok(Ablation {
        kind: options.kind,
        on,
        rows: rows.ids.len(),
        n: rows.n,
        clean: (mean(&clean.first), mean(&clean.second)),
        target: effect(targets)?,
        controls,
        added_back,
    })
}

/// Refuses heads that are none.
fn check(net: &Decoder, targets: &[(usize, usize)]) -> Result<()> {
    if targets.is_empty() {
        return Err(Error::invalid("no head was named", "name heads as LAYER.HEAD, such as 3.6"));
    }
    targets.iter().try_for_each(|(layer, head)| check_head(net, *layer, *head))?;
    if let Some((at, (layer, head))) = targets.iter().enumerate().find(|(at, head)| targets[..*at].contains(head)) {
        let first = targets.iter().position(|t| t == &targets[at]).unwrap_or(0);
        let what = format!("head {layer}.{head} is named twice, as number {first} and {at} (counted from 0)");
        return Err(Error::invalid(what, "name each head once"));
    }
    Ok(())
}

/// Finds the induction heads of a network, ablates the strongest, on `texts` too if there are any, and forbids the pattern
/// that they build on.
///
/// # Errors
/// Rows that show no repetition, and texts too short for them.
pub fn causal(net: &Decoder, pool: &Pool, texts: &[Vec<u32>], options: &CausalOptions) -> Result<Causal> {
    let found = heads(net, pool, None, &options.rows, &mut unwatched)?;
    let place = |h: &&Head| (h.layer, h.head);
    let top: Vec<(usize, usize)> = found.induction_heads().iter().take(options.top).map(place).collect();
    let ablation = (!top.is_empty()).then(|| ablate(net, pool, &top, options)).transpose()?;
    let text = (!top.is_empty() && !texts.is_empty()).then(|| ablate_text(net, pool.start, texts, &top, options));
    Ok(Causal { ablation, text: text.transpose()?, forbidden: forbidden(net, pool, &found, options)? })
}

fn forbidden(net: &Decoder, pool: &Pool, found: &Heads, options: &CausalOptions) -> Result<Option<Forbidden>> {
    let Some(best) = found.induction_heads().first().map(|h| (h.layer, h.head)) else { return Ok(None) };
    let previous = found.previous_token_heads(PREVIOUS);
    let previous: Vec<(usize, usize)> = previous.iter().map(|h| (h.layer, h.head)).filter(|h| h.0 < best.0).collect();
    if previous.is_empty() {
        return Ok(None);
    }
    let rows = Rows::draw(net, pool, &options.rows)?;
    let seed = options.rows.seed;
    let measured = |heads: &[(usize, usize)]| -> Result<Measured> {
        let edit = |(layer, head): &(usize, usize)| -> Result<Edit> {
            let site = format!("blocks.{layer}.attn.hook_attn_scores[head={head}]");
            Ok(Edit::new(site.parse()?, "forbid").with("template", "previous"))
        };
        let edits = heads.iter().map(edit).collect::<Result<Vec<_>>>()?;
        measure(net, &rows, &options.rows, &edits)
    };
    let of = |measured: &Measured, (layer, head): (usize, usize)| measured.heads[layer][head].induction.clone();
    let score = |measured: &Measured, head| Estimate::mean(&of(measured, head), seed);
    let (before, after) = (measured(&[])?, measured(&previous)?);
    let controls = others(net, &previous, seed, options.draws);
    let controls = controls.iter().map(|heads| measured(heads)).collect::<Result<Vec<_>>>()?;
    let first = previous.iter().map(|h| h.0).min().unwrap_or(0);
    let later = found.induction_heads().into_iter().map(|h| (h.layer, h.head)).filter(|h| h.0 > first);
    let later = later.map(|head| {
        // Row by row, so that the interval is over rows as everywhere.
        let all: Vec<Vec<f64>> = controls.iter().map(|c| of(c, head)).collect();
        let mean = |row: usize| all.iter().map(|c| c[row]).sum::<f64>() / all.len() as f64;
        let control = all.first().map(|c| Estimate::mean(&(0..c.len()).map(mean).collect::<Vec<f64>>(), seed));
        Reader { head, before: score(&before, head), after: score(&after, head), control }
    });
    Ok(Some(Forbidden {
        before: score(&before, best),
        after: score(&after, best),
        controls: controls.iter().map(|c| score(c, best)).collect(),
        later: later.collect(),
        heads: previous,
        induction_head: best,
    }))
}

/// Draws that may come to nothing new before no more sets are looked for.
const REPEATS: u64 = 64;

/// Up to `count` different sets, each of as many heads of each layer as `like` has, none of them in `like`.
fn others(net: &Decoder, like: &[(usize, usize)], seed: u64, count: usize) -> Vec<Vec<(usize, usize)>> {
    let mut sets: Vec<Vec<(usize, usize)>> = Vec::new();
    let (mut draw, mut repeats) = (0, 0);
    while sets.len() < count && repeats < REPEATS {
        let Some(mut set) = drawn(net, like, seed, draw) else { break };
        set.sort_unstable();
        draw += 1;
        if sets.contains(&set) {
            repeats += 1;
        } else {
            sets.push(set);
        }
    }
    sets
}

/// One such set; `None` where the network has too few other heads. A layer with too few makes up for them from all layers.
fn drawn(net: &Decoder, like: &[(usize, usize)], seed: u64, draw: u64) -> Option<Vec<(usize, usize)>> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    like.iter().for_each(|(layer, _)| *counts.entry(*layer).or_default() += 1);
    let free = |layer: usize| -> Vec<(usize, usize)> {
        (0..net.facts().n_heads).map(|head| (layer, head)).filter(|h| !like.contains(h)).collect()
    };
    let mut chosen = Vec::new();
    let mut missing = 0;
    for (layer, count) in counts {
        let mut own = free(layer);
        Stream::new(seed, &[draw, layer as u64]).shuffle(&mut own);
        missing += count.saturating_sub(own.len());
        chosen.extend(own.into_iter().take(count));
    }
    let mut rest: Vec<(usize, usize)> = (0..net.facts().layers.len()).flat_map(free).collect();
    rest.retain(|h| !chosen.contains(h));
    Stream::new(seed, &[draw, u64::MAX]).shuffle(&mut rest);
    chosen.extend(rest.into_iter().take(missing));
    (chosen.len() == like.len()).then_some(chosen)
}

/// The losses of every row with `heads` ablated.
fn lesioned(net: &Decoder, rows: &Rows, heads: &[(usize, usize)], options: &CausalOptions) -> Result<Measured> {
    let input = |ids: &[Vec<u32>]| Ok::<_, Error>(Input::Tokens(Tokens::from_rows(ids, Side::Right, 0)?));
    let mut edits = Vec::new();
    for (layer, head) in heads {
        let edit = |op: &str| -> Result<Edit> {
            Ok(Edit::new(format!("blocks.{layer}.attn.hook_z[head={head}]").parse()?, op))
        };
        let reference = json!({ "pass": "reference", "site": format!("blocks.{layer}.attn.hook_z") });
        edits.push(match options.kind {
            Kind::Zero => edit("zero")?,
            Kind::Mean => edit("mean")?.with("reference", reference).with("per", "position"),
            Kind::Resample => edit("resample")?.with("reference", reference),
        });
    }
    let last = Pass { name: "ablated".into(), edits, seed: options.rows.seed, ..Pass::default() };
    let refers = options.kind != Kind::Zero && !heads.is_empty();
    let reference = Pass { name: "reference".into(), output: Output::Unread, ..Pass::default() };
    let passes = if refers { vec![reference, last] } else { vec![last] };
    let unrepeated = rows.unrepeated();
    let inputs = if refers { vec![input(&unrepeated.ids)?, input(&rows.ids)?] } else { vec![input(&rows.ids)?] };
    let registry = registry();
    let run = Run { passes };
    let outcome = execute(net, Job { run: &run, inputs: &inputs, stored: BTreeMap::new(), registry: &registry })?;
    let mut measured = Measured::default();
    losses(&outcome.pass("ablated")?.output, &rows.ids, rows, &mut measured)?;
    Ok(measured)
}
