//! Paper 14: a neuron of leaky memory that imitates one with dendrites. The method is
//! [`analysis::elm`](crate::analysis::elm).

use super::{Context, Finding, Paper, Scale};
use crate::Result;
use crate::analysis::elm::{Plan, experiment};

/// The expressive leaky memory neuron.
pub(super) struct ElmNeuron;

impl Paper for ElmNeuron {
    fn number(&self) -> u8 {
        14
    }

    fn name(&self) -> &'static str {
        "elm-neuron"
    }

    fn title(&self) -> &'static str {
        "The Expressive Leaky Memory Neuron: an Efficient and Expressive Phenomenological Neuron Model Can Solve Long-Horizon Tasks"
    }

    fn source(&self) -> &'static str {
        "Spieler, Rahaman, Martius, Schölkopf, Levina, ICLR 2024, arXiv 2306.16922"
    }

    fn claim(&self) -> &'static str {
        "A neuron of a few slow memory units and a small MLP imitates one with active dendrites: steeply better with the first \
         units, then at a ceiling. Its time constants carry what is asked after a gap; with shorter ones the task is lost, and an \
         LSTM of as many weights does worse."
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
