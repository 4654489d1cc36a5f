//! Activation patching (Meng 2022, Wang 2022): which values carry the difference between two prompts.
//!
//! A clean prompt has one answer, a corrupted prompt of as many tokens another. *Denoising* runs the corrupted prompt
//! with one value of the clean run put in, and asks whether that is enough to bring the answer back; *noising* runs the
//! clean prompt with one corrupted value, and asks whether the answer needs it. At the last position
//!
//! ```text
//! LD = logit(correct) - logit(wrong), mean over pairs of prompts
//! effect = (LD_patched - LD_corrupted) / (LD_clean - LD_corrupted)     denoising: 0 nothing, 1 all
//! effect = (LD_clean - LD_patched) / (LD_clean - LD_corrupted)         noising
//! KL = KL(P_clean || P_patched), nats
//! ```
//!
//! Effects are not clamped: those below 0 or above 1 are findings. The control is in the map itself: positions that both
//! prompts share up to there have the effect 0 exactly, and all positions of the first stream have 1.

mod component;
mod maps;
mod report;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measure::LogProbs;
use super::sweep::{Sweep, TOKENS, Work};
use crate::models::{Decoder, Network};
use crate::report::number;
use crate::{Error, Result};

pub use component::{Columns, Component};

/// Two prompts and the answers that tell them apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Token ids of the clean prompt.
    pub clean: Vec<u32>,
    /// Token ids of the corrupted prompt, as many.
    pub corrupted: Vec<u32>,
    /// What should follow the clean prompt.
    pub correct: u32,
    /// What should follow the corrupted one.
    pub wrong: u32,
}

/// Which run is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The corrupted run, with clean values: sufficiency.
    #[default]
    Denoise,
    /// The clean run, with corrupted values: necessity.
    Noise,
}

/// What patching showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Patching {
    /// Which run was changed.
    pub direction: Direction,
    /// Pairs of prompts.
    pub pairs: usize,
    /// Mean logit difference of the clean runs.
    #[serde(with = "number")]
    pub clean: f64,
    /// Mean logit difference of the corrupted runs.
    #[serde(with = "number")]
    pub corrupted: f64,
    /// KL(P_clean || P_corrupted), nats, mean over pairs.
    #[serde(with = "number")]
    pub corrupted_kl: f64,
    /// One map for each component.
    pub maps: Vec<Map>,
    /// How much was computed.
    pub work: Work,
}

/// The effects of one family of patches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// What was patched.
    pub component: Component,
    /// Block by block, column by column (positions, or heads): the share of the logit difference that a patch moves.
    #[serde(with = "number::nested")]
    pub effect: Vec<Vec<f64>>,
    /// Like `effect`: KL(P_clean || P_patched), nats, mean over pairs.
    #[serde(with = "number::nested")]
    pub kl: Vec<Vec<f64>>,
}

/// Sums over pairs of one patch.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    difference: f64,
    kl: f64,
}

/// Patches every value of `components`, one at a time, in all `pairs`. `watch` hears (patches done, patches in all) and
/// ends the work with an error.
///
/// # Errors
/// No pairs, prompts of unequal length, answers that the vocabulary lacks or that do not tell clean from corrupted, a
/// component that the network's blocks lack, or one named twice.
pub fn patching(
    net: &Decoder,
    pairs: &[Pair],
    components: &[Component],
    direction: Direction,
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Patching> {
    check(net, pairs)?;
    components.iter().try_for_each(|c| c.check(net))?;
    if let Some(twice) = components.iter().enumerate().find(|(i, c)| components[..*i].contains(c)) {
        return Err(Error::invalid(format!("`{}` is to be patched twice", twice.1.name()), "name it once"));
    }
    let length = pairs[0].clean.len();
    let blocks = net.facts().layers.len();
    let columns = |c: Component| c.count(net, length);
    // Attention maps are patched last, in another way; their sums stand behind the others'.
    let swept = || components.iter().copied().filter(|c| *c != Component::Pattern);
    let mut patches = Vec::new();
    for component in swept() {
        for block in 0..blocks {
            patches.extend(component.patches(block, columns(component))?);
        }
    }
    let prompts = |of: fn(&Pair) -> &Vec<u32>| -> Vec<Vec<u32>> { pairs.iter().map(|p| of(p).clone()).collect() };
    let (base, source) = match direction {
        Direction::Denoise => (prompts(|p| &p.corrupted), prompts(|p| &p.clean)),
        Direction::Noise => (prompts(|p| &p.clean), prompts(|p| &p.corrupted)),
    };
    let sweep = Sweep::new(net, &base, &source, &patches)?;
    let of_clean =
        |i: usize| if direction == Direction::Denoise { sweep.source_logits(i) } else { sweep.base_logits(i) };
    let of_corrupted =
        |i: usize| if direction == Direction::Denoise { sweep.base_logits(i) } else { sweep.source_logits(i) };
    let clean: Vec<LogProbs> = (0..pairs.len()).map(|i| LogProbs::new(of_clean(i))).collect();
    let measure = |i: usize, logits: &[f32]| Sums {
        difference: difference(&pairs[i], logits),
        kl: clean[i].divergence(&LogProbs::new(logits)),
    };
    // Pair by pair in their order, so that sums do not depend on that of the sweep.
    let mut found = vec![vec![Sums::default(); pairs.len()]; patches.len()];
    let patterns = if components.contains(&Component::Pattern) { blocks * net.facts().n_heads } else { 0 };
    let (mut done, all) = (0, (patches.len() + patterns) * pairs.len());
    let mut work = sweep.run(TOKENS, &mut |p| {
        found[p.patch][p.prompt] = measure(p.prompt, p.logits);
        done += 1;
        watch(done, all)
    })?;
    if components.contains(&Component::Pattern) {
        let heads = net.facts().n_heads;
        let start = found.len();
        found.resize(start + blocks * heads, vec![Sums::default(); pairs.len()]);
        for i in 0..pairs.len() {
            let own = maps::patch(net, &base[i], &source[i], &mut |block, head, logits| {
                found[start + block * heads + head][i] = measure(i, logits);
                done += 1;
                watch(done, all)
            })?;
            work = work.with(own);
        }
    }
    let ends = |logits: &dyn Fn(usize) -> Vec<f32>| mean((0..pairs.len()).map(|i| measure(i, &logits(i))), pairs.len());
    let (with_clean, with_corrupted) = (ends(&|i| of_clean(i).to_vec()), ends(&|i| of_corrupted(i).to_vec()));
    let span = with_clean.difference - with_corrupted.difference;
    if span.is_nan() || span.abs() <= 1e-6 {
        return Err(Error::invalid(
            format!(
                "the answers do not tell the prompts apart: a logit difference of {:.4} clean and {:.4} corrupted",
                with_clean.difference, with_corrupted.difference
            ),
            "give prompts that this model answers differently, and answers that differ",
        ));
    }
    let effect = |s: &Sums| match direction {
        Direction::Denoise => (s.difference - with_corrupted.difference) / span,
        Direction::Noise => (with_clean.difference - s.difference) / span,
    };
    let mut means = found.iter().map(|sums| mean(sums.iter().copied(), pairs.len()));
    let mut map = |component: Component| {
        let rows: Vec<Vec<Sums>> = (0..blocks).map(|_| means.by_ref().take(columns(component)).collect()).collect();
        let of = |value: &dyn Fn(&Sums) -> f64| rows.iter().map(|row| row.iter().map(value).collect()).collect();
        Map { component, effect: of(&effect), kl: of(&|s| s.kl) }
    };
    let mut maps: Vec<Map> = swept().map(&mut map).collect();
    if let Some(at) = components.iter().position(|c| *c == Component::Pattern) {
        maps.insert(at, map(Component::Pattern));
    }
    Ok(Patching {
        direction,
        pairs: pairs.len(),
        clean: with_clean.difference,
        corrupted: with_corrupted.difference,
        corrupted_kl: with_corrupted.kl,
        maps,
        work,
    })
}

fn check(net: &Decoder, pairs: &[Pair]) -> Result<()> {
    let Some(first) = pairs.first() else {
        return Err(Error::invalid("no pair of prompts was given", "give a clean and a corrupted prompt"));
    };
    let vocab = net.facts().vocab;
    for (i, pair) in pairs.iter().enumerate() {
        let lengths = (pair.clean.len(), pair.corrupted.len());
        if lengths.0 != lengths.1 {
            return Err(Error::invalid(
                format!("pair {i} (counted from 0) has {} clean and {} corrupted tokens", lengths.0, lengths.1),
                "a patch takes each position from the same position: give prompts of equal length in tokens",
            ));
        }
        if lengths.0 != first.clean.len() {
            return Err(Error::invalid(
                format!("pair {i} (counted from 0) has {} tokens, pair 0 has {}", lengths.0, first.clean.len()),
                "columns of the map are positions: give pairs of one length, or patch them apart",
            ));
        }
        if let Some(id) = [pair.correct, pair.wrong].into_iter().find(|id| *id as usize >= vocab) {
            return Err(Error::invalid(
                format!("the answer {id} of pair {i} is beyond the vocabulary of {vocab}"),
                "the ids come from another tokenizer",
            ));
        }
    }
    net.sites().id("blocks.0.hook_resid_pre").map(|_| ())
}

fn difference(pair: &Pair, logits: &[f32]) -> f64 {
    f64::from(logits[pair.correct as usize]) - f64::from(logits[pair.wrong as usize])
}

fn mean(sums: impl Iterator<Item = Sums>, pairs: usize) -> Sums {
    let all = sums.fold(Sums::default(), |a, b| Sums { difference: a.difference + b.difference, kl: a.kl + b.kl });
    Sums { difference: all.difference / pairs as f64, kl: all.kl / pairs as f64 }
}
