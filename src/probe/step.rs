//! What a script is made of: steps, each a method with parameters that gives blocks, figures and a result.
//!
//! A method becomes a step by a type that implements [`StepKind`] in a file under `steps/`, and one line in
//! [`steps::ALL`](super::steps::ALL).

use std::path::{Path, PathBuf};

use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::document::Base;
use crate::analysis::{Figures, Inputs};
use crate::data::TextSet;
use crate::models::Model;
use crate::report::Progress;
use crate::report::{Block, Report};
use crate::{Error, Result};

/// A method as a step.
pub trait StepKind: Sync {
    /// What follows `step =` in a script; also the first part of its figures' names unless the script gives another.
    const NAME: &'static str;
    /// One sentence for `optrode run --steps` and for the report.
    const SUMMARY: &'static str;
    /// Its keys in a script: with defaults for all that can have one, and `deny_unknown_fields`.
    type Params: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// The figures that it may give, without the step's name, with their meaning. `*` stands for one or more characters
    /// where names depend on the model or the parameters.
    const FIGURES: &'static [(&'static str, &'static str)];

    /// The names of [`FIGURES`](Self::FIGURES), or closer ones where the parameters say more: a script that names
    /// another figure is refused before anything runs.
    fn figures(&self, _: &Self::Params) -> Vec<String> {
        Self::FIGURES.iter().map(|(name, _)| (*name).to_string()).collect()
    }

    /// Whether it can be asked of this model.
    ///
    /// # Errors
    /// Why not, as half a sentence ("the model has no tokenizer"); the step is then reported as skipped.
    fn applies_to(&self, model: &Model) -> std::result::Result<(), String>;

    /// Runs it. Results are bit-repeatable: no timings, no order of a hash map, every draw from the context's seed.
    ///
    /// # Errors
    /// Whatever goes wrong; the step is then reported as failed and the others run.
    fn run(&self, context: &Context, params: &Self::Params) -> Result<StepOutput>;
}

/// What a step gives.
#[derive(Clone, Debug, Default)]
pub struct StepOutput {
    /// For people.
    pub blocks: Vec<Block>,
    /// Numbers that expectations can name, the most telling first. Names as [`is_name`](super::expect::is_name) takes
    /// them.
    pub figures: Vec<(String, f64)>,
    /// For machines.
    pub result: Value,
}

impl StepOutput {
    /// What a method's result offers.
    ///
    /// # Errors
    /// A result that JSON cannot hold.
    pub fn of<T: Report + Figures + Serialize>(result: &T) -> Result<Self> {
        let value = serde_json::to_value(result).map_err(|e| {
            Error::invalid(format!("the result of a step cannot be written: {e}"), "report this defect")
        })?;
        Ok(Self { blocks: result.blocks(), figures: result.figures(), result: value })
    }
}

/// What a step can use.
#[derive(Debug)]
pub struct Context<'a> {
    /// The model.
    pub model: &'a Model,
    /// The same architecture untrained, where there is one.
    pub control: Option<&'a Model>,
    /// The comparison, where there is one (`--against`).
    pub base: Option<&'a Base>,
    /// Seed of every draw.
    pub seed: u64,
    /// The script's texts; empty if it names none.
    pub texts: &'a [TextSet],
    /// To report how far the step is.
    pub progress: &'a Progress,
    /// Where relative paths of the script start.
    pub folder: &'a Path,
    /// What was read so far.
    pub inputs: &'a Inputs,
}

impl Context<'_> {
    /// A file that the script names, found from the script's folder and noted in the manifest with its hash. Every file
    /// that a step reads goes through here.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn input(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.folder.join(path);
        self.inputs.note(&path)?;
        Ok(path)
    }
}

/// A [`StepKind`] behind one type, for the list of all.
pub trait Step: Sync {
    /// As [`StepKind::NAME`].
    fn name(&self) -> &'static str;
    /// As [`StepKind::SUMMARY`].
    fn summary(&self) -> &'static str;
    /// The JSON schema of its parameters.
    fn schema(&self) -> Value;
    /// As [`StepKind::FIGURES`].
    fn figures(&self) -> &'static [(&'static str, &'static str)];
    /// As [`StepKind::applies_to`].
    ///
    /// # Errors
    /// Why it does not.
    fn applies_to(&self, model: &Model) -> std::result::Result<(), String>;
    /// Takes the parameters of a script.
    ///
    /// # Errors
    /// Keys that the step does not know or values that it cannot take.
    fn bind(&'static self, given: Spanned<DeTable>) -> std::result::Result<Bound, toml::de::Error>;
}

type Run = dyn Fn(&Context) -> Result<StepOutput> + Send + Sync;

/// A step with its parameters.
pub struct Bound {
    /// The parameters, defaults filled in.
    pub parameters: Value,
    /// As [`StepKind::figures`].
    pub figures: Vec<String>,
    run: Box<Run>,
}

impl Bound {
    /// Runs the step.
    ///
    /// # Errors
    /// Whatever goes wrong in it.
    pub fn run(&self, context: &Context) -> Result<StepOutput> {
        (self.run)(context)
    }
}

impl<K: StepKind> Step for K {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn summary(&self) -> &'static str {
        K::SUMMARY
    }

    fn schema(&self) -> Value {
        schema_for!(K::Params).to_value()
    }

    fn figures(&self) -> &'static [(&'static str, &'static str)] {
        K::FIGURES
    }

    fn applies_to(&self, model: &Model) -> std::result::Result<(), String> {
        StepKind::applies_to(self, model)
    }

    fn bind(&'static self, given: Spanned<DeTable>) -> std::result::Result<Bound, toml::de::Error> {
        let params = K::Params::deserialize(Deserializer::from(given))?;
        let parameters = serde_json::to_value(&params).map_err(serde::de::Error::custom)?;
        let figures = StepKind::figures(self, &params);
        Ok(Bound { parameters, figures, run: Box::new(move |context| StepKind::run(self, context, &params)) })
    }
}

/// A step that cannot be asked of a model without a tokenizer.
///
/// # Errors
/// The reason, where there is none.
pub fn needs_tokenizer(model: &Model) -> std::result::Result<(), String> {
    model.tokenizer().map(|_| ()).map_err(|_| "the model has no tokenizer".to_string())
}

/// A defect of a step: a figure that it gave twice, did not declare, or gave a name that expectations cannot use.
pub(super) fn unfit_figure(step: &str, figure: &str) -> Error {
    Error::invalid(
        format!("the step {step} gave a figure `{figure}` twice, undeclared, or under a name that cannot be read"),
        "report this defect",
    )
}
