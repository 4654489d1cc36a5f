//! Gradients of any scalar metric of a network's output with respect to any site and any weight.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{Input, Network, State};
use crate::hook::{Form, Pass, Plan, Records, Registry, Tap, Values};
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
    let mut tap = Tap::new(&mut plan);
    debug_assert_eq!(tap.form(), Form::Differentiable);
    let output = net.forward(input, &mut State::none(), &mut tap)?;
    let value = metric(&output)?;
    if value.elem_count() != 1 {
        return Err(Error::invalid(
            format!("the metric has shape {:?}", value.dims()),
            "reduce it to a single number, for example by a sum or a mean",
        ));
    }
    let grads = value.backward()?;
    let mut sites: BTreeMap<String, Tensor> = BTreeMap::new();
    for (id, zero) in plan.openings() {
        let name = &net.sites().get(*id).name;
        // A site that the metric does not depend on (the last layer's mask, say) has the gradient 0.
        let grad = grads.get(zero.as_tensor()).cloned().map_or_else(|| zero.zeros_like(), Ok)?;
        let sum = match sites.remove(name) {
            Some(earlier) if earlier.dims() == grad.dims() => (earlier + grad)?,
            _ => grad,
        };
        sites.insert(name.clone(), sum);
    }
    let mut weights = BTreeMap::new();
    for (name, parameter) in net.parameters() {
        if parameter.is_variable()
            && let Some(grad) = grads.get(parameter)
        {
            weights.insert(name.clone(), grad.clone());
        }
    }
    let records = plan.records(net.sites())?;
    Ok(Gradients { value, sites, weights, records })
}
