//! Paper 42: how recurrent networks come to long timescales. The method is
//! [`analysis::timescales`](crate::analysis::timescales).

use super::{Context, Finding, Paper, Scale};
use crate::Result;
use crate::analysis::timescales::{Plan, experiment};

/// Trainable time constants under curricula.
pub(super) struct LongTimescales;

impl Paper for LongTimescales {
    fn number(&self) -> u8 {
        42
    }

    fn name(&self) -> &'static str {
        "long-timescales"
    }

    fn title(&self) -> &'static str {
        "Emergent mechanisms for long timescales depend on training curriculum and affect performance in memory tasks"
    }

    fn source(&self) -> &'static str {
        "Khajehabdollahi, Zeraati, Giannakakis, Schäfer, Martius, Levina 2023, ICLR 2024, arXiv 2309.12927"
    }

    fn claim(&self) -> &'static str {
        "Recurrent networks that learn parity or delayed matching one N at a time lengthen the time constants of their units and \
         forget smaller N; those that learn all N together, with a head each, keep them short and make long timescales by \
         recurrence. They learn faster, and bear damage better."
    }

    fn run(&self, scale: Scale, context: &Context) -> Result<Finding> {
        let plan = match scale {
            Scale::Quick => Plan::quick(context.seed),
            Scale::Full => Plan::full(context.seed),
        };
        context.progress.begin(plan.trainings() as u64);
        let found = experiment(&plan, &|| context.progress.advance(1))?;
        Finding::of(&found, found.verdicts())
    }
}
