//! Paper 24: an astrocyte that modulates the plasticity of a liquid state machine. The method is
//! [`analysis::liquid`](crate::analysis::liquid).

use super::{Context, Finding, Paper, Scale};
use crate::Result;
use crate::analysis::liquid::{Plan, experiment};
use crate::data::{ImageSet, strokes};

/// Where MNIST lies under the data folder: its test part, which is enough here.
const MNIST: &str = "mnist/t10k-images-idx3-ubyte";

/// Astrocyte-modulated plasticity.
pub(super) struct AstrocyteLiquid;

impl Paper for AstrocyteLiquid {
    fn number(&self) -> u8 {
        24
    }

    fn name(&self) -> &'static str {
        "nalsm"
    }

    fn title(&self) -> &'static str {
        "Increasing Liquid State Machine Performance with Edge-of-Chaos Dynamics Organized by Astrocyte-modulated Plasticity"
    }

    fn source(&self) -> &'static str {
        "Ivanov, Michmizos, NeurIPS 2021"
    }

    fn claim(&self) -> &'static str {
        "One astrocyte that sets the depression of STDP by the liquid's activity less the input's brings a liquid to a branching \
         factor near 1.2, where it is read out best: better than with the best static weights, and these better than with plain \
         STDP. The branching factor falls as the astrocyte's weight grows."
    }

    fn run(&self, scale: Scale, context: &Context) -> Result<Finding> {
        let plan = match scale {
            Scale::Quick => Plan::quick(context.seed),
            Scale::Full => Plan::full(context.seed),
        };
        let (images, data) = if scale == Scale::Full || context.has(MNIST) {
            context.file(&MNIST.replace("images-idx3", "labels-idx1"))?;
            let set = ImageSet::read(&context.file(MNIST)?, [1, strokes::SIDE, strokes::SIDE], plan.needs())?;
            (set, "MNIST (of its test part)")
        } else {
            (strokes::digits(plan.needs(), context.seed), "generated digits")
        };
        context.progress.begin(plan.jobs() as u64);
        let found = experiment(&plan, &images, data, &|| context.progress.advance(1))?;
        Finding::of(&found, found.verdicts())
    }
}
