//! Paper 04: the locomotion circuit of C. elegans as a controller. The method is
//! [`analysis::swimmer`](crate::analysis::swimmer).

use super::{Context, Finding, Paper, Scale};
use crate::Result;
use crate::analysis::swimmer::{Plan, experiment};

/// The circuit in its body.
pub(super) struct NcapSwimmer;

impl Paper for NcapSwimmer {
    fn number(&self) -> u8 {
        4
    }

    fn name(&self) -> &'static str {
        "ncap-swimmer"
    }

    fn title(&self) -> &'static str {
        "Neural Circuit Architectural Priors for Embodied Control"
    }

    fn source(&self) -> &'static str {
        "Bhattasali, Zador, Engel, NeurIPS 2022, arXiv 2201.05242"
    }

    fn claim(&self) -> &'static str {
        "The locomotion circuit of C. elegans, four shared weights, swims before any training and in bodies of other lengths; \
         its signs are what makes it. (That it also learns faster than an MLP is not tested here.)"
    }

    fn run(&self, scale: Scale, context: &Context) -> Result<Finding> {
        let plan = match scale {
            Scale::Quick => Plan::quick(context.seed),
            Scale::Full => Plan::full(context.seed),
        };
        context.progress.begin(plan.jobs()? as u64);
        let found = experiment(&plan, &|| context.progress.advance(1))?;
        Finding::of(&found, found.verdicts())
    }
}
