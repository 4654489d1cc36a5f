//! What edits do to a trained neuron while it runs.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Score, score};
use crate::Result;
use crate::data::dendrites::Trials;
use crate::hook::Edit;
use crate::models::{ElmConfig, Network};

/// What slow time constants are shortened to, ms.
pub const SHORT: f64 = 5.0;

/// A trained neuron with parts of it held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesions {
    /// Untouched.
    pub intact: Score,
    /// Time constant of every memory unit, ms, with what is left when the unit is held at 0.
    pub units: Vec<(f64, Score)>,
    /// What is left without each branch.
    pub branches: Vec<Score>,
    /// The slower half of the time constants shortened to [`SHORT`] where they are longer.
    pub slow: Score,
    /// The control: the faster half shortened by the same factors, slowest by slowest.
    pub fast: Score,
}

impl Lesions {
    pub(super) fn of(
        config: &ElmConfig,
        net: &dyn Network,
        test: &Trials,
        burn_in: usize,
        intact: Score,
    ) -> Result<Self> {
        let with = |edits: Vec<Edit>| score(net, test, burn_in, &edits);
        let zero = |site: String| -> Result<Edit> { Ok(Edit::new(site.parse()?, "zero")) };
        let tau = config.time_constants();
        let half = tau.len() / 2;
        let shorten = |unit: usize, to: f64| -> Result<Edit> {
            Ok(Edit::new(format!("elm.hook_tau[neuron={unit}]").parse()?, "clamp").with("upper", json!(to)))
        };
        let slow = (half..tau.len()).map(|unit| shorten(unit, SHORT)).collect::<Result<_>>()?;
        let fast = (0..half).map(|unit| shorten(unit, tau[unit] * (SHORT / tau[unit + tau.len() - half]).min(1.0)));
        let units =
            (0..tau.len()).map(|unit| Ok((tau[unit], with(vec![zero(format!("elm.hook_mem[neuron={unit}]"))?])?)));
        let branches = net.sites().get(net.sites().id("elm.hook_branch")?).sizes.last().copied().flatten().unwrap_or(0);
        let branches = (0..branches).map(|branch| with(vec![zero(format!("elm.hook_branch[neuron={branch}]"))?]));
        Ok(Self {
            intact,
            units: units.collect::<Result<_>>()?,
            branches: branches.collect::<Result<_>>()?,
            slow: with(slow)?,
            fast: with(fast.collect::<Result<_>>()?)?,
        })
    }
}
