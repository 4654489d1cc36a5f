//! Gradients of any scalar metric of a network's output with respect to any site and any weight, through one pass or
//! through a job of several.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use super::execute::run_passes;
use super::{Input, Job, Network, PassOutcome, State};
use crate::hook::{Form, Pass, Plan, Records, Registry, SiteId, Tap, Values};
use crate::{Error, Result};

/// A metric's value and its gradients.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// The metric, a scalar.
    pub value: Tensor,
    /// dMetric/dSite by site name, each of its site's shape; visits of one site are added up.
    pub sites: BTreeMap<String, Tensor>,
    /// dMetric/dWeight by parameter name, for the parameters that are variables.
    pub weights: BTreeMap<String, Tensor>,
    /// What the pass recorded.
    pub records: Records,
}

/// Runs `pass` in the differentiable form and differentiates `metric` of the output.
///
/// Sites are those of `pass.gradients`; weights are those parameters of `net` that are `Var`s.
///
/// A site that the metric does not depend on has the gradient 0.
///
/// # Errors
/// [`Error::Invalid`] when the metric is no scalar, or a gradient is asked for at a part of a site.
pub fn gradients(
    net: &dyn Network,
    input: &Input,
    pass: &Pass,
    registry: &Registry,
    values: Values,
    metric: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Gradients> {
    let mut plan = Plan::compile(net.sites(), pass, registry, values, &[])?.differentiable();
    let output = net.forward(input, &mut State::none(), &mut Tap::new(&mut plan))?;
    let value = scalar(metric(&output)?)?;
    let grads = value.backward()?;
    let sites = of_sites(net, plan.openings(), &grads)?;
    let records = plan.records(net.sites())?;
    Ok(Gradients { value, sites, weights: of_weights(net, &grads), records })
}

/// A metric of a whole job and its gradients.
#[derive(Clone, Debug)]
pub struct JobGradients {
    /// The metric, a scalar.
    pub value: Tensor,
    /// Each pass with dMetric/dSite at the sites of its `gradients`.
    pub passes: Vec<(PassOutcome, BTreeMap<String, Tensor>)>,
    /// dMetric/dWeight by parameter name, over all passes.
    pub weights: BTreeMap<String, Tensor>,
}

/// Runs a job in the differentiable form and differentiates `metric` of its passes' outputs.
///
/// Gradients go through values of earlier passes that say `"detach": false`.
///
/// # Errors
/// As [`gradients`] and [`execute`](super::execute()).
pub fn job_gradients(
    net: &dyn Network,
    job: Job,
    metric: impl FnOnce(&[Tensor]) -> Result<Tensor>,
) -> Result<JobGradients> {
    let ran = run_passes(net, job, Form::Differentiable)?;
    let outputs: Vec<Tensor> = ran.iter().map(|r| r.outcome.output.clone()).collect();
    let value = scalar(metric(&outputs)?)?;
    let grads = value.backward()?;
    let mut passes = Vec::with_capacity(ran.len());
    for pass in ran {
        let sites = of_sites(net, &pass.openings, &grads)?;
        passes.push((pass.outcome, sites));
    }
    Ok(JobGradients { value, passes, weights: of_weights(net, &grads) })
}

fn scalar(value: Tensor) -> Result<Tensor> {
    if value.elem_count() == 1 {
        return Ok(value);
    }
    Err(Error::invalid(
        format!("the metric has shape {:?}", value.dims()),
        "reduce it to a single number, for example by a sum or a mean",
    ))
}

fn of_sites(net: &dyn Network, openings: &[(SiteId, Var)], grads: &GradStore) -> Result<BTreeMap<String, Tensor>> {
    let mut sites: BTreeMap<String, Tensor> = BTreeMap::new();
    for (id, zero) in openings {
        let name = &net.sites().get(*id).name;
        // A site that the metric does not depend on (the last layer's mask, say) has the gradient 0.
        let grad = grads.get(zero.as_tensor()).cloned().map_or_else(|| zero.zeros_like(), Ok)?;
        let sum = match sites.remove(name) {
            Some(earlier) if earlier.dims() == grad.dims() => (earlier + grad)?,
            _ => grad,
        };
        sites.insert(name.clone(), sum);
    }
    Ok(sites)
}

fn of_weights(net: &dyn Network, grads: &GradStore) -> BTreeMap<String, Tensor> {
    let variables = net.parameters().iter().filter(|(_, parameter)| parameter.is_variable());
    let found = variables.filter_map(|(name, parameter)| Some((name.clone(), grads.get(parameter)?.clone())));
    found.collect()
}
