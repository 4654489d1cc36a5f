//! Paper 26: what has to go right for an induction head. The method is [`analysis::forming`](crate::analysis::forming).

use super::{Context, Finding, Paper, Scale};
use crate::Result;
use crate::analysis::forming::{Plan, experiment};
use crate::data::Omniglot;

/// Sets of handwritten characters under the data folder, without their endings.
const CHARACTERS: [&str; 2] = ["omniglot/background_small1", "omniglot/background_small2"];

/// Induction heads under clamps.
pub(super) struct InductionClamps;

impl Paper for InductionClamps {
    fn number(&self) -> u8 {
        26
    }

    fn name(&self) -> &'static str {
        "induction-clamps"
    }

    fn title(&self) -> &'static str {
        "What needs to go right for an induction head? A mechanistic study of in-context learning circuits and their formation"
    }

    fn source(&self) -> &'static str {
        "Singh, Moskovitz, Hill, Chan, Saxe 2024, arXiv 2404.07129"
    }

    fn claim(&self) -> &'static str {
        "Induction heads form at a sudden drop of the loss because three smooth parts of a circuit must come together: \
         clamping parts of it during training brings the drop forward, in a fixed order, and takes the plateau away; several \
         heads form and add up; more classes delay the match, more labels the copy."
    }

    fn run(&self, scale: Scale, context: &Context) -> Result<Finding> {
        let (plan, characters) = match scale {
            Scale::Quick => (Plan::quick(context.seed), None),
            Scale::Full => (Plan::full(context.seed), characters(context)?),
        };
        context.progress.begin(plan.trainings(characters.is_some()) as u64);
        let found = experiment(&plan, characters.as_ref(), &|_, _| context.progress.advance(1))?;
        Finding::of(&found, found.verdicts())
    }
}

/// The handwritten characters; `None`, which the report says, where the data folder has none.
fn characters(context: &Context) -> Result<Option<Omniglot>> {
    if !CHARACTERS.iter().all(|set| context.has(&format!("{set}.bits"))) {
        return Ok(None);
    }
    let set = |name: &&str| Ok((context.file(&format!("{name}.bits"))?, context.file(&format!("{name}.csv"))?));
    let sets = CHARACTERS.iter().map(set).collect::<Result<Vec<_>>>()?;
    let paths: Vec<_> = sets.iter().map(|(bits, csv)| (bits.as_path(), csv.as_path())).collect();
    Ok(Some(Omniglot::read(&paths)?))
}
