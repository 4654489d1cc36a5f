//! What a reproduced paper is made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Context;
use crate::Result;
use crate::analysis::Figures;
use crate::report::{Block, Judged, Report};

/// A paper whose claim can be tested here.
pub trait Paper: Sync {
    /// Its row of the mission, 1 to 45; `reproduce` takes it with or without a leading zero.
    fn number(&self) -> u8;
    /// A short name in lower case with hyphens (`skill-unlearning`).
    fn name(&self) -> &'static str;
    /// The title.
    fn title(&self) -> &'static str;
    /// Authors, venue, year, arXiv number: what finds it.
    fn source(&self) -> &'static str;
    /// What it claims, in one or two sentences that the experiment tests.
    fn claim(&self) -> &'static str;
    /// Tests the claim. Bit-repeatable: no timings, no order of a hash map, every draw from the context's seed.
    ///
    /// # Errors
    /// Whatever keeps the experiment from being carried out. A claim that does not hold is no error but a failed verdict.
    fn run(&self, scale: Scale, context: &Context) -> Result<Finding>;
}

/// How much of the experiment is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// About two minutes, offline.
    Quick,
    /// About twenty minutes, with what the user has.
    Full,
}

impl Scale {
    /// The word of the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// What an experiment found.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// For people, in reading order.
    pub blocks: Vec<Block>,
    /// Numbers that a replay must give again, the most telling first.
    pub figures: Vec<(String, f64)>,
    /// One per part of the claim; at least one.
    pub verdicts: Vec<Judged>,
    /// For machines.
    pub result: Value,
}

impl Finding {
    /// What a method's result offers, with the verdicts on it.
    ///
    /// # Errors
    /// A result that JSON cannot hold.
    pub fn of<T: Report + Figures + Serialize>(result: &T, verdicts: Vec<Judged>) -> Result<Self> {
        let value = serde_json::to_value(result).map_err(|e| {
            crate::Error::invalid(format!("the result of an experiment cannot be written: {e}"), "report this defect")
        })?;
        Ok(Self { blocks: result.blocks(), figures: result.figures(), verdicts, result: value })
    }
}
