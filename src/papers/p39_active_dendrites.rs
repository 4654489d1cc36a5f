//! Paper 39: segments of a dendrite on sparse codes. The method is [`analysis::dendrites`](crate::analysis::dendrites).

use super::{Context, Finding, Paper, Scale};
use crate::Result;
use crate::analysis::dendrites::{Plan, experiment};
use crate::data::organism::embedded;

/// The theory, the neuron, and a transformer's layers as the population.
pub(super) struct ActiveDendrites;

impl Paper for ActiveDendrites {
    fn number(&self) -> u8 {
        39
    }

    fn name(&self) -> &'static str {
        "active-dendrites"
    }

    fn title(&self) -> &'static str {
        "How do neurons operate on sparse distributed representations? A mathematical theory of sparsity, neurons and \
         active dendrites"
    }

    fn source(&self) -> &'static str {
        "Ahmad, Hawkins, 2016, arXiv 1601.00720"
    }

    fn claim(&self) -> &'static str {
        "A dendritic segment with a few tens of synapses and a threshold of 8 to 20 recognises a large sparse pattern with \
         negligible false positives, though half of it is missing, and can hold several patterns at once."
    }

    fn run(&self, scale: Scale, context: &Context) -> Result<Finding> {
        let organism = context.organism()?;
        let untrained = context.untrained()?;
        let mut subjects = vec![("organism", &organism, embedded::texts())];
        let plan = match scale {
            Scale::Quick => Plan::quick(context.seed),
            Scale::Full => {
                subjects.push(("untrained", &untrained, embedded::texts()));
                Plan::full(context.seed)
            }
        };
        context.progress.begin(plan.jobs() as u64);
        let found = experiment(&plan, &subjects, &|| context.progress.advance(1))?;
        Finding::of(&found, found.verdicts())
    }
}
