//! What to keep of a site: the serialisable description of a reducer.
//!
//! ```json
//! {"kind":"moments"}
//! {"kind":"firing","threshold":0.0,"documents":0}
//! {"kind":"top","k":20,"bottom":true,"context":[16,8],"one_per_document":true}
//! {"kind":"histogram","octaves":[-14,8],"divisions":8}
//! {"kind":"covariance","centered":true}
//! {"kind":"sample","k":1000,"seed":0,"context":[0,0]}
//! ```
//!
//! Everything but `kind` may be left out; unknown keys are refused.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Covariance, Firing, Histogram, Moments, Reducer, Sample, Top};
use crate::{Error, Result};

/// Bytes that [`ReducerSpec::build`] allows one reducer: 4 GiB.
pub const DEFAULT_LIMIT: u64 = 4 << 30;

/// Which reducer, and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReducerSpec {
    /// Count, mean, variance, skewness, kurtosis and range per unit.
    Moments {},
    /// How often each unit exceeds a threshold.
    Firing(FiringSpec),
    /// The largest and smallest values per unit, with their context.
    Top(TopSpec),
    /// Distribution per unit in logarithmic bins.
    Histogram(HistogramSpec),
    /// Covariance or Gram matrix of all units.
    Covariance(CovarianceSpec),
    /// A uniform sample of whole activation vectors.
    Sample(SampleSpec),
}

/// Parameters of the firing counter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FiringSpec {
    /// A unit fires where its value is strictly greater (default 0).
    pub threshold: f32,
    /// Count the documents numbered below this apart too; then there may be no others (default 0: none apart).
    #[serde(skip_serializing_if = "nothing")]
    pub documents: usize,
}

/// Left out of JSON, as in files from before it could be asked for.
fn nothing(n: &usize) -> bool {
    *n == 0
}

/// Parameters of the top lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TopSpec {
    /// Entries per unit and side, 1 to 1000 (default 20).
    pub k: usize,
    /// Keep the smallest values too (default true).
    pub bottom: bool,
    /// Tokens kept before and after each entry, 0 to 1024 each (default 16 and 8).
    pub context: [usize; 2],
    /// Keep only the best position of each document (default true).
    pub one_per_document: bool,
}

impl Default for TopSpec {
    fn default() -> Self {
        Self { k: 20, bottom: true, context: [16, 8], one_per_document: true }
    }
}

/// Parameters of the histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistogramSpec {
    /// Magnitudes from 2^first up to 2^last are resolved, -126 to 128; smaller ones share the zero bin, larger ones
    /// the outermost bins (default -14 and 8).
    pub octaves: [i32; 2],
    /// Bins per octave, a power of two from 1 to 256; quantiles are within 1 / (2 divisions) relative (default 8).
    pub divisions: usize,
}

impl Default for HistogramSpec {
    fn default() -> Self {
        Self { octaves: [-14, 8], divisions: 8 }
    }
}

/// Parameters of the second-moment matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CovarianceSpec {
    /// True for the covariance E[(x - m)(x - m)^T] (default), false for the Gram matrix E[x x^T] (as ROME needs it).
    pub centered: bool,
}

impl Default for CovarianceSpec {
    fn default() -> Self {
        Self { centered: true }
    }
}

/// Parameters of the sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleSpec {
    /// Vectors to keep, at least 1 (default 1000).
    pub k: usize,
    /// Seed of the choice; the same seed chooses the same positions at every site (default 0).
    pub seed: u64,
    /// Tokens kept before and after each position, 0 to 1024 each (default none).
    pub context: [usize; 2],
}

impl Default for SampleSpec {
    fn default() -> Self {
        Self { k: 1000, seed: 0, context: [0, 0] }
    }
}

impl ReducerSpec {
    /// An empty reducer for a site of `width` units that needs at most [`DEFAULT_LIMIT`] bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for parameters out of range and for too much memory.
    pub fn build(&self, width: usize) -> Result<Reducer> {
        self.build_within(width, DEFAULT_LIMIT)
    }

    /// An empty reducer for a site of `width` units that needs at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for parameters out of range and for too much memory.
    pub fn build_within(&self, width: usize, limit: u64) -> Result<Reducer> {
        self.check(width)?;
        let bytes = self.bytes(width);
        if bytes > limit {
            let [needed, allowed] = [bytes, limit].map(|b| b as f64 / (1u64 << 30) as f64);
            return Err(Error::invalid(
                format!("{self} of width {width} needs {needed:.3} GiB of memory, {allowed:.3} GiB are allowed"),
                "reduce fewer units, ask for less per unit, or raise the limit",
            ));
        }
        Ok(match self.clone() {
            Self::Moments {} => Reducer::Moments(Moments::new(width)),
            Self::Firing(spec) => Reducer::Firing(Firing::new(spec, width)),
            Self::Top(spec) => Reducer::Top(Top::new(spec, width)),
            Self::Histogram(spec) => Reducer::Histogram(Histogram::new(spec, width)),
            Self::Covariance(spec) => Reducer::Covariance(Covariance::new(spec, width)),
            Self::Sample(spec) => Reducer::Sample(Sample::new(spec, width)),
        })
    }

    /// Upper bound of the bytes that a reducer of `width` units holds while it works; `u64::MAX` where that cannot be
    /// counted or the parameters are out of range.
    pub fn bytes(&self, width: usize) -> u64 {
        if self.check(width).is_err() || u32::try_from(width).is_err() {
            return u64::MAX;
        }
        let bytes = match self {
            Self::Moments {} => Moments::bytes(width),
            Self::Firing(spec) => Firing::bytes(spec, width),
            Self::Top(spec) => Top::bytes(spec, width),
            Self::Histogram(spec) => Histogram::bytes(spec, width),
            Self::Covariance(_) => Covariance::bytes(width),
            Self::Sample(spec) => Sample::bytes(spec, width),
        };
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Refuses parameters out of range.
    pub(super) fn check(&self, width: usize) -> Result<()> {
        if width == 0 {
            return Err(self.refuse("width 0", "a width of at least 1", "choose a site with units"));
        }
        match self {
            Self::Moments {} | Self::Covariance(_) => Ok(()),
            Self::Firing(spec) if !spec.threshold.is_finite() => {
                Err(self.refuse("a threshold that is not finite", "a number", "give a finite `threshold`"))
            }
            Self::Firing(_) => Ok(()),
            Self::Top(spec) if !(1..=1000).contains(&spec.k) => {
                Err(self.refuse(&format!("k = {}", spec.k), "1 to 1000", "change `k`"))
            }
            Self::Top(TopSpec { context, .. }) | Self::Sample(SampleSpec { context, .. })
                if context.iter().any(|n| *n > 1024) =>
            {
                let got = format!("context = {context:?}");
                Err(self.refuse(&got, "at most 1024 tokens on each side", "shorten `context`"))
            }
            Self::Top(_) => Ok(()),
            Self::Histogram(spec) => {
                let [first, last] = spec.octaves;
                if first < -126 || last > 128 || first >= last {
                    let got = format!("octaves = {:?}", spec.octaves);
                    return Err(self.refuse(&got, "two ascending exponents from -126 to 128", "change `octaves`"));
                }
                if !spec.divisions.is_power_of_two() || spec.divisions > 256 {
                    let got = format!("divisions = {}", spec.divisions);
                    return Err(self.refuse(&got, "a power of two from 1 to 256", "change `divisions`"));
                }
                Ok(())
            }
            Self::Sample(spec) if spec.k == 0 => Err(self.refuse("k = 0", "at least 1", "change `k`")),
            Self::Sample(_) => Ok(()),
        }
    }

    fn refuse(&self, got: &str, expected: &str, hint: &str) -> Error {
        Error::invalid(format!("a `{}` reducer got {got}, expected {expected}", self.kind()), hint)
    }

    /// The value of `kind` in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Moments {} => "moments",
            Self::Firing(_) => "firing",
            Self::Top(_) => "top",
            Self::Histogram(_) => "histogram",
            Self::Covariance(_) => "covariance",
            Self::Sample(_) => "sample",
        }
    }
}

/// The JSON form, for messages.
impl fmt::Display for ReducerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_string(self) {
            Ok(json) => f.write_str(&json),
            Err(_) => f.write_str(self.kind()),
        }
    }
}
