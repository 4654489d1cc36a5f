//! The neuron itself ([`Dendrites`]): what the formulas say is counted at its sites, and what they vary is an edit there.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::chance::Rate;
use super::theory;
use crate::Result;
use crate::analysis::measure::{Estimate, mean};
use crate::analysis::registry;
use crate::analysis::reservoir::over_networks;
use crate::hook::random::{self, Stream};
use crate::hook::{Edit, Pass, Plan, Record, Tap, Values};
use crate::models::dendrites::{CONNECTED, NEW, shown};
use crate::models::{Dendrites, DendritesConfig, Input, Network, State};

/// Steps of a run on given inputs, which lie in memory at once.
const STEPS: usize = 500;

/// What is changed while the neuron runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Share of the active cells that are silenced.
    pub noise: f64,
    /// What thresholds are clamped at.
    pub theta: usize,
    /// Synapses of every segment that are ablated.
    pub ablated: usize,
}

impl Change {
    fn edits(&self) -> Result<Vec<Edit>> {
        let mut edits = vec![Edit::new("dendrite.hook_threshold".parse()?, "set").with("value", self.theta)];
        if self.noise > 0.0 {
            edits.push(Edit::new("dendrite.hook_input".parse()?, "drop_active").with("share", self.noise));
        }
        if self.ablated > 0 {
            let site = format!("dendrite.hook_permanence[synapse=0..{}]", self.ablated);
            edits.push(Edit::new(site.parse()?, "zero"));
        }
        Ok(edits)
    }
}

/// The record of `site` in a run, `[step][segment]`.
pub(super) fn record(
    net: &Dendrites,
    input: &Input,
    state: &mut State,
    edits: Vec<Edit>,
    site: &str,
    seed: u64,
) -> Result<Vec<Vec<f32>>> {
    let pass = Pass { records: vec![Record::whole(site.parse()?)], edits, seed, ..Pass::default() };
    let mut plan = Plan::compile(net.sites(), &pass, &registry(), Values::default(), &[])?;
    net.forward(input, state, &mut Tap::new(&mut plan))?;
    let recorded: Tensor = plan.records(net.sites())?.get(site)?.squeeze(1)?; // [step, segment]
    Ok(recorded.to_vec2()?)
}

/// Own patterns: who missed, and who was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recognition {
    /// What was changed.
    pub change: Change,
    /// The segment that knows the pattern is silent.
    pub missed: Rate,
    /// Another segment spikes.
    pub wrong: Rate,
}

/// Every segment's pattern is shown once, under a change.
pub(super) fn recognition(config: DendritesConfig, change: Change, seed: u64) -> Result<Recognition> {
    let net = Dendrites::new(DendritesConfig { seed, ..config })?;
    let input = Input::None { rows: 1, steps: config.segments };
    let spikes = record(&net, &input, &mut State::none(), change.edits()?, "dendrite.hook_nmda", seed)?;
    let (n, a, s) = (config.cells, config.active, config.synapses - change.ablated);
    let lost = (change.noise * a as f64).round() as usize;
    let (mut missed, mut wrong) = (Rate::default(), Rate::default());
    for (own, spikes) in spikes.iter().enumerate() {
        missed.hits += u64::from(spikes[own] == 0.0);
        wrong.hits += spikes.iter().enumerate().filter(|(i, y)| *i != own && **y > 0.0).count() as u64;
    }
    let segments = config.segments as u64;
    (missed.trials, wrong.trials) = (segments, segments * (segments - 1));
    missed.predicted = theory::false_negative(a, s, lost, change.theta);
    wrong.predicted = theory::false_positive(n, (a - lost) as f64, s, change.theta);
    Ok(Recognition { change, missed, wrong })
}

/// How often segments spike at inputs that nobody knows: unions of so many random patterns, over `inputs` of them. From
/// `state`, if it holds anything. What is predicted is left at 0.
pub(super) fn at_random(
    net: &Dendrites,
    state: &State,
    theta: usize,
    (inputs, united): (usize, usize),
    seed: u64,
) -> Result<Rate> {
    let config = net.config();
    let mut draw = Stream::new(seed, &[random::name("inputs")]);
    let mut cells: Vec<u32> = (0..config.cells as u32).collect();
    let mut rate = Rate::default();
    let change = Change { noise: 0.0, theta, ablated: 0 };
    let mut left = inputs;
    while left > 0 {
        let steps = left.min(STEPS);
        let patterns: Vec<Vec<u32>> = (0..steps)
            .map(|_| (0..united).flat_map(|_| draw.subset(&mut cells, config.active).to_vec()).collect())
            .collect();
        let input = Input::Series(shown(config.cells, patterns.iter().map(Vec::as_slice)));
        let spikes = record(net, &input, &mut state.clone(), change.edits()?, "dendrite.hook_nmda", seed)?;
        rate.hits += spikes.iter().flatten().filter(|y| **y > 0.0).count() as u64;
        rate.trials += (steps * config.segments) as u64;
        left -= steps;
    }
    Ok(rate)
}

/// Permanences after a few noisy repeats of what the segments know.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Share of the active cells that are silenced.
    pub noise: f64,
    /// Mean permanence, and its interval over segments.
    pub permanence: Estimate,
    /// Its standard error over segments.
    pub error: f64,
    /// What the formula says; mistakes at other patterns, rare here, are left out.
    pub predicted: f64,
}

impl Drift {
    /// Standard errors between both; 0 where all segments ended alike, as predicted.
    pub fn errors(&self) -> f64 {
        // Permanences are f32 and were added to some twenty times.
        let apart = self.permanence.value - self.predicted;
        if apart.abs() < 1e-5 { 0.0 } else { apart / self.error }
    }
}

/// Every pattern is shown `repeats` times under noise, to a neuron that learns.
pub(super) fn drift(config: DendritesConfig, noise: f64, repeats: usize, seed: u64) -> Result<Drift> {
    let rule = config.learning.unwrap_or_default();
    let net = Dendrites::new(DendritesConfig { seed, learning: Some(rule), ..config })?;
    let mut state = State::cached();
    let change = Change { noise, theta: config.threshold, ablated: 0 };
    let input = Input::None { rows: 1, steps: repeats * config.segments };
    record(&net, &input, &mut state, change.edits()?, "neuron.hook_soma", seed)?;
    let segments: Vec<f64> = permanences(&state)?.iter().map(|p| mean(&wide(p))).collect();
    let lost = (noise * config.active as f64).round() as usize;
    let step = theory::drift(config.active, config.synapses, lost, config.threshold, rule.grow, rule.shrink);
    let centre = mean(&segments);
    let squares: f64 = segments.iter().map(|p| (p - centre).powi(2)).sum();
    let n = segments.len() as f64;
    Ok(Drift {
        noise,
        permanence: over_networks(&segments),
        error: (squares / (n * (n - 1.0))).sqrt(),
        predicted: f64::from(NEW) + repeats as f64 * step,
    })
}

/// Two patterns on every segment, of which only the first is ever shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forgetting {
    /// How often it was shown.
    pub repeats: usize,
    /// Share of the active cells that were silenced.
    pub noise: f64,
    /// Share of the synapses on it that are connected at the end.
    pub known: f64,
    /// The same of the other pattern's: those that happen to lie on cells of the shown one, as predicted.
    pub other: Rate,
    /// Threshold at which spikes at random inputs are counted.
    pub theta: usize,
    /// How often, before.
    pub before: Rate,
    /// And after; predicted from the synapses that each segment has left.
    pub after: Rate,
}

/// Shows the first patterns again and again, and counts false positives before and after at `theta`.
pub(super) fn forgetting(
    config: DendritesConfig,
    (noise, repeats): (f64, usize),
    (theta, inputs): (usize, usize),
    seed: u64,
) -> Result<Forgetting> {
    let learning = Some(config.learning.unwrap_or_default());
    let learner = Dendrites::new(DendritesConfig { seed, patterns: 2, learning, ..config })?;
    // The same neuron, learning nothing while it is asked.
    let frozen = Dendrites::on(DendritesConfig { learning: None, ..*learner.config() }, learner.patterns().to_vec())?;
    let first = learner.patterns().iter().step_by(2).map(Vec::as_slice);
    let input = Input::Series(shown(config.cells, first));
    let change = Change { noise, theta: config.threshold, ablated: 0 };
    let mut state = State::cached();
    for _ in 0..repeats {
        record(&learner, &input, &mut state, change.edits()?, "neuron.hook_soma", seed)?;
    }
    let s = config.synapses;
    let connected: Vec<[usize; 2]> = permanences(&state)?
        .iter()
        .map(|p| [&p[..s], &p[s..]].map(|part| part.iter().filter(|p| **p >= CONNECTED).count()))
        .collect();
    let count = |part: usize| connected.iter().map(|c| c[part]).sum::<usize>();
    let all = connected.len() * s;
    // A synapse of the other pattern is on none of the shown one's synapses' cells, but may be on one of its other cells.
    let shared = (config.active - s) as f64 / (config.cells - s) as f64;
    let of = |synapses: usize| theory::false_positive(config.cells, config.active as f64, synapses, theta);
    let left: Vec<f64> = connected.iter().map(|c| of(c[0] + c[1])).collect();
    let ask = |state: &State, predicted: f64| -> Result<Rate> {
        Ok(Rate { predicted, ..at_random(&frozen, state, theta, (inputs, 1), seed)? })
    };
    Ok(Forgetting {
        repeats,
        noise,
        known: count(0) as f64 / all as f64,
        other: Rate { hits: count(1) as u64, trials: all as u64, predicted: shared },
        theta,
        before: ask(&State::none(), of(2 * s))?,
        after: ask(&state, mean(&left))?,
    })
}

/// Permanences that a run has left, by segment.
fn permanences(state: &State) -> Result<Vec<Vec<f32>>> {
    let tensor = state.tensors.get("dendrite.permanence");
    Ok(tensor.map_or_else(|| Ok(Vec::new()), Tensor::to_vec2)?)
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}
