//! A uniform sample of whole activation vectors.
//!
//! Every position has the fixed hash key(seed, [document, position]) of [`crate::hook::random`]; the k smallest
//! hashes stay. The sample therefore depends on the corpus alone, not on batches, order or shards, and the same seed
//! chooses the same positions at every site. Vectors with an infinite or NaN value are counted and left out.

use std::collections::BTreeMap;

use super::observation::Kept;
use super::state::{Arrays, damaged};
use super::{Reduce, ReducerSpec, SampleSpec};
use crate::Result;
use crate::hook::random;

/// Hash, document, position.
type Key = (u64, u64, u32);

/// The k vectors with the smallest hashes.
#[derive(Clone, Debug)]
pub struct Sample {
    spec: SampleSpec,
    width: usize,
    seen: u64,
    non_finite: u64,
    kept: BTreeMap<Key, Row>,
}

/// What is kept of a position.
#[derive(Clone, Debug)]
struct Row {
    /// Tokens before its own.
    before: u16,
    /// The tokens around it, its own among them.
    tokens: Box<[u32]>,
    /// Its vector, `[width]`.
    values: Box<[f32]>,
}

/// One vector of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled<'a> {
    /// Index of the document in the corpus.
    pub document: u64,
    /// Position in the document.
    pub position: u32,
    /// Token id there.
    pub token: u32,
    /// Token ids around it, as many as were asked for and there are.
    pub tokens: &'a [u32],
    /// Which of `tokens` it is.
    pub at: usize,
    /// Activations, `[width]`.
    pub values: &'a [f32],
}

impl Sample {
    pub(super) fn new(spec: SampleSpec, width: usize) -> Self {
        Self { spec, width, seen: 0, non_finite: 0, kept: BTreeMap::new() }
    }

    pub(super) fn bytes(spec: &SampleSpec, width: usize) -> u128 {
        let window = (spec.context[0] + 1 + spec.context[1]) as u128;
        spec.k as u128 * (width as u128 * 4 + window * 4 + 96)
    }

    pub(super) fn load(spec: SampleSpec, width: usize, arrays: &mut Arrays) -> Result<Self> {
        let seen = arrays.take_count("seen")?;
        let non_finite = arrays.take_count("non_finite")?;
        let documents: Vec<u64> = arrays.take("documents", &[None])?;
        let n = documents.len();
        let positions: Vec<u32> = arrays.take("positions", &[Some(n)])?;
        let context: Vec<u32> = arrays.take("context", &[Some(n), Some(2)])?;
        let context = context.as_chunks::<2>().0;
        let tokens: Vec<u32> = arrays.take("tokens", &[None])?;
        let values: Vec<f32> = arrays.take("values", &[Some(n), Some(width)])?;
        if context.iter().map(|[_, length]| u64::from(*length)).sum::<u64>() != tokens.len() as u64 {
            return Err(damaged("the lengths of a sample's contexts do not add up"));
        }
        let [most_before, most_after] = spec.context;
        let mut rest = tokens.as_slice();
        let mut sample = Self { spec, width, seen, non_finite, kept: BTreeMap::new() };
        for (i, vector) in values.chunks(width).enumerate() {
            let [before, length] = context[i].map(|n| n as usize);
            let fits = before <= most_before && before < length && length - before - 1 <= most_after;
            if !fits {
                return Err(damaged(format!("the context of sampled vector {i} is impossible")));
            }
            let (tokens, tail) = rest.split_at(length);
            rest = tail;
            let key = sample.key(documents[i], positions[i]);
            if sample.kept.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(damaged("a sample is not in the order of its hashes"));
            }
            if vector.iter().any(|x| !x.is_finite()) {
                return Err(damaged("a sampled vector is not finite"));
            }
            sample.kept.insert(key, Row { before: before as u16, tokens: tokens.into(), values: vector.into() });
        }
        if n > sample.spec.k || n as u64 > seen {
            return Err(damaged(format!("a sample holds {n} vectors, more than were asked for or seen")));
        }
        Ok(sample)
    }

    fn key(&self, document: u64, position: u32) -> Key {
        let hash = random::key(self.spec.seed, &[document, u64::from(position)]);
        (hash, document, position)
    }

    /// True if a vector with this key would stay.
    fn wants(&self, key: &Key) -> bool {
        self.kept.len() < self.spec.k || self.kept.last_key_value().is_some_and(|(last, _)| key < last)
    }

    fn insert(&mut self, key: Key, row: Row) {
        self.kept.entry(key).or_insert(row);
        if self.kept.len() > self.spec.k {
            self.kept.pop_last();
        }
    }

    /// Positions the sample was drawn from, left out or not.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Vectors left out because a value was infinite or NaN.
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// Vectors held.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// True before the first finite vector.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The vectors, in the (random, fixed) order of their hashes.
    pub fn iter(&self) -> impl Iterator<Item = Sampled<'_>> {
        self.kept.iter().map(|((_, document, position), row)| Sampled {
            document: *document,
            position: *position,
            token: row.tokens[usize::from(row.before)],
            tokens: &row.tokens,
            at: usize::from(row.before),
            values: &row.values,
        })
    }
}

impl Reduce for Sample {
    fn spec(&self) -> ReducerSpec {
        ReducerSpec::Sample(self.spec.clone())
    }

    fn width(&self) -> usize {
        self.width
    }

    fn observe(&mut self, kept: &Kept) -> Result<()> {
        self.seen += kept.at.len() as u64;
        for &at in &kept.at {
            let vector = kept.vector(at);
            // The whole vector is looked at even where it is not wanted: the count must not depend on the order.
            if !vector.iter().fold(true, |all, x| all & x.is_finite()) {
                self.non_finite += 1;
                continue;
            }
            let (document, position) = kept.place(at);
            let key = self.key(document, position);
            if self.wants(&key) {
                let (start, tokens) = kept.window(at, self.spec.context);
                let row = Row { before: (at - start) as u16, tokens: tokens.into(), values: vector.into() };
                self.insert(key, row);
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.seen = self.seen.saturating_add(other.seen);
        self.non_finite = self.non_finite.saturating_add(other.non_finite);
        for (key, row) in other.kept {
            self.insert(key, row);
        }
        Ok(())
    }

    fn arrays(&self) -> Arrays {
        let (mut arrays, n) = (Arrays::new(), self.kept.len());
        arrays.put("seen", &[1], vec![self.seen]);
        arrays.put("non_finite", &[1], vec![self.non_finite]);
        arrays.put("documents", &[n], self.iter().map(|s| s.document).collect());
        arrays.put("positions", &[n], self.iter().map(|s| s.position).collect());
        let context = self.iter().flat_map(|s| [s.at as u32, s.tokens.len() as u32]);
        arrays.put("context", &[n, 2], context.collect());
        let tokens: Vec<u32> = self.iter().flat_map(|s| s.tokens).copied().collect();
        arrays.put("tokens", &[tokens.len()], tokens);
        arrays.put("values", &[n, self.width], self.iter().flat_map(|s| s.values).copied().collect());
        arrays
    }
}
