//! What a network does with one prompt: tokens and their loss, what comes next, the logit lens, attention, the sizes of
//! what each block writes, and the units of any site that has one entry per token. Edits may act meanwhile.

mod ablation;
mod effect;
mod report;

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lens::streams;
use super::measure::LogProbs;
use super::registry;
use crate::hook::{Edit, Form, Pass, Record, Run, Selector};
use crate::models::{Decoder, Input, Job, Model, Network, Side, Tokens, execute};
use crate::report::number;
use crate::{Error, Result};

pub use ablation::{AblationMap, ablation_map};
pub use effect::{Effect, SetEffect, effect};

/// The longest prompt, in tokens.
pub const LONGEST: usize = 256;

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The block whose attention is shown; negative numbers count from the end.
    pub layer: i64,
    /// Tokens of the table of what comes next.
    pub next: usize,
    /// A site with one entry per token, whose units are shown; the block's neurons if `None`.
    pub site: Option<Selector>,
    /// Units of that site: those that reach the largest magnitudes.
    pub units: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { layer: -1, next: 10, site: None, units: 24 }
    }
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Inspection {
    /// The prompt, token by token.
    pub tokens: Vec<Seen>,
    /// What comes next, the likeliest first.
    pub next: Vec<Candidate>,
    /// The stream before the first block and after each: what it would predict after every token.
    pub lens: Vec<LensRow>,
    /// Norms of the stream and of what is added to it, site by site.
    pub norms: Vec<Norms>,
    /// The block of `patterns`.
    pub layer: usize,
    /// Attention of its heads: `[head][query][key]`, the keys up to the query's own place.
    pub patterns: Vec<Vec<Vec<f32>>>,
    /// Units of a site.
    pub units: Option<Units>,
    /// Events that edits raised: what, and at which token.
    pub events: Vec<(String, u32)>,
}

/// A token of the prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    /// Its id.
    pub id: u32,
    /// A printable form of it.
    pub text: String,
    /// Whether the tokenizer counts it among the special ones.
    pub special: bool,
    /// -log p of it after the tokens before it, nats; `None` for the first.
    pub loss: Option<f64>,
}

/// A token that may come next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Its id.
    pub id: u32,
    /// A printable form of it.
    pub text: String,
    /// log p, nats.
    #[serde(with = "number")]
    #[schemars(with = "number::Number")]
    pub log_probability: f64,
}

/// A layer of the logit lens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LensRow {
    /// The site that was read.
    pub site: String,
    /// The likeliest token after every token of the prompt.
    pub predictions: Vec<Candidate>,
}

/// Norms of one site's vectors, token by token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Norms {
    /// The site.
    pub site: String,
    /// One per token.
    #[serde(with = "number::nested")]
    #[schemars(with = "Vec<number::Number>")]
    pub values: Vec<f64>,
}

/// Units of a site along the prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Units {
    /// The site.
    pub site: String,
    /// The axis that counts its units; `None` where several do and units are numbered through.
    pub axis: Option<String>,
    /// How many units it has.
    pub of: usize,
    /// The units shown, those of the largest magnitude first.
    pub numbers: Vec<usize>,
    /// Their values, unit by unit, token by token.
    #[serde(with = "number::nested")]
    #[schemars(with = "Vec<Vec<number::Number>>")]
    pub values: Vec<Vec<f64>>,
}

/// Looks at a prompt, `edits` with the tensors in `stored` acting.
///
/// # Errors
/// A prompt that is empty, longer than [`LONGEST`] or than the network takes; a layer or site that is not there; whatever
/// the edits refuse; logits that are not numbers.
pub fn inspect(
    model: &Model,
    ids: &[u32],
    edits: &[Edit],
    stored: &BTreeMap<String, Tensor>,
    options: &Options,
) -> Result<Inspection> {
    let net = &model.decoder;
    check(net, ids)?;
    let layer = layer(net, options.layer)?;
    let unit_site = unit_site(net, layer, options)?;
    let streams = streams(net);
    let pattern = format!("blocks.{layer}.attn.hook_pattern");
    let mut sites: Vec<String> = streams.clone();
    let written = written(net);
    sites.extend(written.iter().cloned());
    sites.push(pattern.clone());
    sites.extend(unit_site.clone().filter(|site| !sites.contains(site)));
    let records = sites.iter().map(|site| Ok(Record::whole(site.parse()?))).collect::<Result<_>>()?;
    let pass = Pass { records, edits: edits.to_vec(), ..Pass::default() };
    let (run, registry) = (Run { passes: vec![pass] }, registry());
    let mut tokens = Tokens::from_rows(&[ids.to_vec()], Side::Right, model.pad())?;
    tokens.special = model.special();
    let inputs = [Input::Tokens(tokens)];
    let mut outcome = execute(net, Job { run: &run, inputs: &inputs, stored: stored.clone(), registry: &registry })?;
    let pass = outcome.passes.remove(0);
    let logits = rows(&pass.output.squeeze(0)?)?; // [t, vocab]
    if logits.iter().flatten().any(|x| x.is_nan()) {
        return Err(Error::invalid("the logits are not numbers", "an edit or the weights blow up: run `doctor`"));
    }
    let distributions: Vec<LogProbs> = logits.iter().map(|row| LogProbs::new(row)).collect();
    let record = |site: &str| -> Result<Tensor> { Ok(pass.records.get(site)?.squeeze(0)?) };
    let lens = streams.iter().map(|site| lens_row(model, site, &record(site)?)).collect::<Result<_>>()?;
    let norm = |site: &String| -> Result<Norms> {
        let vectors = rows(&record(site)?)?; // [t, d_model]
        let norm = |v: &Vec<f32>| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        Ok(Norms { site: site.clone(), values: vectors.iter().map(norm).collect() })
    };
    let norms = streams.iter().chain(&written).map(norm).collect::<Result<_>>()?;
    let patterns = record(&pattern)?.to_dtype(DType::F32)?.to_vec3::<f32>()?; // [head, query, key]
    let units = unit_site.map(|site| units(net, &site, &record(&site)?, options.units)).transpose()?;
    let last = distributions.last().into_iter();
    Ok(Inspection {
        tokens: seen(model, ids, &distributions),
        next: last.flat_map(|d| d.top(options.next).into_iter().map(|id| candidate(model, d, id))).collect(),
        lens,
        norms,
        layer,
        patterns: patterns.into_iter().map(causal).collect(),
        units,
        events: pass.events.iter().map(|e| (e.name.clone(), e.position)).collect(),
    })
}

fn check(net: &Decoder, ids: &[u32]) -> Result<()> {
    let most = net.facts().context.map_or(LONGEST, |limit| limit.min(LONGEST));
    if ids.is_empty() || ids.len() > most {
        return Err(Error::invalid(
            format!("a prompt of {} tokens", ids.len()),
            format!("give 1 to {most}; `optrode scan` and `record` take long texts"),
        ));
    }
    Ok(())
}

/// The number of a block that may be counted from the end.
fn layer(net: &Decoder, layer: i64) -> Result<usize> {
    let layers = net.facts().layers.len();
    let number = if layer < 0 { layer + layers as i64 } else { layer };
    usize::try_from(number).ok().filter(|l| *l < layers).ok_or_else(|| {
        Error::invalid(
            format!("there is no block {layer}"),
            format!("blocks count from 0 to {}, or -1 from the last", layers - 1),
        )
    })
}

/// The one site whose units are shown.
fn unit_site(net: &Decoder, layer: usize, options: &Options) -> Result<Option<String>> {
    let Some(selector) = &options.site else {
        let neurons = format!("blocks.{layer}.mlp.hook_post");
        return Ok(net.sites().find(&neurons).map(|_| neurons));
    };
    let selection = selector.resolve(net.sites())?;
    match selection.sites.as_slice() {
        [one] if net.sites().get(one.site).by_position() => Ok(Some(one.name.clone())),
        [one] => Err(Error::invalid(
            format!("`{}` has no entry for each token", one.name),
            "name a site whose first axes are batch and pos; `optrode sites` shows them",
        )),
        several => Err(Error::invalid(
            format!("`{selector}` names {} sites", several.len()),
            "name one, such as blocks.3.mlp.hook_post",
        )),
    }
}

/// What blocks add to it.
fn written(net: &Decoder) -> Vec<String> {
    let of = |l: usize| [format!("blocks.{l}.hook_attn_out"), format!("blocks.{l}.hook_mlp_out")];
    (0..net.facts().layers.len()).flat_map(of).filter(|site| net.sites().find(site).is_some()).collect()
}

fn rows(x: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(x.to_dtype(DType::F32)?.to_vec2()?)
}

/// Each query's keys up to its own place.
fn causal(pattern: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let cut = |(query, mut row): (usize, Vec<f32>)| {
        row.truncate(query + 1);
        row
    };
    pattern.into_iter().enumerate().map(cut).collect()
}

fn text_of(model: &Model, id: u32) -> String {
    model.tokenizer().map_or_else(|_| format!("<id {id}>"), |t| t.token_text(id))
}

fn candidate(model: &Model, distribution: &LogProbs, id: u32) -> Candidate {
    Candidate { id, text: text_of(model, id), log_probability: distribution.of(id) }
}

fn seen(model: &Model, ids: &[u32], distributions: &[LogProbs]) -> Vec<Seen> {
    let special = model.special();
    let token = |(at, id): (usize, &u32)| Seen {
        id: *id,
        text: text_of(model, *id),
        special: special.contains(id),
        loss: at.checked_sub(1).and_then(|before| distributions.get(before)).map(|d| -d.of(*id)),
    };
    ids.iter().enumerate().map(token).collect()
}

fn lens_row(model: &Model, site: &str, stream: &Tensor) -> Result<LensRow> {
    let x = stream.unsqueeze(0)?.contiguous()?; // [1, t, d_model]
    let logits = rows(&model.decoder.lens(&x, Form::Inference)?.squeeze(0)?)?; // [t, vocab]
    let best = |row: &Vec<f32>| {
        let distribution = LogProbs::new(row);
        candidate(model, &distribution, distribution.top(1).first().copied().unwrap_or(0))
    };
    Ok(LensRow { site: site.to_string(), predictions: logits.iter().map(best).collect() })
}

fn units(net: &Decoder, site: &str, record: &Tensor, most: usize) -> Result<Units> {
    let described = net.sites().get(net.sites().id(site)?);
    let values = rows(&record.flatten_from(1)?)?; // [t, units]
    let of = values.first().map_or(0, Vec::len);
    let reach = |unit: usize| values.iter().map(|row| row[unit].abs()).fold(0.0f32, f32::max);
    let mut numbers: Vec<usize> = (0..of).collect();
    let reached: Vec<f32> = numbers.iter().map(|unit| reach(*unit)).collect();
    numbers.sort_by(|a, b| reached[*b].total_cmp(&reached[*a]).then(a.cmp(b)));
    numbers.truncate(most);
    let along = |unit: &usize| values.iter().map(|row| f64::from(row[*unit])).collect();
    Ok(Units {
        site: site.to_string(),
        axis: (described.axes.len() == 3).then(|| described.axes[2].name().to_string()),
        of,
        values: numbers.iter().map(along).collect(),
        numbers,
    })
}
