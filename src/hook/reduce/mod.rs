//! Streaming reducers: what a scan keeps of a site when the corpus is too large to keep the activations.
//!
//! A reducer reads one [`Observation`] per forward pass and holds a state whose size does not depend on the corpus.
//! States merge: with R(A) the state after the data A, R(A) merged with R(B) equals R(A then B); exactly for counts,
//! bins, extremes, top lists and samples, to 1e-12 relative for f64 sums. Results are bit-identical at any number of
//! threads: threads own disjoint units, and every unit reads its positions in the order of the observation.
//!
//! A *unit* is one of the `width` values of a site at a position. Infinite and NaN values are counted apart
//! (`non_finite`) and enter nothing else.
//!
//! ```
//! use optrode::hook::reduce::{Observation, Reducer, ReducerSpec};
//! let spec: ReducerSpec = serde_json::from_str(r#"{"kind":"firing","threshold":0.5}"#)?;
//! let mut reducer = spec.build(2)?;
//! reducer.observe(&Observation {
//!     values: &[1.0, 0.0, 9.0, 9.0, 2.0, 3.0], // three positions of two units; the second position is padding
//!     rows: 1, pos: 3, width: 2,
//!     keep: &[true, false, true],
//!     tokens: &[5, 0, 6],
//!     documents: &[0],
//!     positions: &[0, u32::MAX, 1],
//! })?;
//! let Reducer::Firing(firing) = &reducer else { unreachable!() };
//! assert_eq!((firing.rate(0), firing.rate(1)), (Some(1.0), Some(0.5)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod covariance;
mod firing;
mod histogram;
mod moments;
mod observation;
mod sample;
mod spec;
mod state;
mod top;

pub use covariance::Covariance;
pub use firing::Firing;
pub use histogram::{Histogram, Quantile};
pub use moments::{Moments, UnitMoments};
pub use observation::{Observation, PADDING};
pub use sample::{Sample, Sampled};
pub use spec::{CovarianceSpec, DEFAULT_LIMIT, FiringSpec, HistogramSpec, ReducerSpec, SampleSpec, TopSpec};
pub use state::{Array, Data, Header, State};
pub use top::{Top, TopEntry};

use crate::{Error, Result};
use observation::Kept;
use state::Arrays;

/// What every kind of reducer does; [`Reducer`] is the public face.
trait Reduce: Sized {
    /// Its parameters, as they were asked for.
    fn spec(&self) -> ReducerSpec;
    /// Units per position.
    fn width(&self) -> usize;
    /// Takes in the kept positions of one observation whose width is right.
    fn observe(&mut self, kept: &Kept) -> Result<()>;
    /// Takes in another state of the same parameters and width.
    fn merge(&mut self, other: Self) -> Result<()>;
    /// Its numbers as named arrays.
    fn arrays(&self) -> Arrays;
}

/// A streaming reducer of one site; made by [`ReducerSpec::build`].
#[derive(Clone, Debug)]
pub enum Reducer {
    /// Count, mean, variance, skewness, kurtosis and range per unit.
    Moments(Moments),
    /// How often each unit exceeds a threshold.
    Firing(Firing),
    /// The largest and smallest values per unit, with their context.
    Top(Top),
    /// Distribution per unit in logarithmic bins.
    Histogram(Histogram),
    /// Covariance or Gram matrix of all units.
    Covariance(Covariance),
    /// A uniform sample of whole activation vectors.
    Sample(Sample),
}

/// Runs `$body` on the struct inside whichever variant `$reducer` is.
macro_rules! each {
    ($reducer:expr, $inner:ident => $body:expr) => {
        match $reducer {
            Reducer::Moments($inner) => $body,
            Reducer::Firing($inner) => $body,
            Reducer::Top($inner) => $body,
            Reducer::Histogram($inner) => $body,
            Reducer::Covariance($inner) => $body,
            Reducer::Sample($inner) => $body,
        }
    };
}

impl Reducer {
    /// The parameters it was built from.
    pub fn spec(&self) -> ReducerSpec {
        each!(self, inner => inner.spec())
    }

    /// Units per position.
    pub fn width(&self) -> usize {
        each!(self, inner => inner.width())
    }

    /// Takes in one forward pass. Positions whose `keep` is false leave no trace, except as context of a top entry.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the slices contradict each other or the width of the reducer, or when the kept
    /// positions of a row do not ascend; the state is then as before.
    pub fn observe(&mut self, observation: &Observation) -> Result<()> {
        let kept = Kept::new(observation, self.width())?;
        if kept.at.is_empty() {
            return Ok(());
        }
        each!(self, inner => inner.observe(&kept))
    }

    /// Takes in the state of another part of the corpus. Merge parts in the order of their chunks.
    ///
    /// # Errors
    /// [`Error::Invalid`] when kind, parameters or width differ; the state is then as before.
    pub fn merge(&mut self, other: Reducer) -> Result<()> {
        if self.spec() != other.spec() || self.width() != other.width() {
            return Err(Error::invalid(
                format!("cannot merge {} into {}", other.describe(), self.describe()),
                "merge states of the same site made with the same reducer parameters",
            ));
        }
        match (self, other) {
            (Self::Moments(a), Self::Moments(b)) => a.merge(b),
            (Self::Firing(a), Self::Firing(b)) => a.merge(b),
            (Self::Top(a), Self::Top(b)) => a.merge(b),
            (Self::Histogram(a), Self::Histogram(b)) => a.merge(b),
            (Self::Covariance(a), Self::Covariance(b)) => a.merge(b),
            (Self::Sample(a), Self::Sample(b)) => a.merge(b),
            // Equal specifications have equal kinds.
            _ => Ok(()),
        }
    }

    /// The whole state as plain data: equal states give equal data, and [`Reducer::from_state`] is bit-exact.
    pub fn to_state(&self) -> State {
        State {
            header: Header::new(self.spec(), self.width()),
            arrays: each!(self, inner => inner.arrays()).into_map(),
        }
    }

    /// The reducer that wrote `state`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when arrays are missing, left over, of the wrong type or shape, or impossible.
    pub fn from_state(state: State) -> Result<Self> {
        let State { header, arrays } = state;
        header.check()?;
        let width = header.width;
        let mut arrays = Arrays::from_map(arrays);
        let reducer = match header.spec {
            ReducerSpec::Moments {} => Self::Moments(Moments::load(width, &mut arrays)?),
            ReducerSpec::Firing(spec) => Self::Firing(Firing::load(spec, width, &mut arrays)?),
            ReducerSpec::Top(spec) => Self::Top(Top::load(spec, width, &mut arrays)?),
            ReducerSpec::Histogram(spec) => Self::Histogram(Histogram::load(spec, width, &mut arrays)?),
            ReducerSpec::Covariance(spec) => Self::Covariance(Covariance::load(spec, width, &mut arrays)?),
            ReducerSpec::Sample(spec) => Self::Sample(Sample::load(spec, width, &mut arrays)?),
        };
        arrays.finish()?;
        Ok(reducer)
    }

    fn describe(&self) -> String {
        format!("{} of width {}", self.spec(), self.width())
    }
}
