//! What heads do is known by taking them away: ablation of heads on repeated random tokens, adding them back one by one,
//! and forbidding the pattern that later heads build on.
//!
//! Losses are those of [`heads`](super::heads): mean nats of the first half and of the second half, each without its first
//! token. The control of an ablation is the same number of other heads of the same layers, drawn at random.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rows::Rows;
use super::scores::{Measured, losses, measure};
use super::{Head, Heads, Options, PREVIOUS, Pool, heads};
use crate::analysis::{Estimate, Figures, registry};
use crate::hook::random::Stream;
use crate::hook::{Edit, Output, Pass, Run};
use crate::models::{Decoder, Input, Job, Side, Tokens, execute};
use crate::report::chart::{Axis, Line, Plot};
use crate::report::{Block, Cell, Chart, Column, Report, Table};
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

/// What ablation showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ablation {
    /// What took the heads' place.
    pub kind: Kind,
    /// Nothing ablated.
    pub clean: (Estimate, Estimate),
    /// The heads in question.
    pub target: Lesion,
    /// As many other heads of the same layers, draw by draw.
    pub controls: Vec<Lesion>,
    /// All ablated, then the first one added back, then the second as well, ...: losses of the second half.
    pub added_back: Vec<Estimate>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Causal {
    /// The strongest induction heads ablated; `None` if the network has none.
    pub ablation: Option<Ablation>,
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
    /// The control: the pattern forbidden in as many other heads of the same layers, draw by draw.
    pub controls: Vec<Estimate>,
}

/// Ablates `targets`, (layer, head), strongest first.
///
/// # Errors
/// No head, a head that the network lacks, or rows that show no repetition.
pub fn ablate(net: &Decoder, pool: &Pool, targets: &[(usize, usize)], options: &CausalOptions) -> Result<Ablation> {
    let facts = net.facts();
    if targets.is_empty() {
        return Err(Error::invalid("no head was named", "name heads as LAYER.HEAD, such as 3.6"));
    }
    if let Some((layer, head)) = targets.iter().find(|(l, h)| *l >= facts.layers.len() || *h >= facts.n_heads) {
        return Err(Error::invalid(
            format!("there is no head {layer}.{head}"),
            format!("layers count from 0 to {}, heads from 0 to {}", facts.layers.len() - 1, facts.n_heads - 1),
        ));
    }
    let rows = Rows::draw(net, pool, &options.rows)?;
    let seed = options.rows.seed;
    let mean = |values: &[f64]| Estimate::mean(values, seed);
    let clean = lesioned(net, &rows, &[], options)?;
    let effect = |heads: &[(usize, usize)]| -> Result<Lesion> {
        let found = lesioned(net, &rows, heads, options)?;
        let rise = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
        let effect = Effect {
            first: mean(&found.first),
            second: mean(&found.second),
            first_rise: mean(&rise(&found.first, &clean.first)),
            second_rise: mean(&rise(&found.second, &clean.second)),
        };
        Ok(Lesion { heads: heads.to_vec(), effect })
    };
    let draws = (0..options.draws as u64).filter_map(|draw| others(net, targets, targets, seed, draw));
    let controls = draws.map(|heads| effect(&heads)).collect::<Result<_>>()?;
    let added_back = (0..=targets.len()).map(|n| Ok(effect(&targets[n..])?.effect.second)).collect::<Result<_>>()?;
    Ok(Ablation {
        kind: options.kind,
        clean: (mean(&clean.first), mean(&clean.second)),
        target: effect(targets)?,
        controls,
        added_back,
    })
}

/// Finds the induction heads of a network, ablates the strongest, and forbids the pattern that they build on.
///
/// # Errors
/// Rows that show no repetition.
pub fn causal(net: &Decoder, pool: &Pool, options: &CausalOptions) -> Result<Causal> {
    let found = heads(net, pool, None, &options.rows)?;
    let place = |h: &&Head| (h.layer, h.head);
    let top: Vec<(usize, usize)> = found.induction_heads().iter().take(options.top).map(place).collect();
    let ablation = (!top.is_empty()).then(|| ablate(net, pool, &top, options)).transpose()?;
    Ok(Causal { ablation, forbidden: forbidden(net, pool, &found, options)? })
}

fn forbidden(net: &Decoder, pool: &Pool, found: &Heads, options: &CausalOptions) -> Result<Option<Forbidden>> {
    let Some(best) = found.induction_heads().first().map(|h| (h.layer, h.head)) else { return Ok(None) };
    let previous = found.previous_token_heads(PREVIOUS);
    let previous: Vec<(usize, usize)> = previous.iter().map(|h| (h.layer, h.head)).filter(|h| h.0 < best.0).collect();
    if previous.is_empty() {
        return Ok(None);
    }
    let rows = Rows::draw(net, pool, &options.rows)?;
    let score = |heads: &[(usize, usize)]| -> Result<Estimate> {
        let edit = |(layer, head): &(usize, usize)| -> Result<Edit> {
            let site = format!("blocks.{layer}.attn.hook_attn_scores[head={head}]");
            Ok(Edit::new(site.parse()?, "forbid").with("template", "previous"))
        };
        let edits = heads.iter().map(edit).collect::<Result<Vec<_>>>()?;
        let measured = measure(net, &rows, &options.rows, &edits)?;
        Ok(Estimate::mean(&measured.heads[best.0][best.1].induction, options.rows.seed))
    };
    let seed = options.rows.seed;
    let draws = (0..options.draws as u64).filter_map(|draw| others(net, &previous, &previous, seed, draw));
    Ok(Some(Forbidden {
        before: score(&[])?,
        after: score(&previous)?,
        controls: draws.map(|heads| score(&heads)).collect::<Result<_>>()?,
        heads: previous,
        induction_head: best,
    }))
}

/// As many heads of each layer as `like` has, none of `not`; `None` where a layer has too few.
fn others(
    net: &Decoder,
    like: &[(usize, usize)],
    not: &[(usize, usize)],
    seed: u64,
    draw: u64,
) -> Option<Vec<(usize, usize)>> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    like.iter().for_each(|(layer, _)| *counts.entry(*layer).or_default() += 1);
    // A layer with too few others makes up for them from all layers.
    let free = |layer: usize| -> Vec<(usize, usize)> {
        (0..net.facts().n_heads).map(|head| (layer, head)).filter(|h| !not.contains(h)).collect()
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

fn names(heads: &[(usize, usize)]) -> String {
    heads.iter().map(|(l, h)| format!("{l}.{h}")).collect::<Vec<_>>().join(", ")
}

impl Ablation {
    /// The largest rise of the second half among the controls.
    pub fn control_rise(&self) -> f64 {
        self.controls.iter().map(|c| c.effect.second_rise.value).fold(f64::NEG_INFINITY, f64::max)
    }

    fn word(&self) -> &'static str {
        match self.kind {
            Kind::Zero => "set to zero",
            Kind::Mean => "set to their mean at the position over rows without repeats",
            Kind::Resample => "taken from a random row without repeats",
        }
    }
}

impl Figures for Ablation {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![
            ("ablated.second_rise".to_string(), self.target.effect.second_rise.value),
            ("ablated.first_rise".to_string(), self.target.effect.first_rise.value),
            ("clean.first".to_string(), self.clean.0.value),
            ("clean.second".to_string(), self.clean.1.value),
        ];
        if !self.controls.is_empty() {
            figures.push(("random.second_rise.max".to_string(), self.control_rise()));
        }
        figures
    }
}

impl Report for Ablation {
    fn blocks(&self) -> Vec<Block> {
        let row = |name: String, e: &Effect| {
            vec![Cell::text(name), e.first.cell(3), e.second.cell(3), e.first_rise.cell(3), e.second_rise.cell(3)]
        };
        let mut rows =
            vec![vec![Cell::text("none"), self.clean.0.cell(3), self.clean.1.cell(3), Cell::Empty, Cell::Empty]];
        rows.push(row(names(&self.target.heads), &self.target.effect));
        rows.extend(self.controls.iter().map(|c| row(format!("random: {}", names(&c.heads)), &c.effect)));
        let columns = ["ablated", "first half", "second half", "first half rises by", "second half rises by"];
        let points = self.added_back.iter().enumerate().map(|(n, e)| (n as f64, e.value)).collect();
        let band = self.added_back.iter().map(Estimate::ends).collect();
        let clean = self.clean.1.value;
        let end = (self.added_back.len() - 1) as f64;
        vec![
            Block::text(format!(
                "Heads {}, z {}, on repeated random tokens; nats a token. The controls are as many other heads of the same \
                 layers (of any layer where these have too few), drawn at random. In brackets the 95 % interval over rows.",
                names(&self.target.heads),
                self.word()
            )),
            Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows }),
            Block::Chart(Chart {
                title: "Heads added back one by one".to_string(),
                caption: format!(
                    "In the order {}; all the others of the list stay ablated.",
                    names(&self.target.heads)
                ),
                plot: Plot::Lines {
                    x: Axis::new("heads added back"),
                    y: Axis::new("loss of the second half, nats"),
                    series: vec![
                        Line { name: "ablated but these".into(), points, band, reference: false },
                        Line {
                            name: "nothing ablated".into(),
                            points: vec![(0.0, clean), (end, clean)],
                            band: Vec::new(),
                            reference: true,
                        },
                    ],
                },
            }),
        ]
    }
}

impl Figures for Causal {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = self.ablation.as_ref().map_or_else(Vec::new, Figures::figures);
        if let Some(f) = &self.forbidden {
            figures.push(("forbidden.before".to_string(), f.before.value));
            figures.push(("forbidden.after".to_string(), f.after.value));
            if !f.controls.is_empty() {
                let least = f.controls.iter().map(|c| c.value).fold(f64::INFINITY, f64::min);
                figures.push(("forbidden.random.min".to_string(), least));
            }
        }
        figures.push(("found".to_string(), f64::from(u8::from(self.ablation.is_some()))));
        figures
    }
}

impl Report for Causal {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = match &self.ablation {
            Some(ablation) => ablation.blocks(),
            None => vec![Block::text("No head matches prefixes and copies: there is nothing to ablate.")],
        };
        let Some(f) = &self.forbidden else {
            blocks.push(Block::text("No previous-token head stands before an induction head."));
            return blocks;
        };
        let mut rows =
            vec![vec![Cell::text("none"), f.before.cell(3)], vec![Cell::text(names(&f.heads)), f.after.cell(3)]];
        rows.extend(f.controls.iter().map(|c| vec![Cell::text("as many others of these layers"), c.cell(3)]));
        blocks.push(Block::text(format!(
            "Attention to the token before forbidden in the previous-token heads (its scores become -1e9), and the \
             induction score of the strongest induction head, {}.{}, afterwards.",
            f.induction_head.0, f.induction_head.1
        )));
        let columns = vec![Column::new("forbidden in"), Column::new("induction score")];
        blocks.push(Block::Table(Table { columns, rows }));
        blocks
    }
}
