//! Steering vectors: a direction of the stream between two kinds of text, added while the network runs.
//!
//! ```text
//! ActAdd (Turner 2023):      v_p = resid_pre_l(x+)_p - resid_pre_l(x-)_p     one vector per position, added to a prompt's first
//! CAA (Panickssery 2023):    v = mean over pairs of resid_post_l(x+)_last - resid_post_l(x-)_last     one vector
//! ```
//!
//! What a vector does is shown by the logit difference of two answers at the end of a prompt, by coefficient, and by the
//! loss of neutral texts under it (what steering costs). Its control is a random vector of the same length.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::tasks::{self, Subject, perplexity};
use super::{Figures, registry};
use crate::hook::{Edit, Pass, Record, Run, Values, random};
use crate::models::execute::observe;
use crate::models::{Decoder, Input, Job, Model, Side, Tokens, execute};
use crate::report::chart::{Axis, Line, Plot};
use crate::report::{Block, Cell, Chart, Column, Report, Table, number};
use crate::{Error, Result};

/// The name under which an edit finds the vector.
pub const VECTOR: &str = "steer";

/// A steering vector and where it is added.
#[derive(Clone, Debug)]
pub struct Vector {
    /// `[d_model]`, or `[positions, d_model]` of ActAdd.
    pub values: Tensor,
    /// The site.
    pub site: String,
    /// Its length (of ActAdd, the mean over positions) over the mean length of the stream there.
    pub relative: f64,
}

impl Vector {
    /// The edit that adds it with a coefficient: at every position, or at the first ones.
    ///
    /// # Errors
    /// None, for the site was found before.
    pub fn edit(&self, coefficient: f64) -> Result<Edit> {
        let scope = match self.values.rank() {
            1 => String::new(),
            _ => format!("@0..{}", self.values.dim(0)?),
        };
        let edit = Edit::new(format!("{}{scope}", self.site).parse()?, "add");
        Ok(edit.with("value", json!({ "tensor": VECTOR })).with("coefficient", coefficient))
    }

    /// A random vector of the same shape and lengths at the same site.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn random(&self, seed: u64) -> Result<Self> {
        let count = self.values.elem_count() as u64;
        let draws: Vec<f32> = (0..count).map(|i| random::normal(random::key(seed, &[i])) as f32).collect();
        let draws = Tensor::from_vec(draws, self.values.shape(), self.values.device())?;
        let last = self.values.rank() - 1;
        let length = |x: &Tensor| -> Result<Tensor> { Ok((x.sqr()?.sum_keepdim(last)?.sqrt()? + 1e-30)?) };
        let values = draws.broadcast_mul(&length(&self.values)?)?.broadcast_div(&length(&draws)?)?;
        Ok(Self { values, site: self.site.clone(), relative: self.relative })
    }
}

/// ActAdd's vector: the stream before block `layer` on one text minus that on another of as many tokens.
///
/// # Errors
/// Texts of unequal length in tokens, a layer that the network lacks.
pub fn act_add(net: &Decoder, positive: &[u32], negative: &[u32], layer: usize) -> Result<Vector> {
    if positive.len() != negative.len() {
        return Err(Error::invalid(
            format!("the positive text has {} tokens, the negative one {}", positive.len(), negative.len()),
            "ActAdd subtracts token by token: make the shorter one longer, with spaces for example",
        ));
    }
    let site = site(net, layer, "hook_resid_pre")?;
    let (up, down) = (stream(net, positive, &site)?, stream(net, negative, &site)?);
    vector((&up - &down)?, &up, &down, site)
}

/// CAA's vector: the mean over pairs of the difference of the stream after block `layer` at the last token.
///
/// # Errors
/// No pair, a layer that the network lacks.
pub fn caa(net: &Decoder, pairs: &[(Vec<u32>, Vec<u32>)], layer: usize) -> Result<Vector> {
    let site = site(net, layer, "hook_resid_post")?;
    let last = |ids: &[u32]| -> Result<Tensor> { Ok(stream(net, ids, &site)?.get(ids.len() - 1)?) };
    type Of<'a> = &'a dyn Fn(&(Vec<u32>, Vec<u32>)) -> Result<Tensor>;
    let mean = |of: Of<'_>| -> Result<Tensor> {
        let all = pairs.iter().map(of).collect::<Result<Vec<_>>>()?;
        if all.is_empty() {
            return Err(Error::invalid("no pair of texts was given", "give a positive and a negative text"));
        }
        Ok(Tensor::stack(&all, 0)?.mean(0)?)
    };
    let (up, down) = (mean(&|p| last(&p.0))?, mean(&|p| last(&p.1))?);
    vector((&up - &down)?, &up.unsqueeze(0)?, &down.unsqueeze(0)?, site)
}

fn site(net: &Decoder, layer: usize, part: &str) -> Result<String> {
    let layers = net.facts().layers.len();
    if layer >= layers {
        return Err(Error::invalid(
            format!("there is no layer {layer}"),
            format!("layers count from 0 to {}", layers - 1),
        ));
    }
    Ok(format!("blocks.{layer}.{part}"))
}

/// `[positions, d_model]`.
fn stream(net: &Decoder, ids: &[u32], site: &str) -> Result<Tensor> {
    let input = Input::Tokens(Tokens::from_rows(&[ids.to_vec()], Side::Right, 0)?);
    let pass = Pass { records: vec![Record::whole(site.parse()?)], ..Pass::default() };
    Ok(observe(net, &input, &pass, &registry())?.records.get(site)?.get(0)?)
}

fn vector(values: Tensor, up: &Tensor, down: &Tensor, site: String) -> Result<Vector> {
    let mean_length = |x: &Tensor| -> Result<f64> {
        let last = x.rank() - 1;
        let lengths = x.to_dtype(DType::F64)?.sqr()?.sum(last)?.sqrt()?;
        Ok(lengths.mean_all()?.to_scalar()?)
    };
    let around = 0.5 * (mean_length(up)? + mean_length(down)?);
    let own = if values.rank() == 1 { values.unsqueeze(0)? } else { values.clone() };
    Ok(Vector { relative: mean_length(&own)? / around, values, site })
}

/// What to look at.
#[derive(Clone, Debug)]
pub struct Question {
    /// The prompt's ids.
    pub prompt: Vec<u32>,
    /// The answer that should become likelier.
    pub positive: u32,
    /// The other one.
    pub negative: u32,
}

/// What a vector does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    /// Where it is added.
    pub site: String,
    /// Its length over that of the stream.
    #[serde(with = "number")]
    pub relative: f64,
    /// By coefficient.
    pub points: Vec<SteeringPoint>,
}

/// What a vector does at one coefficient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SteeringPoint {
    /// The coefficient.
    #[serde(with = "number")]
    pub coefficient: f64,
    /// logit(positive) - logit(negative) at the end of the prompt.
    #[serde(with = "number")]
    pub difference: f64,
    /// The same under a random vector of the same length.
    #[serde(with = "number")]
    pub random: f64,
    /// Nats per token of the neutral texts; `None` if there are none.
    pub neutral: Option<f64>,
}

/// The logit difference of a question under a vector.
///
/// # Errors
/// A prompt shorter than ActAdd's vector, answers beyond the vocabulary.
pub fn difference(net: &Decoder, question: &Question, vector: &Vector, coefficient: f64) -> Result<f64> {
    let pass = Pass { name: "steered".into(), edits: vec![vector.edit(coefficient)?], ..Pass::default() };
    let input = Input::Tokens(Tokens::from_rows(std::slice::from_ref(&question.prompt), Side::Right, 0)?);
    let stored = BTreeMap::from([(VECTOR.to_string(), vector.values.clone())]);
    let registry = registry();
    let run = Run { passes: vec![pass] };
    let job = Job { run: &run, inputs: &[input], stored, registry: &registry };
    let output = execute(net, job)?.pass("steered")?.output.clone();
    let last: Vec<f32> = output.get(0)?.get(question.prompt.len() - 1)?.to_dtype(DType::F32)?.to_vec1()?;
    let logit = |id: u32| {
        last.get(id as usize).map(|x| f64::from(*x)).ok_or_else(|| {
            Error::invalid(format!("the answer {id} is beyond the vocabulary"), "the ids come from another tokenizer")
        })
    };
    Ok(logit(question.positive)? - logit(question.negative)?)
}

/// What `vector` does at each coefficient, to the answers and to neutral texts.
///
/// # Errors
/// As [`difference`], and a model without a tokenizer where there are texts.
pub fn steering(
    model: &Model,
    question: &Question,
    vector: &Vector,
    coefficients: &[f64],
    neutral: &[String],
    seed: u64,
) -> Result<Steering> {
    let net = &model.decoder;
    let control = vector.random(seed)?;
    let nats = |coefficient: f64| -> Result<f64> {
        let pass = Pass { edits: vec![vector.edit(coefficient)?], ..Pass::default() };
        let mut values = Values::default();
        values.stored.insert(VECTOR.into(), vector.values.clone());
        let subject = Subject::new(model)?.edited(pass, registry(), values);
        Ok(perplexity(&subject, neutral, &tasks::Options::default(), &mut |_, _| {})?.nats_per_token)
    };
    let point = |c: &f64| -> Result<SteeringPoint> {
        Ok(SteeringPoint {
            coefficient: *c,
            difference: difference(net, question, vector, *c)?,
            random: difference(net, question, &control, *c)?,
            neutral: (!neutral.is_empty()).then(|| nats(*c)).transpose()?,
        })
    };
    let points = coefficients.iter().map(point).collect::<Result<_>>()?;
    Ok(Steering { site: vector.site.clone(), relative: vector.relative, points })
}

impl Figures for Steering {
    fn figures(&self) -> Vec<(String, f64)> {
        let most = |of: fn(&SteeringPoint) -> f64| self.points.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        vec![
            ("relative".to_string(), self.relative),
            ("difference.max".to_string(), most(|p| p.difference)),
            ("random.max".to_string(), most(|p| p.random)),
        ]
    }
}

impl Report for Steering {
    fn blocks(&self) -> Vec<Block> {
        let number = |value: f64| Cell::Number { value, digits: 3 };
        let rows = self.points.iter().map(|p| {
            let neutral = p.neutral.map_or(Cell::Empty, number);
            vec![Cell::Number { value: p.coefficient, digits: 2 }, number(p.difference), number(p.random), neutral]
        });
        let columns =
            ["coefficient", "positive minus negative, logits", "under a random vector", "neutral texts, nats a token"];
        let line = |name: &str, reference: bool, of: fn(&SteeringPoint) -> f64| Line {
            name: name.to_string(),
            points: self.points.iter().map(|p| (p.coefficient, of(p))).collect(),
            band: Vec::new(),
            reference,
        };
        vec![
            Block::text(format!(
                "A vector added at {}, {:.2} times as long as the stream is there, and what it does to the logits of the \
                 two answers. The control is a random vector of the same length.",
                self.site, self.relative
            )),
            Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows: rows.collect() }),
            Block::Chart(Chart {
                title: "Steering by coefficient".to_string(),
                caption: "Positive answer's logit minus the negative one's at the end of the prompt.".to_string(),
                plot: Plot::Lines {
                    x: Axis::new("coefficient"),
                    y: Axis::new("logits"),
                    series: vec![
                        line("steering vector", false, |p| p.difference),
                        line("random vector", true, |p| p.random),
                    ],
                },
            }),
        ]
    }
}
