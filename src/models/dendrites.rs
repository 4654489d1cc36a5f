//! A neuron with active dendrites over a sparse binary population (Ahmad and Hawkins 2016, arXiv 1601.00720): every segment
//! has a few synapses on a pattern that it knows, and gives an NMDA spike where enough of them are active.
//!
//! ```text
//! x      = the population, 0 or 1                                                        dendrite.hook_input
//! p      = permanences; a synapse is connected where p >= 0.15                           dendrite.hook_permanence
//! o_i    = sum of x over the connected synapses of segment i                             dendrite.hook_overlap
//! theta  = what an overlap must reach                                                    dendrite.hook_threshold
//! y_i    = 1[o_i >= theta_i], or sigma(slope (o_i - theta_i + 1/2))                      dendrite.hook_nmda
//! soma   = sum of y                                                                      neuron.hook_soma
//! p     += y_i (grow where x > 0, -shrink elsewhere), within 0 to 1                      while it learns
//! ```
//!
//! The published code writes its smooth form as sigmoid(centre 11.5, slope 5), in this order; the centre half a synapse
//! below a threshold of 12 is that of a step between 11 and 12, and moves with the threshold here.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::simulation::{Call, Outputs, Simulation, keep, site, take, through};
use super::{Input, Network, Series, State};
use crate::hook::random::{self, Stream};
use crate::hook::{Axis, SiteId, SiteTable, Tap};
use crate::nn::spiking::{Sparse, logistic};
use crate::{Error, Result};

/// Permanence of a new synapse.
pub const NEW: f32 = 0.5;
/// Permanence from which a synapse is connected.
pub const CONNECTED: f32 = 0.15;
/// The most synapses of a neuron.
const SYNAPSES: usize = 10_000_000;
/// The largest population.
const CELLS: usize = 1_000_000;

/// What a segment gives at an overlap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spike {
    /// 1 from the threshold on.
    Step,
    /// A logistic curve of this slope, 1/2 half a synapse below the threshold.
    Sigmoid(f64),
}

/// How permanences change where a segment spikes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learning {
    /// Added at active synapses.
    pub grow: f64,
    /// Taken away at the others.
    pub shrink: f64,
}

impl Default for Learning {
    /// The published code's: 0.02 and 0.0125.
    fn default() -> Self {
        Self { grow: 0.02, shrink: 0.0125 }
    }
}

/// Sizes and constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DendritesConfig {
    /// n: cells of the population.
    pub cells: usize,
    /// a: active cells of a pattern.
    pub active: usize,
    /// Segments of the neuron.
    pub segments: usize,
    /// m: patterns that a segment knows.
    pub patterns: usize,
    /// s: synapses on each of them.
    pub synapses: usize,
    /// theta: active synapses that make a spike.
    pub threshold: usize,
    /// What a segment gives.
    pub spike: Spike,
    /// Whether permanences change.
    pub learning: Option<Learning>,
    /// Seed of patterns and synapses.
    pub seed: u64,
}

impl Default for DendritesConfig {
    /// n 6000, a 128, 500 segments of 30 synapses on one pattern each, threshold 12, nothing learned.
    fn default() -> Self {
        Self {
            cells: 6000,
            active: 128,
            segments: 500,
            patterns: 1,
            synapses: 30,
            threshold: 12,
            spike: Spike::Step,
            learning: None,
            seed: 0,
        }
    }
}

/// The neuron.
#[derive(Clone)]
pub struct Dendrites {
    config: DendritesConfig,
    table: SiteTable,
    site: Sites,
    /// `[segments * patterns]`: active cells; the patterns of a segment lie side by side.
    patterns: Vec<Vec<u32>>,
    /// `[segments, patterns * synapses]`: the cell of every synapse.
    sources: Vec<u32>,
    parameters: Vec<(String, Tensor)>,
}

#[derive(Clone, Copy)]
struct Sites {
    input: SiteId,
    permanence: SiteId,
    overlap: SiteId,
    threshold: SiteId,
    nmda: SiteId,
    soma: SiteId,
}

/// What changes in a run.
struct Running {
    rows: usize,
    /// `[rows, cells]`.
    input: Vec<f32>,
    /// `[segments, synapses]`.
    permanence: Vec<f32>,
}

impl Dendrites {
    /// A neuron that knows random patterns.
    ///
    /// # Errors
    /// Sizes that no neuron has.
    pub fn new(config: DendritesConfig) -> Result<Self> {
        check(&config)?;
        let mut draw = Stream::new(config.seed, &[random::name("patterns")]);
        let mut cells: Vec<u32> = (0..config.cells as u32).collect();
        let pattern = |_| draw.subset(&mut cells, config.active).to_vec();
        let patterns = (0..config.segments * config.patterns).map(pattern).collect();
        Self::on(config, patterns)
    }

    /// A neuron that knows these patterns, `[segments * patterns]` lists of cells; the configuration's `active` says nothing.
    ///
    /// # Errors
    /// Another number of patterns, cells that the population lacks or a pattern names twice, patterns too small for their
    /// synapses.
    pub fn on(config: DendritesConfig, patterns: Vec<Vec<u32>>) -> Result<Self> {
        check(&DendritesConfig { active: config.synapses, ..config })?;
        if patterns.len() != config.segments * config.patterns {
            return Err(Error::invalid(
                format!("{} patterns for {} segments of {} each", patterns.len(), config.segments, config.patterns),
                "give as many patterns as the segments know together",
            ));
        }
        let mut draw = Stream::new(config.seed, &[random::name("synapses")]);
        let mut sources = Vec::with_capacity(patterns.len() * config.synapses);
        let mut taken = vec![usize::MAX; config.cells];
        for (number, pattern) in patterns.iter().enumerate() {
            let segment = number / config.patterns;
            let mut seen = pattern.clone();
            seen.sort_unstable();
            if seen.last().is_some_and(|c| *c as usize >= config.cells) || seen.windows(2).any(|w| w[0] == w[1]) {
                return Err(Error::invalid(
                    format!("pattern {number} names a cell twice, or one beyond the {} that there are", config.cells),
                    "a pattern is a list of different cells, counted from 0",
                ));
            }
            // A cell has one synapse on a segment at most, whichever patterns it is part of.
            let mut free: Vec<u32> = pattern.iter().copied().filter(|c| taken[*c as usize] != segment).collect();
            let chosen = draw.subset(&mut free, config.synapses);
            if chosen.len() < config.synapses {
                return Err(Error::invalid(
                    format!("pattern {number} has {} cells left for {} synapses", chosen.len(), config.synapses),
                    "give larger patterns, or fewer synapses or patterns per segment",
                ));
            }
            chosen.iter().for_each(|c| taken[*c as usize] = segment);
            sources.extend_from_slice(chosen);
        }
        let (table, site) = table(&config);
        let shape = (config.segments, config.patterns * config.synapses);
        let parameters = vec![("dendrite.source".to_string(), Tensor::from_slice(&sources, shape, &Device::Cpu)?)];
        Ok(Self { config, table, site, patterns, sources, parameters })
    }

    /// What it was made from.
    pub fn config(&self) -> &DendritesConfig {
        &self.config
    }

    /// The patterns that it knows; those of a segment lie side by side.
    pub fn patterns(&self) -> &[Vec<u32>] {
        &self.patterns
    }

    /// The cell of every synapse, `[segments, synapses]`.
    pub fn sources(&self) -> &[u32] {
        &self.sources
    }

    /// Synapses of a segment.
    fn width(&self) -> usize {
        self.config.patterns * self.config.synapses
    }

    /// One step; gives the soma of every row.
    fn step(&self, running: &mut Running, tap: &mut Tap) -> Result<Vec<f32>> {
        let (rows, cells, segments, width) = (running.rows, self.config.cells, self.config.segments, self.width());
        through(tap, self.site.input, &mut running.input, &[rows, cells])?;
        through(tap, self.site.permanence, &mut running.permanence, &[segments, width])?;
        let mut overlap = Vec::with_capacity(rows * segments);
        for x in running.input.chunks_exact(cells) {
            let synapses = self.sources.chunks_exact(width).zip(running.permanence.chunks_exact(width));
            overlap.extend(synapses.map(|(sources, permanence)| {
                let connected = sources.iter().zip(permanence).filter(|(_, p)| **p >= CONNECTED);
                connected.map(|(cell, _)| x[*cell as usize]).sum::<f32>()
            }));
        }
        through(tap, self.site.overlap, &mut overlap, &[rows, segments])?;
        let mut threshold = vec![self.config.threshold as f32; rows * segments];
        through(tap, self.site.threshold, &mut threshold, &[rows, segments])?;
        let fired = |(o, theta): (&f32, &f32)| match self.config.spike {
            Spike::Step => f32::from(u8::from(o >= theta)),
            Spike::Sigmoid(slope) => logistic(slope * (f64::from(*o) - f64::from(*theta) + 0.5)) as f32,
        };
        let mut nmda: Vec<f32> = overlap.iter().zip(&threshold).map(fired).collect();
        through(tap, self.site.nmda, &mut nmda, &[rows, segments])?;
        let mut soma: Vec<f32> = nmda.chunks_exact(segments).map(|y| y.iter().sum()).collect();
        through(tap, self.site.soma, &mut soma, &[rows, 1])?;
        if let Some(rule) = self.config.learning {
            self.learn(running, &nmda, rule);
        }
        Ok(soma)
    }

    /// Only where a segment spikes; one row.
    fn learn(&self, running: &mut Running, nmda: &[f32], rule: Learning) {
        let (width, x) = (self.width(), &running.input);
        let segments = self.sources.chunks_exact(width).zip(running.permanence.chunks_exact_mut(width));
        for ((sources, permanence), y) in segments.zip(nmda).filter(|(_, y)| **y != 0.0) {
            for (cell, p) in sources.iter().zip(permanence) {
                let change = if x[*cell as usize] > 0.0 { rule.grow } else { -rule.shrink };
                *p = (f64::from(*p) + f64::from(*y) * change).clamp(0.0, 1.0) as f32;
            }
        }
    }
}

/// Patterns of active cells as input, one a step.
pub fn shown<'a>(cells: usize, patterns: impl Iterator<Item = &'a [u32]>) -> Series {
    let mut values = Vec::new();
    for (step, pattern) in patterns.enumerate() {
        values.resize((step + 1) * cells, 0.0);
        pattern.iter().for_each(|cell| values[step * cells + *cell as usize] = 1.0);
    }
    Series { rows: 1, steps: values.len() / cells.max(1), channels: cells, values }
}

impl Network for Dendrites {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    /// The soma, `[rows, steps, 1]`: how many segments spike. The input's channels are the cells; without input the
    /// patterns that it knows are shown, one a step.
    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let (cells, segments) = (self.config.cells, self.config.segments);
        let call = Call::begin(input, cells, state, tap)?;
        if call.rows > 1 && self.config.learning.is_some() {
            return Err(Error::invalid(
                format!("a neuron that learns is given {} rows, which would share its synapses", call.rows),
                "run the rows one after the other",
            ));
        }
        let shape = [segments, self.width()];
        let permanence = take(state, "dendrite.permanence", &shape, || vec![NEW; self.sources.len()])?;
        let mut running = Running { rows: call.rows, input: vec![0.0; call.rows * cells], permanence };
        let mut outputs = Outputs::new(&call, 1, tap);
        for t in 0..call.steps {
            call.tick(t, tap)?;
            for (row, x) in running.input.chunks_exact_mut(cells).enumerate() {
                match call.series {
                    Some(series) => x.copy_from_slice(series.at(row, t)),
                    None => {
                        x.fill(0.0);
                        let pattern = &self.patterns[call.time(t) % self.patterns.len()];
                        pattern.iter().for_each(|cell| x[*cell as usize] = 1.0);
                    }
                }
            }
            let soma = self.step(&mut running, tap)?;
            outputs.push(t, &soma);
        }
        keep(state, "dendrite.permanence", &shape, &running.permanence)?;
        call.end(state)?;
        outputs.tensor(call.rows)
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }
}

impl Simulation for Dendrites {
    fn rules(&self) -> Vec<String> {
        let config = self.config;
        let spike = match config.spike {
            Spike::Step => "1 where the overlap is at least the threshold".to_string(),
            Spike::Sigmoid(slope) => format!("sigma({slope} (overlap - threshold + 1/2))"),
        };
        let learned = config.learning.map(|rule| {
            format!(
                "permanences where a segment spikes: +{} at active synapses, -{} at the others, times the spike",
                rule.grow, rule.shrink
            )
        });
        let mut rules = vec![
            "order: input, permanences, overlaps, thresholds, spikes, soma; permanences change after the spikes"
                .to_string(),
            format!(
                "{} segments with {} synapses on each of {} patterns; threshold {}; a spike is {spike}",
                config.segments, config.synapses, config.patterns, config.threshold
            ),
            format!(
                "synapses are connected from {CONNECTED} on and begin at {NEW}; permanences are state, an edit of them lasts"
            ),
            "steps have no length; without input the known patterns are shown, one a step".to_string(),
        ];
        rules.extend(learned);
        rules
    }

    fn dt(&self) -> Option<f64> {
        None
    }

    fn channels(&self) -> usize {
        self.config.cells
    }

    fn synapses(&self, _: &str) -> Option<&Sparse> {
        None
    }
}

fn check(config: &DendritesConfig) -> Result<()> {
    let rates = config.learning.iter().flat_map(|rule| [rule.grow, rule.shrink]);
    let total = [config.segments, config.patterns, config.synapses].iter().try_fold(1usize, |n, k| n.checked_mul(*k));
    let slope = match config.spike {
        Spike::Step => true,
        Spike::Sigmoid(slope) => slope.is_finite() && slope > 0.0,
    };
    let good = (1..=CELLS).contains(&config.cells)
        && config.active <= config.cells
        && (1..=config.active).contains(&config.synapses)
        && total.is_some_and(|n| (1..=SYNAPSES).contains(&n))
        && slope
        && rates.into_iter().all(|rate| (0.0..=1.0).contains(&rate));
    if good {
        return Ok(());
    }
    Err(Error::invalid(
        format!("dendrites of {config:?}"),
        "give a million cells at most, synapses on active cells only, ten million synapses at most, rates from 0 to 1",
    ))
}

fn table(config: &DendritesConfig) -> (SiteTable, Sites) {
    let mut table = SiteTable::default();
    let (b, segment) = ((Axis::Batch, None), (Axis::Segment, Some(config.segments)));
    let synapse = (Axis::Synapse, Some(config.patterns * config.synapses));
    let cells = (Axis::Neuron, Some(config.cells));
    let mut push = |name: &str, axes: &[(Axis, Option<usize>)], meaning| table.push(site(name.into(), axes, meaning));
    let site = Sites {
        input: push("dendrite.hook_input", &[b, cells], "the population, 0 or 1; noise is an edit here"),
        permanence: push(
            "dendrite.hook_permanence",
            &[segment, synapse],
            "permanences, connected from 0.15 on; state; zeroed, a synapse is ablated",
        ),
        overlap: push("dendrite.hook_overlap", &[b, segment], "active connected synapses"),
        threshold: push("dendrite.hook_threshold", &[b, segment], "overlap that makes a spike"),
        nmda: push("dendrite.hook_nmda", &[b, segment], "NMDA spikes"),
        soma: push("neuron.hook_soma", &[b, (Axis::One, Some(1))], "sum of the spikes: the cell's depolarisation"),
    };
    (table, site)
}
