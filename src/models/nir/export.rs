//! Spiking populations as a graph.
//!
//! ```text
//! source        Input
//! population    LIF (instantaneous synapses; its input from outside is a current) or CubaLIF (exponential currents)
//! projection    Delay, Linear; without the Delay from a population to itself in one step, for a loop has that delay
//! ```

use crate::models::Spiking;
use crate::models::spiking::{Neurons, Population, Projection, Synapse};
use crate::nn::spiking::{Crossing, Integration, Lif, Refractory, Reset, ResetDelay};
use crate::store::Array;
use crate::store::nir::{Graph, Kind};
use crate::{Error, Result};

/// A network as a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The graph.
    pub graph: Graph,
    /// What it does not hold exactly, a line each.
    pub notes: Vec<String>,
}

/// Most weights of a projection, which a graph holds dense.
const MAX_WEIGHTS: usize = 1 << 26;

/// The refusal of a network that a graph cannot hold.
pub(in crate::models) fn refused(what: impl std::fmt::Display) -> Error {
    Error::invalid(
        format!("a NIR graph cannot hold {what}"),
        "it holds leaky integrate-and-fire neurons that reset to a value, exponential currents, fixed weights and delays",
    )
}

/// The graph of a spiking network. Runs of it with the same dt give the same bits, but for what the notes say.
///
/// # Errors
/// What is in the way of an exact graph, by name.
pub(in crate::models) fn of_spiking(net: &Spiking, dt: f64) -> Result<Exported> {
    let (mut graph, mut notes) = (Graph::default(), Vec::new());
    let populations: Vec<&Population> = net.populations().collect();
    let projections: Vec<&Projection> = net.projections().collect();
    let mut places = Vec::with_capacity(populations.len());
    for (at, population) in populations.iter().enumerate() {
        let shape = Array::vector(vec![population.size as f64]);
        let name = &population.name;
        let Neurons::Lif { cell, adaptation } = &population.neurons else {
            if !matches!(population.neurons, Neurons::Source) {
                return Err(refused(format!("Izhikevich's neurons (`{name}`)")));
            }
            places.push(graph.add(name, Kind::Input, vec![("shape", shape)])?);
            continue;
        };
        if adaptation.is_some() {
            return Err(refused(format!("the moving threshold of `{name}`")));
        }
        let tau_s = time_constant(name, at, &projections, &mut notes)?;
        let place = add_population(&mut graph, population, cell, tau_s, dt, &mut notes)?;
        match tau_s {
            None => {
                let given = graph.add(&format!("in_{name}"), Kind::Input, vec![("shape", shape)])?;
                graph.edges.push((given, place));
            }
            Some(_) => notes.push(format!("`{name}` takes no current from outside, which a CubaLIF cannot")),
        }
        places.push(place);
    }
    for projection in &projections {
        add_projection(&mut graph, projection, &places, dt)?;
    }
    for (population, place) in populations.iter().zip(&places) {
        let shape = Array::vector(vec![population.size as f64]);
        let out = graph.add(&format!("out_{}", population.name), Kind::Output, vec![("shape", shape)])?;
        graph.edges.push((*place, out));
    }
    Ok(Exported { graph, notes })
}

/// The time constant of the currents that a population takes; `None` for instantaneous ones.
fn time_constant(name: &str, at: usize, projections: &[&Projection], notes: &mut Vec<String>) -> Result<Option<f64>> {
    let mut found: Vec<Option<f64>> = Vec::new();
    for q in projections.iter().filter(|q| q.to == at) {
        if q.plasticity.is_some() {
            return Err(refused(format!("the weights of `{}`, which change by STDP", q.name)));
        }
        found.push(match q.kind {
            Synapse::Jump => None,
            Synapse::Current(synapse) => Some(synapse.tau_s),
            Synapse::Conductance(_) => return Err(refused(format!("the conductances of `{}`", q.name))),
        });
    }
    if found.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(refused(format!("synapses of several time constants into `{name}`: a CubaLIF has one current")));
    }
    let tau_s = found.first().copied().flatten();
    if tau_s.is_some() && found.len() > 1 {
        notes.push(format!("`{name}` sums {} currents in one, which rounds otherwise in the last digit", found.len()));
    }
    Ok(tau_s)
}

fn add_population(
    graph: &mut Graph,
    population: &Population,
    cell: &Lif,
    tau_s: Option<f64>,
    dt: f64,
    notes: &mut Vec<String>,
) -> Result<usize> {
    let name = &population.name;
    let obstacle = match cell {
        Lif { integration: Integration::Euler, .. } => Some("the Euler steps"),
        Lif { reset_delay: ResetDelay::Next, .. } => Some("the reset in the next step"),
        Lif { reset: Reset::Subtract | Reset::None, .. } => Some("a reset that is not to a value"),
        Lif { refractory: Refractory::Clamped(n) | Refractory::Silent(n), .. } if *n > 0 => Some("the refractoriness"),
        _ => None,
    };
    if let Some(obstacle) = obstacle {
        return Err(refused(format!("{obstacle} of `{name}`")));
    }
    let Reset::To(reset) = cell.reset else { return Err(refused(format!("the reset of `{name}`"))) };
    let mut seconds = |ms: f64| {
        let exact = seconds(ms);
        if exact * 1000.0 != ms {
            notes.push(format!("a time constant of `{name}` ({ms} ms) has no number of seconds that is the same"));
        }
        exact
    };
    // A membrane is a f32: what is at least the threshold is above the f32 before it.
    let threshold = match cell.crossing {
        Crossing::AtLeast => (cell.threshold as f32).next_down(),
        Crossing::Above => cell.threshold as f32,
    };
    let tau = seconds(cell.tau_m);
    let mut arrays =
        vec![("r", cell.resistance), ("v_leak", cell.rest), ("v_threshold", f64::from(threshold)), ("v_reset", reset)];
    let kind = match tau_s {
        None => {
            arrays.push(("tau", tau));
            Kind::Lif
        }
        // A spike then adds its weight: w_in dt/tau_syn = 1.
        Some(tau_s) => {
            arrays.extend([("tau_mem", tau), ("tau_syn", seconds(tau_s)), ("w_in", tau_s / dt)]);
            Kind::CubaLif
        }
    };
    // Readers want one number per neuron.
    let array = |(field, value)| (field, Array::vector(vec![value; population.size]));
    graph.add(name, kind, arrays.into_iter().map(array).collect())
}

/// Seconds that are these milliseconds when multiplied by 1000, where there is such a number.
fn seconds(ms: f64) -> f64 {
    let near = ms / 1000.0;
    [near, near.next_up(), near.next_down()].into_iter().find(|s| s * 1000.0 == ms).unwrap_or(near)
}

fn add_projection(graph: &mut Graph, q: &Projection, places: &[usize], dt: f64) -> Result<()> {
    let (pre, post) = (q.synapses.pre(), q.synapses.post());
    if pre.saturating_mul(post) > MAX_WEIGHTS {
        return Err(refused(format!("{pre} x {post} weights of `{}` at once", q.name)));
    }
    let dense = q.synapses.to_dense(&q.weights);
    let weight = Array { shape: vec![post, pre], values: dense.into_iter().map(f64::from).collect() };
    let linear = graph.add(&format!("syn_{}", q.name), Kind::Linear, vec![("weight", weight)])?;
    let mut from = places[q.from];
    if q.delay > 1 || q.from != q.to {
        let times = Array::vector(vec![seconds(q.delay as f64 * dt); pre]);
        let delay = graph.add(&format!("delay_{}", q.name), Kind::Delay, vec![("delay", times)])?;
        graph.edges.push((from, delay));
        from = delay;
    }
    graph.edges.extend([(from, linear), (linear, places[q.to])]);
    Ok(())
}
