//! What edits do to texts: loss before and after, and how far predictions move.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::analysis::measure::LogProbs;
use crate::analysis::{Corpus, Estimate, registry};
use crate::data::TextSet;
use crate::hook::random::Stream;
use crate::hook::{Axis, Edit, Pass, Run};
use crate::models::{Input, Job, Model, Network, execute};
use crate::{Error, Result};

/// Logits of one forward pass: batches stay below it.
const LOGITS: usize = 1 << 24;

/// What edits do to some sets of texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Set by set.
    pub sets: Vec<SetEffect>,
    /// The control, in words; empty where the edits select no units that others could stand for.
    pub control: String,
}

/// What edits do to one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetEffect {
    /// Its name.
    pub name: String,
    /// Texts.
    pub texts: usize,
    /// Next tokens that were predicted.
    pub tokens: u64,
    /// -log p of the next token without the edits, nats.
    pub before: Estimate,
    /// The same with them.
    pub after: Estimate,
    /// KL(unedited || edited), nats per token.
    pub kl: Estimate,
    /// Share of places where the likeliest token stays.
    pub agreement: Estimate,
    /// `after` with the same operations on other units.
    pub after_control: Option<Estimate>,
    /// `kl` with the same operations on other units.
    pub kl_control: Option<Estimate>,
}

/// Sums over one text.
#[derive(Clone, Copy, Default)]
struct Sums {
    before: f64,
    after: f64,
    kl: f64,
    same: f64,
    after_control: f64,
    kl_control: f64,
    tokens: f64,
}

/// Runs the texts as they are, under `edits`, and under the same operations on as many random units of the same sites;
/// windows of `window` tokens. `watch` hears (sets done, sets in all).
///
/// # Errors
/// Texts without a token, whatever the edits refuse, and whatever `watch` says.
pub fn effect(
    model: &Model,
    sets: &[TextSet],
    edits: &[Edit],
    stored: &BTreeMap<String, Tensor>,
    (window, seed): (usize, u64),
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Effect> {
    let others = others(model, edits, seed)?;
    let mut found = Vec::with_capacity(sets.len());
    for (i, set) in sets.iter().enumerate() {
        watch(i, sets.len())?;
        found.push(one(model, set, edits, others.as_deref(), stored, (window, seed), watch, (i, sets.len()))?);
    }
    let control = match others {
        Some(_) => "the same operations on as many random units of the same sites".to_string(),
        None => String::new(),
    };
    Ok(Effect { sets: found, control })
}

#[expect(clippy::too_many_arguments, reason = "a step of `effect`, with all that it was given")]
fn one(
    model: &Model,
    set: &TextSet,
    edits: &[Edit],
    others: Option<&[Edit]>,
    stored: &BTreeMap<String, Tensor>,
    (window, seed): (usize, u64),
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
    (done, of): (usize, usize),
) -> Result<SetEffect> {
    let corpus = Corpus::of_texts(model, &set.texts, window)?;
    let mut sums = vec![Sums::default(); corpus.texts];
    for batch in corpus.batches((LOGITS / model.decoder.facts().vocab.max(1)).clamp(window, 2048)) {
        watch(done, of)?;
        let (windows, tokens) = batch?;
        let input = Input::Tokens(tokens);
        let plain = logits(model, &input, &[], stored)?;
        let edited = logits(model, &input, edits, stored)?;
        let control = others.map(|edits| logits(model, &input, edits, stored)).transpose()?;
        for (row, w) in corpus.windows[windows].iter().enumerate() {
            let sums = &mut sums[w.text];
            for place in 0..w.ids.len().saturating_sub(1) {
                let next = w.ids[place + 1];
                if !corpus.counts(next) {
                    continue;
                }
                let (p, q) = (LogProbs::new(&plain[row][place]), LogProbs::new(&edited[row][place]));
                sums.tokens += 1.0;
                sums.before -= p.of(next);
                sums.after -= q.of(next);
                sums.kl += p.divergence(&q);
                sums.same += f64::from(u8::from(p.top(1) == q.top(1)));
                if let Some(control) = &control {
                    let r = LogProbs::new(&control[row][place]);
                    sums.after_control -= r.of(next);
                    sums.kl_control += p.divergence(&r);
                }
            }
        }
    }
    sums.retain(|s| s.tokens > 0.0);
    if sums.is_empty() {
        return Err(Error::invalid(
            format!("the texts of `{}` hold no token to predict", set.name),
            "give a text of two tokens at least",
        ));
    }
    let ratio = |of: fn(&Sums) -> f64| {
        let units: Vec<(f64, f64)> = sums.iter().map(|s| (of(s), s.tokens)).collect();
        Estimate::ratio(&units, seed)
    };
    Ok(SetEffect {
        name: set.name.clone(),
        texts: sums.len(),
        tokens: sums.iter().map(|s| s.tokens).sum::<f64>() as u64,
        before: ratio(|s| s.before),
        after: ratio(|s| s.after),
        kl: ratio(|s| s.kl),
        agreement: ratio(|s| s.same),
        after_control: others.map(|_| ratio(|s| s.after_control)),
        kl_control: others.map(|_| ratio(|s| s.kl_control)),
    })
}

/// Logits by row and position.
fn logits(
    model: &Model,
    input: &Input,
    edits: &[Edit],
    stored: &BTreeMap<String, Tensor>,
) -> Result<Vec<Vec<Vec<f32>>>> {
    let run = Run { passes: vec![Pass { edits: edits.to_vec(), ..Pass::default() }] };
    let registry = registry();
    let job = Job { run: &run, inputs: std::slice::from_ref(input), stored: stored.clone(), registry: &registry };
    let mut outcome = execute(&model.decoder, job)?;
    Ok(outcome.passes.remove(0).output.to_dtype(DType::F32)?.to_vec3()?)
}

/// The edits with the neurons and heads that they select replaced by as many others, drawn at random; `None` where one
/// selects all units of its site, or units of another kind.
fn others(model: &Model, edits: &[Edit], seed: u64) -> Result<Option<Vec<Edit>>> {
    let mut made = Vec::with_capacity(edits.len());
    for (i, edit) in edits.iter().enumerate() {
        let table = model.decoder.sites();
        let selection = edit.site.resolve(table)?;
        let Some(first) = selection.sites.first() else { return Ok(None) };
        let [(axis, _)] = edit.site.indices() else { return Ok(None) };
        let site = table.get(first.site);
        let taken = first.indices.iter().find(|(dim, _)| site.axes.get(*dim) == Some(axis)).map(|(_, list)| list);
        let size = site.dim(*axis).and_then(|dim| site.sizes.get(dim).copied().flatten());
        let (Some(taken), Some(size), true) = (taken, size, matches!(axis, Axis::Neuron | Axis::Head)) else {
            return Ok(None);
        };
        let mut free: Vec<usize> = (0..size).filter(|n| !taken.contains(n)).collect();
        if free.len() < taken.len() {
            return Ok(None);
        }
        Stream::new(seed, &[i as u64]).shuffle(&mut free);
        free.truncate(taken.len());
        free.sort_unstable();
        let list: Vec<String> = free.iter().map(usize::to_string).collect();
        let text = edit.site.to_string();
        let (Some(open), Some(close)) = (text.find('['), text.find(']')) else { return Ok(None) };
        let site = format!("{}[{}={}]{}", &text[..open], axis.name(), list.join(","), &text[close + 1..]);
        made.push(Edit { site: site.parse()?, ..edit.clone() });
    }
    Ok((!made.is_empty()).then_some(made))
}
