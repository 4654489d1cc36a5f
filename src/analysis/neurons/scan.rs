//! One pass over the texts: firing counts and moments of every neuron.

use std::ops::Range;

use super::{DENSE, Layer, Shares};
use crate::analysis::{Corpus, Estimate};
use crate::hook::reduce::{FiringSpec, Moments, Reducer, ReducerSpec};
use crate::hook::{Output, Pass, Record, Registry};
use crate::models::execute::observe;
use crate::models::{Decoder, Input};
use crate::{Error, Result};

/// Most cells of a batch.
pub(super) const CELLS: usize = 2048;
/// Groups of texts that intervals are drawn from.
const GROUPS: usize = 10;
/// Bins of the firing rates.
const BINS: usize = 20;

/// Counts of some texts.
struct Group {
    /// Tokens counted.
    seen: u64,
    /// Tokens at which each neuron fired, by layer.
    fired: Vec<Vec<u64>>,
}

/// What the pass gave.
pub(super) struct Scan {
    groups: Vec<Group>,
    /// Moments of `hook_post`, by layer.
    moments: Vec<Reducer>,
    width: usize,
}

impl Scan {
    pub fn run(net: &Decoder, corpus: &Corpus) -> Result<Self> {
        let layers = net.facts().layers.len();
        let firing = ReducerSpec::Firing(FiringSpec::default());
        let pass = Pass {
            records: vec![
                Record::reduced("blocks.*.mlp.hook_pre".parse()?, firing),
                Record::reduced("blocks.*.mlp.hook_post".parse()?, ReducerSpec::Moments {}),
            ],
            output: Output::Unread,
            ..Pass::default()
        };
        let mut scan = Self { groups: Vec::new(), moments: Vec::new(), width: net.facts().d_mlp };
        for windows in groups(corpus) {
            let mut group = Group { seen: 0, fired: vec![vec![0; scan.width]; layers] };
            for batch in corpus.batches_of(windows, CELLS) {
                let records = observe(net, &Input::Tokens(batch?.1), &pass, &Registry::elementary())?.records;
                for layer in 0..layers {
                    let site = format!("blocks.{layer}.mlp.hook_pre");
                    let Reducer::Firing(firing) = records.reducer(&site, "firing")? else {
                        return Err(wrong(&site));
                    };
                    if firing.non_finite().iter().any(|n| *n > 0) {
                        return Err(Error::invalid(format!("`{site}` is not finite"), "run `doctor` on the model"));
                    }
                    if layer == 0 {
                        group.seen += firing.seen();
                    }
                    group.fired[layer].iter_mut().zip(firing.fired()).for_each(|(sum, n)| *sum += n);
                    let moments = records.reducer(&format!("blocks.{layer}.mlp.hook_post"), "moments")?.clone();
                    match scan.moments.get_mut(layer) {
                        Some(all) => all.merge(moments)?,
                        None => scan.moments.push(moments),
                    }
                }
            }
            scan.groups.push(group);
        }
        Ok(scan)
    }

    /// Tokens counted.
    pub fn tokens(&self) -> u64 {
        self.groups.iter().map(|g| g.seen).sum()
    }

    /// Layers and neurons per layer.
    pub fn size(&self) -> (usize, usize) {
        (self.moments.len(), self.width)
    }

    /// Tokens at which a neuron fired.
    pub fn fired(&self, layer: usize, neuron: usize) -> u64 {
        self.groups.iter().map(|g| g.fired[layer][neuron]).sum()
    }

    /// Share of tokens at which a neuron fired.
    pub fn rate(&self, layer: usize, neuron: usize) -> f64 {
        self.fired(layer, neuron) as f64 / self.tokens() as f64
    }

    /// Excess kurtosis of a neuron's `hook_post`.
    pub fn kurtosis(&self, layer: usize, neuron: usize) -> Option<f64> {
        moments(&self.moments[layer]).and_then(|m| m.unit(neuron)?.excess_kurtosis)
    }

    /// How often the neurons of a layer (or of all) fire, with jackknife intervals over groups of texts.
    pub fn shares(&self, layer: Option<usize>) -> Shares {
        let layers = layer.map_or(0..self.moments.len(), |l| l..l + 1);
        let used: Vec<usize> = (0..self.groups.len()).filter(|g| self.groups[*g].seen > 0).collect();
        let whole = self.of(layers.clone(), None);
        let without: Vec<[f64; 3]> = match used.len() {
            0 | 1 => Vec::new(),
            _ => used.iter().map(|g| self.of(layers.clone(), Some(*g))).collect(),
        };
        let estimate = |i: usize| {
            let others: Vec<f64> = without.iter().map(|x| x[i]).collect();
            let estimate = Estimate::jackknife(whole[i], &others);
            // Shares end at 0 and 1, whatever a symmetric interval says.
            Estimate { interval: estimate.interval.map(|(low, high)| (low.max(0.0), high.min(1.0))), ..estimate }
        };
        Shares { dead: estimate(0), dense: estimate(1), rate: estimate(2) }
    }

    /// Dead share, dense share and mean rate, leaving one group out.
    fn of(&self, layers: Range<usize>, without: Option<usize>) -> [f64; 3] {
        let groups = || self.groups.iter().enumerate().filter(|(g, _)| Some(*g) != without).map(|(_, group)| group);
        let seen: u64 = groups().map(|g| g.seen).sum();
        let (mut dead, mut dense, mut rate, mut neurons) = (0u64, 0u64, 0f64, 0u64);
        for layer in layers {
            for neuron in 0..self.width {
                let fired: u64 = groups().map(|g| g.fired[layer][neuron]).sum();
                let share = fired as f64 / seen as f64;
                dead += u64::from(fired == 0);
                dense += u64::from(share > DENSE);
                rate += share;
                neurons += 1;
            }
        }
        [dead as f64, dense as f64, rate].map(|sum| sum / neurons as f64)
    }

    /// One layer.
    pub fn layer(&self, layer: usize) -> Layer {
        let mut rates: Vec<f64> = (0..self.width).map(|n| self.rate(layer, n)).collect();
        rates.sort_by(f64::total_cmp);
        let mut counts = vec![0; BINS];
        for rate in &rates {
            counts[((rate * BINS as f64) as usize).min(BINS - 1)] += 1;
        }
        // The value of rank ceil(q n), as the histograms of the reducers have it.
        let quantile = |q: f64| rates[((q * rates.len() as f64).ceil() as usize).clamp(1, rates.len()) - 1];
        Layer {
            layer,
            neurons: self.width,
            shares: self.shares(Some(layer)),
            quantiles: [0.05, 0.25, 0.5, 0.75, 0.95].map(quantile),
            rates: counts,
        }
    }
}

fn moments(reducer: &Reducer) -> Option<&Moments> {
    match reducer {
        Reducer::Moments(moments) => Some(moments),
        _ => None,
    }
}

pub(super) fn wrong(site: &str) -> Error {
    Error::invalid(format!("`{site}` was reduced by another reducer than asked for"), "report this as a defect")
}

/// The windows of up to [`GROUPS`] runs of neighbouring texts.
fn groups(corpus: &Corpus) -> Vec<Range<usize>> {
    let groups = GROUPS.min(corpus.texts);
    let mut ranges = Vec::with_capacity(groups);
    let mut start = 0;
    for group in 1..=groups {
        let last = group * corpus.texts / groups;
        let end = corpus.windows.partition_point(|w| w.text < last);
        ranges.push(start..end);
        start = end;
    }
    ranges
}
