//! What a dendritic segment of a few tens of synapses can tell apart on a sparse population: the formulas of Ahmad and
//! Hawkins (2016, arXiv 1601.00720), the same chances drawn ([`chance`]), the same again counted at the sites of a neuron
//! ([`Dendrites`](crate::models::Dendrites)) whose input, thresholds and synapses are edited while it runs, and on the MLP
//! layers of a transformer, whose codes are not random ([`concept`]).
//!
//! ```
//! use optrode::analysis::dendrites::theory;
//! let p = theory::false_positive(500, 128.0, 24, 12);
//! assert!((p / 7.36788303358289e-3 - 1.0).abs() < 1e-10);
//! ```

pub mod chance;
pub mod concept;
mod noise;
mod report;
mod simulate;
pub mod theory;
mod verdicts;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::TextSet;
use crate::hook::random;
use crate::models::dendrites::Learning;
use crate::models::{Dendrites, DendritesConfig, Model, State};
use crate::{Error, Result};

pub use chance::{Draw, Rate};
pub use concept::{AtThreshold, Code, Concept, Question};
pub use noise::DropActive;
pub use simulate::{Change, Drift, Forgetting, Recognition};
pub use verdicts::median;

/// Sizes at which false positives are common enough to be counted.
const DENSE: DendritesConfig = DendritesConfig {
    cells: 500,
    active: 128,
    segments: 200,
    patterns: 1,
    synapses: 24,
    threshold: 12,
    spike: crate::models::dendrites::Spike::Step,
    learning: None,
    seed: 0,
};

/// Noise and threshold under which synapses are ablated: both kinds of error are common enough to be counted.
const ABLATED_UNDER: (f64, usize) = (0.3, 8);

/// What is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Draws of every row of the Monte Carlo table.
    pub trials: u64,
    /// The neuron that is shown its own patterns.
    pub config: DendritesConfig,
    /// Neurons of each kind.
    pub networks: usize,
    /// Thresholds that it is clamped at.
    pub thresholds: Vec<usize>,
    /// Shares of active cells that are silenced.
    pub noise: Vec<f64>,
    /// Random inputs of the neurons that are asked for false positives.
    pub inputs: usize,
    /// Numbers of patterns that are united.
    pub united: Vec<usize>,
    /// Noisy repeats before permanences are compared with their formula.
    pub repeats: usize,
    /// What transformers are asked.
    pub question: Question,
    /// Seed of every draw.
    pub seed: u64,
}

impl Plan {
    /// One neuron of each kind, a million draws a row, one layer of a transformer.
    pub fn quick(seed: u64) -> Self {
        Self {
            trials: 1_000_000,
            config: DendritesConfig::default(),
            networks: 1,
            thresholds: vec![8, 12, 16],
            noise: (0..=8).map(|i| f64::from(i) / 10.0).collect(),
            inputs: 1000,
            united: vec![1, 5, 10, 20],
            repeats: 20,
            question: Question { texts: Some(24), segments: 50, every_layer: false },
            seed,
        }
    }

    /// Ten neurons of each kind, ten million draws a row, every layer.
    pub fn full(seed: u64) -> Self {
        Self {
            trials: 10_000_000,
            networks: 10,
            noise: (0..=16).map(|i| f64::from(i) / 20.0).collect(),
            question: Question { texts: None, segments: 200, every_layer: true },
            ..Self::quick(seed)
        }
    }

    /// Rows of the Monte Carlo table: the card's that are common enough, and one where the code is not sparse.
    fn draws(&self) -> Vec<Draw> {
        let wrong = |(n, a, s, theta)| Draw::FalsePositive { n, a, s, theta };
        let missed = |(theta, v)| Draw::FalseNegative { a: 128, v, s: 30, theta };
        let positives = [
            (300, 64, 24, 12),
            (500, 64, 24, 12),
            (300, 128, 24, 12),
            (500, 128, 24, 12),
            (700, 128, 24, 12),
            (500, 256, 24, 12),
            (700, 256, 24, 12),
            (400, 8, 4, 2),
        ];
        let negatives = [(12, 64), (8, 64), (12, 70), (16, 64)];
        positives.into_iter().map(wrong).chain(negatives.into_iter().map(missed)).collect()
    }

    fn recognitions(&self) -> Vec<Change> {
        let under = |noise: f64| self.thresholds.iter().map(move |theta| Change { noise, theta: *theta, ablated: 0 });
        self.noise.iter().flat_map(|noise| under(*noise)).collect()
    }

    fn ablations(&self) -> Vec<Change> {
        let ablated = (0..=DENSE.synapses / 2).step_by(3);
        ablated.map(|ablated| Change { noise: ABLATED_UNDER.0, theta: ABLATED_UNDER.1, ablated }).collect()
    }

    fn clamps(&self) -> std::ops::RangeInclusive<usize> {
        DENSE.threshold - 5..=DENSE.threshold + 4
    }

    fn unions(&self) -> Vec<Union> {
        let of = |side: Side| self.united.iter().map(move |patterns| Union::new(side, *patterns));
        of(Side::Input).chain(of(Side::Segment)).collect()
    }

    /// How many jobs there are.
    pub fn jobs(&self) -> usize {
        let networks = self.recognitions().len() + self.ablations().len() + self.clamps().count() + self.unions().len();
        self.draws().len() + self.networks * networks + self.noise.len() + 1
    }

    /// The seed of a neuron.
    fn network(&self, number: usize) -> u64 {
        random::key(self.seed, &[random::name("neuron"), number as u64])
    }

    /// One number per item from all neurons.
    fn over_networks<T: Sync, R: Send>(
        &self,
        items: &[T],
        run: impl Fn(&T, u64) -> Result<R> + Sync,
        pooled: impl Fn(&R, &R) -> R,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<R>> {
        let jobs: Vec<(&T, usize)> = items.iter().flat_map(|item| (0..self.networks).map(move |n| (item, n))).collect();
        let one = |(item, n): &(&T, usize)| {
            let found = run(item, self.network(*n));
            done();
            found
        };
        let all = jobs.par_iter().map(one).collect::<Result<Vec<R>>>()?;
        let mut items = Vec::new();
        for (i, found) in all.into_iter().enumerate() {
            match items.pop() {
                Some(before) if i % self.networks != 0 => items.push(pooled(&before, &found)),
                other => {
                    items.extend(other);
                    items.push(found);
                }
            }
        }
        Ok(items)
    }
}

/// Which side of the synapses holds several patterns at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Several random patterns are active.
    Input,
    /// A segment knows several.
    Segment,
}

/// False positives where patterns are united.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Union {
    /// Whose patterns.
    pub side: Side,
    /// How many.
    pub patterns: usize,
    /// What was counted, and the exact chance.
    pub rate: Rate,
    /// P_fp at the mean number of active cells, as published; the exact one for a segment's patterns.
    pub at_mean: f64,
}

impl Union {
    /// Nothing counted yet.
    fn new(side: Side, patterns: usize) -> Self {
        let DendritesConfig { cells, active, synapses, threshold, .. } = Self::config(side, patterns);
        let a = active as f64;
        let (exact, at_mean) = match side {
            Side::Input => (
                theory::united_false_positive(cells, active, synapses, threshold, patterns),
                theory::false_positive(cells, theory::united_cells(cells, a, patterns), synapses, threshold),
            ),
            // All synapses of a segment lie on different cells here, so there are m s of them.
            Side::Segment => {
                let exact = theory::false_positive(cells, a, patterns * synapses, threshold);
                (exact, exact)
            }
        };
        Self { side, patterns, rate: Rate { hits: 0, trials: 0, predicted: exact }, at_mean }
    }

    fn config(side: Side, patterns: usize) -> DendritesConfig {
        let plain = DendritesConfig { cells: 1000, active: 30, synapses: 20, threshold: 10, ..DENSE };
        match side {
            Side::Input => plain,
            // Fewer synapses on each, or patterns would not have enough cells that the others left free.
            Side::Segment => DendritesConfig { synapses: 10, threshold: 8, patterns, ..plain },
        }
    }

    fn count(self, inputs: usize, seed: u64) -> Result<Self> {
        let config = Self::config(self.side, self.patterns);
        let net = Dendrites::new(DendritesConfig { seed, ..config })?;
        let united = if self.side == Side::Input { self.patterns } else { 1 };
        let counted = simulate::at_random(&net, &State::none(), config.threshold, (inputs, united), seed)?;
        Ok(Self { rate: Rate { predicted: self.rate.predicted, ..counted }, ..self })
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What was run.
    pub plan: Plan,
    /// The Monte Carlo table.
    pub draws: Vec<(Draw, Rate)>,
    /// Own patterns under noise, thresholds clamped; noise by noise.
    pub recognition: Vec<Recognition>,
    /// The same in a dense code, synapses ablated.
    pub ablation: Vec<Recognition>,
    /// Random inputs in a dense code, thresholds clamped.
    pub clamped: Vec<(usize, Rate)>,
    /// Patterns united, on either side.
    pub unions: Vec<Union>,
    /// Permanences after noisy repeats.
    pub drift: Vec<Drift>,
    /// What becomes of a pattern that is not shown.
    pub forgetting: Forgetting,
    /// Segments on transformers.
    pub concepts: Vec<Concept>,
}

/// Runs the plan on these models with their texts in several languages; `done` is told of every job that is through.
///
/// # Errors
/// A plan that no neuron fits, texts without tokens.
pub fn experiment(plan: &Plan, subjects: &[(&str, &Model, Vec<TextSet>)], done: &(dyn Fn() + Sync)) -> Result<Found> {
    if plan.networks == 0 || plan.trials == 0 || plan.inputs == 0 || plan.thresholds.is_empty() || plan.noise.is_empty()
    {
        return Err(Error::invalid("a plan without neurons, draws, thresholds or noise", "give at least one of each"));
    }
    let mut draws = Vec::new();
    for draw in plan.draws() {
        draws.push((draw, draw.count(plan.trials, plan.seed)));
        done();
    }
    let both = |a: &Recognition, b: &Recognition| Recognition {
        change: b.change,
        missed: a.missed.and(&b.missed),
        wrong: a.wrong.and(&b.wrong),
    };
    let shown = |config| move |change: &Change, seed| simulate::recognition(config, *change, seed);
    let clamp = |theta: &usize, seed| {
        let net = Dendrites::new(DendritesConfig { seed, ..DENSE })?;
        let predicted = theory::false_positive(DENSE.cells, DENSE.active as f64, DENSE.synapses, *theta);
        let counted = simulate::at_random(&net, &State::none(), *theta, (plan.inputs, 1), seed)?;
        Ok((*theta, Rate { predicted, ..counted }))
    };
    let recognition = plan.over_networks(&plan.recognitions(), shown(plan.config), both, done)?;
    let ablation = plan.over_networks(&plan.ablations(), shown(DENSE), both, done)?;
    let clamps: Vec<usize> = plan.clamps().collect();
    let clamped = plan.over_networks(&clamps, clamp, |a, b| (b.0, a.1.and(&b.1)), done)?;
    let count = |union: &Union, seed| union.count(plan.inputs, seed);
    let pooled = |a: &Union, b: &Union| Union { rate: a.rate.and(&b.rate), ..*b };
    let unions = plan.over_networks(&plan.unions(), count, pooled, done)?;
    // The lowest of the thresholds, so that much noise is still learned from; fewer segments, for every one is a sample.
    let threshold = plan.thresholds.iter().copied().min().unwrap_or(plan.config.threshold);
    let learner = DendritesConfig { segments: 200, threshold, learning: Some(Learning::default()), ..plan.config };
    let drift = plan
        .noise
        .par_iter()
        .map(|noise| {
            let found = simulate::drift(learner, *noise, plan.repeats, plan.seed);
            done();
            found
        })
        .collect::<Result<_>>()?;
    // Two spikes fewer than what is learned at: rare ones become countable.
    let asked = (threshold.saturating_sub(2), plan.inputs);
    let forgetting = simulate::forgetting(learner, (0.3, 3 * plan.repeats), asked, plan.seed)?;
    done();
    let mut concepts = Vec::new();
    for (name, model, sets) in subjects {
        concepts.extend(concept::concepts(name, model, sets, &plan.question, plan.seed)?);
    }
    let plan = plan.clone();
    Ok(Found { plan, draws, recognition, ablation, clamped, unions, drift, forgetting, concepts })
}
