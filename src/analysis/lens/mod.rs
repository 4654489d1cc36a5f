//! The logit lens (nostalgebraist 2020): what each layer's stream would predict if it were the last.
//!
//! The stream before the first block and after every block goes through the network's own final norm, unembedding and
//! softcap. At every position this gives a distribution over the next token, which is compared with the network's
//! final one (KL divergence in nats, same likeliest token) and with the token that came (accuracy, loss). The control is
//! the same layer's distribution at another position of the same text, compared with the final one here: what agrees
//! there too has nothing to do with the context.

mod concepts;
mod report;

pub use concepts::{Concepts, Passed, concepts};

use candle_core::{DType, Tensor};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Corpus, Estimate};
use crate::hook::{Form, Pass, Record, Registry};
use crate::models::execute::observe;
use crate::models::{Decoder, Input, Side, Tokens};
use crate::report::number;
use crate::{Error, Result};

/// Positions whose logits are in memory at a time; the control pairs positions within such a block.
const BLOCK: usize = 32;
/// Logits of one forward pass: batches stay below it.
const LOGITS: usize = 1 << 25;
/// Values of all layers' streams in one forward pass.
const STREAMS: usize = 1 << 25;
/// Most cells of a batch.
const CELLS: usize = 2048;

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The text whose predictions are shown token by token.
    pub grid_text: usize,
    /// How many of its tokens are shown; 0 for none.
    pub grid_tokens: usize,
    /// Seed of the intervals' draws.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { grid_text: 0, grid_tokens: 10, seed: 0 }
    }
}

/// What the lens showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lens {
    /// Texts that had a position to look at.
    pub texts: usize,
    /// Positions compared with the final prediction: tokens that are not special.
    pub positions: u64,
    /// Positions whose next token is text too: those of accuracy and loss.
    pub predicted: u64,
    /// The stream before the first block, then after each.
    pub layers: Vec<Layer>,
    /// Largest difference between the lens of the last layer and the network's logits, over the largest logit: an
    /// invariant of the network, zero but for rounding.
    #[serde(with = "number")]
    pub last_error: f64,
    /// Predictions of one text, token by token.
    pub grid: Option<Grid>,
}

/// One layer's predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The site that was read.
    pub site: String,
    /// KL(final || lens), nats.
    pub kl: Estimate,
    /// Share of positions where the likeliest token is the final one.
    pub agreement: Estimate,
    /// Share of next tokens that were the likeliest.
    pub accuracy: Estimate,
    /// Mean -log probability of the next token, nats.
    pub loss: Estimate,
    /// The control: `kl` with the lens of another position of the text.
    pub kl_elsewhere: Estimate,
    /// The control: `agreement` with the lens of another position of the text.
    pub agreement_elsewhere: Estimate,
}

/// The likeliest token of each layer along one text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Which text.
    pub text: usize,
    /// Its tokens.
    pub tokens: Vec<String>,
    /// Layer by layer, token by token: what is predicted after it.
    pub predictions: Vec<Vec<Prediction>>,
}

/// A prediction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The likeliest token.
    pub token: String,
    /// Its probability.
    pub probability: f64,
}

/// Sums of one text at one layer.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    kl: f64,
    agree: f64,
    kl_elsewhere: f64,
    agree_elsewhere: f64,
    paired: f64,
    positions: f64,
    hits: f64,
    nats: f64,
    predicted: f64,
}

/// Looks at every layer of `net` on the texts of `corpus`.
///
/// One pass over the texts; memory holds one batch's streams and the logits of 32 positions at two layers.
///
/// # Errors
/// Texts that the network cannot take, or without a token to look at; logits that are not finite.
pub fn lens(net: &Decoder, corpus: &Corpus, options: &Options) -> Result<Lens> {
    let sites = streams(net);
    let pass = recording(&sites)?;
    let mut sums = vec![vec![Sums::default(); sites.len()]; corpus.texts];
    let mut worst = Worst::default();
    let by_streams = STREAMS / (sites.len() * net.facts().d_model).max(1);
    for batch in corpus.batches(CELLS.min(LOGITS / net.facts().vocab.max(1)).min(by_streams)) {
        let (windows, tokens) = batch?;
        let outcome = observe(net, &Input::Tokens(tokens), &pass, &Registry::elementary())?;
        for (row, window) in corpus.windows[windows].iter().enumerate() {
            let streams: Vec<Tensor> =
                sites.iter().map(|site| Ok(outcome.records.get(site)?.get(row)?)).collect::<Result<_>>()?; // [t, d]
            let final_logits = outcome.output.get(row)?; // [t, vocab]
            let counted: Vec<usize> = (0..window.ids.len()).filter(|p| corpus.counts(window.ids[*p])).collect();
            for block in counted.chunks(BLOCK) {
                let next = |p: &usize| window.ids.get(p + 1).copied().filter(|id| corpus.counts(*id));
                let next: Vec<Option<u32>> = block.iter().map(next).collect();
                look(net, &streams, &final_logits, block, &next, &mut sums[window.text], &mut worst)?;
            }
        }
    }
    let per_text: Vec<&Vec<Sums>> = sums.iter().filter(|s| s.iter().any(|s| s.positions > 0.0)).collect();
    if per_text.is_empty() {
        return Err(Error::invalid("the texts hold special tokens alone", "give at least one text with a word"));
    }
    let layer = |(i, site): (usize, &String)| {
        let ratio = |of: fn(&Sums) -> (f64, f64)| {
            let units: Vec<(f64, f64)> = per_text.iter().map(|s| of(&s[i])).collect();
            Estimate::ratio(&units, options.seed)
        };
        Layer {
            site: site.clone(),
            kl: ratio(|s| (s.kl, s.positions)),
            agreement: ratio(|s| (s.agree, s.positions)),
            accuracy: ratio(|s| (s.hits, s.predicted)),
            loss: ratio(|s| (s.nats, s.predicted)),
            kl_elsewhere: ratio(|s| (s.kl_elsewhere, s.paired)),
            agreement_elsewhere: ratio(|s| (s.agree_elsewhere, s.paired)),
        }
    };
    let total = |of: fn(&Sums) -> f64| per_text.iter().map(|s| of(&s[0])).sum::<f64>() as u64;
    Ok(Lens {
        texts: per_text.len(),
        positions: total(|s| s.positions),
        predicted: total(|s| s.predicted),
        layers: sites.iter().enumerate().map(layer).collect(),
        last_error: worst.difference / worst.magnitude.max(f64::MIN_POSITIVE),
        grid: grid(net, corpus, &sites, options)?,
    })
}

/// The stream before the first block, then after each.
pub(super) fn streams(net: &Decoder) -> Vec<String> {
    let after = (0..net.facts().layers.len()).map(|l| format!("blocks.{l}.hook_resid_post"));
    std::iter::once("blocks.0.hook_resid_pre".to_string()).chain(after).collect()
}

fn recording(sites: &[String]) -> Result<Pass> {
    let records = sites.iter().map(|site| Ok(Record::whole(site.parse()?))).collect::<Result<_>>()?;
    Ok(Pass { records, ..Pass::default() })
}

/// The last layer against the logits.
#[derive(Default)]
struct Worst {
    difference: f64,
    magnitude: f64,
}

/// Adds one block of positions to the sums of their text, one per layer.
fn look(
    net: &Decoder,
    streams: &[Tensor],
    final_logits: &Tensor,
    block: &[usize],
    next: &[Option<u32>],
    sums: &mut [Sums],
    worst: &mut Worst,
) -> Result<()> {
    let index: Vec<u32> = block.iter().map(|p| *p as u32).collect();
    let index = Tensor::from_vec(index, block.len(), final_logits.device())?;
    let ends = rows(&final_logits.index_select(&index, 0)?)?; // [n, vocab]
    let finals: Vec<Prepared> = ends.par_iter().map(|x| Prepared::new(x)).collect();
    if finals.iter().any(|f| !f.log_total.is_finite()) {
        return Err(Error::invalid("the network's logits are not finite", "run `doctor` on it"));
    }
    for (layer, stream) in streams.iter().enumerate() {
        let x = stream.index_select(&index, 0)?.unsqueeze(0)?; // [1, n, d]
        let lens = rows(&net.lens(&x, Form::Inference)?.squeeze(0)?)?; // [n, vocab]
        let n = block.len();
        let found: Vec<Sums> = (0..n)
            .into_par_iter()
            .map(|i| {
                let here = Prepared::new(&lens[i]);
                let mut s = Sums { positions: 1.0, ..Sums::default() };
                s.kl = divergence(&ends[i], &finals[i], &lens[i], &here);
                s.agree = f64::from(u8::from(here.best == finals[i].best));
                if n > 1 {
                    let other = (i + n / 2) % n;
                    let there = Prepared::new(&lens[other]);
                    s.paired = 1.0;
                    s.kl_elsewhere = divergence(&ends[i], &finals[i], &lens[other], &there);
                    s.agree_elsewhere = f64::from(u8::from(there.best == finals[i].best));
                }
                if let Some(id) = next[i] {
                    s.predicted = 1.0;
                    s.hits = f64::from(u8::from(here.best == id as usize));
                    s.nats = here.log_total - f64::from(lens[i][id as usize]);
                }
                s
            })
            .collect();
        // In order, so that the sums are the same at any number of threads.
        found.iter().for_each(|s| sums[layer].add(s));
        if layer + 1 == streams.len() {
            for (a, b) in lens.iter().zip(&ends).flat_map(|(a, b)| a.iter().zip(b)) {
                worst.difference = worst.difference.max(f64::from((a - b).abs()));
                worst.magnitude = worst.magnitude.max(f64::from(b.abs()));
            }
        }
    }
    Ok(())
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.kl += other.kl;
        self.agree += other.agree;
        self.kl_elsewhere += other.kl_elsewhere;
        self.agree_elsewhere += other.agree_elsewhere;
        self.paired += other.paired;
        self.positions += other.positions;
        self.hits += other.hits;
        self.nats += other.nats;
        self.predicted += other.predicted;
    }
}

/// What is needed of a row of logits.
struct Prepared {
    /// log sum exp.
    log_total: f64,
    /// The largest; the first of equals.
    best: usize,
}

impl Prepared {
    fn new(logits: &[f32]) -> Self {
        let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
        let best = (0..logits.len()).fold(0, better);
        let top = f64::from(logits[best]);
        let total: f64 = logits.iter().map(|x| (f64::from(*x) - top).exp()).sum();
        Self { log_total: top + total.ln(), best }
    }
}

/// KL(p || q) of two rows of logits, nats, in f64.
fn divergence(p: &[f32], of_p: &Prepared, q: &[f32], of_q: &Prepared) -> f64 {
    let term = |(p, q): (&f32, &f32)| {
        let log_p = f64::from(*p) - of_p.log_total;
        log_p.exp() * (log_p - f64::from(*q) + of_q.log_total)
    };
    p.iter().zip(q).map(term).sum()
}

fn rows(x: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(x.to_dtype(DType::F32)?.to_vec2()?)
}

/// The predictions along the first window of a text.
fn grid(net: &Decoder, corpus: &Corpus, sites: &[String], options: &Options) -> Result<Option<Grid>> {
    if options.grid_tokens == 0 {
        return Ok(None);
    }
    let window = corpus.windows.iter().find(|w| w.text == options.grid_text).ok_or_else(|| {
        Error::invalid(
            format!("there is no text {} to show, or it is empty", options.grid_text),
            format!("`grid_text` counts from 0; there are {} texts", corpus.texts),
        )
    })?;
    let ids = &window.ids[..window.ids.len().min(options.grid_tokens)];
    let input = Input::Tokens(Tokens::from_rows(&[ids.to_vec()], Side::Right, 0)?);
    let outcome = observe(net, &input, &recording(sites)?, &Registry::elementary())?;
    let mut predictions = Vec::with_capacity(sites.len());
    for site in sites {
        let mut along = Vec::with_capacity(ids.len());
        for position in 0..ids.len() {
            let x = outcome.records.get(site)?.narrow(1, position, 1)?.contiguous()?; // [1, 1, d]
            let logits: Vec<f32> = net.lens(&x, Form::Inference)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            let prepared = Prepared::new(&logits);
            let probability = (f64::from(logits[prepared.best]) - prepared.log_total).exp();
            along.push(Prediction { token: corpus.word(prepared.best as u32), probability });
        }
        predictions.push(along);
    }
    let tokens = ids.iter().map(|id| corpus.word(*id)).collect();
    Ok(Some(Grid { text: options.grid_text, tokens, predictions }))
}
