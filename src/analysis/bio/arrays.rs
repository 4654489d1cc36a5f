//! Records as arrays for a file: spikes as events, weights as synapses.

use candle_core::{Device, Tensor};

use super::{Ran, Shown, Subject};
use crate::Result;
use crate::hook::Axis;

/// The arrays of a run. A record of spikes of whole populations becomes `NAME.t` and `NAME.i` (int64: step and neuron of every
/// spike), one of whole weights `NAME` `[time, synapse]` with `NAME.pre` and `NAME.post`, everything else `NAME` with its axes;
/// `NAME.steps` says which steps were recorded.
///
/// # Errors
/// None but defects.
pub fn arrays(subject: &dyn Subject, seed: u64, ran: &Ran) -> Result<Vec<(String, Tensor)>> {
    let net = subject.build(seed)?;
    let mut out = Vec::new();
    let integers = |values: Vec<i64>| -> Result<Tensor> {
        let n = values.len();
        Ok(Tensor::from_vec(values, n, &Device::Cpu)?)
    };
    for shown in &ran.sites {
        let recorded = &ran.records.tensors[&shown.name];
        let steps = shown.steps.iter().map(|t| *t as i64).collect();
        out.push((format!("{}.steps", shown.name), integers(steps)?));
        let weights = net
            .synapses(shown.name.trim_end_matches("@raw"))
            .filter(|synapses| recorded.tensor.dims()[1..] == [synapses.post(), synapses.pre()]);
        if shown.spikes && recorded.axes[1..] == [Axis::Batch, Axis::Neuron] && whole(net.as_ref(), shown) {
            let values: Vec<f32> = recorded.tensor.flatten_all()?.to_vec1()?;
            let units = shown.shape[2];
            let events: Vec<usize> = (0..values.len()).filter(|at| values[*at] != 0.0).collect();
            let step = |at: &usize| shown.steps[at / units] as i64;
            out.push((format!("{}.t", shown.name), integers(events.iter().map(step).collect())?));
            out.push((format!("{}.i", shown.name), integers(events.iter().map(|at| (at % units) as i64).collect())?));
        } else if let Some(synapses) = weights {
            let dense: Vec<Vec<f32>> = recorded.tensor.flatten_from(1)?.to_vec2()?;
            let mut values = vec![0.0; dense.len() * synapses.len()];
            for (row, dense) in values.chunks_exact_mut(synapses.len()).zip(&dense) {
                synapses.of_dense(dense, row);
            }
            out.push((shown.name.clone(), Tensor::from_vec(values, (dense.len(), synapses.len()), &Device::Cpu)?));
            let places = |of: &[u32]| integers(of.iter().map(|i| i64::from(*i)).collect());
            out.push((format!("{}.pre", shown.name), places(synapses.sources())?));
            out.push((format!("{}.post", shown.name), places(synapses.targets())?));
        } else {
            out.push((shown.name.clone(), recorded.tensor.contiguous()?));
        }
    }
    Ok(out)
}

/// Whether all neurons of the site were recorded, in one row, so that an index is a neuron.
fn whole(net: &dyn crate::models::Simulation, shown: &Shown) -> bool {
    let site = net.sites().find(shown.name.trim_end_matches("@raw")).map(|id| net.sites().get(id));
    shown.shape[1] == 1 && site.is_some_and(|site| site.sizes.last().copied().flatten() == shown.shape.last().copied())
}
