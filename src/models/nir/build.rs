//! From a graph to a network: shapes, order, sites.

use candle_core::{Device, Tensor};

use super::NirNetwork;
use super::delay::Delay;
use super::layers::{Conv, Linear, Pool};
use super::neurons::Neurons;
use super::order::order;
use super::part::{Op, Part, Sites};
use super::shape::{Shapes, count, shapes};
use crate::hook::{Axis, SiteTable};
use crate::models::simulation::site;
use crate::store::nir::{Graph, Kind, Node};
use crate::{Error, Result};

/// Most numbers on their way in one delay.
const MAX_DELAYED: usize = 1 << 24;
/// The longest step, ms.
const MAX_DT: f64 = 1e6;

pub(super) fn build(graph: Graph, dt: f64) -> Result<NirNetwork> {
    if !(dt > 0.0 && dt <= MAX_DT) {
        return Err(Error::invalid(format!("a step of {dt} ms"), "give a dt above 0"));
    }
    for kind in [Kind::Input, Kind::Output] {
        if !graph.nodes.iter().any(|node| node.kind == kind) {
            return Err(Error::invalid(format!("the graph has no {}", kind.name()), "add one, with its shape"));
        }
    }
    let shapes = shapes(&graph)?;
    let mut notes = Vec::new();
    let mut parts = Vec::with_capacity(graph.nodes.len());
    let mut channels = 0;
    for (node, shapes) in graph.nodes.iter().zip(&shapes) {
        let op = op(node, shapes, dt, &mut channels)?;
        if let Op::Delay(delay) = &op
            && delay.rounded
        {
            notes.push(format!("the times of `{}` are rounded to whole steps", node.name));
        }
        let (entering, size) = (count(&shapes.input), count(&shapes.output));
        let (name, kind) = (node.name.clone(), node.kind);
        parts.push(Part { name, kind, entering, size, inputs: Vec::new(), op, site: Sites::default() });
    }
    let waits: Vec<bool> = parts.iter().map(|p| matches!(&p.op, Op::Delay(delay) if delay.waits())).collect();
    let order = order(&graph, &waits)?;
    let mut remembered = Vec::new();
    for ((from, to), late) in graph.edges.iter().zip(&order.late) {
        parts[*to].inputs.push((*from, *late));
        if *late {
            remembered.push(*from);
            let [from, to] = [from, to].map(|i| &graph.nodes[*i].name);
            notes.push(format!("what `{from}` emits reaches `{to}` one step later: they are in a loop"));
        }
    }
    remembered.sort_unstable();
    remembered.dedup();
    let mut table = SiteTable::default();
    // As a step visits them.
    order
        .delays
        .iter()
        .for_each(|at| parts[*at].site.output = Some(neurons(&mut table, &parts[*at], "hook_out", GIVES)));
    order.sequence.iter().for_each(|at| add_sites(&mut table, &mut parts[*at]));
    order.delays.iter().for_each(|at| parts[*at].site.input = Some(arriving(&mut table, &parts[*at])));
    let width = parts.iter().filter(|p| p.kind == Kind::Output).map(|p| p.size).sum();
    let parameters = graph.nodes.iter().flat_map(parameters).collect::<Result<_>>()?;
    Ok(NirNetwork { graph, parts, order, remembered, table, parameters, channels, width, dt, notes })
}

/// Parameters by name, in f32.
fn parameters(node: &Node) -> Vec<Result<(String, Tensor)>> {
    let tensor = |(field, array): (&&str, &crate::store::Array)| {
        let values: Vec<f32> = array.values.iter().map(|x| *x as f32).collect();
        Ok((format!("{}.{field}", node.name), Tensor::from_vec(values, array.shape.as_slice(), &Device::Cpu)?))
    };
    node.arrays.iter().map(tensor).collect()
}

fn op(node: &Node, shapes: &Shapes, dt: f64, channels: &mut usize) -> Result<Op> {
    let single = |field: &str| -> Vec<f32> {
        node.arrays.get(field).map_or_else(Vec::new, |a| a.values.iter().map(|x| *x as f32).collect())
    };
    let each = |field: &str, n: usize| -> Vec<f32> {
        let values = single(field);
        if values.len() == 1 { vec![values[0]; n] } else { values }
    };
    let (input, output) = (&shapes.input, &shapes.output);
    Ok(match node.kind {
        Kind::Input => {
            let first = *channels;
            *channels += count(output);
            Op::Given(first)
        }
        Kind::Output | Kind::Flatten => Op::Same,
        Kind::Linear | Kind::Affine => {
            Op::Linear(Linear::new(&single("weight"), output[0], input[0]), each("bias", output[0]))
        }
        Kind::Conv1d | Kind::Conv2d => {
            Op::Conv(Conv::new(node, single("weight"), input, output), each("bias", output[0]))
        }
        Kind::SumPool2d | Kind::AvgPool2d => Op::Pool(Pool::new(node, input, output)),
        Kind::Scale => Op::Scale(each("scale", count(output))),
        Kind::Threshold => Op::Threshold(single("threshold")),
        Kind::Delay => {
            let delay = Delay::new(&node.arrays["delay"].values, dt);
            let numbers = delay.longest().saturating_mul(count(output));
            if numbers > MAX_DELAYED {
                return Err(Error::invalid(
                    format!("node `{}` would keep {numbers} numbers on their way", node.name),
                    format!("at most {MAX_DELAYED} fit; delays are in seconds, dt in ms: is one of them wrong?"),
                ));
            }
            Op::Delay(delay)
        }
        _ => Op::Neurons(Neurons::new(node, count(output), dt)),
    })
}

const GIVES: &str = "what the node gives";

type SiteId = crate::hook::SiteId;

fn neurons(table: &mut SiteTable, part: &Part, end: &str, meaning: &'static str) -> SiteId {
    let axes = [(Axis::Batch, None), (Axis::Neuron, Some(part.size))];
    table.push(site(format!("{}.{end}", part.name), &axes, meaning))
}

fn arriving(table: &mut SiteTable, part: &Part) -> SiteId {
    let axes = [(Axis::Batch, None), (Axis::Neuron, Some(part.entering))];
    table.push(site(format!("{}.hook_in", part.name), &axes, "sum of what arrives"))
}

/// The sites that a node is visited at in its own turn.
fn add_sites(table: &mut SiteTable, part: &mut Part) {
    let mut sites = Sites::default();
    match part.kind {
        Kind::Input => {
            sites.output = Some(neurons(table, part, "hook_out", "what the graph is given"));
            part.site = sites;
            return;
        }
        Kind::Output => {
            sites.output = Some(neurons(table, part, "hook_output", "what the graph gives"));
            part.site = sites;
            return;
        }
        _ => sites.input = Some(arriving(table, part)),
    }
    let weight = match &part.op {
        Op::Linear(..) => Some([part.size, part.entering]),
        Op::Conv(conv, _) => Some(conv.weight_shape()),
        _ => None,
    };
    if let Some([post, pre]) = weight {
        let axes = [(Axis::Post, Some(post)), (Axis::Pre, Some(pre))];
        let on_demand = site(format!("{}.hook_weight", part.name), &axes, "weights of this step");
        sites.weight = Some(table.push(crate::hook::Site { on_demand: true, ..on_demand }));
        if let Op::Linear(_, bias) | Op::Conv(_, bias) = &part.op
            && !bias.is_empty()
        {
            let axes = [(Axis::Post, Some(bias.len()))];
            sites.bias = Some(table.push(site(format!("{}.hook_bias", part.name), &axes, "bias of this step")));
        }
    }
    match &part.op {
        Op::Scale(_) => {
            let axes = [(Axis::Neuron, Some(part.size))];
            let meaning = "factors of this step";
            sites.weight = Some(table.push(site(format!("{}.hook_weight", part.name), &axes, meaning)));
        }
        Op::Neurons(_) => {
            if part.kind.has_current() {
                let meaning = "synaptic current at the beginning of the step, this step's arrivals included";
                sites.current = Some(neurons(table, part, "hook_current", meaning));
            }
            if part.kind.fires() {
                sites.mem_pre = Some(neurons(table, part, "hook_mem_pre", "membrane before firing"));
                let meaning = "spikes; what comes out of here resets and travels";
                sites.spikes = Some(neurons(table, part, "hook_spikes", meaning));
            }
            let meaning = if part.kind.fires() { "membrane after firing" } else { "membrane, which the node gives" };
            sites.mem = Some(neurons(table, part, "hook_mem", meaning));
        }
        _ => {}
    }
    if part.kind == Kind::Threshold {
        sites.spikes = Some(neurons(table, part, "hook_spikes", "1 above the threshold"));
    } else if !part.kind.is_neuron() {
        sites.output = Some(neurons(table, part, "hook_out", GIVES));
    }
    part.site = sites;
}
