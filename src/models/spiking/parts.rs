//! What a spiking network is put together from.

use std::fmt;

use crate::nn::spiking::{
    Adaptation, Conductance, CurrentSynapse, Eligibility, Izhikevich, IzhikevichRule, Lif, PairStdp, Pairing, Sparse,
    Trace, TripletStdp,
};
use crate::{Error, Result};

/// The neurons of a population.
#[derive(Clone, Debug, PartialEq)]
pub enum Neurons {
    /// No neurons: the input's numbers are spikes.
    Source,
    /// Leaky integrate-and-fire neurons, all alike.
    Lif {
        /// The neuron.
        cell: Lif,
        /// A threshold that moves with its spikes.
        adaptation: Option<Adaptation>,
    },
    /// Izhikevich's neurons, each with its own constants.
    Izhikevich {
        /// How they are stepped.
        rule: IzhikevichRule,
        /// One per neuron.
        cells: Vec<Izhikevich>,
    },
}

impl Neurons {
    /// Length of a step, ms; `None` for sources.
    pub fn dt(&self) -> Option<f64> {
        match self {
            Self::Source => None,
            Self::Lif { cell, .. } => Some(cell.dt),
            Self::Izhikevich { rule, .. } => Some(rule.dt()),
        }
    }
}

impl fmt::Display for Neurons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source of given spikes"),
            Self::Lif { cell, adaptation: None } => cell.fmt(f),
            Self::Lif { cell, adaptation: Some(a) } => {
                write!(f, "{cell}; threshold + {} b, b' = b e^(-dt/{} ms) + {:.4} s", a.beta, a.tau, a.jump)
            }
            Self::Izhikevich { rule, .. } => rule.fmt(f),
        }
    }
}

/// A population.
#[derive(Clone, Debug, PartialEq)]
pub struct Population {
    /// Its name, the beginning of its sites'.
    pub name: String,
    /// Neurons.
    pub size: usize,
    /// Of which kind.
    pub neurons: Neurons,
}

/// What a spike does at a synapse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Synapse {
    /// A current of w in the step of its arrival alone.
    Jump,
    /// A current that jumps by w and decays.
    Current(CurrentSynapse),
    /// A conductance that jumps by w and decays.
    Conductance(Conductance),
}

impl Synapse {
    /// What is left of the jump one step later.
    pub(super) fn decay(&self, dt: f64) -> f64 {
        match self {
            Self::Jump => 0.0,
            Self::Current(synapse) => synapse.decay(dt),
            Self::Conductance(synapse) => synapse.decay(dt),
        }
    }
}

/// How the weights of a projection change. Traces are read before they jump.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plasticity {
    /// By pairs of spikes.
    Pair(PairStdp),
    /// By triplets of spikes.
    Triplet {
        /// The rule.
        rule: TripletStdp,
        /// Least and largest weight.
        bounds: (f64, f64),
    },
    /// By a third factor M: pairs of spikes leave an eligibility e, and dw = eta M e.
    Modulated {
        /// What leaves the eligibility.
        pairs: PairStdp,
        /// How long it lasts, and what it comes to.
        eligibility: Eligibility,
    },
}

impl Plasticity {
    /// Traces of pre and post spikes that the rule reads, the fast ones first.
    pub(super) fn traces(&self) -> Vec<[Trace; 2]> {
        match self {
            Self::Pair(rule) | Self::Modulated { pairs: rule, .. } => vec![[rule.pre(), rule.post()]],
            Self::Triplet { rule, .. } => {
                let all = |tau| Trace { tau, pairing: Pairing::AllToAll };
                vec![[all(rule.pre.0), all(rule.post.0)], [all(rule.pre.1), all(rule.post.1)]]
            }
        }
    }

    /// What a synapse's pairs in one step come to, from the spikes and the decayed traces of both ends.
    #[inline]
    pub(super) fn change(&self, w: f64, spikes: (f64, f64), pre: (f64, f64), post: (f64, f64)) -> f64 {
        match self {
            Self::Pair(rule) | Self::Modulated { pairs: rule, .. } => rule.change(w, spikes, (pre.0, post.0)),
            Self::Triplet { rule, .. } => rule.change(spikes, pre, post),
        }
    }

    /// Least and largest weight.
    pub(super) fn bounds(&self) -> (f64, f64) {
        match self {
            Self::Pair(rule) | Self::Modulated { pairs: rule, .. } => rule.bounds,
            Self::Triplet { bounds, .. } => *bounds,
        }
    }

    /// The eligibility of a modulated rule.
    pub(super) fn eligibility(&self) -> Option<&Eligibility> {
        match self {
            Self::Modulated { eligibility, .. } => Some(eligibility),
            _ => None,
        }
    }
}

impl fmt::Display for Plasticity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair(rule) | Self::Modulated { pairs: rule, .. } => write!(
                f,
                "pair STDP (A+ {}, A- {}, tau+ {} ms, tau- {} ms, {:?}, bounds {} to {}; traces are read before they jump)",
                rule.a_plus, rule.a_minus, rule.tau_plus, rule.tau_minus, rule.pairing, rule.bounds.0, rule.bounds.1
            )?,
            Self::Triplet { rule, bounds } => write!(
                f,
                "triplet STDP (A2+ {}, A3+ {}, A2- {}, A3- {}, tau+ {} ms, tau_x {} ms, tau- {} ms, tau_y {} ms, all to \
                 all, bounds {} to {}; traces are read before they jump)",
                rule.plus.0,
                rule.plus.1,
                rule.minus.0,
                rule.minus.1,
                rule.pre.0,
                rule.pre.1,
                rule.post.0,
                rule.post.1,
                bounds.0,
                bounds.1
            )?,
        }
        match self.eligibility() {
            Some(e) => write!(f, " into an eligibility (tau {} ms), dw = {} M e", e.tau, e.eta),
            None => Ok(()),
        }
    }
}

/// Synapses from one population to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// Its name.
    pub name: String,
    /// Place of the population that it comes from.
    pub from: usize,
    /// Place of the population that it ends at.
    pub to: usize,
    /// Who is connected to whom.
    pub synapses: Sparse,
    /// One per synapse.
    pub weights: Vec<f32>,
    /// Steps from a spike to its arrival, at least 1.
    pub delay: usize,
    /// What an arriving spike does.
    pub kind: Synapse,
    /// How weights change; pre spikes count when they arrive.
    pub plasticity: Option<Plasticity>,
}

impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} synapses, delay {} step{}",
            self.synapses.len(),
            self.delay,
            if self.delay == 1 { "" } else { "s" }
        )?;
        match self.kind {
            Synapse::Jump => write!(f, ", current in the step of arrival")?,
            Synapse::Current(s) => write!(f, ", exponential current, tau_s {} ms", s.tau_s)?,
            Synapse::Conductance(s) => write!(f, ", exponential conductance, tau_s {} ms, E {}", s.tau_s, s.reversal)?,
        }
        match &self.plasticity {
            None => Ok(()),
            Some(rule) => write!(f, ", {rule}"),
        }
    }
}

/// Refuses parts that do not fit each other.
pub(super) fn check(populations: &[Population], projections: &[Projection]) -> Result<()> {
    let names: Vec<&str> = populations.iter().map(|p| p.name.as_str()).collect();
    unique("population", &names)?;
    let wires: Vec<&str> = projections.iter().map(|p| p.name.as_str()).collect();
    unique("projection", &wires)?;
    for p in populations {
        let cells = match &p.neurons {
            Neurons::Izhikevich { cells, .. } => cells.len(),
            _ => p.size,
        };
        if p.size == 0 || cells != p.size {
            return Err(Error::invalid(
                format!("the population `{}` has {} neurons and constants for {cells}", p.name, p.size),
                "give at least one neuron, and constants for each",
            ));
        }
    }
    for q in projections {
        let ends = [q.from, q.to].map(|i| populations.get(i));
        let [Some(from), Some(to)] = ends else {
            return Err(Error::invalid(
                format!("the projection `{}` goes from population {} to {}", q.name, q.from, q.to),
                format!("there are {}, counted from 0", populations.len()),
            ));
        };
        let fits = q.synapses.pre() == from.size && q.synapses.post() == to.size && q.weights.len() == q.synapses.len();
        if !fits || q.weights.iter().any(|w| !w.is_finite()) {
            return Err(Error::invalid(
                format!(
                    "the projection `{}` has {} weights for {} synapses from {} to {} neurons, between populations of {} \
                     and {}",
                    q.name,
                    q.weights.len(),
                    q.synapses.len(),
                    q.synapses.pre(),
                    q.synapses.post(),
                    from.size,
                    to.size
                ),
                "give one finite weight per synapse, and synapses of the populations' sizes",
            ));
        }
        if q.delay == 0 {
            return Err(Error::invalid(
                format!("the projection `{}` has a delay of 0", q.name),
                "give at least 1 step",
            ));
        }
        let taken = match to.neurons {
            Neurons::Source => false,
            Neurons::Lif { .. } => true,
            Neurons::Izhikevich { .. } => q.kind == Synapse::Jump,
        };
        if !taken {
            return Err(Error::invalid(
                format!("the neurons of `{}` cannot take the synapses of `{}`", to.name, q.name),
                "sources take none, Izhikevich's neurons take `Synapse::Jump`",
            ));
        }
        let into = projections.iter().filter(|other| other.to == q.to);
        let kinds: Vec<bool> =
            into.filter(|o| o.kind != Synapse::Jump).map(|o| matches!(o.kind, Synapse::Conductance(_))).collect();
        if kinds.iter().any(|c| *c) && kinds.iter().any(|c| !*c) {
            return Err(Error::invalid(
                format!("`{}` takes both exponential currents and conductances", to.name),
                "use one of them: the exact step is known for either alone",
            ));
        }
    }
    Ok(())
}

fn unique(what: &str, names: &[&str]) -> Result<()> {
    for (i, name) in names.iter().enumerate() {
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && *name != "syn";
        if !plain || names[..i].contains(name) {
            return Err(Error::invalid(
                format!("a {what} is named `{name}`"),
                "use letters, digits and underscores, each name once, and not `syn`",
            ));
        }
    }
    Ok(())
}
