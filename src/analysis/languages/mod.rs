//! Language neurons: which MLP neurons fire for one language, for some, or for all (Zhang et al. 2025, arXiv
//! 2505.21505; LAPE: Tang et al. 2024, arXiv 2402.16438).
//!
//! A neuron fires on a token where its gate, `blocks.{l}.mlp.hook_pre`, is positive. [`count`] reads texts of several
//! languages in one pass; [`Counts`] merge, and come from files too. [`languages`] makes of counts both scores, the
//! selected neurons by kind and layer, their overlap between languages, and a permutation null. What such neurons do is
//! asked by [`deactivate`] (perplexity of every language without those of one) and [`steer`] (raise those of one language
//! and silence those of another while the network writes), both against random neurons; [`compare`] follows them from
//! one model to another.
//!
//! ```no_run
//! use optrode::analysis::languages::{Counts, Options, languages};
//! let counts = Counts::open("counts.safetensors")?;
//! let found = languages(&counts, &Options::default())?;
//! println!("lambda {}, appear {:?}", found.score.lambda, found.score.appear);
//! # Ok::<(), optrode::Error>(())
//! ```

mod alignment;
mod compare;
mod counts;
mod deactivate;
mod kinds;
mod lens;
mod masks;
mod null;
mod pass;
mod report;
mod score;
mod speech;
mod steer;
mod study;
mod texts;

use serde::{Deserialize, Serialize};

use crate::report::number;
use crate::{Error, Result};

pub use alignment::{Alignment, Known, Scale, World, alignment};
pub use compare::{Comparison, compare};
pub use counts::{Counts, Part};
pub use deactivate::{Asking, Deactivation, Silence, deactivate, means, twin};
pub use kinds::{Identified, LayerKinds, Parts, identify, jaccard, parts};
pub use lens::{LanguageLens, LayerScripts, ScriptLens, script_lens};
pub use masks::{Masks, selectors};
pub use null::{Effect, Null, null};
pub use pass::{Counted, count, needs, neurons};
pub use score::{BAR, Method, Rates, Tried, entropy, largest_expected};
pub use speech::{Ambiguous, Judge, script, script_of_bytes};
pub use steer::{Helm, Steering, Turn, Written, steer};
pub use study::{Agenda, Study, Tests, study};
pub use texts::{Language, Reading, Texts, held_out, notes, sets, survey};

/// How language neurons are chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The share of all neurons that is selected, r.
    #[serde(with = "number")]
    pub share: f64,
    /// Shares of the table that shows what the choice of `share` matters.
    pub sweep: Vec<f64>,
    /// The weight of the largest probability; tuned if `None`.
    pub lambda: Option<f64>,
    /// Whose neurons are tested, compared and written; both are reported.
    pub by: Method,
    /// Shuffles of the null; 0 for none.
    pub permutations: usize,
    /// Seed of the shuffles.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { share: 0.01, sweep: vec![0.01, 0.02, 0.05], lambda: None, by: Method::Score, permutations: 100, seed: 0 }
    }
}

/// Language neurons of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Languages {
    /// Names of the languages.
    pub names: Vec<String>,
    /// Tokens counted of each.
    pub tokens: Vec<u64>,
    /// Neurons of a layer.
    pub neurons: usize,
    /// A neuron belongs to a language where it fires at more than this share of its tokens, t.
    #[serde(with = "number")]
    pub threshold: f64,
    /// R_K.
    #[serde(with = "number")]
    pub largest_expected: f64,
    /// By the paper's score.
    pub score: Identified,
    /// By LAPE, the baseline.
    pub lape: Identified,
    /// Which of both is meant where neurons are tested or written.
    pub by: Method,
    /// Other shares.
    pub sweep: Vec<Swept>,
    /// Against shuffled names; `None` where the counts have no parts to shuffle.
    pub null: Option<Null>,
}

impl Languages {
    /// The neurons that are tested and written.
    pub fn chosen(&self) -> &Identified {
        match self.by {
            Method::Score => &self.score,
            Method::Lape => &self.lape,
        }
    }
}

/// What another share gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swept {
    /// The share.
    #[serde(with = "number")]
    pub share: f64,
    /// Its lambda.
    #[serde(with = "number")]
    pub lambda: f64,
    /// Specific and related neurons by the score.
    pub score: [usize; 2],
    /// Specific and related neurons by LAPE.
    pub lape: [usize; 2],
}

/// Finds the language neurons in counts.
///
/// # Errors
/// Counts that [`Counts::check`] refuses, a share that is none.
pub fn languages(counts: &Counts, options: &Options) -> Result<Languages> {
    counts.check()?;
    for share in options.sweep.iter().chain([&options.share]) {
        if !(*share > 0.0 && *share <= 1.0) {
            return Err(Error::invalid(
                format!("{share} is no share of the neurons"),
                "give a number above 0, at most 1",
            ));
        }
    }
    if options.lambda.is_some_and(|lambda| !lambda.is_finite()) {
        return Err(Error::invalid("lambda is no finite number", "give a number, or leave it to be tuned"));
    }
    let rates = Rates::of(counts);
    let threshold = rates.threshold();
    let find = |method, share, lambda| identify(&rates, counts.layers, method, share, lambda, threshold);
    let score = find(Method::Score, options.share, options.lambda);
    let swept = |share: &f64| {
        let both = [Method::Score, Method::Lape].map(|method| find(method, *share, options.lambda));
        let [score, lape] = [&both[0], &both[1]].map(|found| [found.specific(), found.related()]);
        Swept { share: *share, lambda: both[0].lambda, score, lape }
    };
    Ok(Languages {
        names: counts.languages.clone(),
        tokens: counts.tokens(),
        neurons: counts.neurons,
        threshold,
        largest_expected: largest_expected(rates.languages),
        lape: find(Method::Lape, options.share, None),
        by: options.by,
        sweep: options.sweep.iter().map(swept).collect(),
        null: null(counts, options.share, score.lambda, options.permutations, options.seed),
        score,
    })
}
