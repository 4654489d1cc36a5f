//! Who is connected to whom: compressed rows by source, with the synapses of every target beside them.

use crate::hook::random::Stream;
use crate::{Error, Result};

/// The synapses of a projection. Weights lie elsewhere, one per synapse in the order of sources, then targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparse {
    pre: usize,
    post: usize,
    /// `[pre + 1]`: where the synapses of each source begin.
    starts: Vec<u32>,
    /// `[synapses]`.
    targets: Vec<u32>,
    /// `[synapses]`.
    sources: Vec<u32>,
    /// `[post + 1]`: where the synapses of each target begin in `incoming`.
    ends: Vec<u32>,
    /// `[synapses]`: indices of synapses, by target.
    incoming: Vec<u32>,
}

impl Sparse {
    /// The synapses of these (source, target) pairs, in any order.
    ///
    /// # Errors
    /// A pair that is out of range or occurs twice.
    pub fn new(pre: usize, post: usize, mut pairs: Vec<(u32, u32)>) -> Result<Self> {
        pairs.sort_unstable();
        let wrong = |(a, b): &(u32, u32)| *a as usize >= pre || *b as usize >= post;
        if let Some((a, b)) = pairs.iter().find(|p| wrong(p)) {
            return Err(Error::invalid(
                format!("a synapse from {a} to {b} in a projection from {pre} to {post} neurons"),
                "neurons count from 0",
            ));
        }
        if let Some(twice) = pairs.windows(2).find(|w| w[0] == w[1]) {
            return Err(Error::invalid(
                format!("the synapse from {} to {} is given twice", twice[0].0, twice[0].1),
                "give each pair of neurons at most one synapse in a projection",
            ));
        }
        let starts = begins(pre, pairs.iter().map(|p| p.0));
        let ends = begins(post, pairs.iter().map(|p| p.1));
        let mut incoming: Vec<u32> = (0..pairs.len() as u32).collect();
        incoming.sort_by_key(|s| pairs[*s as usize].1);
        let (sources, targets) = pairs.into_iter().unzip();
        Ok(Self { pre, post, starts, targets, sources, ends, incoming })
    }

    /// Every source to every target.
    ///
    /// # Errors
    /// None for sizes that fit into memory.
    pub fn dense(pre: usize, post: usize) -> Result<Self> {
        let pairs = (0..pre as u32).flat_map(|a| (0..post as u32).map(move |b| (a, b)));
        Self::new(pre, post, pairs.collect())
    }

    /// Every target takes `degree` different sources, drawn from the stream; all of them if there are fewer.
    ///
    /// # Errors
    /// None for sizes that fit into memory.
    pub fn in_degree(pre: usize, post: usize, degree: usize, stream: &mut Stream) -> Result<Self> {
        let mut order: Vec<u32> = (0..pre as u32).collect();
        let mut pairs = Vec::with_capacity(post * degree.min(pre));
        for target in 0..post as u32 {
            for i in 0..degree.min(pre) {
                let other = i + stream.below(pre - i);
                order.swap(i, other);
                pairs.push((order[i], target));
            }
        }
        Self::new(pre, post, pairs)
    }

    /// Every pair with this chance, drawn from the stream.
    ///
    /// # Errors
    /// None for sizes that fit into memory.
    pub fn bernoulli(pre: usize, post: usize, chance: f64, stream: &mut Stream) -> Result<Self> {
        let all = (0..pre as u32).flat_map(|a| (0..post as u32).map(move |b| (a, b)));
        let pairs = all.filter(|_| stream.uniform() < chance).collect();
        Self::new(pre, post, pairs)
    }

    /// Sources.
    pub fn pre(&self) -> usize {
        self.pre
    }

    /// Targets.
    pub fn post(&self) -> usize {
        self.post
    }

    /// Number of synapses.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// True without a synapse.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The source of every synapse.
    pub fn sources(&self) -> &[u32] {
        &self.sources
    }

    /// The target of every synapse.
    pub fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// The synapses of a source.
    pub fn outgoing(&self, source: usize) -> std::ops::Range<usize> {
        self.starts[source] as usize..self.starts[source + 1] as usize
    }

    /// The synapses of a target.
    pub fn incoming(&self, target: usize) -> &[u32] {
        &self.incoming[self.ends[target] as usize..self.ends[target + 1] as usize]
    }

    /// Adds what `values` of the sources do to the targets: `into[i] += sum_j w_ij values_j`. Silent sources cost nothing.
    pub fn deliver(&self, weights: &[f32], values: &[f32], into: &mut [f32]) {
        for (source, value) in values.iter().enumerate().filter(|(_, v)| **v != 0.0) {
            let synapses = self.outgoing(source);
            for (weight, target) in weights[synapses.clone()].iter().zip(&self.targets[synapses]) {
                into[*target as usize] += weight * value;
            }
        }
    }

    /// `[post, pre]`, 0 where there is no synapse.
    pub fn to_dense(&self, values: &[f32]) -> Vec<f32> {
        let mut dense = vec![0.0; self.pre * self.post];
        for (s, value) in values.iter().enumerate() {
            dense[self.targets[s] as usize * self.pre + self.sources[s] as usize] = *value;
        }
        dense
    }

    /// Reads the synapses' values out of `[post, pre]`; what lies where there is no synapse is left out.
    pub fn of_dense(&self, dense: &[f32], values: &mut [f32]) {
        for (s, value) in values.iter_mut().enumerate() {
            *value = dense[self.targets[s] as usize * self.pre + self.sources[s] as usize];
        }
    }
}

/// Where each of `n` groups begins, for ascending or counted group numbers.
fn begins(n: usize, groups: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut starts = vec![0; n + 1];
    groups.for_each(|g| starts[g as usize + 1] += 1);
    for i in 0..n {
        starts[i + 1] += starts[i];
    }
    starts
}
