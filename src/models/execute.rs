//! Running a job: its passes in order, each over its own input, values handed from earlier passes to later ones.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use super::{Input, Network, State};
use crate::hook::{Event, Form, Pass, Plan, Records, Registry, Run, SiteId, Tap, Values};
use crate::{Error, Result};

/// A job with what it needs: the plan, an input per pass, stored tensors, the table of operations.
pub struct Job<'a> {
    /// The passes.
    pub run: &'a Run,
    /// One input per pass, or one for all.
    pub inputs: &'a [Input],
    /// Tensors of the bundle that edits refer to.
    pub stored: BTreeMap<String, Tensor>,
    /// The known edit operations.
    pub registry: &'a Registry,
}

/// What one pass gave.
#[derive(Clone, Debug)]
pub struct PassOutcome {
    /// Its name.
    pub name: String,
    /// As much of the network's output as the pass reads ([`Pass::output`]); for a decoder `[batch, pos, vocab]`.
    pub output: Tensor,
    /// What was recorded.
    pub records: Records,
    /// Events raised by edits.
    pub events: Vec<Event>,
}

/// What a job gave, pass by pass.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In the order of the job.
    pub passes: Vec<PassOutcome>,
}

impl Outcome {
    /// The pass of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the job has no such pass.
    pub fn pass(&self, name: &str) -> Result<&PassOutcome> {
        self.passes.iter().find(|p| p.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.passes.iter().map(|p| p.name.as_str()).collect();
            Error::invalid(format!("the job has no pass `{name}`"), format!("its passes are {}", names.join(", ")))
        })
    }
}

/// Runs every pass of a job.
///
/// # Errors
/// Whatever is wrong with a pass's selectors, edits and values (found before that pass starts) or with the inputs.
pub fn execute(net: &dyn Network, job: Job) -> Result<Outcome> {
    if let Some(pass) = job.run.passes.iter().find(|p| !p.gradients.is_empty()) {
        return Err(Error::invalid(
            format!("pass `{}` of the job asks for gradients, which need a metric", pass.name),
            "use `models::job_gradients` with a metric of the outputs",
        ));
    }
    let ran = run_passes(net, job, Form::Inference)?;
    Ok(Outcome { passes: ran.into_iter().map(|r| r.outcome).collect() })
}

/// One pass of a job that has run.
pub(super) struct Ran {
    pub outcome: PassOutcome,
    /// Where gradients were opened: site and zero variable.
    pub openings: Vec<(SiteId, Var)>,
}

/// Runs every pass; in the differentiable form, values that are not detached keep their graph from pass to pass.
pub(super) fn run_passes(net: &dyn Network, job: Job, form: Form) -> Result<Vec<Ran>> {
    if job.inputs.len() != 1 && job.inputs.len() != job.run.passes.len() {
        return Err(Error::invalid(
            format!("a job of {} passes got {} inputs", job.run.passes.len(), job.inputs.len()),
            "give one input for all passes, or one for each",
        ));
    }
    for (i, pass) in job.run.passes.iter().enumerate() {
        if job.run.passes[..i].iter().any(|p| p.name == pass.name) {
            return Err(Error::invalid(
                format!("two passes of the job are named `{}`", pass.name),
                "give each pass its own name",
            ));
        }
    }
    let mut values = Values { stored: job.stored, ..Values::default() };
    let mut ran = Vec::with_capacity(job.run.passes.len());
    for (i, pass) in job.run.passes.iter().enumerate() {
        let input = &job.inputs[if job.inputs.len() == 1 { 0 } else { i }];
        let captures = job.run.captures(&pass.name);
        let mut plan = Plan::compile(net.sites(), pass, job.registry, values.clone(), &captures)?;
        if form == Form::Differentiable {
            plan = plan.differentiable();
        }
        let output = net.forward(input, &mut State::none(), &mut Tap::new(&mut plan))?;
        let events = plan.drain_events();
        let openings = plan.openings().to_vec();
        let records = plan.finish_into(net.sites(), &pass.name, &mut values)?;
        ran.push(Ran { outcome: PassOutcome { name: pass.name.clone(), output, records, events }, openings });
    }
    Ok(ran)
}

/// One forward call with what to record and edit, outside any job.
pub fn observe(net: &dyn Network, input: &Input, pass: &Pass, registry: &Registry) -> Result<PassOutcome> {
    let run = Run { passes: vec![pass.clone()] };
    let inputs = [input.clone()];
    let job = Job { run: &run, inputs: &inputs, stored: BTreeMap::new(), registry };
    let mut outcome = execute(net, job)?;
    Ok(outcome.passes.remove(0))
}
