//! The few-shot task in which induction heads form (Singh et al. 2024, arXiv 2404.07129), and its form in tokens.
//!
//! A sequence is `[x1, l1, x2, l2, xq]`: two exemplars with their labels, then one exemplar of one of the two classes,
//! whose label is asked for. Labels are given to classes anew in every sequence, so that nothing but the context tells.
//! Ids below `labels` are labels; id `labels + class * per_class + e` is exemplar e of a class.
//!
//! Without pictures a class is a prototype z ~ N(0, I); exemplar 0 is z itself, the only one seen in training, the others
//! are `sqrt(1 - s^2) z + s noise` with s = 0.3.
//!
//! The token form is `[BOS, s_1 .. s_n, s_1 .. s_n]`, with n drawn anew for every batch: where n is fixed a network can
//! copy by position alone.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::hook::random::{self, Stream};
use crate::{Error, Result};

/// How far an exemplar lies from its class's prototype.
const SPREAD: f64 = 0.3;

/// Key positions of the labels in a sequence.
pub const LABEL_POSITIONS: [u32; 2] = [1, 3];
/// Tokens of a sequence.
pub const LENGTH: usize = 5;

/// Sizes of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewShotConfig {
    /// Classes that are trained on.
    pub classes: usize,
    /// Classes that are held out.
    pub held_out: usize,
    /// Labels.
    pub labels: usize,
    /// Exemplars of a class; the first is trained on.
    pub per_class: usize,
    /// Features of an exemplar.
    pub width: usize,
    /// Seed of the exemplars, of the held-out label pairs and of all sequences.
    pub seed: u64,
}

impl FewShotConfig {
    /// The paper's: 50 classes, 5 labels, 512 features.
    pub fn paper(classes: usize, labels: usize, seed: u64) -> Self {
        Self { classes, held_out: 100, labels, per_class: 5, width: 512, seed }
    }
}

/// Which sequences are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Draw {
    /// Those of training.
    Train,
    /// Pairs of labels that training never gives together.
    Relabel,
    /// Exemplars of the training classes that training never shows.
    Exemplars,
    /// Classes that training never shows.
    Classes,
}

/// A sequence and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Episode {
    /// `[x1, l1, x2, l2, xq]`.
    pub ids: [u32; LENGTH],
    /// The label of the query's class.
    pub answer: u32,
    /// The position of that label: 1 or 3.
    pub position: usize,
}

/// The task.
#[derive(Clone, Debug)]
pub struct FewShot {
    config: FewShotConfig,
    /// `[(classes + held_out) * per_class, width]`.
    exemplars: Tensor,
    train: Vec<[u32; 2]>,
    validation: Vec<[u32; 2]>,
}

impl FewShot {
    /// The task with Gaussian classes.
    ///
    /// # Errors
    /// Fewer than two classes or three labels, or no exemplar or feature.
    pub fn new(config: FewShotConfig) -> Result<Self> {
        check(&config)?;
        let classes = config.classes + config.held_out;
        let mut values = Vec::with_capacity(classes * config.per_class * config.width);
        let draw =
            |class: u64, which: u64, i: usize| random::normal(random::key(config.seed, &[0, class, which, i as u64]));
        for class in 0..classes as u64 {
            for e in 0..config.per_class as u64 {
                for i in 0..config.width {
                    let z = draw(class, 0, i);
                    let x = match e {
                        0 => z,
                        e => (1.0 - SPREAD * SPREAD).sqrt() * z + SPREAD * draw(class, e, i),
                    };
                    values.push(x as f32);
                }
            }
        }
        let exemplars = Tensor::from_vec(values, (classes * config.per_class, config.width), &Device::Cpu)?;
        Self::of_exemplars(config, exemplars)
    }

    /// The task with exemplars of one's own, class by class.
    ///
    /// # Errors
    /// As [`FewShot::new`], or features of another shape than the sizes say.
    pub fn of_exemplars(config: FewShotConfig, exemplars: Tensor) -> Result<Self> {
        check(&config)?;
        let expected = [(config.classes + config.held_out) * config.per_class, config.width];
        if exemplars.dims() != expected {
            return Err(Error::invalid(
                format!("exemplars of shape {:?}, expected {expected:?}", exemplars.dims()),
                "give one row of features per exemplar, class by class",
            ));
        }
        let (train, validation) = label_pairs(config.labels, config.seed);
        Ok(Self { config, exemplars, train, validation })
    }

    /// Its sizes.
    pub fn config(&self) -> &FewShotConfig {
        &self.config
    }

    /// The features of all exemplars.
    pub fn exemplars(&self) -> &Tensor {
        &self.exemplars
    }

    /// The pairs of labels that training gives together: four in five, each label among them.
    pub fn train_pairs(&self) -> &[[u32; 2]] {
        &self.train
    }

    /// The `index`th batch of a kind: `count` sequences, from these numbers and the seed alone.
    pub fn batch(&self, draw: Draw, index: u64, count: usize) -> Vec<Episode> {
        let kind = draw as u64;
        let mut stream = Stream::new(self.config.seed, &[1, kind, index]);
        (0..count).map(|_| self.episode(draw, &mut stream)).collect()
    }

    fn episode(&self, draw: Draw, stream: &mut Stream) -> Episode {
        let (first, classes) = match draw {
            Draw::Classes => (self.config.classes, self.config.held_out),
            _ => (0, self.config.classes),
        };
        let query = stream.below(classes);
        let other = (query + 1 + stream.below(classes - 1)) % classes;
        let pairs = if draw == Draw::Relabel { &self.validation } else { &self.train };
        let mut labels = pairs[stream.below(pairs.len())];
        stream.shuffle(&mut labels);
        let held_out = draw == Draw::Exemplars && self.config.per_class > 1;
        let mut exemplar = |class: usize| {
            let e = if held_out { 1 + stream.below(self.config.per_class - 1) } else { 0 };
            (self.config.labels + (first + class) * self.config.per_class + e) as u32
        };
        let (x, y) = (exemplar(query), exemplar(other));
        let [own, wrong] = labels;
        if stream.below(2) == 0 {
            Episode { ids: [x, own, y, wrong, x], answer: own, position: 1 }
        } else {
            Episode { ids: [y, wrong, x, own, x], answer: own, position: 3 }
        }
    }
}

fn check(config: &FewShotConfig) -> Result<()> {
    let held_out_works = config.held_out != 1;
    if config.classes >= 2 && config.labels >= 3 && config.per_class >= 1 && config.width >= 1 && held_out_works {
        return Ok(());
    }
    Err(Error::invalid(
        format!(
            "a task of {} classes, {} held out, {} labels, {} exemplars each of {} features",
            config.classes, config.held_out, config.labels, config.per_class, config.width
        ),
        "give two classes (held out: none, or two), three labels, one exemplar and one feature at least",
    ))
}

/// All unordered pairs of labels, split 4 to 1 so that training has every label.
fn label_pairs(labels: usize, seed: u64) -> (Vec<[u32; 2]>, Vec<[u32; 2]>) {
    let n = labels as u32;
    let mut pairs: Vec<[u32; 2]> = (0..n).flat_map(|a| (a + 1..n).map(move |b| [a, b])).collect();
    let held_out = (pairs.len() / 5).max(1);
    // One order in a few leaves a label out of training.
    for attempt in 0.. {
        Stream::new(seed, &[2, attempt]).shuffle(&mut pairs);
        let train = &pairs[held_out..];
        if (0..n).all(|label| train.iter().any(|pair| pair.contains(&label))) {
            break;
        }
    }
    let train = pairs.split_off(held_out);
    (train, pairs)
}

/// The token form: the `index`th batch of `count` rows `[BOS, s, s]` of one length, whose halves have
/// `shortest..=longest` distinct tokens of `1..vocab`; BOS is 0.
///
/// # Errors
/// A vocabulary with too few tokens.
pub fn repeated_rows(
    vocab: usize,
    (shortest, longest): (usize, usize),
    seed: u64,
    index: u64,
    count: usize,
) -> Result<Vec<Vec<u32>>> {
    if shortest < 2 || shortest > longest || longest >= vocab {
        return Err(Error::invalid(
            format!("halves of {shortest} to {longest} distinct tokens out of {}", vocab.saturating_sub(1)),
            "give at least two tokens a half, and a vocabulary that has them",
        ));
    }
    let mut stream = Stream::new(seed, &[3, index]);
    let n = stream.between(shortest, longest);
    let row = |stream: &mut Stream| {
        let mut tokens: Vec<u32> = (1..vocab as u32).collect();
        stream.shuffle(&mut tokens);
        tokens.truncate(n);
        [&[0][..], &tokens, &tokens].concat()
    };
    Ok((0..count).map(|_| row(&mut stream)).collect())
}
