//! Paper 05: balance of excitation and inhibition in reservoirs. The method is
//! [`analysis::reservoir`](crate::analysis::reservoir).

use super::{Context, Finding, Paper, Scale};
use crate::Result;
use crate::analysis::reservoir::{Plan, experiment};

/// Adaptive inhibition in a reservoir.
pub(super) struct BalancedReservoir;

impl Paper for BalancedReservoir {
    fn number(&self) -> u8 {
        5
    }

    fn name(&self) -> &'static str {
        "ei-reservoir"
    }

    fn title(&self) -> &'static str {
        "Boosting Reservoir Computing with Brain-inspired Adaptive Dynamics"
    }

    fn source(&self) -> &'static str {
        "Srinivasan, Plenz, Girvan 2025, arXiv 2504.12480"
    }

    fn claim(&self) -> &'static str {
        "Reservoirs of excitatory and inhibitory units work best balanced or with stronger inhibition, and badly with excess \
         of excitation. Inhibition that adapts locally to target rates remembers at least as much as the best global gain and \
         needs no tuning; broad target rates serve linear and non-linear tasks."
    }

    fn run(&self, scale: Scale, context: &Context) -> Result<Finding> {
        let plan = match scale {
            Scale::Quick => Plan::quick(context.seed),
            Scale::Full => Plan::full(context.seed),
        };
        context.progress.begin(plan.jobs() as u64);
        let found = experiment(&plan, &|| context.progress.advance(1))?;
        Finding::of(&found, found.verdicts())
    }
}
