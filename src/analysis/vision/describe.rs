//! Describing exemplar sets: features of the marked pixels, beam search by likelihood, and the choice by pmi
//! (Hernandez et al. 2022, section 3 and appendix B): d* = argmax log p(d|E) - lambda log p(d).

use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};

use super::super::label::pmi;
use super::units::{Maps, NetworkMaps, scaled_mask};
use super::words::Vocabulary;
use crate::data::ImageSet;
use crate::hook::Tap;
use crate::models::{Captioner, Convolutional, Input, Network, Side, State, Tokens};
use crate::nn::Form;
use crate::report::Progress;
use crate::{Error, Result};

/// Images of a forward pass.
const BATCH: usize = 64;

/// An exemplar: an image with its marked pixels `[y, x]`.
pub struct Exemplar {
    /// The image.
    pub image: usize,
    /// Which pixels are marked.
    pub mask: Vec<bool>,
}

/// Features of exemplar sets, `[sets, k, width]`: every layer's map, weighted by the mask in the layer's size (which adds
/// up to 1), summed over places. All sets have as many exemplars.
///
/// # Errors
/// Sets of different sizes, or none; images of another size than the network's.
pub fn features(net: &Convolutional, set: &ImageSet, sets: &[Vec<Exemplar>], progress: &Progress) -> Result<Tensor> {
    let k = sets.first().map_or(0, Vec::len);
    if k == 0 || sets.iter().any(|s| s.len() != k) {
        return Err(Error::invalid("exemplar sets of different sizes, or none", "give each set as many exemplars"));
    }
    let source = NetworkMaps { net, set };
    let width: usize = source.channels().iter().sum();
    let mut places: Vec<(usize, usize, usize)> = Vec::new();
    for (s, exemplars) in sets.iter().enumerate() {
        places.extend(exemplars.iter().enumerate().map(|(e, exemplar)| (exemplar.image, s, e)));
    }
    places.sort_unstable();
    let mut features = vec![0f32; sets.len() * k * width];
    progress.begin(places.len() as u64);
    for group in places.chunk_by(|a, b| a.0 / BATCH == b.0 / BATCH) {
        let first = group[0].0 / BATCH * BATCH;
        let images: Vec<usize> = (first..(first + BATCH).min(set.len())).collect();
        let mut before = 0;
        for map in source.maps(&images)? {
            let (_, channels, h, w) = map.dims4()?;
            let values: Vec<f32> = map.flatten_all()?.to_vec1()?;
            for (image, s, e) in group {
                let weights = scaled_mask(&sets[*s][*e].mask, source.size(), [h, w]);
                let own = &values[(image - first) * channels * h * w..][..channels * h * w];
                let into = &mut features[(s * k + e) * width + before..][..channels];
                for (f, channel) in into.iter_mut().zip(own.chunks_exact(h * w)) {
                    *f = channel.iter().zip(&weights).map(|(a, m)| a * m).sum();
                }
            }
            before += channels;
        }
        progress.advance(group.len() as u64);
    }
    Ok(Tensor::from_vec(features, (sets.len(), k, width), net.device())?)
}

/// A description with its two log-probabilities, in nats, up to and with the word that ends it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The words.
    pub text: String,
    /// log p(d|E).
    pub log_given: f64,
    /// log p(d).
    pub log_prior: f64,
}

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// Descriptions kept at every step.
    pub beam: usize,
    /// Most words, the one that ends included.
    pub words: usize,
}

impl Default for Search {
    fn default() -> Self {
        Self { beam: 50, words: 15 }
    }
}

/// The candidates for each set that `describer` looks at: the ends of a beam by likelihood, with the language model's view
/// of them. Most likely first.
///
/// # Errors
/// Networks of different vocabularies.
pub fn candidates(
    describer: &Captioner,
    language: &Captioner,
    sets: usize,
    words: &Vocabulary,
    search: Search,
    progress: &Progress,
) -> Result<Vec<Vec<Candidate>>> {
    progress.begin(sets as u64);
    let mut all = Vec::with_capacity(sets);
    for set in 0..sets {
        let found = beam(describer, set as u64, search)?;
        let rows: Vec<Vec<u32>> = found.iter().map(|(row, _)| row.clone()).collect();
        let priors = log_probabilities(language, 0, &rows)?;
        let each = found.iter().zip(priors);
        all.push(
            each.map(|((row, given), prior)| Candidate {
                text: words.decode(row),
                log_given: *given,
                log_prior: prior,
            })
            .collect(),
        );
        progress.advance(1);
    }
    Ok(all)
}

/// The candidate with the largest log p(d|E) - lambda log p(d).
pub fn choose(candidates: &[Candidate], lambda: f64) -> Option<&Candidate> {
    let score = |c: &Candidate| pmi(c.log_given, c.log_prior, lambda);
    // The first of equals, which is the likelier one.
    candidates.iter().rev().max_by(|a, b| score(a).total_cmp(&score(b)))
}

/// log p(d|E) of rows from the word that begins to the one that ends, in nats.
///
/// # Errors
/// Words that the network does not know.
pub fn log_probabilities(net: &Captioner, set: u64, rows: &[Vec<u32>]) -> Result<Vec<f64>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut tokens = Tokens::from_rows(rows, Side::Right, Vocabulary::END)?;
    tokens.documents = vec![set; rows.len()];
    let logits = net.forward(&Input::Tokens(tokens), &mut State::none(), &mut Tap::off())?; // [b, t, vocab]
    let logs: Vec<Vec<Vec<f32>>> = log_softmax(&logits)?.to_vec3()?;
    let sum = |(row, logs): (&Vec<u32>, &Vec<Vec<f32>>)| -> f64 {
        row.windows(2).zip(logs).map(|(pair, logs)| f64::from(logs[pair[1] as usize])).sum()
    };
    Ok(rows.iter().zip(&logs).map(sum).collect())
}

fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let most = logits.max_keepdim(D::Minus1)?;
    let shifted = logits.broadcast_sub(&most)?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

/// Whole descriptions by likelihood: words from the one that begins to the one that ends, with log p(d|E).
fn beam(net: &Captioner, set: u64, search: Search) -> Result<Vec<(Vec<u32>, f64)>> {
    let mut open: Vec<(Vec<u32>, f64)> = vec![(vec![Vocabulary::BEGIN], 0.0)];
    let mut done: Vec<(Vec<u32>, f64)> = Vec::new();
    let mut state = State::cached();
    for step in 0..search.words {
        let rows: Vec<Vec<u32>> = open.iter().map(|(row, _)| row[row.len() - 1..].to_vec()).collect();
        let mut tokens = Tokens::from_rows(&rows, Side::Right, Vocabulary::END)?;
        tokens.documents = vec![set; rows.len()];
        let logits = net.forward(&Input::Tokens(tokens), &mut state, &mut Tap::silent(Form::Inference))?;
        let logs: Vec<Vec<f32>> = log_softmax(&logits)?.squeeze(1)?.to_vec2()?;
        let mut next: Vec<(usize, u32, f64)> = Vec::new();
        for (at, ((_, score), logs)) in open.iter().zip(&logs).enumerate() {
            let words = logs.iter().enumerate().filter(|(word, _)| *word as u32 != Vocabulary::BEGIN);
            next.extend(words.map(|(word, log)| (at, word as u32, score + f64::from(*log))));
        }
        next.sort_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
        next.truncate(search.beam);
        let mut going = Vec::new();
        let mut from: Vec<u32> = Vec::new();
        for (at, word, score) in next {
            let mut row = open[at].0.clone();
            row.push(word);
            if word == Vocabulary::END {
                done.push((row, score));
            } else if step + 1 < search.words {
                going.push((row, score));
                from.push(at as u32);
            }
        }
        done.sort_by(|a, b| b.1.total_cmp(&a.1));
        done.truncate(search.beam);
        // Longer ones are only ever less likely.
        let bar = if done.len() == search.beam { done[search.beam - 1].1 } else { f64::NEG_INFINITY };
        let keep: Vec<bool> = going.iter().map(|(_, score)| *score > bar).collect();
        let mut kept = keep.iter();
        going.retain(|_| kept.next().copied().unwrap_or(false));
        let mut kept = keep.iter();
        from.retain(|_| kept.next().copied().unwrap_or(false));
        if going.is_empty() {
            break;
        }
        state.select(&from)?;
        open = going;
    }
    Ok(done)
}
